//! The concurrency heart of Penstock: gates, channel supervisors and the router.
//!
//! An actor is the single writer of its state and publishes what the call path reads. This crate
//! knows no HTTP, no SQL, no Redis and no JSON; time and randomness reach its decisions as arguments.

pub mod billing;
pub mod channel;
pub mod domain;
pub mod metrics;
pub mod ports;
pub mod router;
pub mod shell;
pub mod system;
pub mod testing;
pub mod usage_log;
