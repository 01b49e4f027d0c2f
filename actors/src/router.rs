//! Routing: from a model and a caller's group to channels in the order they should be tried, and waiting for one.

pub mod actor;
pub mod candidates;
pub mod estimate;
pub mod explain;
pub mod fairness;
pub mod filter;
pub mod plan;
pub mod rank;
pub mod registry;
pub mod room;
pub mod table;
pub mod ticket;

pub use actor::{Publish, Router};
pub use plan::{Pinned, Plan, Unroutable};
pub use room::WaitingRoom;
pub use table::{Route, RouteTable, TableHandle, Tier};
