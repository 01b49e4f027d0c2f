//! Where a stream's records go: the current segment, a new one, or the spare when the disk is full.
//!
//! After a short or failed write the rest of a segment is abandoned, since what stands there is not known,
//! and the record goes whole into the next one. So the records of a segment count only up to the base of
//! the next. Every record is written at the offset it was given, or not at all: the stream has no holes.

use std::{io, sync::Arc, time::Instant};

use penstock_actors::domain::CallId;

use super::{
    Inner,
    disk::DiskFile,
    open_calls::OpenCalls,
    record::Kind,
    segment::{FRAME, HEADER, Header, SegmentName},
    stream::{Spare, StreamState, Written, lock},
};

#[derive(Debug)]
pub(super) struct Sink {
    inner: Arc<Inner>,
    state: Arc<StreamState>,
    place: Place,
    /// The number of the last segment that was begun.
    segment: u32,
    /// The stream's offset behind the last record.
    end: u64,
    /// Bytes of records in the current segment.
    filled: u64,
    open: OpenCalls,
    retry_at: Option<Instant>,
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum Place {
    Segment(Arc<dyn DiskFile>),
    /// Allocated ahead; no calls are dispatched while it is in use.
    Spare(Arc<dyn DiskFile>),
    Nowhere,
}

/// A record with its frame, ready to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub kind: Kind,
    pub call: CallId,
    pub bytes: &'a [u8],
}

/// Whether a record may take the spare's room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It can be refused or left out.
    May,
    /// It belongs to a call that is in flight.
    Must,
}

/// Nothing on disk takes the record.
#[derive(Debug)]
pub(super) struct NoPlace;

impl Sink {
    /// Begins the stream's first segment.
    pub fn new(inner: Arc<Inner>, state: Arc<StreamState>) -> io::Result<Self> {
        let mut sink = Self {
            inner,
            state,
            place: Place::Nowhere,
            segment: 0,
            end: 0,
            filled: 0,
            open: OpenCalls::default(),
            retry_at: None,
            scratch: Vec::new(),
        };
        sink.begin_segment()?;
        Ok(sink)
    }

    /// Whether records go into an ordinary segment.
    pub fn is_healthy(&self) -> bool {
        matches!(self.place, Place::Segment(_))
    }

    pub fn write(&mut self, frame: &Frame<'_>, need: Need, now: Instant) -> Result<(), NoPlace> {
        if self.is_healthy() {
            if self.write_healthy(frame, now).is_ok() {
                return Ok(());
            }
            self.fail(now);
        } else if self.retry_at.is_none_or(|at| at <= now) && self.recovers(now) {
            if self.put(frame).is_ok() {
                self.state.publish_failing(false);
                tracing::info!(stream = ?self.state.stream(), "the journal's disk takes records again");
                return Ok(());
            }
            self.place = Place::Nowhere;
        }
        if need == Need::May {
            return Err(NoPlace);
        }
        if matches!(self.place, Place::Spare(_)) && self.put(frame).is_ok() {
            return Ok(());
        }
        self.place = Place::Nowhere;
        if self.begin_spare().is_ok() && self.put(frame).is_ok() {
            return Ok(());
        }
        self.place = Place::Nowhere;
        Err(NoPlace)
    }

    fn write_healthy(&mut self, frame: &Frame<'_>, now: Instant) -> io::Result<()> {
        if self.state.is_given_up(self.segment) {
            self.begin_segment()?;
        } else if self.filled > 0
            && self.filled + frame.bytes.len() as u64 > self.inner.settings.segment_bytes
            && self.retry_at.is_none_or(|at| at <= now)
            && self.begin_segment().is_err()
        {
            // The old segment may still have room; another try waits.
            self.retry_at = Some(now + self.inner.settings.retry);
        }
        self.put(frame).or_else(|_| {
            self.begin_segment()?;
            self.put(frame)
        })
    }

    fn fail(&mut self, now: Instant) {
        self.place = Place::Nowhere;
        self.retry_at = Some(now + self.inner.settings.retry);
        self.state.publish_failing(true);
        tracing::error!(stream = ?self.state.stream(), "the journal cannot be written");
    }

