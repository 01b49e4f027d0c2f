//! What the gateway's traffic comes to, over the last minute, the last hour and since the start.

pub mod actor;
pub mod rolling;
pub mod traffic;

pub use actor::Meter;
pub use rolling::Rolling;
pub use traffic::{Totals, Traffic, TrafficView};
