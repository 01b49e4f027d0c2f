//! The concurrency heart of Penstock: gates, channel supervisors, the router, and the actors of the books.
//!
//! An actor is the single writer of its state and publishes what the call path reads. This crate
//! knows no HTTP, no SQL, no Redis and no JSON; time and randomness reach its decisions as arguments.

pub mod accounting;
pub mod billing;
pub mod channel;
pub mod domain;
pub mod limiter;
pub mod metrics;
pub mod ports;
pub mod router;
pub mod shell;
pub mod system;
pub mod testing;
pub mod usage_log;
