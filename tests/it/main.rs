//! Tests of the whole gateway over real sockets.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod bench_harness;
mod failover;
mod support;
