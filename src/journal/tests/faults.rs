//! A disk that is full, read-only, slow, or takes half a record.

use std::time::Instant;

use super::{
    mem_disk::WriteFault,
    samples::{dispatch, progress, settlement},
    *,
};

fn settle(writer: &mut JournalWriter, call: u128) -> Appended {
    writer.append(Fact::Settlement(&settlement(call))).unwrap()
}

fn all_calls(disk: &MemDisk) -> Vec<u128> {
    let reader = JournalReader::new(Arc::new(disk.clone()), Path::new(FOLDER).to_owned(), NODE);
    calls(&read(&reader, stream(1, 0), 0, TO_THE_END))
}

/// Waits for another thread; fails after a minute.
fn until(mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < give_up, "it never came");
        std::thread::yield_now();
    }
}

#[test]
fn a_settlement_says_where_the_one_before_it_ended() {
    let journal = open(&MemDisk::new(), 1);
    let mut writer = journal.writer(0).unwrap();
    let first = settle(&mut writer, 1);
    assert_eq!((first.offset, first.previous), (0, 0));
    let between = writer.append(Fact::Dispatch(&dispatch(2))).unwrap();
    let second = settle(&mut writer, 2);
    assert_eq!((second.previous, second.offset), (first.end, between.end));
    assert_eq!(writer.state().written(), second.end);
    assert_eq!(record::decode_settlement(writer.payload()), Ok(settlement(2)));
}

#[test]
fn a_record_after_any_failed_write_goes_whole_to_the_next_segment() {
    for fault in [
        WriteFault::Fails,
        WriteFault::FailsAfterwards,
        WriteFault::Short(0),
        WriteFault::Short(1),
        WriteFault::Short(8),
        WriteFault::Short(9),
        WriteFault::Short(1_000),
    ] {
        let disk = MemDisk::new();
        let journal = open(&disk, 1);
        let mut writer = journal.writer(0).unwrap();
        settle(&mut writer, 1);
        disk.next_writes([fault]);
        assert_eq!(settle(&mut writer, 2).stage, Stage::Written);
        settle(&mut writer, 3);
        assert_eq!(disk.segments().len(), 2, "{fault:?}");
        assert_eq!(all_calls(&disk), [1, 2, 3], "{fault:?}");
        assert!(!writer.state().is_failing());
    }
}

#[test]
fn a_dispatch_that_was_refused_does_not_hide_what_was_written_in_its_place() {
    let disk = MemDisk::new();
    let journal = open(&disk, 1);
    let mut writer = journal.writer(0).unwrap();
    settle(&mut writer, 1);
    // It is on disk, the kernel says that it is not, and no new segment can be made.
    disk.next_writes([WriteFault::FailsAfterwards, WriteFault::Fails]);
    let refused = writer.append(Fact::Dispatch(&dispatch(2))).unwrap_err();
    assert!(matches!(refused, JournalError::Full(_)), "{refused}");
    assert_eq!(settle(&mut writer, 2).stage, Stage::Written);
    assert_eq!(settle(&mut writer, 3).stage, Stage::Written);
    assert_eq!(all_calls(&disk), [1, 2, 3]);
    assert!(survey(&journal.reader(), 0, 2).unwrap().open.is_empty());
}

#[test]
fn a_full_disk_refuses_dispatches_and_takes_settlements_in_flight() {
    let disk = MemDisk::new();
    let journal = open(&disk, 1);
    let mut writer = journal.writer(0).unwrap();
    for call in 1..=3 {
        writer.append(Fact::Dispatch(&dispatch(call))).unwrap();
    }
    disk.set_room(Some(0));
    assert!(matches!(writer.append(Fact::Dispatch(&dispatch(4))), Err(JournalError::Full(_))));
    assert!(writer.state().is_failing());
    assert_eq!(writer.append(Fact::Progress(&progress(1, 2_000))).unwrap().stage, Stage::Skipped);
    for call in 1..=3 {
        assert_eq!(settle(&mut writer, call).stage, Stage::Written);
    }
    assert_eq!(all_calls(&disk), [1, 2, 3]);

    disk.set_room(None);
    disk.pass_time(settings().retry);
    journal.sync();
    writer.append(Fact::Dispatch(&dispatch(5))).unwrap();
    assert!(!writer.state().is_failing());
    settle(&mut writer, 5);
    assert_eq!(all_calls(&disk), [1, 2, 3, 5]);
    assert_eq!(journal.counters().refused.value(), 1);
    assert_eq!(journal.counters().spares.value(), 1);
}

