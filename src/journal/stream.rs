//! What a stream's writer publishes for everyone else: how far it is written, how far it is durable.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use penstock_actors::domain::StreamId;
use tokio::sync::Notify;

use super::{disk::DiskFile, keeper::Kick};

/// So many doubtful parts are told apart; older ones are taken together.
const DOUBTS: usize = 16;

/// The published state of a stream that is being written.
#[derive(Debug)]
pub struct StreamState {
    stream: StreamId,
    /// The end of the last whole record on disk.
    written: AtomicU64,
    durable: Mutex<Durable>,
    durable_changed: Condvar,
    durable_notify: Notify,
    /// Segments below this number are not needed to find open calls, even after a power cut.
    needed_from: AtomicU32,
    /// Calls that were dispatched and are not settled.
    open: AtomicU64,
    /// Segments up to this number are not written any more: a sync of one failed.
    given_up: AtomicU32,
    failing: AtomicBool,
    pub(super) files: Mutex<Vec<Written>>,
    pub(super) spare: Mutex<Option<Spare>>,
    pub(super) kick: Arc<Kick>,
}

/// How far a stream survives the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// Records that end here or before were synced, but for those in doubt.
    pub upto: u64,
    /// Records that end behind the first and not behind the second: their sync failed.
    doubts: Vec<(u64, u64)>,
}

/// A record may not survive the machine: the sync that covered it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal could not be synced; the record may be lost if the machine stops")]
pub struct InDoubt;

/// A segment that holds bytes which were not synced yet.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub segment: u32,
    pub base: u64,
    pub file: Arc<dyn DiskFile>,
    /// Whether its head has a copy of every call that was open.
    pub is_anchor: bool,
    pub has_failed: bool,
    /// Whether its name is durable.
    pub is_entered: bool,
}

/// A file that was allocated ahead, for when the disk is full.
#[derive(Debug)]
pub(super) struct Spare {
    pub file: Arc<dyn DiskFile>,
    pub path: std::path::PathBuf,
}

impl StreamState {
    pub(super) fn new(stream: StreamId, kick: Arc<Kick>) -> Self {
        Self {
            stream,
            written: AtomicU64::new(0),
            durable: Mutex::default(),
            durable_changed: Condvar::new(),
            durable_notify: Notify::new(),
            needed_from: AtomicU32::new(0),
            open: AtomicU64::new(0),
            given_up: AtomicU32::new(0),
            failing: AtomicBool::new(false),
            files: Mutex::default(),
            spare: Mutex::default(),
            kick,
        }
    }

    /// Which stream it is.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// The head: the offset behind the last record that is whole on disk. Readers go no further.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// How far the stream is durable. What a consumer commits elsewhere should not be ahead of it.
    pub fn durable(&self) -> Durable {
        lock(&self.durable).clone()
    }

    /// Whether dispatches are refused because the disk takes nothing.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    /// The first segment that is needed to find calls that are still open.
    pub fn needed_from(&self) -> u32 {
        self.needed_from.load(Ordering::Acquire)
    }

    /// Waits until the record that ends at `end` survives the machine.
    ///
    /// # Errors
    /// [`InDoubt`] where its sync fails.
    pub async fn wait_durable(&self, end: u64) -> Result<(), InDoubt> {
        loop {
            let notified = self.durable_notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let known = lock(&self.durable).knows(end);
            if let Some(known) = known {
                return known;
            }
            self.kick.kick();
            notified.await;
        }
    }

    /// Blocks until the record that ends at `end` survives the machine; `None` when the time is over.
    pub fn block_durable(&self, end: u64, at_most: Duration) -> Option<Result<(), InDoubt>> {
        let until = Instant::now() + at_most;
        let mut durable = lock(&self.durable);
        loop {
            if let Some(known) = durable.knows(end) {
                return Some(known);
            }
            let left = until.checked_duration_since(Instant::now())?;
            self.kick.kick();
            let waited = self.durable_changed.wait_timeout(durable, left);
            durable = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many calls are dispatched and not settled.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn publish_open(&self, calls: usize) {
        self.open.store(calls as u64, Ordering::Relaxed);
    }

    pub(super) fn publish_written(&self, end: u64) {
        self.written.store(end, Ordering::Release);
    }

    pub(super) fn publish_durable(&self, change: impl FnOnce(&mut Durable)) {
        change(&mut lock(&self.durable));
        self.durable_changed.notify_all();
        self.durable_notify.notify_waiters();
    }

    pub(super) fn publish_needed_from(&self, segment: u32) {
        self.needed_from.fetch_max(segment, Ordering::AcqRel);
    }

    pub(super) fn publish_failing(&self, is_failing: bool) {
        self.failing.store(is_failing, Ordering::Release);
    }

    pub(super) fn give_up(&self, segment: u32) {
        self.given_up.fetch_max(segment, Ordering::AcqRel);
    }

    pub(super) fn is_given_up(&self, segment: u32) -> bool {
        self.given_up.load(Ordering::Acquire) >= segment
    }
}

impl Durable {
    /// What is known of the record that ends at `end`; `None` while it waits for its sync.
    pub fn knows(&self, end: u64) -> Option<Result<(), InDoubt>> {
        if self.doubts.iter().any(|(from, to)| *from < end && end <= *to) {
            Some(Err(InDoubt))
        } else {
            (end <= self.upto).then_some(Ok(()))
        }
    }

    /// What was written since the last good sync, up to `to`, is in doubt.
    pub(super) fn doubt(&mut self, to: u64) {
        match self.doubts.last_mut() {
            Some(last) if last.0 == self.upto => last.1 = to,
            _ => self.doubts.push((self.upto, to)),
        }
        if self.doubts.len() > DOUBTS {
            self.doubts[1].0 = self.doubts[0].0;
            self.doubts.remove(0);
        }
    }
}

/// Locks; whoever panicked holding the lock left nothing half done.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
