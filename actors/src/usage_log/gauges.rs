//! What a consumer shows of itself: counters for `/metrics`, and how far its rows are durable.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;

use super::Positions;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What it has come to.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One consumer of the ring, seen from outside.
#[derive(Debug)]
pub struct ConsumerGauges {
    /// Its name, as metrics and logs have it.
    pub name: &'static str,
    /// Its number in the ring.
    pub consumer: usize,
    /// Settlements handed on.
    pub applied: Counter,
    /// Events that had been applied before.
    pub duplicates: Counter,
    /// Times that an event did not follow on, and the journal was read.
    pub gaps: Counter,
    /// Events of the ring passed over for being too far behind.
    pub passed_over: Counter,
    /// Parts of streams that the journal no longer had.
    pub lost: Counter,
    /// Batches committed.
    pub commits: Counter,
    /// Times that the store or the journal failed.
    pub failures: Counter,
    /// Times that the actor was started afresh.
    pub restarts: Counter,
    durable: ArcSwap<Positions>,
    is_frozen: AtomicBool,
}

impl ConsumerGauges {
    /// The gauges of a consumer that has done nothing yet.
    pub fn new(name: &'static str, consumer: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            consumer,
            applied: Counter::default(),
            duplicates: Counter::default(),
            gaps: Counter::default(),
            passed_over: Counter::default(),
            lost: Counter::default(),
            commits: Counter::default(),
            failures: Counter::default(),
            restarts: Counter::default(),
            durable: ArcSwap::default(),
            is_frozen: AtomicBool::new(false),
        })
    }

    /// How far its rows are durable: journal segments before may be deleted.
    pub fn durable(&self) -> Arc<Positions> {
        self.durable.load_full()
    }

    /// Whether it has left events unread for seconds.
    pub fn is_frozen(&self) -> bool {
        self.is_frozen.load(Ordering::Relaxed)
    }

    pub(super) fn publish_durable(&self, positions: Positions) {
        self.durable.store(Arc::new(positions));
    }

    /// Gives whether it was so before.
    pub(super) fn publish_frozen(&self, frozen: Frozen) -> Frozen {
        Frozen(self.is_frozen.swap(frozen.0, Ordering::Relaxed))
    }
}

/// Whether a consumer stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frozen(pub(super) bool);