#[test]
fn a_disk_without_room_for_a_spare_is_not_trusted_again() {
    let disk = MemDisk::new();
    let journal = open(&disk, 1);
    let mut writer = journal.writer(0).unwrap();
    disk.set_room(Some(0));
    settle(&mut writer, 1);
    disk.set_room(Some(1_000));
    disk.pass_time(settings().retry);
    journal.sync();
    assert!(writer.append(Fact::Dispatch(&dispatch(2))).is_err());
}

#[test]
fn without_any_disk_settlements_wait_in_memory_and_are_written_when_it_returns() {
    let disk = MemDisk::new();
    let journal = open(&disk, 1);
    let mut writer = journal.writer(0).unwrap();
    settle(&mut writer, 1);
    disk.set_read_only(true);
    let waiting = settle(&mut writer, 2);
    assert_eq!((waiting.stage, waiting.offset), (Stage::Queued, waiting.previous));
    assert_eq!(settle(&mut writer, 3).previous, waiting.end);
    assert!(writer.append(Fact::Dispatch(&dispatch(4))).is_err());
    assert_eq!(all_calls(&disk), [1]);
    disk.set_read_only(false);
    disk.pass_time(settings().retry);
    until(|| {
        journal.sync();
        disk.pass_time(settings().retry);
        writer.state().written() == waiting.end + (waiting.end - waiting.offset)
    });
    assert_eq!(all_calls(&disk), [1, 2, 3]);
}

#[test]
fn the_queue_is_bounded_and_keeps_half_of_its_room_for_settlements() {
    let disk = MemDisk::new();
    let record = record_length();
    let settings =
        JournalSettings { queue_bytes: 4 * record + record / 2, on_failure: OnFailure::GoOn, ..settings() };
    let journal = open_with(&disk, 1, settings);
    let mut writer = journal.writer(0).unwrap();
    disk.set_read_only(true);
    let before = settle(&mut writer, 1).end;
    for call in 2..=4 {
        assert_eq!(settle(&mut writer, call).stage, Stage::Queued);
    }
    assert_eq!(writer.append(Fact::Dispatch(&dispatch(9))).unwrap().stage, Stage::Skipped);
    assert!(matches!(writer.append(Fact::Settlement(&settlement(5))), Err(JournalError::Lost)));
    assert_eq!(writer.append(Fact::Progress(&progress(9, 1))).unwrap().offset, 4 * before);
    assert_eq!(journal.counters().lost.value(), 1);
    disk.set_read_only(false);
    until(|| {
        disk.pass_time(Duration::from_secs(1));
        journal.sync();
        writer.state().written() == 4 * before
    });
    assert_eq!(all_calls(&disk), [1, 2, 3, 4], "what was lost left no hole");
}

fn record_length() -> u64 {
    settle(&mut open(&MemDisk::new(), 1).writer(0).unwrap(), 1).end
}

#[test]
fn a_slow_write_moves_the_records_to_a_thread_until_the_disk_is_quick_again() {
    let disk = MemDisk::new();
    let journal = open(&disk, 1);
    let mut writer = journal.writer(0).unwrap();
    disk.next_writes([WriteFault::Slow(Duration::from_millis(6))]);
    assert_eq!(settle(&mut writer, 1).stage, Stage::Written);
    let mut queued = 0;
    let mut call = 1;
    let mut end = 0;
    while queued == call - 1 {
        call += 1;
        let appended = settle(&mut writer, call);
        queued += u128::from(appended.stage == Stage::Queued);
        end = appended.end;
        until(|| writer.state().written() == end);
    }
    assert!(queued >= 8, "it goes back only after a row of quick writes, not after {queued}");
    assert_eq!(writer.state().written(), end);
    assert_eq!(all_calls(&disk), (1..=call).collect::<Vec<_>>());
    assert_eq!(journal.counters().slow_writes.value(), 1);
}

