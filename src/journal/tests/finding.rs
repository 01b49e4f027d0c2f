//! A call is found by its id wherever it stands.

use penstock_actors::domain::CallId;

use super::{
    samples::{dispatch, progress, settlement},
    *,
};

fn found(journal: &Journal, call: u128, known: u64) -> Option<&'static str> {
    match journal.find(CallId(call), &|_| known).unwrap()? {
        Journalled::Open(open) if open.progress.is_some() => Some("under way"),
        Journalled::Open(_) => Some("open"),
        Journalled::Settled(settled, _, end) => {
            assert_eq!((settled.call, end > 0), (CallId(call), true));
            Some("settled")
        }
    }
}

#[test]
fn a_call_is_found_open_under_way_and_settled_and_others_are_not() {
    let journal = open(&MemDisk::new(), 1);
    let mut writer = journal.writer(0).unwrap();
    writer.append(Fact::Dispatch(&dispatch(1))).unwrap();
    writer.append(Fact::Dispatch(&dispatch(2))).unwrap();
    writer.append(Fact::Progress(&progress(2, 5))).unwrap();
    writer.append(Fact::Dispatch(&dispatch(3))).unwrap();
    let at = writer.append(Fact::Settlement(&settlement(3))).unwrap();
    assert_eq!(
        [1, 2, 3, 4].map(|call| found(&journal, call, 0)),
        [Some("open"), Some("under way"), Some("settled"), None]
    );
    assert_eq!(found(&journal, 3, at.end), None, "it is known elsewhere, or was forgotten there");
    assert_eq!(found(&journal, 1, at.end), Some("open"), "a dispatch may stand before the known position");
}

#[test]
fn an_open_call_is_found_by_its_copy_once_older_segments_are_not_needed() {
    let journal = open_with(&MemDisk::new(), 1, JournalSettings { segment_bytes: 1 << 10, ..settings() });
    let mut writer = journal.writer(0).unwrap();
    writer.append(Fact::Dispatch(&dispatch(1))).unwrap();
    writer.append(Fact::Progress(&progress(1, 5))).unwrap();
    for call in 2..50 {
        writer.append(Fact::Settlement(&settlement(call))).unwrap();
    }
    journal.sync();
    assert!(writer.state().needed_from() > 2);
    assert_eq!(found(&journal, 1, writer.state().written()), Some("under way"));
    assert_eq!(found(&journal, 2, writer.state().written()), None, "it is known elsewhere by now");
    assert_eq!(found(&journal, 2, 0), Some("settled"));
}

#[test]
fn what_an_older_start_left_open_is_found_as_its_recovery_settled_it() {
    let disk = MemDisk::new();
    let first = open(&disk, 1);
    first.writer(0).unwrap().append(Fact::Dispatch(&dispatch(1))).unwrap();
    drop(first);
    let second = open(&disk, 2);
    assert_eq!(found(&second, 1, 0), None);
    let mut writer = second.writer(StreamId::RECOVERY).unwrap();
    recover(&second.reader(), 0, &mut writer, 0).unwrap();
    assert_eq!(found(&second, 1, 0), Some("settled"));
}
