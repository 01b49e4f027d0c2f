//! Incremental byte framers: pushed chunks, they give frames. No I/O, no clock.

pub mod json;
pub mod sse;
