//! What a start settles for the starts before it, on disks that are slow or full.

use std::path::Path;

use penstock_actors::domain::{AccountChain, CallId, Dispatch, Endpoint, KeyId, PriceVersion};

use super::{faulty::FaultyDisk, *};
use crate::journal::{Fact, Found};

fn dispatch(call: u128) -> Dispatch {
    Dispatch {
        call: CallId(call),
        attempt: 1,
        at_ms: 1,
        key: KeyId(1),
        accounts: AccountChain(vec![AccountId(1)]),
        reserved: Money::from_nanos(9),
        least: Money::from_nanos(4),
        endpoint: Endpoint::ChatCompletions,
        model: "m".to_owned(),
        upstream_model: "m".to_owned(),
        channel: "c".to_owned(),
        price: PriceVersion(1),
    }
}

fn open(data: &Path, disk: &FaultyDisk) -> (Journal, Node) {
    let node = Node::open(data).unwrap();
    let settings = JournalSettings::new(node.folder().to_path_buf());
    (Journal::open(settings, Arc::new(disk.clone()), node.node(), node.boot()).unwrap(), node)
}

/// A start that dies with so many calls under way.
fn leave_open(data: &Path, calls: u128) {
    let (journal, _node) = open(data, &FaultyDisk::default());
    let mut writer = journal.writer(0).unwrap();
    for call in 1..=calls {
        writer.append(Fact::Dispatch(&dispatch(call))).unwrap();
    }
}

/// The calls that consumers are shown, up to the heads they are told.
fn shown(journal: &Journal, older: &Older, heads: &Heads) -> Vec<u128> {
    let mut calls = Vec::new();
    for (stream, head) in older.ended.iter().copied().chain(heads.all()) {
        let mut records = journal.reader().read(stream, 0);
        while let Some(found) = records.next_settlement(head).unwrap() {
            let Found::Settlement(settlement, _) = found else { panic!("{found:?} in {stream:?}") };
            calls.push(settlement.call.0);
        }
    }
    calls
}

#[test]
fn what_a_start_settles_on_a_slow_disk_is_all_shown_to_the_consumers() {
    let (data, disk) = (tempfile::tempdir().unwrap(), FaultyDisk::default());
    leave_open(data.path(), 5);
    disk.is_slow();
    let (journal, mut node) = open(data.path(), &disk);
    let heads = Heads::default();
    let older = settle_what_is_open(&journal, &mut node, &heads).unwrap();
    assert_eq!((older.abandoned.0, node.recovered()), (5, 1));
    assert_eq!(shown(&journal, &older, &heads), [1, 2, 3, 4, 5]);
}

#[test]
fn what_a_start_cannot_settle_on_a_full_disk_is_left_to_the_next() {
    let (data, disk) = (tempfile::tempdir().unwrap(), FaultyDisk::default());
    leave_open(data.path(), 3);
    {
        let (journal, mut node) = open(data.path(), &disk);
        // A file, its header, one settlement.
        disk.takes(3);
        let heads = Heads::default();
        let older = settle_what_is_open(&journal, &mut node, &heads).unwrap();
        assert_eq!(shown(&journal, &older, &heads), [1]);
        assert_eq!(node.recovered(), 0, "calls are open still");
    }
    disk.takes(u64::MAX);
    let (journal, mut node) = open(data.path(), &disk);
    let heads = Heads::default();
    let older = settle_what_is_open(&journal, &mut node, &heads).unwrap();
    assert_eq!((older.abandoned.0, node.recovered()), (2, 2));
    assert_eq!(shown(&journal, &older, &heads), [1, 2, 3]);
}