#[test]
fn a_writer_that_ends_waits_for_what_it_queued() {
    let disk = MemDisk::new();
    let journal = open(&disk, 1);
    let mut writer = journal.writer(0).unwrap();
    disk.next_writes([WriteFault::Slow(Duration::from_millis(6))]);
    for call in 1..=200 {
        settle(&mut writer, call);
    }
    drop(writer);
    assert_eq!(all_calls(&disk), (1..=200).collect::<Vec<_>>());
}

#[test]
fn what_may_go_on_without_the_journal_does_so_where_the_settings_say() {
    let disk = MemDisk::new();
    let journal = open_with(&disk, 1, JournalSettings { on_failure: OnFailure::GoOn, ..settings() });
    let mut writer = journal.writer(0).unwrap();
    disk.set_room(Some(0));
    assert_eq!(writer.append(Fact::Dispatch(&dispatch(1))).unwrap().stage, Stage::Skipped);
    assert_eq!(settle(&mut writer, 1).stage, Stage::Written);
    assert_eq!(all_calls(&disk), [1]);
}

#[test]
fn durable_is_what_was_synced_and_no_more() {
    let disk = MemDisk::new();
    let journal = open(&disk, 1);
    let mut writer = journal.writer(0).unwrap();
    let first = settle(&mut writer, 1);
    assert_eq!(writer.state().durable().upto, 0);
    journal.sync();
    assert_eq!(writer.state().durable().upto, first.end);
    settle(&mut writer, 2);
    assert_eq!(writer.state().durable().upto, first.end);
    let cut = disk.after_power_cut(|_| 0);
    assert_eq!(all_calls(&cut), [1]);
}

#[test]
fn a_segment_whose_sync_failed_is_given_up_and_its_records_are_in_doubt() {
    let disk = MemDisk::new();
    let journal = open(&disk, 1);
    let mut writer = journal.writer(0).unwrap();
    let first = settle(&mut writer, 1);
    journal.sync();
    let second = settle(&mut writer, 2);
    disk.next_sync_fails();
    journal.sync();
    let none = Duration::ZERO;
    assert_eq!(writer.state().block_durable(first.end, none), Some(Ok(())));
    assert_eq!(writer.state().block_durable(second.end, none), Some(Err(InDoubt)));
    let third = settle(&mut writer, 3);
    assert_eq!(disk.segments().len(), 2);
    assert_eq!(writer.state().block_durable(third.end, none), None);
    journal.sync();
    assert_eq!(writer.state().block_durable(third.end, none), Some(Ok(())));
    assert_eq!(writer.state().block_durable(second.end, none), Some(Err(InDoubt)));
    assert_eq!(all_calls(&disk), [1, 2, 3]);
}

#[test]
fn whoever_waits_for_durability_wakes_the_keeper() {
    let journal = open(&MemDisk::new(), 1);
    let mut writer = journal.writer(0).unwrap();
    let end = settle(&mut writer, 1).end;
    assert_eq!(writer.state().block_durable(end, Duration::from_secs(60)), Some(Ok(())));
    let end = settle(&mut writer, 2).end;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(writer.state().wait_durable(end)), Ok(()));
}

#[test]
fn a_worker_has_one_stream_a_start() {
    let journal = open(&MemDisk::new(), 1);
    let _first = journal.writer(0).unwrap();
    assert!(matches!(journal.writer(0), Err(JournalError::Taken(0))));
}

#[test]
fn spares_go_with_the_process_or_with_the_next() {
    let disk = MemDisk::new();
    let journal = open(&disk, 1);
    let _writer = journal.writer(0).unwrap();
    assert_eq!(disk.names().len(), 2, "a segment and a spare");
    let next = disk.after_kill();
    drop(open(&next, 2));
    assert_eq!(next.names(), next.segments());
    drop(journal);
    assert_eq!(disk.names(), disk.segments());
}
