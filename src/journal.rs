//! The journal: what was dispatched, how far it came, how it was settled, on disk before the call goes on.
//!
//! A stream is (node, boot, worker), written by one [`JournalWriter`] and read by any number of
//! [`JournalReader`]s. `write(2)` makes a record survive the process; a background thread syncs all streams
//! together, which makes it survive the machine. [`recover`] settles what an older start left open. Prices,
//! accounts and the ring are others' business.

mod counters;
pub mod disk;
mod find;
mod keeper;
mod lane;
mod node;
mod open_calls;
mod reader;
pub mod record;
mod recovery;
mod retention;
mod segment;
mod sink;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use penstock_actors::domain::StreamId;

use disk::Disk;
use keeper::{Keeper, Kick};
use sink::Sink;
use stream::lock;

pub use counters::{Counter, JournalCounters};
pub use find::Journalled;
pub use node::{Node, NodeError};
pub use reader::{Damage, Found, Gap, Item, JournalReader, StreamReader, TO_THE_END};
pub use record::{Fact, Kind, Record};
pub use recovery::{ABANDONED, OpenCall, Recovered, RecoveryError, Survey, abandon, recover, survey};
pub use retention::{Passed, SegmentFacts, removable};
pub use segment::Raw;
pub use stream::{Durable, InDoubt, StreamState};
pub use writer::{Appended, JournalError, JournalWriter, Stage};

/// How the journal is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// Where the segments lie; the folder exists.
    pub folder: PathBuf,
    /// A segment that would grow longer is followed by the next, in bytes.
    pub segment_bytes: u64,
    /// What is allocated ahead for each stream, for settlements when the disk is full, in bytes.
    pub spare_bytes: u64,
    /// How often all streams are synced.
    pub sync_interval: Duration,
    /// A write that takes longer moves its worker's records to a thread.
    pub slow_write: Duration,
    /// How much waits for that thread in memory, for each stream, in bytes. Half of it belongs to settlements.
    pub queue_bytes: u64,
    /// How often a failing disk is tried again.
    pub retry: Duration,
    /// What a record must survive before the call goes on.
    pub power: Power,
    /// What becomes of dispatches when the disk takes nothing.
    pub on_failure: OnFailure,
    /// How long a segment is kept after its last write, once nothing needs it.
    pub keep: Duration,
}

/// What a record must survive before the call goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Power {
    /// The process. A power cut may lose the last [`JournalSettings::sync_interval`].
    #[default]
    Process,
    /// The machine: each settlement wakes the syncing thread, and its call waits for [`StreamState::wait_durable`].
    Machine,
}

/// What becomes of dispatches when the disk takes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// They are refused, and with them their calls.
    #[default]
    Refuse,
    /// They go on without a record. Should the process die, their calls are not charged.
    GoOn,
}

impl JournalSettings {
    /// The defaults, for a folder.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            segment_bytes: 64 << 20,
            spare_bytes: 1 << 20,
            sync_interval: Duration::from_millis(50),
            slow_write: Duration::from_millis(5),
            queue_bytes: 8 << 20,
            retry: Duration::from_secs(1),
            power: Power::default(),
            on_failure: OnFailure::default(),
            keep: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// The journal of one start of one node.
#[derive(Debug)]
pub struct Journal {
    inner: Arc<Inner>,
    kick: Arc<Kick>,
    /// The syncing thread, which ends with this.
    _keeper: Keeper,
}

#[derive(Debug)]
struct Inner {
    settings: JournalSettings,
    disk: Arc<dyn Disk>,
    node: u32,
    boot: u32,
    counters: JournalCounters,
    streams: Mutex<Vec<Arc<StreamState>>>,
    /// Held while streams are synced.
    passing: Mutex<()>,
    spares_made: AtomicU64,
}

impl Journal {
    /// Opens the journal of a node's start, whose number no older start had, and starts the syncing thread.
    ///
    /// # Errors
    /// [`JournalError::Folder`]
    pub fn open(
        settings: JournalSettings,
        disk: Arc<dyn Disk>,
        node: u32,
        boot: u32,
    ) -> Result<Self, JournalError> {
        let folder = settings.folder.clone();
        let inner = Arc::new(Inner {
            settings,
            disk,
            node,
            boot,
            counters: JournalCounters::default(),
            streams: Mutex::default(),
            passing: Mutex::default(),
            spares_made: AtomicU64::new(0),
        });
        let kick = Arc::new(Kick::default());
        keeper::remove_spares(&inner)
            .and_then(|()| Keeper::start(inner.clone(), kick.clone()))
            .map(|keeper| Self { inner, kick, _keeper: keeper })
            .map_err(|error| JournalError::Folder(folder, error))
    }

