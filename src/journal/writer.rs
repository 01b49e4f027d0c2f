//! A worker's own end of the journal: a fact becomes a record, written before the call goes on.
//!
//! As long as the disk is quick, an append is one `write(2)` on the worker's thread. A write that was slow,
//! or a settlement that nothing on disk takes, moves the stream to its [`Lane`]; when the disk has been
//! quick again for a while, it moves back. Offsets are given here, so that they are known in both cases.

use std::{io, sync::Arc};

use penstock_actors::domain::StreamId;

use super::{
    Inner, OnFailure, Power,
    lane::Lane,
    record::{self, Fact, Kind, TooManyAccounts},
    segment::{FRAME, close_frame},
    sink::{Frame, Need, Sink},
    stream::StreamState,
};

/// Writes one stream. It lives on one worker.
#[derive(Debug)]
pub struct JournalWriter {
    inner: Arc<Inner>,
    state: Arc<StreamState>,
    mode: Mode,
    lane: Option<Lane>,
    /// The stream's offset of the next record.
    next: u64,
    /// The offset behind the last settlement.
    last_settlement: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Mode {
    Direct(Box<Sink>),
    /// The lane has the sink.
    Queued,
}

/// Where a record stands in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset at which it begins.
    pub offset: u64,
    /// The offset behind it.
    pub end: u64,
    /// The offset behind the settlement before it; 0 where there is none. A consumer that has applied
    /// everything up to anywhere between there and `offset` has missed nothing.
    pub previous: u64,
    /// How far it has come.
    pub stage: Stage,
}

/// How far a record has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The kernel has it: it survives the process.
    Written,
    /// It waits in memory for a slow disk. It must not be pushed into the ring: whoever saw it there could
    /// book a call that is found abandoned, should the process die now. Readers find it when it is written.
    Queued,
    /// It was left out, as the settings or its kind allow; nothing stands at its offset.
    Skipped,
}

/// Why a fact is not in the journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk takes nothing, or is too far behind; a dispatch is refused then.
    #[error(
        "the journal in {0} takes no records, so that no call is dispatched: its disk is full, failing or too slow"
    )]
    Full(std::path::PathBuf),
    /// A settlement found neither disk nor memory. The call stays open; the next start settles it as abandoned.
    #[error("the journal cannot be written and its queue is full; a settlement is lost")]
    Lost,
    /// The fact does not fit the format.
    #[error(transparent)]
    TooManyAccounts(#[from] TooManyAccounts),
    /// Another process speaks for this node.
    #[error("another process speaks for this node, so that no call is dispatched")]
    Elsewhere,
    /// The worker's number was given to another writer since the start.
    #[error("worker {0} has a journal already")]
    Taken(u16),
    /// A file could not be made at the start.
    #[error("the journal's folder {0} cannot be used: {1}")]
    Folder(std::path::PathBuf, io::Error),
}

impl JournalWriter {
    pub(super) fn new(inner: Arc<Inner>, state: Arc<StreamState>, sink: Sink) -> Self {
        Self {
            inner,
            state,
            mode: Mode::Direct(Box::new(sink)),
            lane: None,
            next: 0,
            last_settlement: 0,
            buffer: Vec::with_capacity(1 << 10),
        }
    }

    /// The stream that is written.
    pub fn stream(&self) -> StreamId {
        self.state.stream()
    }

    /// What is published of it.
    pub fn state(&self) -> &Arc<StreamState> {
        &self.state
    }

    /// The payload of the last record that was appended, as the ring may carry it.
    pub fn payload(&self) -> &[u8] {
        self.buffer.get(FRAME..).unwrap_or_default()
    }

