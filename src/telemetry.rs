//! Every metric of the process, in one list.

mod books;
mod family;
mod metrics;

pub use books::{BooksSources, JournalFigures};
pub use metrics::{Clocks, Metrics, table};
