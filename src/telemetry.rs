//! Every metric of the process, in one list.

mod metrics;

pub use metrics::Metrics;
