//! Routing: from a model and a caller's group to channels in the order they should be tried.

pub mod actor;
pub mod explain;
pub mod plan;
pub mod rank;
pub mod table;

pub use actor::{Publish, Router};
pub use plan::{Pinned, Plan, Unroutable};
pub use table::{Route, RouteTable, TableHandle, Tier};
