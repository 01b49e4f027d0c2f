//! Error bodies: `{"error":{"code":..,"message":..,"status":..,"details":[..]}}` (google.rpc.Status).

use std::time::Duration;

use bytes::Bytes;
use penstock_actors::domain::Fault;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::dialect::{AnswerHead, Failure, Next};

/// Writes a failure; the message ends with the call's id, details say when to come back.
pub fn error_body(failure: &Failure, call_id: &str) -> Bytes {
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": failure.code,
        "domain": "penstock",
        "metadata": { "fault": failure.fault.as_str(), "requestId": call_id },
    })];
    if let Some(param) = &failure.param {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{ "field": param, "description": failure.message }],
        }));
    }
    if let Some(after) = failure.retry_after {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{}.{:03}s", after.as_secs(), after.subsec_millis()),
        }));
    }
    let body = json!({ "error": {
        "code": failure.status,
        "message": format!("{} (request id: {call_id})", failure.message),
        "status": word(failure.status),
        "details": details,
    }});
    body.to_string().into()
}

/// The canonical code of an HTTP status (google.rpc.Code).
fn word(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        // What Google itself says where billing is not set up.
        402 => "FAILED_PRECONDITION",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        400..=499 => "INVALID_ARGUMENT",
        501 => "UNIMPLEMENTED",
        503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}

#[derive(Deserialize)]
struct Status {
    code: Option<u16>,
    message: Option<String>,
    status: Option<String>,
    #[serde(default)]
    details: Vec<Value>,
}

/// Explains a bad status.
pub(super) fn of_status(head: &AnswerHead<'_>, body: &[u8]) -> Failure {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Body {
        One { error: Status },
        // A stream that was not asked for as events answers with an array.
        Many(Vec<Outer>),
    }
    #[derive(Deserialize)]
    struct Outer {
        error: Status,
    }
    let error = match serde_json::from_slice(body) {
        Ok(Body::One { error }) => Some(error),
        Ok(Body::Many(all)) => all.into_iter().next().map(|outer| outer.error),
        Err(_) => None,
    };
    match error {
        Some(error) => {
            let failure = of(head.status, error);
            // A word in the body counts as much as one in the head: the longer wait is the safe one.
            Failure { retry_after: head.retry_after.max(failure.retry_after), ..failure }
        }
        None => {
            let message = format!("The model's provider answered with status {}.", head.status);
            Failure { retry_after: head.retry_after, ..Failure::upstream_status(head.status, message) }
        }
    }
}

/// Explains an error that is reported inside a good status: the value of `error`.
pub(in crate::dialect) fn inside(raw: &[u8]) -> Failure {
    match serde_json::from_slice::<Status>(raw) {
        Ok(error) => {
            let status = error.code.filter(|code| (400..600).contains(code)).unwrap_or(502);
            of(status, error)
        }
        Err(_) => {
            Failure::upstream_status(502, "The model's provider failed without an explanation.".to_owned())
        }
    }
}

fn of(status: u16, error: Status) -> Failure {
    let message =
        error.message.unwrap_or_else(|| format!("The model's provider answered with status {status}."));
    let lower = message.to_ascii_lowercase();
    let mut failure = Failure::upstream_status(status, message);
    // A bad key is a 400 here, and so is a country that is not served: others may do better.
    let reason = error.details.iter().find_map(|detail| detail["reason"].as_str());
    let about_key = reason == Some("API_KEY_INVALID") || lower.contains("api key not valid");
    let about_place = error.status.as_deref() == Some("FAILED_PRECONDITION");
    if about_key || about_place {
        (failure.fault, failure.next) = (Fault::Upstream, Next::Failover);
        failure.status = if about_key { 401 } else { failure.status };
    }
    if let Some(word) = error.status {
        failure.code = reason.unwrap_or(&word).to_owned();
        failure.kind = word;
    }
    failure.retry_after = error.details.iter().find_map(|detail| {
        let seconds: f64 = detail["retryDelay"].as_str()?.strip_suffix('s')?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    });
    failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Framing;

    fn check(status: u16, body: &str) -> Failure {
        let head = AnswerHead {
            status,
            content_type: "application/json",
            retry_after: None,
            framing: Framing::Framed,
        };
        of_status(&head, body.as_bytes())
    }

    #[test]
    fn every_failure_has_its_class() {
        let throttled = check(
            429,
            r#"{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"17.5s"}]}}"#,
        );
        assert_eq!((throttled.fault, throttled.next), (Fault::Upstream, Next::Failover));
        assert_eq!(throttled.retry_after, Some(Duration::from_millis(17_500)));
        let key = check(
            400,
            r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
        );
        assert_eq!((key.status, key.next), (401, Next::Failover));
        let wrong = check(400, r#"[{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}]"#);
        assert_eq!((wrong.fault, wrong.next, wrong.message.as_str()), (Fault::Client, Next::Tell, "bad"));
        for body in ["", "<html>", "[]", "{}", r#"{"error":7}"#] {
            assert_eq!(check(503, body).message, "The model's provider answered with status 503.");
        }
    }

    #[test]
    fn what_is_written_says_when_to_come_back() {
        let mut failure = Failure::gateway(429, "channels_saturated", "Full.");
        failure.retry_after = Some(Duration::from_millis(1500));
        let body: Value = serde_json::from_slice(&error_body(&failure, "c")).expect("JSON");
        assert_eq!(body["error"]["status"], "RESOURCE_EXHAUSTED");
        assert_eq!(body["error"]["message"], "Full. (request id: c)");
        assert_eq!(body["error"]["details"][1]["retryDelay"], "1.500s");
        assert_eq!(inside(body["error"].to_string().as_bytes()).retry_after, failure.retry_after);
    }
}
