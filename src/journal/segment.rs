//! A segment: one file of a stream. Its header, the frames around records, its name, and the way through it.
//!
//! ```text
//! header   magic 8, format u16, header's length u16, node u32, boot u32, worker u16, 0 u16, segment u32,
//!          prelude's length u32, base offset u64, wall time i64, crc u32 over all before it
//! prelude  frames of open dispatches, copied from older segments; outside of the stream's offsets
//! records  frames: length u32 of kind + payload, crc u32 over them, kind u8, payload
//! ```
//! Numbers are little-endian, checksums CRC-32 (IEEE). A length of zero ends the records: the rest of the
//! file was allocated ahead.

mod cursor;
#[cfg(test)]
mod tests;

use std::{io, path::Path};

use penstock_actors::domain::StreamId;

use super::{
    disk::Disk,
    record::{Kind, MAX_PAYLOAD},
};

pub use cursor::{Cursor, Ending, Raw, Step};

/// The header's length in bytes.
pub const HEADER: usize = 52;
/// What stands before a payload, in bytes: length, checksum, kind.
pub const FRAME: usize = 9;

const MAGIC: [u8; 8] = *b"PENSTOCK";
const FORMAT: u16 = 1;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The stream.
    pub stream: StreamId,
    /// The segment's number in it, rising, not always by one.
    pub segment: u32,
    /// The stream's offset at which its records begin.
    pub base: u64,
    /// The length of the prelude in bytes.
    pub prelude: u32,
    /// When it was begun, in milliseconds since 1970.
    pub wall_ms: i64,
}

/// Why a header cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// The file is shorter than a header, or its checksum does not match.
    #[error("the header is damaged")]
    Damaged,
    /// It is of a format that this program does not know.
    #[error("the segment has format {0}, which this version does not read")]
    Format(u16),
    /// It says another stream or number than the file's name does, or another node than this one.
    #[error("the segment belongs elsewhere: its header names node {0}")]
    Foreign(u32),
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&MAGIC);
        put(&FORMAT.to_le_bytes());
        put(&(HEADER as u16).to_le_bytes());
        put(&self.stream.node.to_le_bytes());
        put(&self.stream.boot.to_le_bytes());
        put(&self.stream.worker.to_le_bytes());
        put(&[0; 2]);
        put(&self.segment.to_le_bytes());
        put(&self.prelude.to_le_bytes());
        put(&self.base.to_le_bytes());
        put(&self.wall_ms.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..HEADER - 4]);
        bytes[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`BadHeader`]
    pub fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let bytes: &[u8; HEADER] =
            bytes.get(..HEADER).and_then(|b| b.try_into().ok()).ok_or(BadHeader::Damaged)?;
        let crc = u32::from_le_bytes(field(bytes, HEADER - 4));
        if bytes[..8] != MAGIC || crc32fast::hash(&bytes[..HEADER - 4]) != crc {
            return Err(BadHeader::Damaged);
        }
        let format = u16::from_le_bytes(field(bytes, 8));
        if format != FORMAT || u16::from_le_bytes(field(bytes, 10)) != HEADER as u16 {
            return Err(BadHeader::Format(format));
        }
        Ok(Self {
            stream: StreamId {
                node: u32::from_le_bytes(field(bytes, 12)),
                boot: u32::from_le_bytes(field(bytes, 16)),
                worker: u16::from_le_bytes(field(bytes, 20)),
            },
            segment: u32::from_le_bytes(field(bytes, 24)),
            prelude: u32::from_le_bytes(field(bytes, 28)),
            base: u64::from_le_bytes(field(bytes, 32)),
            wall_ms: i64::from_le_bytes(field(bytes, 40)),
        })
    }
}

fn field<const N: usize>(bytes: &[u8; HEADER], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

/// What a segment's file name says: the node is not in it, the header has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// Counts the node's starts.
    pub boot: u32,
    /// The worker.
    pub worker: u16,
    /// The segment's number.
    pub segment: u32,
}

impl SegmentName {
    /// The name of a stream's segment.
    pub fn new(stream: StreamId, segment: u32) -> Self {
        Self { boot: stream.boot, worker: stream.worker, segment }
    }

    /// The file's name.
    pub fn file(&self) -> String {
        format!("{:08}-{:05}-{:08}.journal", self.boot, self.worker, self.segment)
    }

    /// Reads a file's name; `None` where it is not a segment's.
    pub fn parse(file: &str) -> Option<Self> {
        let mut parts = file.strip_suffix(".journal")?.split('-');
        let mut number = || parts.next()?.parse::<u32>().ok();
        let name = Self { boot: number()?, worker: number()?.try_into().ok()?, segment: number()? };
        (name.file() == file).then_some(name)
    }
}

/// The segments in a folder, by boot, worker and number.
///
/// # Errors
/// Whatever the file system says.
pub fn list(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<SegmentName>> {
    let mut found: Vec<_> = disk.list(folder)?.iter().filter_map(|name| SegmentName::parse(name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// Puts length, checksum and kind before the payload that stands behind `FRAME` bytes of room at `from`.
pub fn close_frame(buffer: &mut [u8], from: usize, kind: Kind) {
    let frame = &mut buffer[from..];
    frame[8] = kind as u8;
    let length = (frame.len() - 8) as u32;
    let crc = crc32fast::hash(&frame[8..]);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// What stands at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole frame of that kind and length; the payload follows [`FRAME`] bytes.
    Whole(Kind, usize),
    /// Nothing more was written here.
    Nothing,
    /// The beginning of a frame that is this long, as far as can be told.
    Part(usize),
    /// No frame of ours.
    Bad,
}

/// Reads the frame at the front of some bytes.
pub fn parse(bytes: &[u8]) -> Parsed {
    let Some(head) = bytes.get(..FRAME) else {
        // Zeros that were allocated ahead, or nothing at all, are no torn record.
        return if bytes.iter().all(|b| *b == 0) { Parsed::Nothing } else { Parsed::Part(FRAME) };
    };
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (length, crc) = (number(0) as usize, number(4));
    if length == 0 {
        return if head.iter().all(|b| *b == 0) { Parsed::Nothing } else { Parsed::Bad };
    }
    let (Some(kind), true) = (Kind::from_byte(head[8]), length <= 1 + MAX_PAYLOAD) else {
        return Parsed::Bad;
    };
    match bytes.get(8..8 + length) {
        None => Parsed::Part(8 + length),
        Some(covered) if crc32fast::hash(covered) == crc => Parsed::Whole(kind, 8 + length),
        Some(_) => Parsed::Bad,
    }
}
