//! Limits on requests, tokens and money in a time: windows, the cells that keep count, and who clears up.
//!
//! The call path takes and gives back by atomics alone; the Limiter never admits.

pub mod actor;
pub mod calendar;
pub mod cells;
pub mod rules;
mod tagged;
pub mod window;

pub use actor::{LimitHandle, Limiter, Opens, WAITED_FOR};
pub use calendar::Zone;
pub use cells::{Cells, Claim, Held, Now, OverLimit, Rate, Rates};
pub use rules::{Amounts, CellId, Kind, LimitSet, Measure, Owner, Rules, Scope, Span, Who};
pub use tagged::MOST;
