//! Refusals of the queue: why a call cannot wait, or has waited in vain, and when to come back.

use std::time::Duration;

use penstock_actors::router::{estimate::Estimate, room::NoRoom, ticket::Ejected};

use super::{Call, policy::Whose};
use crate::provider::Failure;

/// The code of a call that found every channel full.
pub(super) const SATURATED: &str = "channels_saturated";
/// When to come back where nothing is known.
const SOON: Duration = Duration::from_secs(1);
/// Longer is guessing.
const LATE: Duration = Duration::from_secs(600);

/// 429: every channel is full, and there is no waiting.
pub(super) fn full(call: &Call, told: Option<Estimate>) -> Failure {
    refusal(call, "", told)
}

/// 429: as many wait as may.
pub(super) fn no_room(call: &Call, why: NoRoom) -> Failure {
    let why = match why {
        NoRoom::Calls | NoRoom::Mailbox => " As many calls wait already as may.",
        NoRoom::Bytes => " The calls that wait hold as many bytes already as they may.",
    };
    refusal(call, why, None)
}

/// 429: the wait ended without a channel.
pub(super) fn ejected(call: &Call, why: Ejected, waited: Duration, told: Option<Estimate>) -> Failure {
    let shown = humantime::format_duration(Duration::from_millis(waited.as_millis() as u64));
    match why {
        Ejected::TooLong(told) => refusal(call, " The wait would be longer than the call may wait.", told),
        Ejected::Expired => refusal(call, &format!(" The call has waited {shown}, as long as it may."), told),
        Ejected::Crowded => refusal(call, " As many calls of this API key wait already as may.", told),
        Ejected::Shed(told) => {
            refusal(call, " Calls have waited for too long, and those of low priority give way.", told)
        }
        Ejected::NoCandidate => refusal(call, "", told),
    }
}

/// Whether an estimate means something: where there are no slots, the wait has no end.
pub(super) fn is_telling(told: &Estimate) -> bool {
    told.p50 < Duration::from_secs(12 * 3600)
}

fn refusal(call: &Call, why: &str, told: Option<Estimate>) -> Failure {
    let model: String = call.model().chars().take(128).collect();
    let told = told.filter(is_telling);
    let estimate = told.map_or_else(String::new, |told| {
        let [p50, p90] = [told.p50, told.p90].map(|wait| wait.as_secs_f64());
        format!(" Position {}, expected wait {p50:.1} s (nine in ten: {p90:.1} s).", told.position)
    });
    let message = format!("Every channel for the model '{model}' is full at the moment.{why}{estimate}");
    let mut failure = Failure::gateway(429, SATURATED, message);
    failure.kind = "rate_limit_error".to_owned();
    failure.retry_after = Some(told.map_or(SOON, |told| told.p50.clamp(SOON, LATE)));
    failure
}

/// 429: as many calls are in flight as may be of whoever's limit it is, and more do not wait.
pub(super) fn of_concurrency(limit: u32, whose: Whose<'_>) -> Failure {
    let whose = match whose {
        Whose::Key => "This API key".to_owned(),
        Whose::Above(name) => format!("The key \"{name}\", with those that stand under it as this one does,"),
        Whose::Group => "This key's group".to_owned(),
        Whose::Model => "This model".to_owned(),
        Whose::Space => "All API keys together".to_owned(),
    };
    let message = format!("{whose} may have {limit} calls in flight at once, and as many are.");
    let mut failure = Failure::invalid_request("concurrency_limit_reached", None, message);
    failure.status = 429;
    failure.kind = "rate_limit_error".to_owned();
    failure.retry_after = Some(SOON);
    failure
}

/// 504: the client's own deadline has passed before an answer began.
pub(super) fn of_own_deadline(asked: Duration) -> Failure {
    let shown = humantime::format_duration(asked);
    let message = format!("No answer has begun within {shown}, the longest wait that the request allows.");
    Failure::gateway(504, "deadline_exceeded", message)
}
