//! What a durable consumer takes in: events from the ring while they follow on, the journal for the rest.
//!
//! Holds nothing but positions. Whatever goes wrong has one remedy: read the journal from the positions on.

use std::{io, sync::Arc};

use super::{Batch, Continuity, Positions, Range, Read, Reader, UsageEvent, Verdict, gauges::ConsumerGauges};
use crate::{
    domain::Settlement,
    ports::{Found, JournalSource, Pending},
};

/// When to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is more to be had at once.
    Now,
    /// Once something can have come.
    Later,
}

/// A consumer's place in the streams.
pub struct Intake {
    reader: Reader<{ super::event::WORDS }>,
    journal: Arc<dyn JournalSource>,
    streams: Continuity,
    gauges: Arc<ConsumerGauges>,
    /// The ring is not enough: the journal is read up to its heads first.
    is_behind: bool,
    /// The heads at the last look: what stood in the journal then must have been applied by the next.
    heads: Positions,
}

impl Intake {
    /// Takes in from the ring and the journal. Call [`Intake::rewind`] first.
    pub fn new(
        reader: Reader<{ super::event::WORDS }>,
        journal: Arc<dyn JournalSource>,
        gauges: Arc<ConsumerGauges>,
    ) -> Self {
        let streams = Continuity::default();
        Self { reader, journal, streams, gauges, is_behind: true, heads: Positions::new() }
    }

    /// Goes on from these positions: at the start, and whenever what was given out did not become durable.
    pub fn rewind(&mut self, positions: Positions) {
        self.streams = Continuity::from(positions);
        self.reader.skip();
        self.heads.clear();
        self.is_behind = true;
    }

    /// Looks whether everything that stood in the journal at the last look has been given out. An event that
    /// the ring dropped, with none after it in its stream, is found so. To be called about every second.
    pub fn look(&mut self) {
        self.is_behind |= self.heads.iter().any(|(stream, head)| self.streams.position(*stream) < *head);
        self.heads = self.journal.heads();
    }

    /// Has the next [`Intake::gather`] read the journal up to its heads.
    pub fn distrust_ring(&mut self) {
        self.is_behind = true;
    }

    /// Waits until the journal has made parts durable.
    pub fn synced(&self, parts: &[Range]) -> Pending<()> {
        self.journal.synced(parts)
    }

    /// Whether something is known to stand in the journal that was not given out.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// How many events of the ring wait.
    pub fn waiting(&self) -> u64 {
        self.reader.lag()
    }

    /// Gives up to `max` settlements that follow on what was given before.
    ///
    /// # Errors
    /// Where the journal cannot be read now. What was gathered is lost: [`Intake::rewind`].
    pub fn gather(&mut self, max: usize) -> io::Result<(Batch, Next)> {
        let mut batch = Batch::default();
        if self.is_behind && self.catch_up(max, &mut batch)? == Next::Now {
            self.gauges.applied.add(batch.settlements.len() as u64);
            return Ok((batch, Next::Now));
        }
        let room = max.saturating_sub(batch.settlements.len());
        let (events, read) = self.read_ring(room);
        if let Read::Behind(events) = read {
            self.gauges.passed_over.add(events);
            self.is_behind = true;
        }
        for (part, settlement) in events {
            self.take(part, settlement, max, &mut batch)?;
        }
        self.gauges.applied.add(batch.settlements.len() as u64);
        let is_full = read == Read::Events(room) || batch.settlements.len() >= max;
        let next = if is_full || matches!(read, Read::Behind(_)) { Next::Now } else { Next::Later };
        Ok((batch, next))
    }

    fn read_ring(&mut self, room: usize) -> (Vec<(Range, Option<Settlement>)>, Read) {
        let (streams, journal, gauges) = (&self.streams, &self.journal, &self.gauges);
        let (mut events, mut bytes) = (Vec::new(), Vec::new());
        let read = self.reader.read(room, |words| {
            let Some(event) = UsageEvent::read(words, &mut bytes) else { return };
            let part = Range { stream: event.stream, from: event.from, to: event.to };
            if part.to <= streams.position(part.stream) {
                gauges.duplicates.add(1);
            } else {
                events.push((part, journal.decode(event.payload)));
            }
        });
        (events, read)
    }

    fn take(
        &mut self,
        part: Range,
        settlement: Option<Settlement>,
        max: usize,
        batch: &mut Batch,
    ) -> io::Result<()> {
        match (self.streams.judge(part), settlement) {
            (Verdict::Duplicate, _) => self.gauges.duplicates.add(1),
            (Verdict::Apply, Some(settlement)) => {
                self.streams.advance(part.stream, part.to);
                batch.apply(part, settlement);
            }
            (verdict, _) => {
                self.gauges.gaps.add(u64::from(verdict != Verdict::Apply));
                let missing = Range { from: self.streams.position(part.stream), ..part };
                let room = max.saturating_sub(batch.settlements.len());
                self.read_journal(missing, room, batch)?;
                // What could not be read now is read with everything else that is missing.
                self.is_behind |= self.streams.position(part.stream) < part.to;
            }
        }
        Ok(())
    }

    /// Reads the journal up to its heads, or until the batch is full.
    fn catch_up(&mut self, max: usize, batch: &mut Batch) -> io::Result<Next> {
        let mut is_complete = true;
        for (stream, head) in self.journal.heads() {
            let part = Range { stream, from: self.streams.position(stream), to: head };
            if part.from >= part.to {
                continue;
            }
            let room = max.saturating_sub(batch.settlements.len());
            if room == 0 {
                return Ok(Next::Now);
            }
            self.read_journal(part, room, batch)?;
            is_complete &= self.streams.position(stream) >= head;
        }
        self.is_behind = !is_complete;
        Ok(if batch.settlements.len() >= max { Next::Now } else { Next::Later })
    }

    fn read_journal(&mut self, part: Range, room: usize, batch: &mut Batch) -> io::Result<()> {
        if room == 0 {
            return Ok(());
        }
        let mut from = part.from;
        for (to, found) in self.journal.read(part, room)? {
            let piece = Range { stream: part.stream, from, to };
            match found {
                Found::Settlement(settlement) => batch.apply(piece, *settlement),
                Found::Lost => {
                    tracing::error!(?piece, consumer = self.gauges.name, "a part of the journal is lost");
                    self.gauges.lost.add(1);
                    batch.lose(piece);
                }
            }
            from = to;
        }
        self.streams.advance(part.stream, from);
        Ok(())
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
