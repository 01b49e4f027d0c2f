//! One channel: its gate, its connections, what is measured of it, and the actor that owns them.

pub mod cell;
pub mod connections;
pub mod gate;
pub mod health;
pub mod roster;
pub mod slot;
pub mod supervisor;

pub use cell::ChannelCell;
pub use connections::{ConnectionSlot, Connections};
pub use gate::{Gate, Permit};
pub use slot::SlotMap;
