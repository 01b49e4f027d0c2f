//! What a call takes of its limits, and what it is told when one refuses. Waits for nothing.

use penstock_actors::{
    domain::Fault,
    limiter::{CellId, Measure, OverLimit, Rates, Scope, Span},
};

use crate::{
    api_key::Caller,
    provider::{Failure, Next},
};

/// Taken at admission; money follows once the price is known.
pub(super) const AT_ONCE: &[Measure] = &[Measure::Requests, Measure::Tokens];
/// See above.
pub(super) const ONCE_PRICED: &[Measure] = &[Measure::Spend];

/// A limit refused: what the client is told, and how its limits stand.
#[derive(Debug)]
pub(super) struct Limited {
    pub(super) failure: Failure,
    /// Which limit it was.
    pub(super) id: CellId,
    pub(super) rates: Rates,
}

impl Limited {
    pub(super) fn of(over: OverLimit, caller: &Caller) -> Self {
        Self { failure: failure(&over, caller), rates: over.rates, id: over.id }
    }
}

/// 429 with a code that names the limit: `key_requests_per_minute_exceeded`.
fn failure(over: &OverLimit, caller: &Caller) -> Failure {
    let (measure, span) = (over.id.kind.measure, over.id.kind.span);
    let above = |id| caller.above.iter().find(|above| above.id == id);
    let whose = match over.id.scope {
        Scope::Key(id) => match above(id) {
            Some(above) => format!("the key \"{}\", which this API key stands under,", above.name),
            None => "this API key".to_owned(),
        },
        Scope::Group(_) => "this key's group".to_owned(),
        Scope::Model(_) => "this model".to_owned(),
        Scope::Channel(_) => "the channel".to_owned(),
        Scope::Space => "all calls".to_owned(),
    };
    let span = match span {
        Span::Minute => "minute",
        Span::Hour => "hour",
        Span::Day => "day",
        Span::Month => "month",
    };
    let what = match measure {
        Measure::Requests => "requests",
        Measure::Tokens => "tokens",
        Measure::Spend => "USD",
    };
    let amount = |n: u64| match measure {
        Measure::Spend => format!("{}.{:06}", n / 1_000_000, n % 1_000_000),
        _ => n.to_string(),
    };
    let (limit, used, needed) = (amount(over.limit), amount(over.used), amount(over.amount));
    let limit = format!("The limit of {whose} is {limit} {what} per {span}");
    let message = match over.retry_after {
        Some(after) => {
            let after = after.as_millis().div_ceil(1000).max(1);
            format!("{limit}: {used} are taken, and this call needs {needed}. Try again in {after} seconds.")
        }
        None => format!("{limit}, and this call alone needs {needed}."),
    };
    let is_channel = matches!(over.id.scope, Scope::Channel(_));
    Failure {
        status: 429,
        fault: if is_channel { Fault::Gateway } else { Fault::Client },
        next: if is_channel { Next::Failover } else { Next::Tell },
        kind: "rate_limit_error".to_owned(),
        code: format!("{}_{}_exceeded", over.id.scope.as_seen_by(caller.id), over.id.kind.as_str()),
        retry_after: over.retry_after,
        ..Failure::gateway(429, "", message)
    }
}
