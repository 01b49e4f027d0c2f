//! What the mock answers where it does not answer: errors in a dialect's shape, and garbage.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};

use super::text::escape;
use crate::dialect::Dialect;

/// A request that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The error's `type`.
    pub kind: &'static str,
    /// OpenAI's `code`.
    pub code: Option<&'static str>,
    /// OpenAI's `param`.
    pub param: Option<String>,
    /// The sentence for the client.
    pub message: String,
}

impl Refusal {
    /// A request that is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status: 400, kind: "invalid_request_error", code: None, param: None, message }
    }

    /// The same, about a parameter.
    pub fn about(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// The same, with a code.
    pub fn coded(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// A path that is not served.
    pub fn no_route(method: &str, path: &str) -> Self {
        let message = format!("Unknown request URL: {method} {path}. Please check the URL for typos.");
        let kind = if path.starts_with("/v1/messages") { "not_found_error" } else { "invalid_request_error" };
        Self { status: 404, kind, code: Some("unknown_url"), param: None, message }
    }

    /// A path that is served, but not by this method.
    pub fn no_method(method: &str, path: &str) -> Self {
        let message = format!("Not allowed to {method} on {path}.");
        Self { status: 405, kind: "invalid_request_error", code: None, param: None, message }
    }

    /// The failure that a setting asks for, as the provider words it.
    pub fn of_status(status: u16, dialect: Dialect) -> Self {
        let (kind, code, message) = match dialect {
            Dialect::AnthropicMessages => {
                let (kind, message) = anthropic_status(status);
                (kind, None, message)
            }
            _ => openai_status(status),
        };
        Self { status, kind, code, param: None, message: message.into() }
    }

    /// The body.
    pub fn body(&self, dialect: Dialect, request_id: &str) -> Bytes {
        let mut out = BytesMut::with_capacity(192 + self.message.len());
        match dialect {
            Dialect::Gemini => {
                let _ = write!(out, "{{\"error\":{{\"code\":{},\"message\":\"", self.status);
                escape(&self.message, &mut out);
                let _ = write!(out, "\",\"status\":\"{}\"}}}}", gemini_status(self.status));
            }
            Dialect::AnthropicMessages => {
                let _ =
                    write!(out, "{{\"type\":\"error\",\"error\":{{\"type\":\"{}\",\"message\":\"", self.kind);
                escape(&self.message, &mut out);
                let _ = write!(out, "\"}},\"request_id\":\"{request_id}\"}}");
            }
            _ => {
                out.extend_from_slice(b"{\"error\":{\"message\":\"");
                escape(&self.message, &mut out);
                let _ = write!(out, "\",\"type\":\"{}\",\"param\":", self.kind);
                quoted(self.param.as_deref(), &mut out);
                out.extend_from_slice(b",\"code\":");
                quoted(self.code, &mut out);
                out.extend_from_slice(b"}}");
            }
        }
        out.freeze()
    }

    /// Gemini's body that says when to come back.
    pub fn body_with_retry(&self, seconds: f64) -> Bytes {
        let status = gemini_status(self.status);
        let detail = serde_json::json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds:.3}s")
        });
        let error = serde_json::json!({
            "code": self.status, "message": self.message, "status": status, "details": [detail]
        });
        serde_json::json!({ "error": error }).to_string().into()
    }

    /// The body as an event of a stream.
    pub fn event(&self, dialect: Dialect, request_id: &str) -> Bytes {
        let head: &[u8] = match dialect {
            Dialect::AnthropicMessages | Dialect::OpenAiResponses => b"event: error\ndata: ",
            _ => b"data: ",
        };
        [head, &self.body(dialect, request_id), b"\n\n"].concat().into()
    }
}

fn quoted(text: Option<&str>, out: &mut BytesMut) {
    match text {
        Some(text) => {
            out.extend_from_slice(b"\"");
            escape(text, out);
            out.extend_from_slice(b"\"");
        }
        None => out.extend_from_slice(b"null"),
    }
}

fn openai_status(status: u16) -> (&'static str, Option<&'static str>, &'static str) {
    match status {
        401 => ("invalid_request_error", Some("invalid_api_key"), "Incorrect API key provided."),
        403 => (
            "invalid_request_error",
            Some("unsupported_country_region_territory"),
            "Country, region, or territory not supported",
        ),
        404 => (
            "invalid_request_error",
            Some("model_not_found"),
            "The model does not exist or you do not have access to it.",
        ),
        429 => (
            "requests",
            Some("rate_limit_exceeded"),
            "Rate limit reached for requests. Please try again later.",
        ),
        400..=499 => ("invalid_request_error", None, "The request is refused, as the mock was told."),
        503 => ("server_error", None, "The engine is currently overloaded, please try again later"),
        _ => {
            ("server_error", None, "The server had an error while processing your request. Sorry about that!")
        }
    }
}

fn gemini_status(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        400..=499 => "INVALID_ARGUMENT",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}

fn anthropic_status(status: u16) -> (&'static str, &'static str) {
    match status {
        401 => ("authentication_error", "invalid x-api-key"),
        403 => ("permission_error", "Your API key does not have permission to use the specified resource."),
        404 => ("not_found_error", "Not found"),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        429 => (
            "rate_limit_error",
            "This request would exceed your organization's rate limit. Please try again later.",
        ),
        400..=499 => ("invalid_request_error", "The request is refused, as the mock was told."),
        504 => ("timeout_error", "Request timed out"),
        529 => ("overloaded_error", "Overloaded"),
        _ => ("api_error", "Internal server error"),
    }
}

/// A web page, such as a proxy in front of a provider answers with.
pub const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>\n<body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body></html>\n";

/// Every byte value, four times.
pub fn noise() -> Bytes {
    (0..1024_u32).map(|n| (n * 167 + n / 256) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_dialects_shape() {
        let refusal = Refusal::invalid("not \"so\"").about("n").coded("invalid_type");
        assert_eq!(
            refusal.body(Dialect::OpenAi, "r"),
            r#"{"error":{"message":"not \"so\"","type":"invalid_request_error","param":"n","code":"invalid_type"}}"#
        );
        assert_eq!(
            refusal.event(Dialect::AnthropicMessages, "r"),
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"not \\\"so\\\"\"},\"request_id\":\"r\"}\n\n"
        );
        let busy = Refusal::of_status(529, Dialect::AnthropicMessages);
        assert_eq!((busy.status, busy.kind), (529, "overloaded_error"));
    }

    #[test]
    fn noise_is_no_text() {
        assert!(std::str::from_utf8(&noise()).is_err());
    }
}
