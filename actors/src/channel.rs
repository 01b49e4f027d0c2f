//! One channel: its gate, its queue, its connections, what is measured of it, and the actor that owns them.

pub mod adaptive;
pub mod breaker;
mod caretaker;
pub mod cell;
pub mod connections;
pub mod gate;
pub mod health;
pub mod learner;
pub mod learning;
pub mod line;
pub mod pace;
pub mod pacer;
pub mod queue;
pub mod rate;
pub mod roster;
pub mod rotation;
pub mod shedding;
pub mod slot;
pub mod supervisor;
pub mod switch;

pub use cell::{ChannelCell, NoEntry};
pub use connections::{ConnectionSlot, Connections};
pub use gate::{Gate, Permit};
pub use line::{Counted, Line, Lines};
pub use slot::SlotMap;
