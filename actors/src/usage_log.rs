//! The usage log: a lock-free ring that fans the facts out, and what its consumers share.
//!
//! The ring is a fast copy; the journal is the truth. Whatever a consumer misses here it reads there.

pub mod batch;
pub mod event;
pub mod ring;

pub use batch::{Batch, Continuity, Positions, Range, Verdict};
pub use event::{UsageEvent, UsageRing};
pub use ring::{Read, Reader, Ring};
