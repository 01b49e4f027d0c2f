//! Incremental byte framers: pushed chunks, they give frames. No I/O, no clock.

pub mod aws_events;
pub mod json;
pub mod lines;
pub mod sse;

/// A frame grew past the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {cap} bytes")]
pub struct FrameTooLong {
    /// The cap in bytes.
    pub cap: usize,
}
