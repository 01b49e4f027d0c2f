//! Error bodies: `{"type":"error","error":{"type":..,"message":..},"request_id":..}`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::dialect::Failure;

/// What an error body, or an `error` event of a stream, says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody {
    /// `error.type`, `overloaded_error` for example.
    pub kind: String,
    /// `error.details.error_code`, where there is one.
    pub code: Option<String>,
    /// A sentence for humans.
    pub message: String,
    /// The id to ask the provider about.
    pub request_id: Option<String>,
}

impl ErrorBody {
    /// The HTTP status that the API answers with for errors of this kind.
    pub fn status(&self) -> u16 {
        match self.kind.as_str() {
            "invalid_request_error" => 400,
            "authentication_error" => 401,
            "billing_error" => 402,
            "permission_error" => 403,
            "not_found_error" => 404,
            "conflict_error" => 409,
            "request_too_large" => 413,
            "rate_limit_error" => 429,
            "timeout_error" => 504,
            "overloaded_error" => 529,
            _ => 500,
        }
    }
}

/// Writes a failure; the message ends with the call's id.
pub fn error_body(failure: &Failure, call_id: &str) -> Bytes {
    #[derive(Serialize)]
    struct Outer<'a> {
        #[serde(rename = "type")]
        kind: &'static str,
        error: Inner<'a>,
        request_id: &'a str,
    }
    #[derive(Serialize)]
    struct Inner<'a> {
        #[serde(rename = "type")]
        kind: &'static str,
        message: String,
        code: &'a str,
        param: Option<&'a str>,
        fault: &'static str,
    }
    let error = Inner {
        kind: kind_of(failure.status),
        message: format!("{} (request id: {call_id})", failure.message),
        code: &failure.code,
        param: failure.param.as_deref(),
        fault: failure.fault.as_str(),
    };
    let outer = Outer { kind: "error", error, request_id: call_id };
    serde_json::to_vec(&outer).expect("plain structs of text").into()
}

/// The kind of error that the API gives a status.
fn kind_of(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        _ => "api_error",
    }
}

/// Reads an error body; `None` if it is something else: HTML, another dialect, nothing.
pub fn read_error(body: &[u8]) -> Option<ErrorBody> {
    #[derive(Deserialize)]
    struct Outer {
        error: Inner,
        request_id: Option<String>,
    }
    #[derive(Deserialize)]
    struct Inner {
        #[serde(rename = "type")]
        kind: String,
        message: String,
        details: Option<serde_json::Value>,
    }
    let Outer { error, request_id } = serde_json::from_slice(body).ok()?;
    let code = error.details.as_ref().and_then(|d| d.get("error_code")?.as_str()).map(str::to_owned);
    Some(ErrorBody { kind: error.kind, code, message: error.message, request_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_body_is_read_and_anything_else_is_not() {
        let body = br#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down",
            "details":{"error_code":"ramp_limit_exceeded"}},"request_id":"req_1"}"#;
        let error = read_error(body).expect("an error");
        assert_eq!((error.kind.as_str(), error.status()), ("rate_limit_error", 429));
        assert_eq!(error.code.as_deref(), Some("ramp_limit_exceeded"));
        assert_eq!(error.request_id.as_deref(), Some("req_1"));
        for other in ["", "<html>", "{}", r#"{"error":"text"}"#, r#"{"error":{"type":1,"message":""}}"#] {
            assert_eq!(read_error(other.as_bytes()), None, "{other}");
        }
    }
}
