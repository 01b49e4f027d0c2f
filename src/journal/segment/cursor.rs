//! Goes through one segment from record to record, holding one chunk of it.

use std::{io, ops::Range, path::Path, sync::Arc};

use penstock_actors::domain::StreamId;

use super::{BadHeader, FRAME, HEADER, Header, Kind, Parsed, SegmentName, parse};
use crate::journal::disk::{Disk, DiskFile};

/// How much is read at a time, in bytes: above the longest frame.
const CHUNK: usize = 128 << 10;

/// A record as it stands in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a> {
    /// Its kind.
    pub kind: Kind,
    /// The stream's offset at which it begins; for a prelude's records, the segment's base.
    pub offset: u64,
    /// The stream's offset behind it.
    pub end: u64,
    /// Its payload.
    pub payload: &'a [u8],
}

/// How the readable part of a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its last whole record.
    Clean,
    /// Inside a record that was begun at this offset of the stream.
    Torn(u64),
    /// With bytes that are no record, at this offset of the stream.
    Corrupt(u64),
}

/// One step through a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A record, which [`Cursor::record`] shows.
    Record,
    /// The limit is reached; further on there may be more.
    Limit,
    /// There is nothing more that can be read.
    Ended(Ending),
}

/// A place in a segment.
#[derive(Debug)]
pub struct Cursor {
    file: Arc<dyn DiskFile>,
    header: Header,
    /// Where in the file `buffer` begins.
    start: u64,
    buffer: Vec<u8>,
    /// How much of the buffer is filled, and where in it the next record stands.
    filled: usize,
    next: usize,
    last: Option<Last>,
}

/// The record of the last step, with its payload's place in the buffer.
#[derive(Clone, Debug)]
struct Last {
    kind: Kind,
    offset: u64,
    end: u64,
    payload: Range<usize>,
}

impl Cursor {
    /// Opens a segment of a node; the first step gives the prelude's first record.
    ///
    /// # Errors
    /// Whatever the file system says; inside, [`BadHeader`].
    pub fn open(
        disk: &dyn Disk,
        folder: &Path,
        name: SegmentName,
        node: u32,
    ) -> io::Result<Result<Self, BadHeader>> {
        let file = disk.open(&folder.join(name.file()))?;
        let mut bytes = [0; HEADER];
        let read = file.read_at(&mut bytes, 0)?;
        Ok(Header::decode(&bytes[..read]).and_then(|header| {
            let expected = StreamId { node, boot: name.boot, worker: name.worker };
            if (header.stream, header.segment) != (expected, name.segment) {
                return Err(BadHeader::Foreign(header.stream.node));
            }
            Ok(Self {
                file,
                header,
                start: HEADER as u64,
                buffer: Vec::new(),
                filled: 0,
                next: 0,
                last: None,
            })
        }))
    }

    /// What the segment says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Goes to an offset of the stream, which is not below the base. Records must begin there.
    pub fn seek(&mut self, offset: u64) {
        self.start = self.records() + offset.saturating_sub(self.header.base);
        (self.filled, self.next, self.last) = (0, 0, None);
    }

    /// The next record, if it begins below `limit`, an offset of the stream.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn step(&mut self, limit: u64) -> io::Result<Step> {
        self.last = None;
        let at = self.position();
        let offset = self.offset(at);
        if at >= self.records() && offset >= limit {
            return Ok(Step::Limit);
        }
        let mut parsed = parse(&self.buffer[self.next..self.filled]);
        if matches!(parsed, Parsed::Part(_) | Parsed::Nothing) {
            self.fill()?;
            parsed = parse(&self.buffer[self.next..self.filled]);
        }
        Ok(match parsed {
            Parsed::Whole(kind, length) => {
                let payload = self.next + FRAME..self.next + length;
                self.next += length;
                let end = self.offset(at + length as u64);
                self.last = Some(Last { kind, offset, end, payload });
                Step::Record
            }
            Parsed::Nothing => Step::Ended(Ending::Clean),
            Parsed::Part(_) => Step::Ended(Ending::Torn(offset)),
            Parsed::Bad => Step::Ended(Ending::Corrupt(offset)),
        })
    }

    /// The record of the last step.
    pub fn record(&self) -> Option<Raw<'_>> {
        let Last { kind, offset, end, payload } = self.last.clone()?;
        Some(Raw { kind, offset, end, payload: &self.buffer[payload] })
    }

    /// Whether the next step would read from the prelude.
    pub fn is_in_prelude(&self) -> bool {
        self.position() < self.records()
    }

    fn position(&self) -> u64 {
        self.start + self.next as u64
    }

    /// Where in the file the records begin.
    fn records(&self) -> u64 {
        HEADER as u64 + u64::from(self.header.prelude)
    }

    fn offset(&self, at: u64) -> u64 {
        self.header.base.saturating_add(at.saturating_sub(self.records()))
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.resize(CHUNK, 0);
        self.buffer.copy_within(self.next..self.filled, 0);
        self.start += self.next as u64;
        self.filled -= self.next;
        self.next = 0;
        self.filled += self.file.read_at(&mut self.buffer[self.filled..], self.start + self.filled as u64)?;
        Ok(())
    }
}
