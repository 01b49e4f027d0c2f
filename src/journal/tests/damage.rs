//! Segments cut, flipped, deleted: what stands before is read, nothing is invented, what is missing is said.

use super::{
    samples::{dispatch, settlement},
    *,
};

const COUNT: u128 = 6;

/// One stream with settlements of the calls 1.., and the offsets behind each.
fn written(disk: &MemDisk, segment_bytes: u64) -> Vec<u64> {
    let journal = open_with(disk, 1, JournalSettings { segment_bytes, ..settings() });
    let mut writer = journal.writer(0).unwrap();
    (1..=COUNT).map(|call| writer.append(Fact::Settlement(&settlement(call))).unwrap().end).collect()
}

fn reader(disk: &MemDisk) -> JournalReader {
    JournalReader::new(Arc::new(disk.clone()), Path::new(FOLDER).to_owned(), NODE)
}

/// How many of the records end within the first `bytes` of a file with only these.
fn whole(ends: &[u64], bytes: usize) -> Vec<u128> {
    let records = bytes.saturating_sub(segment::HEADER) as u64;
    (1..=ends.iter().filter(|end| **end <= records).count() as u128).collect()
}

#[test]
fn a_segment_cut_at_any_byte_gives_the_records_before() {
    let disk = MemDisk::new();
    let ends = written(&disk, 1 << 20);
    let name = &disk.segments()[0];
    for length in 0..disk.bytes(name).len() {
        let cut = disk.after_kill();
        cut.change(name, |bytes| bytes.truncate(length));
        assert_eq!(
            calls(&read(&reader(&cut), stream(1, 0), 0, TO_THE_END)),
            whole(&ends, length),
            "{length}"
        );
    }
}

#[test]
fn a_segment_flipped_at_any_byte_gives_the_records_before() {
    let disk = MemDisk::new();
    let ends = written(&disk, 1 << 20);
    let name = &disk.segments()[0];
    for at in 0..disk.bytes(name).len() {
        let flipped = disk.after_kill();
        flipped.change(name, |bytes| bytes[at] ^= 0x10);
        let found = read(&reader(&flipped), stream(1, 0), 0, TO_THE_END);
        let before = if at < segment::HEADER { Vec::new() } else { whole(&ends, at) };
        assert_eq!(calls(&found), before, "{at}");
    }
}

#[test]
fn damage_before_the_published_head_is_a_gap() {
    let disk = MemDisk::new();
    let ends = written(&disk, 1 << 20);
    disk.change(&disk.segments()[0], |bytes| bytes.truncate(segment::HEADER + ends[3] as usize + 5));
    let found = read(&reader(&disk), stream(1, 0), 0, ends[5]);
    assert_eq!(calls(&found[..4]), [1, 2, 3, 4]);
    assert_eq!(found[4..], [Found::Gap(Gap { stream: stream(1, 0), from: ends[3], to: ends[5] })]);
}

#[test]
fn damage_in_a_segment_hides_only_what_follows_in_it() {
    let disk = MemDisk::new();
    let ends = written(&disk, 250);
    assert_eq!(disk.segments().len(), 3, "two records a segment");
    disk.change(&disk.segments()[0], |bytes| *bytes.last_mut().unwrap() ^= 1);
    let mut records = reader(&disk).read(stream(1, 0), 0);
    let mut found = Vec::new();
    while let Some(next) = records.next_settlement(TO_THE_END).unwrap() {
        found.push(next);
    }
    assert_eq!(found[1], Found::Gap(Gap { stream: stream(1, 0), from: ends[0], to: ends[1] }));
    found.remove(1);
    assert_eq!(calls(&found), [1, 3, 4, 5, 6]);
    assert_eq!(records.damage(), Damage { corrupt: 1, ..Damage::default() });
    assert_eq!(records.position(), ends[5]);
}

#[test]
fn a_missing_segment_is_a_gap_wherever_it_stood() {
    let disk = MemDisk::new();
    let ends = written(&disk, 250);
    let gap = |from, to| Found::Gap(Gap { stream: stream(1, 0), from, to });
    for (missing, place, expected) in
        [(0, 0, gap(0, ends[1])), (1, 2, gap(ends[1], ends[3])), (2, 4, gap(ends[3], ends[5]))]
    {
        let disk = disk.after_kill();
        disk.remove(&Path::new(FOLDER).join(&disk.segments()[missing])).unwrap();
        let mut found = read(&reader(&disk), stream(1, 0), 0, ends[5]);
        assert_eq!(found.remove(place), expected);
        assert_eq!(found.len(), 4, "the others are read");
        calls(&found);
    }
}

#[test]
fn a_segment_with_a_damaged_header_is_a_gap() {
    let disk = MemDisk::new();
    let ends = written(&disk, 250);
    disk.change(&disk.segments()[1], |bytes| bytes[20] ^= 1);
    let found = read(&reader(&disk), stream(1, 0), 0, TO_THE_END);
    assert_eq!(found[2], Found::Gap(Gap { stream: stream(1, 0), from: ends[1], to: ends[3] }));
}

#[test]
fn the_journal_of_another_node_is_not_read() {
    let disk = MemDisk::new();
    written(&disk, 1 << 20);
    let other = JournalReader::new(Arc::new(disk), Path::new(FOLDER).to_owned(), NODE + 1);
    let theirs = StreamId { node: NODE + 1, boot: 1, worker: 0 };
    assert!(read(&other, theirs, 0, TO_THE_END).is_empty());
}

#[test]
fn reading_goes_on_where_it_ended_from_any_record() {
    let disk = MemDisk::new();
    let ends = written(&disk, 250);
    for (i, from) in ends.iter().enumerate() {
        let found = read(&reader(&disk), stream(1, 0), *from, TO_THE_END);
        assert_eq!(calls(&found), (i as u128 + 2..=COUNT).collect::<Vec<_>>());
    }
}

#[test]
fn a_position_inside_a_record_is_a_gap_and_not_a_record() {
    let disk = MemDisk::new();
    let ends = written(&disk, 250);
    let found = read(&reader(&disk), stream(1, 0), ends[0] + 1, TO_THE_END);
    assert_eq!(found[0], Found::Gap(Gap { stream: stream(1, 0), from: ends[0] + 1, to: ends[1] }));
    assert_eq!(calls(&found[1..]), [3, 4, 5, 6]);
}

#[test]
fn damaged_copies_at_a_head_leave_the_records_behind_them() {
    let disk = MemDisk::new();
    let journal = open_with(&disk, 1, JournalSettings { segment_bytes: 300, ..settings() });
    let mut writer = journal.writer(0).unwrap();
    writer.append(Fact::Dispatch(&dispatch(99))).unwrap();
    for call in 1..=4 {
        writer.append(Fact::Settlement(&settlement(call))).unwrap();
    }
    let last = disk.segments().pop().unwrap();
    disk.change(&last, |bytes| bytes[segment::HEADER + 20] ^= 1);
    assert_eq!(calls(&read(&reader(&disk), stream(1, 0), 0, TO_THE_END)), [1, 2, 3, 4]);
    let survey = survey(&reader(&disk), 0, 2).unwrap();
    assert_eq!(survey.open.len(), 1, "the dispatch itself is still there");
    assert_eq!(survey.damage.corrupt, 1);
}
