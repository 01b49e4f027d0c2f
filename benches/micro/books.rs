//! The books' part of a call: quote, settle, journal append, ring.

use crate::measure;
use penstock::journal::{Fact, Journal, JournalSettings, disk::OsDisk, record};
use penstock_actors::billing::{self, Foreseen, Ledger, OutputLengths, ledger::Funds};
use penstock_actors::domain::{
    AccountChain, AccountId, AttemptFact, CallId, Dispatch, Endpoint, Form, KeyId, Money, Outcome,
    PicosPerUnit, Price, PriceVersion, Rates, Ratio, Settled, Settlement, StreamId, Tariff, Usage,
    UsageSource,
};
use penstock_actors::usage_log::{Batch, Continuity, Range, UsageEvent, UsageRing, Verdict};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// Events in a batch.
const BATCH: usize = 500;
const STREAM: StreamId = StreamId { node: 1, boot: 1, worker: 0 };

/// Measures each part.
pub fn books() {
    quote();
    settle();
    journal();
    ring();
}

fn quote() {
    let price = price();
    let foreseen = Foreseen { prompt_bytes: 4_096, learned: Some(300), ..Foreseen::default() };
    measure("quote: estimate of a call", 0, || {
        black_box(billing::estimate(black_box(&price), &foreseen, Ratio::ONE));
    });
    let usage = usage();
    measure("quote: charge of a call", 0, || {
        black_box(billing::charge(black_box(&price), &usage, Ratio::ONE));
    });
    let mut lengths = OutputLengths::new(1_000);
    measure("quote: length learned and told", 0, || {
        lengths.learn(KeyId(7), "gpt-x-large", 300);
        black_box(lengths.p90(KeyId(7), "gpt-x-large"));
    });
}

fn settle() {
    let ledger = Ledger::new();
    for id in [1, 2] {
        ledger.open(AccountId(id), Money::MAX, Funds::Limited);
    }
    let (chain, held) = (accounts(), Money::from_nanos(9_000_000));
    measure("settle: two accounts found, held and drawn", 0, || {
        let reservation = ledger.chain(&chain).unwrap().reserve(held).unwrap();
        reservation.settle(Money::from_nanos(1));
    });
}

fn journal() {
    let folder = tempfile::tempdir().unwrap();
    // All of it on this thread: no worker writes a million records a second.
    let settings =
        JournalSettings { slow_write: Duration::MAX, ..JournalSettings::new(folder.path().to_owned()) };
    let journal = Journal::open(settings, Arc::new(OsDisk), 1, 1).unwrap();
    let mut writer = journal.writer(0).unwrap();
    let (mut dispatch, mut settlement) = (dispatch(), settlement());
    let mut bytes = Vec::new();
    measure("journal: settlement encoded", 0, || {
        bytes.clear();
        record::encode(&Fact::Settlement(black_box(&settlement)), &mut bytes).unwrap();
    });
    measure("journal: dispatch and settlement appended", 0, || {
        dispatch.call.0 = dispatch.call.0.wrapping_add(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        settlement.call = dispatch.call;
        writer.append(Fact::Dispatch(&dispatch)).unwrap();
        writer.append(Fact::Settlement(&settlement)).unwrap();
    });
}

fn ring() {
    let mut payload = Vec::new();
    record::encode(&Fact::Settlement(&settlement()), &mut payload).unwrap();
    let ring = UsageRing::new(4 * BATCH, 1);
    let push = |number: u64| {
        UsageEvent { stream: STREAM, from: number, to: number + 1, payload: &payload }.push(&ring);
    };
    let mut number = 0;
    measure("ring: push", payload.len(), || {
        push(number);
        number += 1;
    });
    let mut reader = ring.reader(0);
    let mut bytes = Vec::new();
    measure(&format!("ring: push and batch of {BATCH} events"), BATCH * payload.len(), || {
        reader.skip();
        let mut streams = Continuity::from([(STREAM, number)].into());
        let mut batch = Batch::default();
        for _ in 0..BATCH {
            push(number);
            number += 1;
        }
        reader.read(BATCH, |words| {
            let event = UsageEvent::read(words, &mut bytes).unwrap();
            let part = Range { stream: event.stream, from: event.from, to: event.to };
            assert_eq!(streams.judge(part), Verdict::Apply);
            streams.advance(part.stream, part.to);
            batch.apply(part, record::decode_settlement(event.payload).unwrap());
        });
        assert_eq!(black_box(batch).settlements.len(), BATCH);
    });
}

fn price() -> Price {
    let rates = Rates {
        input: PicosPerUnit(1_250_000),
        output: PicosPerUnit(10_000_000),
        cached_read: Some(PicosPerUnit(125_000)),
        ..Rates::default()
    };
    let form = Form::Tariff(Tariff { rates, ..Tariff::default() });
    Price { version: PriceVersion(1 << 60), model: "gpt-x-large".into(), form, exchange: None }
}

fn usage() -> Usage {
    Usage { input: 1_200, cached_read: 100, output: 300, ..Usage::default() }
}

fn accounts() -> AccountChain {
    AccountChain(vec![AccountId(1), AccountId(2)])
}

fn dispatch() -> Dispatch {
    Dispatch {
        call: CallId(1),
        attempt: 1,
        at_ms: 1_790_000_000_000,
        key: KeyId(7),
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

fn settlement() -> Settlement {
    let Dispatch {
        call,
        at_ms,
        key,
        accounts,
        reserved,
        endpoint,
        model,
        upstream_model,
        channel,
        price,
        ..
    } = dispatch();
    let attempts = vec![AttemptFact {
        channel: channel.clone(),
        after_ms: 1,
        took_ms: 299,
        status: 200,
        code: String::new(),
        fault: None,
        may_be_billed: false,
    }];
    Settlement {
        call,
        settled: Settled::Settled,
        arrived_ms: at_ms,
        first_byte_ms: 300,
        took_ms: 2_000,
        key,
        accounts,
        reserved,
        charge: Money::from_nanos(4_000_000),
        cost: Money::from_nanos(3_000_000),
        price,
        endpoint,
        is_stream: true,
        outcome: Outcome::Completed,
        status: 200,
        code: String::new(),
        model,
        upstream_model,
        channel,
        client_request_id: String::new(),
        usage: usage(),
        usage_source: UsageSource::Upstream,
        attempts,
    }
}
