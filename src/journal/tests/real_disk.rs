//! The same on real file systems: a temporary folder, and a tiny one in memory where the user may mount it.

use std::{fs, process::Command};

use super::{
    disk::OsDisk,
    samples::{dispatch, settlement},
    *,
};

fn on(folder: &Path) -> Journal {
    let settings = JournalSettings {
        segment_bytes: 16 << 10,
        spare_bytes: 16 << 10,
        sync_interval: Duration::from_millis(1),
        retry: Duration::ZERO,
        // A busy machine must not change what the tests see.
        slow_write: Duration::MAX,
        ..JournalSettings::new(folder.to_owned())
    };
    Journal::open(settings, Arc::new(OsDisk), NODE, 1).unwrap()
}

#[test]
fn a_consumer_that_reads_while_the_writer_goes_on_misses_nothing() {
    const COUNT: u128 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let journal = on(folder.path());
    let mut writer = journal.writer(0).unwrap();
    let state = writer.state().clone();
    let reader = journal.reader();
    let consumer = std::thread::spawn(move || {
        let mut settlements = reader.read(state.stream(), 0);
        let mut found = Vec::new();
        while found.len() < COUNT as usize {
            match settlements.next_settlement(state.written()).unwrap() {
                Some(next) => found.push(next),
                None => std::thread::yield_now(),
            }
        }
        calls(&found)
    });
    for call in 0..COUNT {
        writer.append(Fact::Settlement(&settlement(call))).unwrap();
    }
    assert_eq!(consumer.join().unwrap(), (0..COUNT).collect::<Vec<_>>());
    assert!(journal.counters().segments.value() > 100);
}

#[test]
fn a_journal_is_read_back_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let journal = on(folder.path());
    let mut writer = journal.writer(3).unwrap();
    let end = writer.append(Fact::Settlement(&settlement(1))).unwrap().end;
    assert_eq!(writer.state().block_durable(end, Duration::from_secs(60)), Some(Ok(())));
    drop((writer, journal));
    let reader = JournalReader::new(Arc::new(OsDisk), folder.path().to_owned(), NODE);
    assert_eq!(reader.streams().unwrap(), [stream(1, 3)]);
    assert_eq!(calls(&read(&reader, stream(1, 3), 0, TO_THE_END)), [1]);
}

/// A file system of 256 KiB; `None` where it may not be mounted.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(folder.path());
        let is_mounted = mount.output().is_ok_and(|out| out.status.success());
        is_mounted.then(|| Self(folder))
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_file_system_refuses_dispatches_and_keeps_settlements() {
    let Some(tiny) = Tiny::mount() else {
        eprintln!("not run: no file system may be mounted here");
        return;
    };
    let journal = on(tiny.0.path());
    let mut writer = journal.writer(0).unwrap();
    let (mut last, mut settled) = (0, Vec::new());
    let mut settle = |writer: &mut JournalWriter, call| {
        settled.push(call);
        writer.append(Fact::Settlement(&settlement(call))).unwrap().stage
    };
    while writer.append(Fact::Dispatch(&dispatch(last + 1))).is_ok() {
        last += 1;
        assert!(last < 10_000, "256 KiB cannot hold so many");
        if last > 50 {
            settle(&mut writer, last - 50);
        }
    }
    for call in last - 49..=last {
        assert_eq!(settle(&mut writer, call), Stage::Written);
    }
    let mut files: Vec<_> = fs::read_dir(tiny.0.path()).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort_unstable();
    files[..4].iter().for_each(|oldest| fs::remove_file(oldest).unwrap());
    journal.sync();
    writer.append(Fact::Dispatch(&dispatch(last + 1))).unwrap();
    settle(&mut writer, last + 1);
    let mut found = read(&journal.reader(), stream(1, 0), 0, writer.state().written());
    assert!(matches!(found.remove(0), Found::Gap(gap) if gap.from == 0), "what was deleted is missing");
    let found = calls(&found);
    assert!(found.len() > 50);
    assert_eq!(found, settled[settled.len() - found.len()..]);
}
