//! What a record costs the worker: CPU and wall time of an append, with the syncing thread at work.
//!
//! `cargo bench --bench journal`. Set `PENSTOCK_BENCH_FOLDER` to measure another disk than the temporary one.
#![allow(clippy::unwrap_used, reason = "a bench may fail where it stands")]

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use penstock::journal::{Fact, Journal, JournalSettings, disk::OsDisk};
use penstock_actors::domain::{
    AccountChain, AccountId, AttemptFact, CallId, Dispatch, Endpoint, KeyId, Money, Outcome, PriceVersion,
    Settled, Settlement, Usage, UsageSource,
};

const CALLS: u128 = 100_000;
/// Calls in flight while one is settled.
const OPEN: u128 = 64;
const ROUNDS: usize = 5;

fn main() {
    let temporary = tempfile::tempdir().unwrap();
    let folder =
        std::env::var_os("PENSTOCK_BENCH_FOLDER").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    println!("{CALLS} calls a round: a dispatch and a settlement each, {OPEN} open");
    let mut cpu = Vec::new();
    for round in 0..ROUNDS {
        // All of it on this thread: no worker writes a million records a second.
        let settings = JournalSettings { slow_write: Duration::MAX, ..JournalSettings::new(folder.clone()) };
        let journal = Journal::open(settings, Arc::new(OsDisk), 1, 1 + round as u32).unwrap();
        let mut writer = journal.writer(0).unwrap();
        let (began, cpu_began) = (Instant::now(), thread_cpu());
        for call in 0..CALLS {
            writer.append(Fact::Dispatch(&dispatch(call))).unwrap();
            if call >= OPEN {
                writer.append(Fact::Settlement(&settlement(call - OPEN))).unwrap();
            }
        }
        let (wall, spent) = (began.elapsed(), thread_cpu() - cpu_began);
        let counters = journal.counters();
        let records = counters.records.value();
        let each = |nanos: u128| nanos / u128::from(records.max(1));
        cpu.push(each(spent.into()));
        println!(
            "round {round}: {} ns CPU, {} ns wall an append; {} bytes a record; {} slow, {} queued, {} syncs of {} us",
            each(spent.into()),
            each(wall.as_nanos()),
            counters.bytes.value() / records.max(1),
            counters.slow_writes.value(),
            counters.queued.value(),
            counters.syncs.value(),
            counters.sync_micros.value() / counters.syncs.value().max(1),
        );
    }
    cpu.sort_unstable();
    println!("median {} ns CPU an append", cpu[ROUNDS / 2]);
}

/// Nanoseconds this thread has run, as the scheduler counts them.
fn thread_cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

fn accounts() -> AccountChain {
    AccountChain(vec![AccountId(1 << 50), AccountId(1 << 49)])
}

/// A call's id is random, as a UUID's is, for the map of open calls.
fn id(call: u128) -> CallId {
    CallId((call + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

fn dispatch(call: u128) -> Dispatch {
    Dispatch {
        call: id(call),
        attempt: 1,
        at_ms: 1_790_000_000_000,
        key: KeyId(1 << 50),
        accounts: accounts(),
        reserved: Money::from_nanos(9_000_000),
        least: Money::from_nanos(1_000_000),
        endpoint: Endpoint::ChatCompletions,
        model: "gpt-x-large".into(),
        upstream_model: "gpt-x-large-2026-05-01".into(),
        channel: "first-channel".into(),
        price: PriceVersion(1 << 60),
    }
}

fn settlement(call: u128) -> Settlement {
    let dispatch = dispatch(call);
    Settlement {
        call: dispatch.call,
        settled: Settled::Settled,
        arrived_ms: dispatch.at_ms,
        first_byte_ms: 300,
        took_ms: 2_000,
        key: dispatch.key,
        accounts: dispatch.accounts,
        reserved: dispatch.reserved,
        charge: Money::from_nanos(4_000_000),
        cost: Money::from_nanos(3_000_000),
        price: dispatch.price,
        endpoint: dispatch.endpoint,
        is_stream: true,
        outcome: Outcome::Completed,
        status: 200,
        code: String::new(),
        model: dispatch.model,
        upstream_model: dispatch.upstream_model,
        channel: dispatch.channel.clone(),
        client_request_id: String::new(),
        usage: Usage { input: 1_200, output: 300, ..Usage::default() },
        usage_source: UsageSource::Upstream,
        attempts: vec![AttemptFact {
            channel: dispatch.channel,
            after_ms: 1,
            took_ms: 299,
            status: 200,
            code: String::new(),
            fault: None,
            may_be_billed: false,
        }],
    }
}