    /// Tries to leave the failing state: only when there is a spare for the next time, since a disk that
    /// has no room for one would fail again at once.
    fn recovers(&mut self, now: Instant) -> bool {
        self.retry_at = Some(now + self.inner.settings.retry);
        let has_spare = lock(&self.state.spare).is_some();
        let recovers = has_spare && self.begin_segment().is_ok();
        if recovers {
            self.retry_at = None;
        }
        recovers
    }

    /// One `write(2)` into the current file.
    fn put(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let (Place::Segment(file) | Place::Spare(file)) = &self.place else {
            return Err(io::Error::other("no segment is open"));
        };
        write_whole(&self.inner, file.as_ref(), frame.bytes)?;
        let len = frame.bytes.len() as u64;
        self.filled += len;
        self.end += len;
        self.open.note(frame.kind, frame.call, &frame.bytes[FRAME..]);
        self.state.publish_open(self.open.len());
        self.state.publish_written(self.end);
        self.inner.counters.records.add(1);
        self.inner.counters.bytes.add(len);
        Ok(())
    }

    /// Begins the next segment with a copy of every open call at its head.
    fn begin_segment(&mut self) -> io::Result<()> {
        self.scratch.clear();
        self.scratch.resize(HEADER, 0);
        self.open.copy_to(&mut self.scratch);
        let prelude = (self.scratch.len() - HEADER) as u32;
        let header = self.next_header(prelude);
        self.scratch[..HEADER].copy_from_slice(&header);
        let path =
            self.inner.settings.folder.join(SegmentName::new(self.state.stream(), self.segment).file());
        let file = self.inner.disk.create(&path).inspect_err(|_| self.inner.counters.errors.add(1))?;
        if let Err(error) = write_whole(&self.inner, file.as_ref(), &self.scratch) {
            // Nothing of it counts: the next segment will have the same base.
            let _ = self.inner.disk.remove(&path);
            return Err(error);
        }
        self.enter(file.clone(), true);
        self.place = Place::Segment(file);
        Ok(())
    }

    /// Makes the spare the next segment. It has no room for copies, so older segments stay needed.
    fn begin_spare(&mut self) -> io::Result<()> {
        let Some(Spare { file, path }) = lock(&self.state.spare).take() else {
            return Err(io::Error::other("no spare is left"));
        };
        let header = self.next_header(0);
        let name = SegmentName::new(self.state.stream(), self.segment).file();
        write_whole(&self.inner, file.as_ref(), &header)?;
        let renamed = self.inner.disk.rename(&path, &self.inner.settings.folder.join(name));
        renamed.inspect_err(|_| self.inner.counters.errors.add(1))?;
        self.inner.counters.spares.add(1);
        self.enter(file.clone(), self.open.is_empty());
        self.place = Place::Spare(file);
        Ok(())
    }

    /// Numbers are not used twice, not even after a failure.
    fn next_header(&mut self, prelude: u32) -> [u8; HEADER] {
        self.segment += 1;
        let (stream, wall_ms) = (self.state.stream(), self.inner.disk.wall_ms());
        Header { stream, segment: self.segment, base: self.end, prelude, wall_ms }.encode()
    }

    fn enter(&mut self, file: Arc<dyn DiskFile>, is_anchor: bool) {
        self.filled = 0;
        self.inner.counters.segments.add(1);
        let (segment, base) = (self.segment, self.end);
        let written = Written { segment, base, file, is_anchor, has_failed: false, is_entered: false };
        lock(&self.state.files).push(written);
    }
}

fn write_whole(inner: &Inner, file: &dyn DiskFile, bytes: &[u8]) -> io::Result<()> {
    loop {
        match file.write(bytes) {
            Ok(written) if written == bytes.len() => return Ok(()),
            Ok(_) => {
                inner.counters.short_writes.add(1);
                return Err(io::ErrorKind::WriteZero.into());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                inner.counters.errors.add(1);
                return Err(error);
            }
        }
    }
}
