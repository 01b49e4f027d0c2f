//! Processes that die at any point, and machines: every call is settled exactly once, whatever was going on.

use std::collections::BTreeMap;

use penstock_actors::domain::{Money, Settled};
use proptest::{prelude::*, sample::Index};

use super::{
    mem_disk::WriteFault,
    samples::{any_dispatch, any_progress, dispatch, progress, settlement},
    *,
};

/// Every settlement of every stream by call, and how it was settled.
fn books(reader: &JournalReader) -> BTreeMap<u128, Vec<Settled>> {
    let mut books = BTreeMap::<_, Vec<_>>::new();
    for stream in reader.streams().unwrap() {
        for found in read(reader, stream, 0, TO_THE_END) {
            if let Found::Settlement(settlement, _) = found {
                books.entry(settlement.call.0).or_default().push(settlement.settled);
            }
        }
    }
    books
}

fn start(disk: &MemDisk, boot: u32, recovered: u32) -> (Journal, Recovered) {
    let journal = open_with(disk, boot, JournalSettings { segment_bytes: 300, ..settings() });
    let mut writer = journal.writer(StreamId::RECOVERY).unwrap();
    journal.sync_older(recovered).unwrap();
    let done = recover(&journal.reader(), recovered, &mut writer, 1_790_000_010_000).unwrap();
    (journal, done)
}

