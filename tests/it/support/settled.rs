//! Settlements as the journal would hold them.

use penstock::store::Logged;
use penstock_actors::{
    domain::{
        AccountChain, AccountId, AttemptFact, CallId, Endpoint, Fault, KeyId, Money, Outcome, PriceVersion,
        Settled, Settlement, StreamId, Usage, UsageSource,
    },
    usage_log::Range,
};

/// A worker's stream.
pub fn stream(worker: u16) -> StreamId {
    StreamId { node: 1, boot: 1, worker }
}

/// A part of a worker's stream.
pub fn part(worker: u16, from: u64, to: u64) -> Range {
    Range { stream: stream(worker), from, to }
}

/// A call that was settled, whose record ends at `ends_at` of the first worker's stream.
pub fn logged(id: u128, ends_at: u64, accounts: &[i64], charge: i64) -> Logged {
    let attempt = |channel: &str, fault| AttemptFact {
        channel: channel.to_owned(),
        after_ms: 1,
        took_ms: 2,
        status: 503,
        code: "x".to_owned(),
        fault,
        may_be_billed: false,
    };
    let settlement = Settlement {
        call: CallId(id),
        settled: Settled::Settled,
        arrived_ms: 1_000 + ends_at as i64,
        first_byte_ms: 5,
        took_ms: 9,
        key: KeyId(7),
        accounts: AccountChain(accounts.iter().map(|a| AccountId(*a)).collect()),
        reserved: Money::from_nanos(charge * 2),
        charge: Money::from_nanos(charge),
        cost: Money::from_nanos(charge / 2),
        price: PriceVersion(3),
        endpoint: Endpoint::ChatCompletions,
        is_stream: true,
        outcome: Outcome::Completed,
        status: 200,
        code: String::new(),
        model: "m\0ü".to_owned(),
        upstream_model: "M".to_owned(),
        channel: "b".to_owned(),
        client_request_id: "é".repeat(300),
        usage: Usage { input: 1, output: 2, ..Usage::default() },
        usage_source: UsageSource::Upstream,
        attempts: vec![attempt("a", Some(Fault::Upstream)), attempt("b", None)],
    };
    Logged { stream: stream(0), ends_at, settlement }
}