    /// Begins the stream of a worker. Each number can be given once a start; a worker that is started again
    /// takes another.
    ///
    /// # Errors
    /// [`JournalError::Taken`], and [`JournalError::Folder`] where its first segment or spare cannot be made.
    pub fn writer(&self, worker: u16) -> Result<JournalWriter, JournalError> {
        let Inner { node, boot, .. } = *self.inner;
        let state = Arc::new(StreamState::new(StreamId { node, boot, worker }, self.kick.clone()));
        let mut streams = lock(&self.inner.streams);
        if streams.iter().any(|known| known.stream() == state.stream()) {
            return Err(JournalError::Taken(worker));
        }
        let sink = self
            .begin(&state)
            .map_err(|error| JournalError::Folder(self.inner.settings.folder.clone(), error))?;
        streams.push(state.clone());
        Ok(JournalWriter::new(self.inner.clone(), state, sink))
    }

    fn begin(&self, state: &Arc<StreamState>) -> io::Result<Sink> {
        if state.stream().worker != StreamId::RECOVERY {
            keeper::make_spare(&self.inner, state)?;
        }
        Sink::new(self.inner.clone(), state.clone())
    }

    /// Reads the streams of this node.
    pub fn reader(&self) -> JournalReader {
        let Inner { disk, settings, node, .. } = &*self.inner;
        JournalReader::new(disk.clone(), settings.folder.clone(), *node)
    }

    /// The streams that were begun by this start.
    pub fn streams(&self) -> Vec<Arc<StreamState>> {
        lock(&self.inner.streams).clone()
    }

    /// The state of a stream that was begun by this start.
    pub fn state(&self, stream: StreamId) -> Option<Arc<StreamState>> {
        lock(&self.inner.streams).iter().find(|state| state.stream() == stream).cloned()
    }

    /// Makes durable what the boots above `recovered` and below this one wrote and may not have synced: a
    /// process that was killed leaves it in the machine's memory. To be done before anything follows from it.
    ///
    /// # Errors
    /// Whatever the file system says; what was written may not survive the machine then.
    pub fn sync_older(&self, recovered: u32) -> io::Result<()> {
        let Inner { disk, settings, boot, .. } = &*self.inner;
        for name in segment::list(disk.as_ref(), &settings.folder)? {
            if name.boot > recovered && name.boot < *boot {
                disk.open(&settings.folder.join(name.file()))?.sync()?;
            }
        }
        disk.sync_folder(&settings.folder)
    }

    /// What is counted.
    pub fn counters(&self) -> &JournalCounters {
        &self.inner.counters
    }

    /// How the journal is kept.
    pub fn settings(&self) -> &JournalSettings {
        &self.inner.settings
    }

    /// Syncs all streams now, on this thread. At shutdown, after the writers are gone.
    pub fn sync(&self) {
        keeper::pass(&self.inner, &mut HashMap::new());
    }

    /// Deletes the segments that nothing needs any more, and gives their number. `recovered` is
    /// [`Node::recovered`]; `positions` are, for each stream, the least durable position of all consumers,
    /// of which one that reads an older stream to its end stores [`StreamReader::position`].
    ///
    /// # Errors
    /// Whatever the file system says; the next call goes on.
    pub fn retain(&self, recovered: u32, positions: &HashMap<StreamId, u64>) -> io::Result<usize> {
        retention::apply(&self.inner, recovered, positions)
    }
}
