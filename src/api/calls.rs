//! `GET /api/calls/{id}`: what one call came to. Whoever paid for it may see it; who supplied it is told only
//! to those who may see routing.

use std::time::{Duration, UNIX_EPOCH};

use penstock_actors::domain::{CallId, Money};
use serde::Serialize;

use super::{Desk, Viewer};
use crate::{
    provider::Failure,
    store::{CallRow, CallRows},
};

/// A call that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its rows, or what will stand there.
    pub rows: Box<CallRows>,
    /// Whether it is in the database yet.
    pub pending: Option<Pending>,
    /// What its price was, where that is kept.
    pub price: Option<String>,
}

/// Why a call is not in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// It goes on.
    UnderWay,
    /// It was settled a moment ago.
    Settled,
}

/// What a caller is shown of a call.
#[derive(Debug, Serialize)]
pub(super) struct Call {
    id: String,
    /// `settled`, `abandoned`, or `pending` while it is not in the database.
    state: &'static str,
    client_request_id: String,
    node: i64,
    key_id: i64,
    accounts: Vec<i64>,
    endpoint: String,
    is_stream: bool,
    model: String,
    outcome: Option<String>,
    status: Option<i32>,
    code: String,
    times: Times,
    usage: Usage,
    money: Amounts,
    price: Price,
    attempts: Vec<Attempt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
}

