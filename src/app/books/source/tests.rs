//! What the consumers are shown, and when: against a disk that syncs late or takes nothing.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use penstock_actors::{
    billing::ledger::Funds,
    domain::{
        AccountChain, AccountId, CallId, Endpoint, KeyId, Money, Outcome, PriceVersion, Settled, Usage,
        UsageSource,
    },
};

use super::*;
use crate::{
    app::books::faulty::FaultyDisk,
    journal::{Fact, JournalSettings, JournalWriter, Power, Stage},
};

/// A journal whose background syncs only when it is woken.
struct World {
    disk: FaultyDisk,
    source: Source,
    writer: JournalWriter,
    head: Arc<AtomicU64>,
    _dir: tempfile::TempDir,
}

impl World {
    fn new(power: Power) -> Self {
        let (dir, disk) = (tempfile::tempdir().unwrap(), FaultyDisk::default());
        let (hour, soon) = (Duration::from_secs(3_600), Duration::from_millis(1));
        let usual = JournalSettings::new(dir.path().to_owned());
        let settings = JournalSettings { sync_interval: hour, retry: soon, power, ..usual };
        let journal = Arc::new(Journal::open(settings, Arc::new(disk.clone()), 7, 2).unwrap());
        let writer = journal.writer(0).unwrap();
        let heads = Heads::default();
        let head = heads.begin(writer.stream());
        let source = Source { journal, ended: Vec::new(), heads };
        Self { disk, source, writer, head, _dir: dir }
    }

    /// Settles a call, and gives its part of the stream.
    fn settle(&mut self, accounts: &[i64], charge: i64) -> (Range, Stage) {
        let appended = self.writer.append(Fact::Settlement(&settlement(accounts, charge))).unwrap();
        self.head.store(appended.end, Ordering::Release);
        let stream = self.writer.stream();
        (Range { stream, from: appended.previous, to: appended.end }, appended.stage)
    }

    /// Whether a part becomes durable without anyone asking for it.
    async fn is_synced_within(&self, part: Range, time: Duration) -> bool {
        tokio::time::timeout(time, self.source.synced(&[part])).await.is_ok()
    }
}

fn settlement(accounts: &[i64], charge: i64) -> Settlement {
    Settlement {
        call: CallId(1),
        settled: Settled::Settled,
        arrived_ms: 1,
        first_byte_ms: 1,
        took_ms: 1,
        key: KeyId(1),
        accounts: AccountChain(accounts.iter().map(|id| AccountId(*id)).collect()),
        reserved: Money::from_nanos(charge),
        charge: Money::from_nanos(charge),
        cost: Money::ZERO,
        price: PriceVersion(1),
        endpoint: Endpoint::ChatCompletions,
        is_stream: false,
        outcome: Outcome::Completed,
        status: 200,
        code: String::new(),
        model: "m".to_owned(),
        upstream_model: "m".to_owned(),
        channel: "c".to_owned(),
        client_request_id: String::new(),
        usage: Usage::default(),
        usage_source: UsageSource::Upstream,
        attempts: Vec::new(),
    }
}

#[actix_web::test]
async fn what_the_process_alone_has_is_not_synced_until_the_disk_is_asked_to() {
    let mut world = World::new(Power::Process);
    let (part, _) = world.settle(&[1], 5);
    assert!(!world.is_synced_within(part, Duration::from_millis(20)).await);
    world.source.journal.sync();
    assert!(world.is_synced_within(part, Duration::from_secs(60)).await);
}

#[actix_web::test]
async fn in_power_mode_each_settlement_is_synced_by_itself() {
    let mut world = World::new(Power::Machine);
    let (part, _) = world.settle(&[1], 5);
    assert!(world.is_synced_within(part, Duration::from_secs(60)).await);
}

#[actix_web::test]
async fn what_waits_for_a_disk_that_takes_nothing_is_not_read_as_lost() {
    let mut world = World::new(Power::Process);
    let (first, _) = world.settle(&[1], 5);
    world.disk.takes(0);
    // The spare was made before and would take it, could it be written to.
    let (second, stage) = world.settle(&[1], 6);
    assert_eq!(stage, Stage::Queued);
    let part = Range { from: 0, ..second };
    let found = world.source.read(part, 9).unwrap();
    assert_eq!(found.iter().map(|(end, _)| *end).collect::<Vec<_>>(), [first.to]);
    assert!(matches!(found[0].1, Found::Settlement(_)));
    world.disk.takes(u64::MAX);
    let give_up = Instant::now() + Duration::from_secs(60);
    while world.source.read(part, 9).unwrap().len() < 2 {
        assert!(Instant::now() < give_up, "it was written late, and is read then");
        // Which makes a new spare, without which the disk is not trusted.
        world.source.journal.sync();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[actix_web::test]
async fn what_was_settled_since_a_snapshot_is_drawn_once_from_each_account_of_a_chain() {
    let mut world = World::new(Power::Process);
    let (first, _) = world.settle(&[1, 2], 5);
    let (last, _) = world.settle(&[1, 2, 2, 99], 6);
    let ledger = Ledger::new();
    for id in [1, 2] {
        ledger.open(AccountId(id), Money::from_nanos(100), Funds::Limited);
    }
    let left = || [1, 2].map(|id| ledger.cell(AccountId(id)).unwrap().available().nanos());
    let ahead = world.source.draw_since(&[(first.stream, first.to)].into(), &ledger).unwrap();
    assert_eq!((left(), ahead), ([94, 94], [(last.stream, last.to)].into()));
    world.source.draw_since(&Positions::new(), &ledger).unwrap();
    assert_eq!(left(), [83, 83], "without a position, from the beginning");
}
