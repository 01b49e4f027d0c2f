//! What a consumer takes in, whatever ring and disk do.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    domain::{CallId, StreamId},
    testing::fakes::{Copy, FakeJournal, stream},
};

fn intake(journal: &Arc<FakeJournal>) -> Intake {
    let gauges = ConsumerGauges::new("test", 0);
    let source: Arc<dyn JournalSource> = Arc::clone(journal) as _;
    Intake::new(journal.ring.reader(0), source, gauges)
}

type Applied = BTreeMap<StreamId, Vec<CallId>>;

fn note(applied: &mut Applied, batch: &Batch) {
    for (part, settlement) in &batch.settlements {
        applied.entry(part.stream).or_default().push(settlement.call);
    }
}

/// Gathers until nothing more comes, twice over, with the looks that find what the ring dropped.
fn finish(intake: &mut Intake, applied: &mut Applied, max: usize) {
    for _ in 0..3 {
        intake.look();
        loop {
            let (batch, next) = intake.gather(max).expect("the journal can be read");
            note(applied, &batch);
            if next == Next::Later {
                break;
            }
        }
    }
}

#[test]
fn events_come_from_the_ring_while_they_follow_on() {
    let journal = FakeJournal::new(64, 1);
    let mut intake = intake(&journal);
    intake.rewind(Positions::new());
    assert!(intake.gather(10).expect("reads").0.is_empty());
    journal.fail(true);
    (0..3).for_each(|n| journal.settle(stream(n % 2), &[1], 5, Copy::Twice));
    let (batch, next) = intake.gather(10).expect("the journal is not asked");
    assert_eq!((batch.settlements.len(), batch.ranges.len(), next), (3, 2, Next::Later));
    assert_eq!(intake.gauges.duplicates.total(), 3);
}

#[test]
fn a_settlement_that_was_too_long_for_the_ring_comes_from_the_journal() {
    let journal = FakeJournal::new(64, 1);
    let mut intake = intake(&journal);
    intake.rewind(Positions::new());
    intake.gather(10).expect("reads");
    journal.settle(stream(0), &[1], 5, Copy::WithoutPayload);
    journal.settle(stream(0), &[1], 6, Copy::Pushed);
    let (batch, _) = intake.gather(10).expect("reads");
    assert_eq!((batch.settlements.len(), batch.ranges.len()), (2, 1));
    assert_eq!(intake.gauges.gaps.total(), 0);
}

#[test]
fn a_gap_is_read_in_the_journal_and_the_last_dropped_event_is_found_by_looking() {
    let journal = FakeJournal::new(64, 1);
    let mut intake = intake(&journal);
    intake.rewind(Positions::new());
    intake.gather(10).expect("reads");
    [Copy::Pushed, Copy::Dropped, Copy::Pushed, Copy::Dropped]
        .into_iter()
        .for_each(|copy| journal.settle(stream(0), &[1], 5, copy));
    assert_eq!(intake.gather(10).expect("reads").0.settlements.len(), 3);
    assert_eq!(intake.gauges.gaps.total(), 1);
    intake.look();
    assert!(intake.gather(10).expect("reads").0.is_empty(), "it may still be on its way");
    intake.look();
    assert_eq!(intake.gather(10).expect("reads").0.settlements.len(), 1);
}

#[test]
fn what_the_journal_has_lost_is_told_and_passed() {
    let journal = FakeJournal::new(64, 1);
    (0..4).for_each(|_| journal.settle(stream(0), &[1], 5, Copy::Dropped));
    journal.lose(stream(0), 1);
    let mut intake = intake(&journal);
    intake.rewind(Positions::new());
    let (batch, _) = intake.gather(10).expect("reads");
    assert_eq!((batch.settlements.len(), batch.lost.len(), intake.gauges.lost.total()), (3, 1, 1));
    assert_eq!(batch.ranges[0].to, journal.heads()[&stream(0)]);
}

#[test]
fn a_consumer_that_was_overrun_catches_up_from_the_journal() {
    let journal = FakeJournal::new(8, 1);
    let mut intake = intake(&journal);
    intake.rewind(Positions::new());
    intake.gather(10).expect("reads");
    (0..100).for_each(|_| journal.settle(stream(0), &[1], 5, Copy::Pushed));
    let mut applied = Applied::new();
    for _ in 0..30 {
        note(&mut applied, &intake.gather(10).expect("reads").0);
    }
    assert_eq!(applied, journal.calls());
    assert_eq!(intake.gauges.passed_over.total(), 100);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Settle(u16, Copy),
    Gather,
    Hide(usize),
    Look,
    /// The store failed: back to a batch ago.
    Rewind,
}

fn step() -> impl Strategy<Value = Step> {
    let copy = prop_oneof![
        6 => Just(Copy::Pushed), 1 => Just(Copy::Twice), 1 => Just(Copy::WithoutPayload), 1 => Just(Copy::Dropped),
    ];
    prop_oneof![
        12 => (0u16..3, copy).prop_map(|(worker, copy)| Step::Settle(worker, copy)),
        4 => Just(Step::Gather),
        1 => (0usize..3).prop_map(Step::Hide),
        1 => Just(Step::Look),
        1 => Just(Step::Rewind),
    ]
}

proptest! {
    #[test]
    fn every_settlement_is_given_once_whatever_the_ring_and_the_disk_do(
        steps in proptest::collection::vec(step(), 0..120), max in 1usize..6,
    ) {
        let journal = FakeJournal::new(8, 1);
        let mut intake = intake(&journal);
        intake.rewind(Positions::new());
        let (mut applied, mut durable) = (Applied::new(), Positions::new());
        for step in steps {
            match step {
                Step::Settle(worker, copy) => journal.settle(stream(worker), &[1], 5, copy),
                Step::Hide(newest) => journal.hide(newest),
                Step::Look => intake.look(),
                Step::Gather => {
                    let (batch, _) = intake.gather(max).expect("reads");
                    for range in &batch.ranges {
                        prop_assert_eq!(range.from, durable.insert(range.stream, range.to).unwrap_or(0));
                    }
                    note(&mut applied, &batch);
                }
                Step::Rewind => {
                    intake.gather(max).expect("reads");
                    intake.rewind(durable.clone());
                }
            }
        }
        journal.hide(0);
        finish(&mut intake, &mut applied, max);
        let mut settled = journal.calls();
        settled.retain(|_, calls| !calls.is_empty());
        prop_assert_eq!(applied, settled);
    }
}
