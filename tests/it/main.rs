//! Tests of the whole gateway over real sockets.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod bench_harness;
mod bodies;
mod clients_leave;
mod failover;
mod http_abuse;
mod keys;
mod observing;
mod panics;
mod passing;
mod paths;
mod shutdown;
mod slow_readers;
mod support;