    /// Appends a fact. Never waits for a slow disk twice.
    ///
    /// # Errors
    /// [`JournalError::Full`] for a dispatch that may not go on, [`JournalError::Lost`] for a settlement,
    /// [`JournalError::TooManyAccounts`] for either; the stream stands as before.
    pub fn append(&mut self, fact: Fact<'_>) -> Result<Appended, JournalError> {
        self.buffer.clear();
        self.buffer.resize(FRAME, 0);
        record::encode(&fact, &mut self.buffer)?;
        close_frame(&mut self.buffer, 0, fact.kind());
        if let (Mode::Queued, Some(lane)) = (&self.mode, &self.lane)
            && let Some(sink) = lane.take_back()
        {
            self.mode = Mode::Direct(sink);
        }
        let stage = match &mut self.mode {
            Mode::Direct(_) => self.write(&fact),
            Mode::Queued => self.enqueue(&fact),
        };
        match (stage, fact.kind()) {
            (Some(stage), kind) => Ok(self.advance(kind, stage)),
            (None, Kind::Settlement) => {
                self.inner.counters.lost.add(1);
                Err(JournalError::Lost)
            }
            (None, Kind::Dispatch) if self.inner.settings.on_failure == OnFailure::Refuse => {
                self.inner.counters.refused.add(1);
                Err(JournalError::Full(self.inner.settings.folder.clone()))
            }
            (None, kind) => {
                self.inner.counters.skipped.add(1);
                Ok(self.advance(kind, Stage::Skipped))
            }
        }
    }

    fn write(&mut self, fact: &Fact<'_>) -> Option<Stage> {
        let Mode::Direct(sink) = &mut self.mode else {
            return None;
        };
        let frame = Frame { kind: fact.kind(), call: fact.call(), bytes: &self.buffer };
        let need = if fact.kind() == Kind::Settlement { Need::Must } else { Need::May };
        let began = self.inner.disk.now();
        let written = sink.write(&frame, need, began).is_ok();
        if self.inner.disk.now().saturating_duration_since(began) > self.inner.settings.slow_write {
            self.inner.counters.slow_writes.add(1);
            self.leave();
        }
        match (written, need) {
            (true, _) => Some(Stage::Written),
            (false, Need::May) => None,
            (false, Need::Must) => {
                self.leave();
                self.enqueue(fact)
            }
        }
    }

    /// Gives the sink to the lane, which is started if need be. Where no thread can be started, the worker
    /// has to go on by itself.
    fn leave(&mut self) {
        if self.lane.is_none() {
            match Lane::start(self.inner.clone()) {
                Ok(lane) => self.lane = Some(lane),
                Err(error) => tracing::error!(%error, "the journal's writer thread cannot be started"),
            }
        }
        if let Some(lane) = &self.lane
            && let Mode::Direct(sink) = std::mem::replace(&mut self.mode, Mode::Queued)
        {
            lane.hand_over(sink);
        }
    }

    fn enqueue(&mut self, fact: &Fact<'_>) -> Option<Stage> {
        let lane = self.lane.as_ref().filter(|_| matches!(self.mode, Mode::Queued))?;
        let limit = match fact.kind() {
            Kind::Settlement => self.inner.settings.queue_bytes,
            // What is left belongs to the settlements of calls in flight.
            _ if self.state.is_failing() => 0,
            _ => self.inner.settings.queue_bytes / 2,
        };
        if lane.bytes() + self.buffer.len() as u64 > limit {
            return None;
        }
        lane.push(&Frame { kind: fact.kind(), call: fact.call(), bytes: &self.buffer });
        self.inner.counters.queued.add(1);
        Some(Stage::Queued)
    }

    fn advance(&mut self, kind: Kind, stage: Stage) -> Appended {
        let (offset, previous) = (self.next, self.last_settlement);
        if stage != Stage::Skipped {
            self.next += self.buffer.len() as u64;
            if kind == Kind::Settlement {
                self.last_settlement = self.next;
                if self.inner.settings.power == Power::Machine {
                    self.state.kick.kick();
                }
            }
        }
        Appended { offset, end: self.next, previous, stage }
    }
}
