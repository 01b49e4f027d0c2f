//! Claude on Vertex AI: Anthropic's messages behind Google's tokens.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Foreign, Refusal, Seen, unauthorised, wrong};
use crate::mock::{
    answer::{Answer, Ask},
    anthropic,
};

/// The provider.
pub struct Claude;

impl Foreign for Claude {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        if !seen.shown("Bearer").is_some_and(|token| token.starts_with("ya29.")) {
            return Err(unauthorised("Request had invalid authentication credentials."));
        }
        let (_, model) = seen.path.rsplit_once('/').unwrap_or_default();
        let (model, method) = model.split_once(':').unwrap_or_default();
        let body = as_anthropic(ask.body, model, "vertex-2023-10-16")?;
        let streams = body["stream"] == true;
        let wanted = if streams { "streamRawPredict" } else { "rawPredict" };
        if method != wanted {
            return Err(wrong(format!("this body wants the method {wanted}")));
        }
        let body = body.to_string();
        anthropic::messages(&Ask { body: body.as_bytes(), ..*ask })
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        let status = match refusal.status {
            400 => "INVALID_ARGUMENT",
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            429 => "RESOURCE_EXHAUSTED",
            503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            _ => "INTERNAL",
        };
        let error = json!({"code": refusal.status, "message": refusal.message, "status": status});
        json!({"error": error}).to_string().into()
    }

    fn error_event(&self, refusal: &Refusal) -> Bytes {
        let error = json!({"type": "error", "error": {"type": "api_error", "message": refusal.message}});
        format!("event: error\ndata: {error}\n\n").into()
    }
}

/// The body as Anthropic itself wants it, where it is as a cloud wants it.
pub(super) fn as_anthropic(body: &[u8], model: &str, version: &str) -> Result<Value, Refusal> {
    let mut body: Value = serde_json::from_slice(body).map_err(|_| wrong("Malformed input request"))?;
    let Some(members) = body.as_object_mut() else { return Err(wrong("Malformed input request")) };
    if members.remove("anthropic_version") != Some(version.into()) {
        return Err(wrong(format!("anthropic_version: must be {version}")));
    }
    if members.insert("model".to_owned(), model.into()).is_some() {
        return Err(wrong("model: Extra inputs are not permitted"));
    }
    Ok(body)
}
