//! What may be deleted, and that nothing is lost by it.

use super::{
    samples::{dispatch, progress, settlement},
    *,
};

const HOUR: i64 = 3_600_000;

fn facts(boot: u32, worker: u16, segment: u32, end: Option<u64>) -> SegmentFacts {
    SegmentFacts { stream: stream(boot, worker), segment, end, modified_ms: 0 }
}

fn decide(
    segments: &[SegmentFacts],
    recovered: u32,
    positions: &[(u32, u16, u64)],
    now_ms: i64,
) -> Vec<usize> {
    let positions = positions.iter().map(|(boot, worker, at)| (stream(*boot, *worker), *at)).collect();
    let needed_from = HashMap::from([(stream(3, 0), 2)]);
    let passed = Passed { recovered, needed_from: &needed_from, positions: &positions };
    let going = removable(segments, passed, now_ms, Duration::from_secs(24 * 3_600));
    going.iter().map(|gone| segments.iter().position(|s| s == gone).unwrap()).collect()
}

#[test]
fn a_segment_goes_only_when_nothing_needs_it() {
    let one = [facts(1, 0, 1, Some(500))];
    let day = 24 * HOUR;
    assert_eq!(decide(&one, 1, &[(1, 0, 500)], day), [0]);
    assert!(decide(&one, 1, &[(1, 0, 499)], day).is_empty(), "a consumer is behind");
    assert!(decide(&one, 1, &[], day).is_empty(), "no consumer has begun");
    assert!(decide(&one, 0, &[(1, 0, 500)], day).is_empty(), "its calls may be open");
    assert!(decide(&one, 1, &[(1, 0, 500)], day - 1).is_empty(), "it is young");
    assert!(decide(&one, 1, &[(1, 0, 500)], -HOUR).is_empty(), "the clock went back");
    assert!(decide(&[facts(1, 0, 1, None)], 1, &[(1, 0, 500)], day).is_empty(), "its end is not known");
}

#[test]
fn boots_go_in_order_and_streams_from_their_beginning() {
    let all = [
        facts(1, 0, 1, Some(10)),
        facts(1, 0, 2, Some(20)),
        facts(1, 1, 1, Some(10)),
        facts(2, 0, 1, Some(10)),
    ];
    let day = 24 * HOUR;
    assert_eq!(decide(&all, 2, &[(1, 0, 20), (1, 1, 10), (2, 0, 10)], day), [0, 1, 2, 3]);
    assert_eq!(
        decide(&all, 2, &[(1, 0, 10), (1, 1, 10), (2, 0, 10)], day),
        [0, 2],
        "boot 2 waits for boot 1"
    );
    assert_eq!(decide(&all, 2, &[(1, 0, 20), (2, 0, 10)], day), [0, 1]);
}

#[test]
fn of_this_start_only_segments_go_that_hold_no_open_call() {
    let all = [facts(3, 0, 1, Some(10)), facts(3, 0, 2, Some(20)), facts(3, 0, 3, None)];
    assert_eq!(decide(&all, 2, &[(3, 0, 1_000)], 24 * HOUR), [0]);
}

#[test]
fn a_call_that_stays_open_through_rotations_is_found_when_the_old_segments_are_gone() {
    let disk = MemDisk::new();
    let small = JournalSettings { segment_bytes: 300, keep: Duration::ZERO, ..settings() };
    let journal = open_with(&disk, 1, small.clone());
    let mut writer = journal.writer(0).unwrap();
    writer.append(Fact::Dispatch(&dispatch(99))).unwrap();
    writer.append(Fact::Progress(&progress(99, 2_500))).unwrap();
    let mut end = 0;
    for call in 1..=20 {
        end = writer.append(Fact::Settlement(&settlement(call))).unwrap().end;
    }
    let positions = HashMap::from([(stream(1, 0), end)]);
    assert_eq!(journal.retain(0, &positions).unwrap(), 0, "the copies are not durable yet");
    journal.sync();
    let count = disk.segments().len();
    assert_eq!(journal.retain(0, &positions).unwrap(), count - 1);

    let disk = disk.after_kill();
    let survey = survey(&open_with(&disk, 2, small).reader(), 0, 2).unwrap();
    assert!(survey.gaps.is_empty());
    let open: Vec<_> = survey.open.into_values().collect();
    assert_eq!(open.len(), 1);
    assert_eq!((&open[0].dispatch, open[0].progress), (&dispatch(99), Some(progress(99, 2_500))));
}

#[test]
fn an_older_start_goes_when_it_is_recovered_and_read_to_its_end() {
    let disk = MemDisk::new();
    let mut writer = open(&disk, 1).writer(0).unwrap();
    writer.append(Fact::Settlement(&settlement(1))).unwrap();
    writer.append(Fact::Dispatch(&dispatch(2))).unwrap();
    drop(writer);
    let disk = disk.after_kill();
    let journal = open_with(&disk, 2, JournalSettings { keep: Duration::ZERO, ..settings() });
    let mut recovery = journal.writer(StreamId::RECOVERY).unwrap();
    recover(&journal.reader(), 0, &mut recovery, 0).unwrap();

    let mut consumer = journal.reader().read(stream(1, 0), 0);
    let first = consumer.next_settlement(TO_THE_END).unwrap();
    assert!(matches!(first, Some(Found::Settlement(..))));
    let behind = HashMap::from([(stream(1, 0), consumer.position())]);
    assert_eq!(journal.retain(1, &behind).unwrap(), 0);
    assert_eq!(consumer.next_settlement(TO_THE_END).unwrap(), None);
    let passed = HashMap::from([(stream(1, 0), consumer.position())]);
    assert_eq!(journal.retain(0, &passed).unwrap(), 0, "not before it is recovered");
    assert_eq!(journal.retain(1, &passed).unwrap(), 1);
    assert_eq!(disk.segments(), ["00000002-65535-00000001.journal"]);
}
