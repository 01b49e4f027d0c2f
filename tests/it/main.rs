//! Tests of the whole gateway over real sockets.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod anthropic;
#[allow(dead_code, reason = "what only the harness uses is not called here")]
mod bench_harness;
mod failover;
mod support;
mod upstream_answers;
mod upstream_connections;
mod upstream_cuts;
mod upstream_framing;
mod upstream_stalls;
mod upstream_tls;
mod upstream_uploads;
