//! Reads streams, of this start or older ones, while their writers go on. What is missing is said, as a [`Gap`].

use std::{io, ops::AddAssign, path::PathBuf, sync::Arc};

use penstock_actors::domain::{Settlement, StreamId};

use super::{
    disk::Disk,
    record::{self, Kind},
    segment::{self, Cursor, Ending, Raw, SegmentName, Step},
};

/// The head of a stream that no one writes any more: read to the end of what is there.
pub const TO_THE_END: u64 = u64::MAX;

/// Reads the journal of one node.
#[derive(Clone, Debug)]
pub struct JournalReader {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    node: u32,
}

/// A part of a stream that cannot be read: its segment is gone, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The stream.
    pub stream: StreamId,
    /// Where it begins.
    pub from: u64,
    /// Where records can be read again.
    pub to: u64,
}

/// What comes next in a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A record.
    Record(Raw<'a>),
    /// Nothing, for a while.
    Gap(Gap),
}

/// What a consumer of settlements finds next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A settlement, and the offset behind it.
    Settlement(Box<Settlement>, u64),
    /// A part that cannot be read.
    Gap(Gap),
}

/// Segments that could not be read to their end. A torn end is what a crash or a full disk leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Segments that end inside a record.
    pub torn: u64,
    /// Segments with bytes that are no record.
    pub corrupt: u64,
    /// Segments whose header cannot be believed.
    pub unreadable: u64,
}

/// A place in a stream. It holds one chunk of one segment.
#[derive(Debug)]
pub struct StreamReader {
    reader: JournalReader,
    stream: StreamId,
    position: u64,
    preludes: Preludes,
    /// Segments with readable headers, and their bases.
    segments: Vec<(SegmentName, u64)>,
    /// Everything below this offset lies in `segments`.
    listed_to: Option<u64>,
    /// The segment that is read, as an index.
    current: Option<(usize, Cursor)>,
    /// The segment that comes next, where the one before it was read to its end.
    following: Option<usize>,
    damage: Damage,
}

#[derive(Debug)]
enum Moved {
    Record,
    Gap(Gap),
}

/// Whether the copies of open dispatches at segments' heads are read as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preludes {
    Skip,
    Read,
}

impl JournalReader {
    /// Reads the journal of a node in a folder.
    pub fn new(disk: Arc<dyn Disk>, folder: PathBuf, node: u32) -> Self {
        Self { disk, folder, node }
    }

