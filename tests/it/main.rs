//! Tests of the whole gateway over real sockets.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod anthropic;
mod awc;
mod bench;
#[allow(dead_code, reason = "what only the harness uses is not called here")]
mod bench_harness;
mod bodies;
mod breakers;
mod call_limits;
mod calls;
mod claims;
mod clients_leave;
mod commands;
mod environment;
mod failover;
mod http_abuse;
mod keys;
mod keys_of_file;
mod limits;
mod managing;
mod observing;
mod panics;
mod passing;
mod paths;
mod providers;
mod proxies;
mod reload;
mod shutdown;
mod slow_readers;
mod store;
mod support;
mod tls_listener;
mod upstream_answers;
mod upstream_connections;
mod upstream_cuts;
mod upstream_framing;
mod upstream_stalls;
mod upstream_tls;
mod upstream_uploads;
mod watching;
