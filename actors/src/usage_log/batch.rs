//! Exactly once, stream by stream: which events follow on what was applied, and what a batch adds up to. Pure.

use std::collections::BTreeMap;

use crate::domain::{Settlement, StreamId};

/// How far each stream has been applied: the end of its last settlement that was.
pub type Positions = BTreeMap<StreamId, u64>;

/// A part of a stream, from the end of one settlement to the end of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The stream.
    pub stream: StreamId,
    /// Exclusive: up to here it was applied before.
    pub from: u64,
    /// Inclusive: up to here it is applied now.
    pub to: u64,
}

/// What is to be done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It follows on what was applied.
    Apply,
    /// It was applied before.
    Duplicate,
    /// This part of the journal is to be read first; then the event is offered again.
    Gap(Range),
}

/// Watches that each stream is applied without a gap and without a repetition.
#[derive(Clone, Debug, Default)]
pub struct Continuity {
    positions: Positions,
}

impl Continuity {
    /// Goes on from these positions.
    pub fn from(positions: Positions) -> Self {
        Self { positions }
    }

    /// Judges an event: the part of its stream from the settlement before it to its own end.
    pub fn judge(&self, event: Range) -> Verdict {
        let at = self.position(event.stream);
        if event.to <= at {
            return Verdict::Duplicate;
        }
        if event.from == at {
            return Verdict::Apply;
        }
        // A position inside an event cannot be, unless a part was given up; then the event is read again whole.
        let to = if event.from > at { event.from } else { event.to };
        Verdict::Gap(Range { stream: event.stream, from: at, to })
    }

    /// Takes a stream as applied up to here. Never goes back.
    pub fn advance(&mut self, stream: StreamId, to: u64) {
        let at = self.positions.entry(stream).or_default();
        *at = to.max(*at);
    }

    /// How far a stream has been applied.
    pub fn position(&self, stream: StreamId) -> u64 {
        self.positions.get(&stream).copied().unwrap_or_default()
    }

    /// How far each stream has been applied.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }
}

/// Settlements to be applied together, with the parts of the streams that they make up.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Each with its part of a stream, at whose end it stands; in each stream's order.
    pub settlements: Vec<(Range, Settlement)>,
    /// One for each stream: from the position before to the position after.
    pub ranges: Vec<Range>,
    /// Parts that the journal no longer has. They lie inside `ranges`.
    pub lost: Vec<Range>,
}

impl Batch {
    /// Adds a settlement that ends its part of the stream.
    pub fn apply(&mut self, part: Range, settlement: Settlement) {
        self.settlements.push((part, settlement));
        self.cover(part);
    }

    /// Adds a part that is lost.
    pub fn lose(&mut self, part: Range) {
        self.lost.push(part);
        self.cover(part);
    }

    fn cover(&mut self, part: Range) {
        match self.ranges.iter_mut().find(|r| r.stream == part.stream) {
            Some(range) => range.to = part.to,
            None => self.ranges.push(part),
        }
    }

    /// Whether there is nothing to be committed.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(worker: u16) -> StreamId {
        StreamId { node: 1, boot: 1, worker }
    }

    fn part(worker: u16, from: u64, to: u64) -> Range {
        Range { stream: stream(worker), from, to }
    }

    #[test]
    fn events_follow_on_or_leave_a_gap_or_come_again() {
        let mut streams = Continuity::from([(stream(0), 100)].into());
        assert_eq!(streams.judge(part(0, 40, 100)), Verdict::Duplicate);
        assert_eq!(streams.judge(part(0, 100, 180)), Verdict::Apply);
        streams.advance(stream(0), 180);
        assert_eq!(streams.judge(part(0, 250, 300)), Verdict::Gap(part(0, 180, 250)));
        assert_eq!(streams.judge(part(1, 0, 60)), Verdict::Apply, "a new stream begins at 0");
        assert_eq!(streams.judge(part(2, 60, 90)), Verdict::Gap(part(2, 0, 60)));
        assert_eq!(streams.judge(part(0, 170, 200)), Verdict::Gap(part(0, 180, 200)));
    }

    #[test]
    fn positions_never_go_back() {
        let mut streams = Continuity::default();
        streams.advance(stream(0), 50);
        streams.advance(stream(0), 10);
        assert_eq!(streams.positions(), &[(stream(0), 50)].into());
    }

    proptest! {
        /// Each stream's events, some dropped, some doubled, the streams shuffled together; gaps are read in the journal.
        #[test]
        fn every_settlement_is_applied_once_and_in_order(
            gaps in proptest::collection::vec(1u64..90, 1..40),
            faults in proptest::collection::vec((0u16..3, 0u8..8, 0usize..4), 0..160),
        ) {
            let ends: Vec<u64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let journal = |worker, from: u64, to: u64| {
                let before = [0].into_iter().chain(ends.iter().copied());
                before.zip(ends.iter().copied()).filter(move |(f, t)| *f >= from && *t <= to).map(move |(f, t)| part(worker, f, t))
            };
            let mut next = [0usize; 3];
            let mut sent = Vec::new();
            for (worker, fate, back) in faults {
                let at = &mut next[usize::from(worker)];
                let event = |i: usize| part(worker, if i == 0 { 0 } else { ends[i - 1] }, ends[i]);
                if *at < ends.len() && fate != 0 { sent.push(event(*at)); }
                if fate == 1 && *at < ends.len() { sent.push(event(at.saturating_sub(back))); }
                *at += 1;
            }
            let mut streams = Continuity::default();
            let mut applied: [Vec<u64>; 3] = Default::default();
            for event in sent {
                let mut verdict = streams.judge(event);
                if let Verdict::Gap(gap) = verdict {
                    for missed in journal(gap.stream.worker, gap.from, gap.to) {
                        prop_assert_eq!(streams.judge(missed), Verdict::Apply);
                        streams.advance(missed.stream, missed.to);
                        applied[usize::from(missed.stream.worker)].push(missed.to);
                    }
                    verdict = streams.judge(event);
                }
                match verdict {
                    Verdict::Apply => {
                        streams.advance(event.stream, event.to);
                        applied[usize::from(event.stream.worker)].push(event.to);
                    }
                    Verdict::Duplicate => {}
                    Verdict::Gap(gap) => prop_assert!(false, "{gap:?} is left"),
                }
            }
            for (worker, applied) in (0..).zip(&applied) {
                prop_assert_eq!(&applied[..], &ends[..applied.len()]);
                prop_assert_eq!(streams.position(stream(worker)), applied.last().copied().unwrap_or(0));
            }
        }
    }
}
