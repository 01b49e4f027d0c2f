//! Tests of the whole gateway over real sockets.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[allow(dead_code, reason = "what only the harness uses is not called here")]
mod bench_harness;
mod failover;
mod support;
