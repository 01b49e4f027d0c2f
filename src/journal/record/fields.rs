//! The fields of each record, in the order in which they are written.

use penstock_actors::domain::{
    AccountChain, AccountId, AttemptFact, CallId, Dispatch, Endpoint, Fault, KeyId, Money, Outcome,
    PriceVersion, Progress, Settled, Settlement, Usage, UsageSource,
};

use super::{
    MAX_ACCOUNTS, MAX_ATTEMPTS, Malformed, TooManyAccounts,
    codec::{In, Out},
};

pub fn write_dispatch(dispatch: &Dispatch, out: &mut Out<'_>) -> Result<(), TooManyAccounts> {
    out.unsigned(dispatch.attempt.into());
    out.signed(dispatch.at_ms);
    out.signed(dispatch.key.0);
    write_accounts(&dispatch.accounts, out)?;
    out.signed(dispatch.reserved.nanos());
    out.signed(dispatch.least.nanos());
    out.byte(endpoint_number(dispatch.endpoint));
    out.text(&dispatch.model);
    out.text(&dispatch.upstream_model);
    out.text(&dispatch.channel);
    out.signed(dispatch.price.0);
    Ok(())
}

pub fn read_dispatch(call: CallId, from: &mut In<'_>) -> Result<Dispatch, Malformed> {
    Ok(Dispatch {
        call,
        attempt: from.narrow()?,
        at_ms: from.signed()?,
        key: KeyId(from.signed()?),
        accounts: read_accounts(from)?,
        reserved: Money::from_nanos(from.signed()?),
        least: Money::from_nanos(from.signed()?),
        endpoint: read_endpoint(from)?,
        model: from.text()?,
        upstream_model: from.text()?,
        channel: from.text()?,
        price: PriceVersion(from.signed()?),
    })
}

pub fn write_progress(progress: &Progress, out: &mut Out<'_>) {
    out.signed(progress.at_ms);
    write_usage(&progress.usage, out);
    out.signed(progress.charge.nanos());
}

pub fn read_progress(call: CallId, from: &mut In<'_>) -> Result<Progress, Malformed> {
    Ok(Progress {
        call,
        at_ms: from.signed()?,
        usage: read_usage(from)?,
        charge: Money::from_nanos(from.signed()?),
    })
}

pub fn write_settlement(settlement: &Settlement, out: &mut Out<'_>) -> Result<(), TooManyAccounts> {
    out.byte(settled_number(settlement.settled));
    out.signed(settlement.arrived_ms);
    out.unsigned(settlement.first_byte_ms.into());
    out.unsigned(settlement.took_ms.into());
    out.signed(settlement.key.0);
    write_accounts(&settlement.accounts, out)?;
    out.signed(settlement.reserved.nanos());
    out.signed(settlement.charge.nanos());
    out.signed(settlement.cost.nanos());
    out.signed(settlement.price.0);
    out.byte(endpoint_number(settlement.endpoint));
    out.byte(settlement.is_stream.into());
    out.byte(outcome_number(settlement.outcome));
    out.unsigned(settlement.status.into());
    out.text(&settlement.code);
    out.text(&settlement.model);
    out.text(&settlement.upstream_model);
    out.text(&settlement.channel);
    out.text(&settlement.client_request_id);
    write_usage(&settlement.usage, out);
    out.byte(source_number(settlement.usage_source));
    write_attempts(&settlement.attempts, out);
    Ok(())
}

pub fn read_settlement(call: CallId, from: &mut In<'_>) -> Result<Settlement, Malformed> {
    Ok(Settlement {
        call,
        settled: known(from.byte()?, [Settled::Settled, Settled::Abandoned], settled_number)?,
        arrived_ms: from.signed()?,
        first_byte_ms: from.narrow()?,
        took_ms: from.narrow()?,
        key: KeyId(from.signed()?),
        accounts: read_accounts(from)?,
        reserved: Money::from_nanos(from.signed()?),
        charge: Money::from_nanos(from.signed()?),
        cost: Money::from_nanos(from.signed()?),
        price: PriceVersion(from.signed()?),
        endpoint: read_endpoint(from)?,
        is_stream: known(from.byte()?, [false, true], u8::from)?,
        outcome: known(from.byte()?, Outcome::ALL, outcome_number)?,
        status: from.narrow()?,
        code: from.text()?,
        model: from.text()?,
        upstream_model: from.text()?,
        channel: from.text()?,
        client_request_id: from.text()?,
        usage: read_usage(from)?,
        usage_source: known(
            from.byte()?,
            [UsageSource::None, UsageSource::Upstream, UsageSource::Estimated],
            source_number,
        )?,
        attempts: read_attempts(from)?,
    })
}

fn write_accounts(chain: &AccountChain, out: &mut Out<'_>) -> Result<(), TooManyAccounts> {
    if chain.0.len() > MAX_ACCOUNTS {
        return Err(TooManyAccounts);
    }
    out.byte(chain.0.len() as u8);
    chain.0.iter().for_each(|account| out.signed(account.0));
    Ok(())
}

