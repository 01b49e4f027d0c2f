//! The usage log: a lock-free ring that fans the facts out, and what its consumers share.
//!
//! The ring is a fast copy; the journal is the truth. Whatever a consumer misses here it reads there.

pub mod actor;
pub mod batch;
pub mod consumer;
pub mod event;
pub mod follower;
pub mod gauges;
pub mod request_log;
pub mod ring;

pub use actor::{UsageLog, UsageLogView};
pub use batch::{Batch, Continuity, Positions, Range, Verdict};
pub use consumer::{Intake, Next};
pub use event::{UsageEvent, UsageRing};
pub use follower::{Finish, Finished, Follower, Pace, Sink};
pub use gauges::ConsumerGauges;
pub use request_log::LogWriter;
pub use ring::{Read, Reader, Ring};
