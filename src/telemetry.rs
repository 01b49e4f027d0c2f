//! Every metric of the process, in one list.

mod books;
mod channels;
mod family;
mod metrics;

pub use books::{BooksSources, JournalFigures};
pub use channels::Scrape;
pub use metrics::{Metrics, table};