#[derive(Debug, Serialize)]
struct Times {
    arrived: String,
    arrived_ms: i64,
    /// Milliseconds from arrival; null where no byte went out.
    first_byte_ms: Option<i64>,
    /// Milliseconds from arrival to the end; null while it goes on.
    took_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Usage {
    input: i64,
    cached_read: i64,
    cache_write_5m: i64,
    cache_write_1h: i64,
    output: i64,
    reasoning: i64,
    audio_in: i64,
    image_in: i64,
    audio_out: i64,
    image_out: i64,
    source: String,
}

/// Nano-dollars as numbers, dollars as text: a float never touches an amount.
#[derive(Debug, Serialize)]
struct Amounts {
    reserved_nanos: i64,
    reserved_usd: String,
    charge_nanos: i64,
    charge_usd: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_nanos: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<String>,
}

/// The version is text: it has more digits than a number of JavaScript holds.
#[derive(Debug, Serialize)]
struct Price {
    version: String,
    content: Option<serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct Attempt {
    attempt: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    after_ms: i64,
    took_ms: i64,
    status: i32,
    code: String,
    fault: String,
    may_be_billed: bool,
}

/// Answers with the call, if it is the asker's to see.
///
/// # Errors
/// 400 for what is no id, 404 for a call that is not there or somebody else's, 503 where nobody can tell.
pub(super) async fn get(desk: &Desk, viewer: &Viewer, id: &str) -> Result<Call, Failure> {
    let call = id_of(id)?;
    let found = desk.call(call).await.map_err(|away| {
        tracing::warn!(reason = away.0, "a call could not be looked up");
        let mut failure = Failure::gateway(
            503,
            "store_unavailable",
            "The call cannot be looked up: the database is away or busy. Its record is kept; try again.",
        );
        failure.retry_after = Some(Duration::from_secs(2));
        failure
    })?;
    let found = found.filter(|found| may_see(viewer, &found.rows.call)).ok_or_else(|| {
        let message = "There is no call of this id, or it is not yours.";
        let mut failure = Failure::invalid_request("call_not_found", None, message);
        failure.status = 404;
        failure
    })?;
    let sees_routing = match viewer {
        Viewer::Root => true,
        Viewer::Key(caller) => caller.may_see_routing,
    };
    Ok(shown(found, sees_routing))
}

/// The id as answers carry it: a UUID in its usual form.
fn id_of(text: &str) -> Result<CallId, Failure> {
    let id = Some(text).filter(|t| t.len() == 36).and_then(|t| uuid::Uuid::try_parse(t).ok());
    id.map(|id| CallId(id.as_u128())).ok_or_else(|| {
        let message = "The id of a call is a UUID, as x-request-id has it.";
        Failure::invalid_request("invalid_call_id", None, message)
    })
}

/// A key's own account pays for its calls and for those of all keys below it, and for no others.
fn may_see(viewer: &Viewer, row: &CallRow) -> bool {
    match viewer {
        Viewer::Root => true,
        Viewer::Key(caller) => {
            caller.accounts.0.first().is_some_and(|own| accounts(row).any(|paying| paying == own.0))
        }
    }
}

fn accounts(row: &CallRow) -> impl Iterator<Item = i64> + '_ {
    row.accounts.split(',').filter_map(|account| account.parse().ok())
}

fn shown(found: Found, sees_routing: bool) -> Call {
    let Found { rows, pending, price } = found;
    let CallRows { call: row, media, attempts } = *rows;
    let is_under_way = pending == Some(Pending::UnderWay);
    let usd = |nanos| Money::from_nanos(nanos).to_string();
    let arrived = UNIX_EPOCH + Duration::from_millis(row.arrived_ms.max(0) as u64);
    let attempts = attempts.into_iter().map(|a| Attempt {
        attempt: a.attempt,
        channel: Some(a.channel).filter(|_| sees_routing),
        after_ms: a.after_ms,
        took_ms: a.took_ms,
        status: a.status,
        code: a.code,
        fault: a.fault,
        may_be_billed: a.may_be_billed,
    });
    Call {
        id: uuid::Uuid::from_slice(&row.call_id).unwrap_or_default().to_string(),
        state: match (pending, row.settled.as_str()) {
            (Some(_), _) => "pending",
            (None, "abandoned") => "abandoned",
            (None, _) => "settled",
        },
        node: row.node,
        key_id: row.key_id,
        accounts: accounts(&row).collect(),
        times: Times {
            arrived: humantime::format_rfc3339_millis(arrived).to_string(),
            arrived_ms: row.arrived_ms,
            first_byte_ms: Some(row.first_byte_ms).filter(|ms| *ms > 0),
            took_ms: Some(row.took_ms).filter(|_| !is_under_way),
        },
        usage: Usage {
            input: row.input,
            cached_read: row.cached_read,
            cache_write_5m: row.cache_write_5m,
            cache_write_1h: row.cache_write_1h,
            output: row.output,
            reasoning: row.reasoning,
            audio_in: media.audio_in,
            image_in: media.image_in,
            audio_out: media.audio_out,
            image_out: media.image_out,
            source: row.usage_source,
        },
        money: Amounts {
            reserved_nanos: row.reserved,
            reserved_usd: usd(row.reserved),
            charge_nanos: row.charge,
            charge_usd: usd(row.charge),
            cost_nanos: Some(row.cost).filter(|_| sees_routing),
            cost_usd: Some(usd(row.cost)).filter(|_| sees_routing),
        },
        price: Price {
            version: row.price_version.to_string(),
            content: price.and_then(|text| serde_json::from_str(&text).ok()),
        },
        attempts: attempts.collect(),
        outcome: Some(row.outcome).filter(|_| !is_under_way),
        status: Some(row.status).filter(|_| !is_under_way),
        code: row.code,
        client_request_id: row.client_request_id,
        endpoint: row.endpoint,
        is_stream: row.is_stream,
        model: row.model,
        upstream_model: Some(row.upstream_model).filter(|_| sees_routing),
        channel: Some(row.channel).filter(|_| sees_routing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_uuid_is_an_id() {
        let id = "01936d3e-2f6a-7cc0-8000-000000000001";
        assert_eq!(id_of(id).map(|id| id.0), Ok(0x0193_6d3e_2f6a_7cc0_8000_0000_0000_0001));
        for odd in ["", "x", "1", &id[1..], &id.replace('-', ""), &format!("{{{id}}}"), "ü", &"%".repeat(36)]
        {
            assert_eq!(
                id_of(odd).map_err(|f| (f.status, f.code)),
                Err((400, "invalid_call_id".into())),
                "{odd}"
            );
        }
    }
}