    /// Every stream that has a segment, oldest boot first; a boot's recovery stream comes last.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn streams(&self) -> io::Result<Vec<StreamId>> {
        let mut streams: Vec<_> = segment::list(self.disk.as_ref(), &self.folder)?
            .into_iter()
            .map(|name| StreamId { node: self.node, boot: name.boot, worker: name.worker })
            .collect();
        streams.dedup();
        Ok(streams)
    }

    /// Reads a stream from an offset, which is where a record begins or where reading ended before.
    pub fn read(&self, stream: StreamId, from: u64) -> StreamReader {
        StreamReader {
            reader: self.clone(),
            stream,
            position: from,
            preludes: Preludes::Skip,
            segments: Vec::new(),
            listed_to: None,
            current: None,
            following: None,
            damage: Damage::default(),
        }
    }

    /// Where the last settlement of a stream that no one writes any more ends; 0 where it has none.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn last_settlement(&self, stream: StreamId) -> io::Result<u64> {
        let (segments, _) = self.segments(stream, None)?;
        for (_, base) in segments.iter().rev() {
            let (mut settlements, mut last) = (self.read(stream, *base), 0);
            while let Some(found) = settlements.next_settlement(TO_THE_END)? {
                last = match found {
                    Found::Settlement(_, end) => end,
                    Found::Gap(gap) => gap.to,
                };
            }
            if last > 0 {
                return Ok(last);
            }
        }
        Ok(0)
    }

    /// Reads a stream from its first segment, with the copies at the heads.
    pub(super) fn read_everything(&self, stream: StreamId) -> StreamReader {
        StreamReader { preludes: Preludes::Read, ..self.read(stream, 0) }
    }

    /// Reads a stream from a segment on, with the copies at the heads: from there on every open call is found.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub(super) fn read_open(&self, stream: StreamId, segment: u32) -> io::Result<StreamReader> {
        let (mut segments, _) = self.segments(stream, None)?;
        segments.retain(|(name, _)| name.segment >= segment);
        Ok(StreamReader { segments, ..self.read_everything(stream) })
    }

    /// The segments of a stream behind a known one, with their bases; those with an unreadable header are
    /// left out and counted.
    fn segments(
        &self,
        stream: StreamId,
        known: Option<SegmentName>,
    ) -> io::Result<(Vec<(SegmentName, u64)>, u64)> {
        let (mut found, mut unreadable) = (Vec::new(), 0);
        let is_new = |name: &SegmentName| {
            (name.boot, name.worker) == (stream.boot, stream.worker) && known.is_none_or(|k| k < *name)
        };
        for name in segment::list(self.disk.as_ref(), &self.folder)? {
            if !is_new(&name) {
                continue;
            }
            match Cursor::open(self.disk.as_ref(), &self.folder, name, self.node) {
                Ok(Ok(cursor)) => found.push((name, cursor.header().base)),
                Ok(Err(error)) => {
                    tracing::warn!(segment = name.file(), %error, "a segment cannot be read");
                    unreadable += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok((found, unreadable))
    }
}

impl StreamReader {
    /// The stream.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// The offset up to which everything was read or found missing.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What could not be read so far.
    pub fn damage(&self) -> Damage {
        self.damage
    }

    /// The next settlement that begins below `head`; everything else is passed over. `None` at the head.
    /// A head that has risen has the folder listed again: take it once for many records.
    ///
    /// A record that this program does not understand is a gap.
    ///
    /// # Errors
    /// Whatever the file system says; the next call tries again.
    pub fn next_settlement(&mut self, head: u64) -> io::Result<Option<Found>> {
        let stream = self.stream;
        while let Some(item) = self.next(head)? {
            let raw = match item {
                Item::Gap(gap) => return Ok(Some(Found::Gap(gap))),
                Item::Record(raw) if raw.kind == Kind::Settlement => raw,
                Item::Record(_) => continue,
            };
            return Ok(Some(match record::decode_settlement(raw.payload) {
                Ok(settlement) => Found::Settlement(Box::new(settlement), raw.end),
                Err(error) => {
                    tracing::error!(?stream, offset = raw.offset, %error, "a settlement cannot be read");
                    Found::Gap(Gap { stream, from: raw.offset, to: raw.end })
                }
            }));
        }
        Ok(None)
    }

    /// The next record that begins below `head`, the published head or [`TO_THE_END`]. `None` at the head.
    ///
    /// # Errors
    /// Whatever the file system says; the next call tries again.
    pub fn next(&mut self, head: u64) -> io::Result<Option<Item<'_>>> {
        Ok(match self.advance(head)? {
            Some(Moved::Record) => {
                self.current.as_ref().and_then(|(_, cursor)| cursor.record()).map(Item::Record)
            }
            Some(Moved::Gap(gap)) => Some(Item::Gap(gap)),
            None => None,
        })
    }

    fn advance(&mut self, head: u64) -> io::Result<Option<Moved>> {
        loop {
            if self.position >= head {
                return Ok(None);
            }
            self.list(head)?;
            if self.current.is_none() && !self.enter()? {
                return Ok(self.skip_to(head));
            }
            let Some((index, cursor)) = &mut self.current else {
                return Ok(None);
            };
            let next_base = self.segments.get(*index + 1).map(|(_, base)| *base);
            if cursor.header().base > self.position {
                let base = cursor.header().base.min(head);
                return Ok(self.skip_to(base));
            }
            let limit = next_base.unwrap_or(head).min(head);
            let is_in_prelude = cursor.is_in_prelude();
            let step = cursor.step(limit)?;
            match step {
                Step::Record => {
                    self.position = cursor.record().map_or(self.position, |raw| raw.end);
                    return Ok(Some(Moved::Record));
                }
                Step::Ended(Ending::Torn(_)) => self.damage.torn += 1,
                Step::Ended(Ending::Corrupt(_)) => self.damage.corrupt += 1,
                Step::Ended(Ending::Clean) | Step::Limit => {}
            }
            if is_in_prelude {
                // The header says where the records begin, whatever became of the copies.
                cursor.seek(self.position);
                continue;
            }
            let has_next = next_base == Some(limit);
            if has_next {
                self.following = Some(*index + 1);
                self.current = None;
            }
            if self.position < limit {
                self.current = None;
                return Ok(self.skip_to(limit));
            }
            if !has_next {
                return Ok(None);
            }
        }
    }

    /// Passes over what is missing; nothing is known to be missing at the end of a stream without a head.
    fn skip_to(&mut self, to: u64) -> Option<Moved> {
        let from = self.position;
        if to == TO_THE_END || to <= from {
            return None;
        }
        self.position = to;
        Some(Moved::Gap(Gap { stream: self.stream, from, to }))
    }

    /// Knows every segment that holds something below `head`.
    fn list(&mut self, head: u64) -> io::Result<()> {
        if self.listed_to.is_some_and(|listed| listed >= head) {
            return Ok(());
        }
        let known = self.segments.last().map(|(name, _)| *name);
        let (new, unreadable) = self.reader.segments(self.stream, known)?;
        self.segments.extend(new);
        self.damage.unreadable = self.damage.unreadable.max(unreadable);
        if self.listed_to.is_none() && self.preludes == Preludes::Read {
            self.position = self.segments.first().map_or(0, |(_, base)| *base);
            self.following = Some(0);
        }
        self.listed_to = Some(head);
        Ok(())
    }

    /// Opens the segment in which the position lies, or the next one; `false` where there is none.
    fn enter(&mut self) -> io::Result<bool> {
        let holding = self.segments.iter().rposition(|(_, base)| *base <= self.position);
        let first = self.following.take().or(holding).unwrap_or(0);
        for index in first..self.segments.len() {
            let (name, base) = self.segments[index];
            let reader = &self.reader;
            match Cursor::open(reader.disk.as_ref(), &reader.folder, name, reader.node) {
                Ok(Ok(mut cursor)) => {
                    if self.preludes == Preludes::Skip {
                        cursor.seek(self.position.max(base));
                    }
                    self.current = Some((index, cursor));
                    return Ok(true);
                }
                Ok(Err(_)) => self.damage.unreadable += 1,
                // Deleted since; what it held shows as a gap.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

impl AddAssign for Damage {
    fn add_assign(&mut self, other: Self) {
        self.torn += other.torn;
        self.corrupt += other.corrupt;
        self.unreadable += other.unreadable;
    }
}