#[test]
fn an_open_call_is_abandoned_at_what_its_progress_says_and_at_least_at_its_prompt() {
    // least 1,000, reserved 9,000
    for (seen, charge) in [(None, 1_000), (Some(10), 1_000), (Some(2_000), 2_000), (Some(10_000), 10_000)] {
        let disk = MemDisk::new();
        let journal = open(&disk, 1);
        let mut writer = journal.writer(0).unwrap();
        writer.append(Fact::Dispatch(&dispatch(5))).unwrap();
        if let Some(seen) = seen {
            writer.append(Fact::Progress(&progress(5, seen))).unwrap();
        }
        let (next, done) = start(&disk.after_kill(), 2, 0);
        assert_eq!((done.abandoned, done.charge), (1, Money::from_nanos(charge)));
        let found = read(&next.reader(), stream(2, StreamId::RECOVERY), 0, TO_THE_END);
        let [Found::Settlement(settlement, _)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((settlement.settled, settlement.charge.nanos()), (Settled::Abandoned, charge));
        assert_eq!(settlement.accounts, dispatch(5).accounts);
        assert_eq!(settlement.took_ms, if seen.is_some() { 5_000 } else { 0 });
    }
}

#[test]
fn a_recovery_cut_at_any_byte_goes_on_at_the_next_start() {
    const OPEN: u128 = 5;
    let disk = MemDisk::new();
    let mut writer = open(&disk, 1).writer(0).unwrap();
    for call in 1..=OPEN {
        writer.append(Fact::Dispatch(&dispatch(call))).unwrap();
    }
    writer.append(Fact::Settlement(&settlement(1))).unwrap();
    let disk = disk.after_kill();
    drop(start(&disk, 2, 0));
    let stopped = disk.segments().into_iter().filter(|name| name.starts_with("00000002")).collect::<Vec<_>>();
    assert!(stopped.len() > 1, "the recovery rotates: {stopped:?}");
    for (i, name) in stopped.iter().enumerate() {
        for length in 0..=disk.bytes(name).len() {
            let crashed = disk.after_kill();
            crashed.change(name, |bytes| bytes.truncate(length));
            for later in &stopped[i + 1..] {
                crashed.remove(&Path::new(FOLDER).join(later)).unwrap();
            }
            let (journal, _) = start(&crashed, 3, 0);
            let expected = |call| vec![if call == 1 { Settled::Settled } else { Settled::Abandoned }];
            let expected: BTreeMap<_, _> = (1..=OPEN).map(|call| (call, expected(call))).collect();
            assert_eq!(books(&journal.reader()), expected, "{name} cut to {length}");
            drop(journal);
            assert_eq!(start(&crashed.after_kill(), 4, 0).1.abandoned, 0, "nothing is left to settle");
        }
    }
}

#[test]
fn boots_that_were_recovered_are_not_read_again() {
    let disk = MemDisk::new();
    let mut writer = open(&disk, 1).writer(0).unwrap();
    writer.append(Fact::Dispatch(&dispatch(1))).unwrap();
    let disk = disk.after_kill();
    assert_eq!(start(&disk, 2, 0).1.abandoned, 1);
    let third = start(&disk.after_kill(), 3, 1).1;
    assert_eq!((third.abandoned, third.records), (0, 1), "only the recovery stream of boot 2");
}

#[test]
fn a_call_found_open_beside_a_gap_is_counted_as_doubtful() {
    let disk = MemDisk::new();
    let journal = open_with(&disk, 1, JournalSettings { segment_bytes: 300, ..settings() });
    let mut writer = journal.writer(0).unwrap();
    writer.append(Fact::Dispatch(&dispatch(1))).unwrap();
    for call in 1..=6 {
        writer.append(Fact::Settlement(&settlement(call))).unwrap();
    }
    let disk = disk.after_kill();
    let second = &disk.segments()[1];
    disk.remove(&Path::new(FOLDER).join(second)).unwrap();
    let first = disk.segments().remove(0);
    disk.change(&first, |bytes| bytes.truncate(segment::HEADER + 120));
    let (_, done) = start(&disk, 2, 0);
    assert_eq!((done.abandoned, done.doubtful, done.gaps.len()), (1, 1, 1));
}

proptest! {
    #[test]
    fn an_abandoned_call_is_charged_between_its_progress_and_its_reservation(
        dispatch in any_dispatch(),
        progress in proptest::option::of(any_progress()),
        now_ms in any::<i64>(),
    ) {
        let open = OpenCall { dispatch, progress, stream: stream(1, 0) };
        let settlement = abandon(&open, now_ms);
        prop_assert!(settlement.charge >= Money::ZERO);
        let progress = open.progress.map_or(Money::ZERO, |progress| progress.charge);
        prop_assert!(progress <= settlement.charge && settlement.charge <= settlement.reserved);
        prop_assert_eq!(settlement.reserved, open.dispatch.reserved.max(progress).max(Money::ZERO));
        prop_assert_eq!(settlement.accounts, open.dispatch.accounts);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Dispatch,
    Progress(Index),
    Settle(Index),
    Fault(WriteFault),
    Sync,
    SyncFails,
    Room(Option<u64>),
    Time,
}

/// How a boot ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Kill,
    /// What part, in percent, of the bytes that were not synced is kept.
    PowerCut(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Dispatch),
        3 => any::<Index>().prop_map(Step::Progress),
        8 => any::<Index>().prop_map(Step::Settle),
        1 => (0_usize..300).prop_map(|taken| Step::Fault(WriteFault::Short(taken))),
        1 => Just(Step::Fault(WriteFault::Fails)),
        1 => Just(Step::Fault(WriteFault::FailsAfterwards)),
        2 => Just(Step::Sync),
        1 => Just(Step::SyncFails),
        1 => prop_oneof![(0_u64..5_000).prop_map(Some), Just(None)].prop_map(Step::Room),
        1 => Just(Step::Time),
    ]
}

fn boots() -> impl Strategy<Value = Vec<(Vec<Step>, End)>> {
    let end = prop_oneof![Just(End::Kill), (0_u8..=100).prop_map(End::PowerCut)];
    proptest::collection::vec((proptest::collection::vec(step(), 0..40), end), 1..4)
}

/// What must be in the books of a call when all is over.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// A dispatch was taken: it must be settled.
    is_owed: bool,
    /// A settlement was taken: it must be this one.
    is_settled: bool,
    /// The stream's offsets behind both.
    ends: (u64, u64),
}

struct Simulation {
    disk: MemDisk,
    calls: BTreeMap<u128, Known>,
    next_call: u128,
}

