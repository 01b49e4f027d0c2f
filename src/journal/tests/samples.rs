//! Records to write: some that are easy to tell apart, and any at all.

use penstock_actors::domain::{
    AccountChain, AccountId, AttemptFact, CallId, Dispatch, Endpoint, Fault, KeyId, Money, Outcome,
    PriceVersion, Progress, Settled, Settlement, Usage, UsageSource,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

pub fn dispatch(call: u128) -> Dispatch {
    Dispatch {
        call: CallId(call),
        attempt: 1,
        at_ms: 1_790_000_000_000,
        key: KeyId(41),
        accounts: AccountChain(vec![AccountId(41), AccountId(7)]),
        reserved: Money::from_nanos(9_000),
        least: Money::from_nanos(1_000),
        endpoint: Endpoint::ChatCompletions,
        model: "fast".into(),
        upstream_model: "gpt-x".into(),
        channel: "first".into(),
        price: PriceVersion(3),
    }
}

pub fn progress(call: u128, charge: i64) -> Progress {
    Progress {
        call: CallId(call),
        at_ms: 1_790_000_005_000,
        usage: Usage { input: 12, output: 30, ..Usage::default() },
        charge: Money::from_nanos(charge),
    }
}

pub fn settlement(call: u128) -> Settlement {
    Settlement {
        call: CallId(call),
        settled: Settled::Settled,
        arrived_ms: 1_790_000_000_000,
        first_byte_ms: 300,
        took_ms: 2_000,
        key: KeyId(41),
        accounts: AccountChain(vec![AccountId(41), AccountId(7)]),
        reserved: Money::from_nanos(9_000),
        charge: Money::from_nanos(4_000),
        cost: Money::from_nanos(3_000),
        price: PriceVersion(3),
        endpoint: Endpoint::ChatCompletions,
        is_stream: true,
        outcome: Outcome::Completed,
        status: 200,
        code: String::new(),
        model: "fast".into(),
        upstream_model: "gpt-x".into(),
        channel: "first".into(),
        client_request_id: "mine".into(),
        usage: Usage { input: 12, output: 300, ..Usage::default() },
        usage_source: UsageSource::Upstream,
        attempts: vec![AttemptFact {
            channel: "first".into(),
            after_ms: 1,
            took_ms: 299,
            status: 200,
            code: String::new(),
            fault: None,
            may_be_billed: false,
        }],
    }
}

fn text() -> impl Strategy<Value = String> {
    "[a-z0-9/é漢]{0,20}"
}

fn money() -> impl Strategy<Value = Money> {
    any::<i64>().prop_map(Money::from_nanos)
}

fn accounts() -> impl Strategy<Value = AccountChain> {
    vec(any::<i64>().prop_map(AccountId), 0..4).prop_map(AccountChain)
}

fn usage() -> impl Strategy<Value = Usage> {
    (any::<[u64; 10]>(), 0_usize..=10).prop_map(|(mut buckets, told)| {
        buckets[told..].fill(0);
        Usage::of(buckets)
    })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    select(&Endpoint::ALL)
}

pub fn any_dispatch() -> impl Strategy<Value = Dispatch> {
    let numbers = (any::<u128>(), any::<u32>(), any::<i64>(), any::<i64>(), any::<i64>());
    (numbers, accounts(), money(), money(), endpoint(), text(), text(), text()).prop_map(
        |((call, attempt, at_ms, key, price), accounts, reserved, least, endpoint, model, up, channel)| {
            Dispatch {
                call: CallId(call),
                attempt,
                at_ms,
                key: KeyId(key),
                accounts,
                reserved,
                least,
                endpoint,
                model,
                upstream_model: up,
                channel,
                price: PriceVersion(price),
            }
        },
    )
}

pub fn any_progress() -> impl Strategy<Value = Progress> {
    (any::<u128>(), any::<i64>(), usage(), money()).prop_map(|(call, at_ms, usage, charge)| Progress {
        call: CallId(call),
        at_ms,
        usage,
        charge,
    })
}

fn any_attempt() -> impl Strategy<Value = AttemptFact> {
    let fault = option::of(select(vec![Fault::Client, Fault::Upstream, Fault::Gateway]));
    (text(), any::<(u32, u32, u16, bool)>(), text(), fault).prop_map(
        |(channel, (after_ms, took_ms, status, may_be_billed), code, fault)| AttemptFact {
            channel,
            after_ms,
            took_ms,
            status,
            code,
            fault,
            may_be_billed,
        },
    )
}

pub fn any_settlement() -> impl Strategy<Value = Settlement> {
    let choices = (
        select(vec![Settled::Settled, Settled::Abandoned]),
        select(&Outcome::ALL),
        select(vec![UsageSource::None, UsageSource::Upstream, UsageSource::Estimated]),
        endpoint(),
        any::<bool>(),
    );
    let numbers = any::<(u128, i64, u32, u32, i64, i64, u16)>();
    let texts = (text(), text(), text(), text(), text());
    let money = (money(), money(), money());
    (choices, numbers, texts, money, accounts(), usage(), vec(any_attempt(), 0..4)).prop_map(
        |(choices, numbers, texts, money, accounts, usage, attempts)| {
            let (settled, outcome, usage_source, endpoint, is_stream) = choices;
            let (call, arrived_ms, first_byte_ms, took_ms, key, price, status) = numbers;
            let (code, model, upstream_model, channel, client_request_id) = texts;
            let (reserved, charge, cost) = money;
            Settlement {
                call: CallId(call),
                settled,
                arrived_ms,
                first_byte_ms,
                took_ms,
                key: KeyId(key),
                accounts,
                reserved,
                charge,
                cost,
                price: PriceVersion(price),
                endpoint,
                is_stream,
                outcome,
                status,
                code,
                model,
                upstream_model,
                channel,
                client_request_id,
                usage,
                usage_source,
                attempts,
            }
        },
    )
}