fn read_accounts(from: &mut In<'_>) -> Result<AccountChain, Malformed> {
    let count = from.byte()?.into();
    if count > MAX_ACCOUNTS {
        return Err(Malformed::Number);
    }
    (0..count).map(|_| from.signed().map(AccountId)).collect::<Result<_, _>>().map(AccountChain)
}

/// Beside an attempt's fault: its provider may bill it.
const MAY_BE_BILLED: u8 = 0x80;

fn write_attempts(attempts: &[AttemptFact], out: &mut Out<'_>) {
    let half = MAX_ATTEMPTS / 2;
    let (first, last) = match attempts.len() {
        count if count > MAX_ATTEMPTS => (&attempts[..half], &attempts[count - half..]),
        _ => (attempts, &[][..]),
    };
    out.byte((first.len() + last.len()) as u8);
    for attempt in first.iter().chain(last) {
        out.text(&attempt.channel);
        out.unsigned(attempt.after_ms.into());
        out.unsigned(attempt.took_ms.into());
        out.unsigned(attempt.status.into());
        out.text(&attempt.code);
        let may_be_billed = if attempt.may_be_billed { MAY_BE_BILLED } else { 0 };
        out.byte(fault_number(attempt.fault) | may_be_billed);
    }
}

fn read_attempts(from: &mut In<'_>) -> Result<Vec<AttemptFact>, Malformed> {
    let count = from.byte()?.into();
    if count > MAX_ATTEMPTS {
        return Err(Malformed::Number);
    }
    let faults = [None, Some(Fault::Client), Some(Fault::Upstream), Some(Fault::Gateway)];
    (0..count)
        .map(|_| {
            let (channel, after_ms, took_ms) = (from.text()?, from.narrow()?, from.narrow()?);
            let (status, code, marks) = (from.narrow()?, from.text()?, from.byte()?);
            let fault = known(marks & !MAY_BE_BILLED, faults, fault_number)?;
            let may_be_billed = marks & MAY_BE_BILLED != 0;
            Ok(AttemptFact { channel, after_ms, took_ms, status, code, fault, may_be_billed })
        })
        .collect()
}

/// Buckets that are always written; of those behind them as many as say something.
const ALWAYS: usize = 6;

/// The buckets with their number before them: a later program may know more.
fn write_usage(usage: &Usage, out: &mut Out<'_>) {
    let buckets = usage.buckets();
    let count = buckets.iter().rposition(|bucket| *bucket > 0).map_or(0, |last| last + 1).max(ALWAYS);
    out.byte(count as u8);
    buckets[..count].iter().for_each(|bucket| out.unsigned(*bucket));
}

fn read_usage(from: &mut In<'_>) -> Result<Usage, Malformed> {
    let count = usize::from(from.byte()?);
    let mut buckets = Usage::default().buckets();
    let written = buckets.get_mut(..count).filter(|written| written.len() >= ALWAYS);
    for bucket in written.ok_or(Malformed::Unknown)? {
        *bucket = from.unsigned()?;
    }
    if count > ALWAYS && buckets[count - 1] == 0 {
        return Err(Malformed::Unknown);
    }
    Ok(Usage::of(buckets))
}

// The numbers below are written to disk: they may be added to, never changed.

fn read_endpoint(from: &mut In<'_>) -> Result<Endpoint, Malformed> {
    known(from.byte()?, Endpoint::ALL, endpoint_number)
}

fn endpoint_number(endpoint: Endpoint) -> u8 {
    match endpoint {
        Endpoint::ChatCompletions => 1,
        Endpoint::Completions => 2,
        Endpoint::Embeddings => 3,
        Endpoint::Moderations => 4,
        Endpoint::Messages => 5,
        Endpoint::CountTokens => 6,
        Endpoint::Responses => 7,
        Endpoint::GenerateContent => 8,
    }
}

fn outcome_number(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Completed => 1,
        Outcome::Refused(fault) => 0x10 + fault_number(Some(fault)),
        Outcome::Broken(fault) => 0x20 + fault_number(Some(fault)),
        Outcome::Abandoned => 2,
    }
}

fn fault_number(fault: Option<Fault>) -> u8 {
    match fault {
        None => 0,
        Some(Fault::Client) => 1,
        Some(Fault::Upstream) => 2,
        Some(Fault::Gateway) => 3,
    }
}

fn settled_number(settled: Settled) -> u8 {
    match settled {
        Settled::Settled => 1,
        Settled::Abandoned => 2,
    }
}

fn source_number(source: UsageSource) -> u8 {
    match source {
        UsageSource::None => 0,
        UsageSource::Upstream => 1,
        UsageSource::Estimated => 2,
    }
}

/// The value that has that number.
fn known<T: Copy, const N: usize>(
    number: u8,
    values: [T; N],
    number_of: impl Fn(T) -> u8,
) -> Result<T, Malformed> {
    values.into_iter().find(|value| number_of(*value) == number).ok_or(Malformed::Unknown)
}