impl Simulation {
    fn boot(&mut self, boot: u32, steps: &[Step], end: End) {
        let (journal, _) = start(&self.disk, boot, 0);
        let mut writer = journal.writer(0).unwrap();
        let mut open = Vec::new();
        let first = self.next_call;
        for step in steps {
            match step {
                Step::Dispatch => {
                    let call = self.next_call;
                    self.next_call += 1;
                    let known = self.calls.entry(call).or_default();
                    match writer.append(Fact::Dispatch(&dispatch(call))) {
                        Ok(at) => {
                            *known = Known { is_owed: at.stage == Stage::Written, ..*known };
                            known.ends.0 = at.end;
                            open.push(call);
                        }
                        // A call that is refused is settled as well.
                        Err(_) => self.settle(&mut writer, call),
                    }
                }
                Step::Progress(which) if !open.is_empty() => {
                    let call = open[which.index(open.len())];
                    writer.append(Fact::Progress(&progress(call, 2_000))).unwrap();
                }
                Step::Settle(which) if !open.is_empty() => {
                    let call = open.swap_remove(which.index(open.len()));
                    self.settle(&mut writer, call);
                }
                Step::Fault(fault) => self.disk.next_writes([*fault]),
                Step::Sync => journal.sync(),
                Step::SyncFails => self.disk.next_sync_fails(),
                Step::Room(room) => self.disk.set_room(*room),
                Step::Time => self.disk.pass_time(settings().retry),
                Step::Progress(_) | Step::Settle(_) => {}
            }
        }
        let durable = writer.state().durable();
        self.disk = match end {
            End::Kill => self.disk.after_kill(),
            End::PowerCut(percent) => self.disk.after_power_cut(|lost| lost * usize::from(percent) / 100),
        };
        if let End::PowerCut(_) = end {
            let is_durable = |end: u64| durable.knows(end) == Some(Ok(()));
            for known in self.calls.range_mut(first..).map(|(_, known)| known) {
                known.is_owed &= is_durable(known.ends.0);
                known.is_settled &= is_durable(known.ends.1);
            }
        }
    }

    fn settle(&mut self, writer: &mut JournalWriter, call: u128) {
        if let (Ok(at), Some(known)) =
            (writer.append(Fact::Settlement(&settlement(call))), self.calls.get_mut(&call))
        {
            known.is_settled = at.stage == Stage::Written;
            known.ends.1 = at.end;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400.max(ProptestConfig::default().cases), ..ProptestConfig::default() })]

    #[test]
    fn every_call_is_settled_exactly_once_through_any_crashes(boots in boots()) {
        let mut simulation = Simulation { disk: MemDisk::new(), calls: BTreeMap::new(), next_call: 1 };
        for (i, (steps, end)) in boots.iter().enumerate() {
            simulation.boot(i as u32 + 1, steps, *end);
        }
        let (journal, _) = start(&simulation.disk, 99, 0);
        let books = books(&journal.reader());
        for (call, known) in &simulation.calls {
            let settled = books.get(call).map_or(&[][..], |settled| settled);
            prop_assert!(settled.len() <= 1, "call {} is settled {:?}", call, settled);
            prop_assert!(!known.is_owed || settled.len() == 1, "call {} is owed: {:?}", call, known);
            prop_assert!(!known.is_settled || settled == [Settled::Settled], "call {}: {:?}", call, settled);
        }
        prop_assert!(books.keys().all(|call| simulation.calls.contains_key(call)), "a call was invented");
    }
}

#[test]
fn what_a_killed_process_left_unsynced_survives_a_power_cut_after_the_next_start_has_synced_it() {
    let disk = MemDisk::new();
    let journal = open(&disk, 1);
    let mut writer = journal.writer(0).unwrap();
    journal.sync();
    writer.append(Fact::Settlement(&settlement(1))).unwrap();
    let left = |disk: &MemDisk| books(&open(&disk.after_power_cut(|_| 0), 3).reader()).len();
    let next = disk.after_kill();
    let started = open(&next, 2);
    assert_eq!(left(&next), 0, "the kernel alone had it");
    started.sync_older(1).unwrap();
    assert_eq!(left(&next), 0, "it was recovered before, and is not looked at again");
    started.sync_older(0).unwrap();
    assert_eq!(left(&next), 1);
}
