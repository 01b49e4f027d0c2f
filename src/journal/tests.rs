//! The journal as a whole: against faults of the disk, against crashes at any point, against damage.

mod crashes;
mod damage;
mod faults;
mod finding;
mod keeping;
mod mem_disk;
mod real_disk;
pub(super) mod samples;

use std::{path::Path, sync::Arc, time::Duration};

use super::*;
use mem_disk::MemDisk;

const NODE: u32 = 7;
const FOLDER: &str = "/journal";

/// Small, and without the background: tests say when streams are synced.
fn settings() -> JournalSettings {
    JournalSettings {
        spare_bytes: 4 << 10,
        sync_interval: Duration::from_secs(3_600),
        retry: Duration::from_millis(1),
        ..JournalSettings::new(Path::new(FOLDER).to_owned())
    }
}

fn open(disk: &MemDisk, boot: u32) -> Journal {
    open_with(disk, boot, settings())
}

fn open_with(disk: &MemDisk, boot: u32, settings: JournalSettings) -> Journal {
    Journal::open(settings, Arc::new(disk.clone()), NODE, boot).unwrap()
}

fn stream(boot: u32, worker: u16) -> StreamId {
    StreamId { node: NODE, boot, worker }
}

/// Everything that a consumer finds in a stream, to its end or a head.
fn read(reader: &JournalReader, stream: StreamId, from: u64, head: u64) -> Vec<Found> {
    let mut settlements = reader.read(stream, from);
    let mut found = Vec::new();
    while let Some(next) = settlements.next_settlement(head).unwrap() {
        found.push(next);
    }
    found
}

/// The calls of the settlements found, in order; a gap fails the test.
fn calls(found: &[Found]) -> Vec<u128> {
    let call = |found: &Found| match found {
        Found::Settlement(settlement, _) => settlement.call.0,
        Found::Gap(gap) => panic!("{gap:?}"),
    };
    found.iter().map(call).collect()
}
