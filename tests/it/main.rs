//! Tests of the whole gateway over real sockets.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod bench_harness;
mod bodies;
mod clients_leave;
mod commands;
mod failover;
mod http_abuse;
mod keys;
mod limits;
mod observing;
mod panics;
mod passing;
mod paths;
mod reload;
mod shutdown;
mod slow_readers;
mod support;
