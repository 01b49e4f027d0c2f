//! Which segments may go: the decision over what is listed, and its doing.
//!
//! A segment goes when every consumer has durably passed it, when it is not needed to find open calls, and
//! when nothing was written to it for as long as the settings say. Oldest boot first, and in a stream from
//! its beginning: settlements of the calls of a boot may stand in later ones, never in earlier ones.

use std::{collections::HashMap, io, time::Duration};

use penstock_actors::domain::StreamId;

use super::{
    Inner,
    reader::{JournalReader, TO_THE_END},
    segment::{self, BadHeader, Cursor, SegmentName},
    stream::lock,
};

/// What the decision is told of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Its stream.
    pub stream: StreamId,
    /// Its number.
    pub segment: u32,
    /// The stream's offset behind its last record; `None` where it is not known, or still rises.
    pub end: Option<u64>,
    /// When it was last written, in milliseconds since 1970.
    pub modified_ms: i64,
}

/// How far everything else has come.
#[derive(Clone, Copy, Debug)]
pub struct Passed<'a> {
    /// The boots up to this one have no call open any more.
    pub recovered: u32,
    /// For each stream of this start, the first segment that is still needed.
    pub needed_from: &'a HashMap<StreamId, u32>,
    /// For each stream, the least durable position of all consumers; none counts as 0.
    pub positions: &'a HashMap<StreamId, u64>,
}

/// The segments that may go, in the order in which they go; `segments` are in order of boot, worker, number.
pub fn removable(
    segments: &[SegmentFacts],
    passed: Passed<'_>,
    now_ms: i64,
    keep: Duration,
) -> Vec<SegmentFacts> {
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let may_go = |facts: &SegmentFacts| {
        let is_settled = facts.stream.boot <= passed.recovered
            || passed.needed_from.get(&facts.stream).is_some_and(|needed| facts.segment < *needed);
        let position = passed.positions.get(&facts.stream).copied().unwrap_or(0);
        is_settled
            && facts.end.is_some_and(|end| end <= position)
            && now_ms.saturating_sub(facts.modified_ms) >= keep_ms
    };
    let mut removable = Vec::new();
    for boot in segments.chunk_by(|a, b| a.stream.boot == b.stream.boot) {
        let mut is_left = false;
        for stream in boot.chunk_by(|a, b| a.stream == b.stream) {
            let going = stream.iter().take_while(|facts| may_go(facts));
            let before = removable.len();
            removable.extend(going);
            is_left |= removable.len() - before < stream.len();
        }
        if is_left {
            break;
        }
    }
    removable
}

/// Lists the segments, decides, and deletes. Gives how many went.
pub(super) fn apply(inner: &Inner, recovered: u32, positions: &HashMap<StreamId, u64>) -> io::Result<usize> {
    let needed_from: HashMap<_, _> =
        lock(&inner.streams).iter().map(|state| (state.stream(), state.needed_from())).collect();
    let passed = Passed { recovered, needed_from: &needed_from, positions };
    let now_ms = inner.disk.wall_ms();
    let (mut facts, bases) = list(inner)?;
    for facts in facts.iter_mut().filter(|f| f.end.is_none() && f.stream.boot < inner.boot) {
        // The end takes a reading, which is worth it only where all else speaks for it.
        let position = positions.get(&facts.stream).copied().unwrap_or(0);
        let guess = SegmentFacts { end: Some(position), ..*facts };
        if !removable(&[guess], passed, now_ms, inner.settings.keep).is_empty() {
            facts.end = Some(end_of(inner, facts.stream, bases.get(&facts.stream).copied().unwrap_or(0))?);
        }
    }
    let going = removable(&facts, passed, now_ms, inner.settings.keep);
    for facts in &going {
        let name = SegmentName::new(facts.stream, facts.segment).file();
        inner.disk.remove(&inner.settings.folder.join(name))?;
    }
    Ok(going.len())
}

/// The segments of this node, and for each stream the highest base.
fn list(inner: &Inner) -> io::Result<(Vec<SegmentFacts>, HashMap<StreamId, u64>)> {
    let (mut facts, mut bases) = (Vec::<SegmentFacts>::new(), HashMap::new());
    for name in segment::list(inner.disk.as_ref(), &inner.settings.folder)? {
        let stream = StreamId { node: inner.node, boot: name.boot, worker: name.worker };
        let base = match Cursor::open(inner.disk.as_ref(), &inner.settings.folder, name, inner.node)? {
            Ok(cursor) => Some(cursor.header().base),
            // Not ours to delete.
            Err(BadHeader::Foreign(_) | BadHeader::Format(_)) => continue,
            Err(BadHeader::Damaged) => None,
        };
        if let Some(base) = base {
            bases.insert(stream, base);
            let older = facts.iter_mut().rev().take_while(|before| before.stream == stream);
            older.filter(|before| before.end.is_none()).for_each(|before| before.end = Some(base));
        }
        let path = inner.settings.folder.join(name.file());
        let (segment, modified_ms) = (name.segment, inner.disk.modified_ms(&path)?);
        facts.push(SegmentFacts { stream, segment, end: None, modified_ms });
    }
    Ok((facts, bases))
}

/// The offset behind the last record of a stream that is not written any more, whose last segment has that base.
fn end_of(inner: &Inner, stream: StreamId, base: u64) -> io::Result<u64> {
    let reader = JournalReader::new(inner.disk.clone(), inner.settings.folder.clone(), inner.node);
    let mut records = reader.read(stream, base);
    while records.next(TO_THE_END)?.is_some() {}
    Ok(records.position())
}
