//! What the journal counts, for the metrics to read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counters of all streams of this process; they only grow.
        #[derive(Debug, Default)]
        pub struct JournalCounters {
            $($(#[doc = $doc])+ pub $name: Counter,)+
        }

        impl JournalCounters {
            /// Every counter with its name.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
                [$((stringify!($name), self.$name.value())),+].into_iter()
            }
        }
    };
}

counters! {
    /// Records written.
    records,
    /// Bytes written, frames included, preludes not.
    bytes,
    /// Segments begun.
    segments,
    /// Writes that took only a part of a record.
    short_writes,
    /// Writes that took longer than the setting allows.
    slow_writes,
    /// Writes, creations and syncs that failed.
    errors,
    /// Syncs of a segment.
    syncs,
    /// Microseconds spent in syncs.
    sync_micros,
    /// Spare segments taken into use.
    spares,
    /// Dispatches refused because the journal could not take them.
    refused,
    /// Dispatches and progress left out of the journal because it could not take them.
    skipped,
    /// Records that waited in memory for a slow or failing disk.
    queued,
    /// Settlements that found neither disk nor room in memory.
    lost,
}

/// A number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }
}
