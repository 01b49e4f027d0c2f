//! Every metric of the process, in one list.

mod books;
mod family;
mod metrics;

pub use books::{BooksSources, JournalFigures};
pub use metrics::{Metrics, table};
