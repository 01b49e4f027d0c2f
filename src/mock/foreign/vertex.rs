//! Vertex AI: Gemini, and Claude, behind Google's tokens.

use bytes::Bytes;
use penstock_actors::domain::Delivery;
use serde_json::{Value, json};

use super::{Foreign, Refusal, Seen, tokens, unauthorised, wrong};
use crate::mock::{
    answer::{Answer, Ask},
    anthropic, gemini,
};

/// The provider.
pub struct Vertex;

impl Foreign for Vertex {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        if seen.shown("Bearer") != Some(tokens::GOOGLE) {
            return Err(unauthorised("Request had invalid authentication credentials."));
        }
        let not_found = || Refusal { status: 404, ..wrong(format!("{} was not found", seen.path)) };
        let parts: Vec<_> = seen.path.trim_start_matches("/v1/").split('/').collect();
        let &["projects", project, "locations", location, "publishers", publisher, "models", model] =
            &parts[..]
        else {
            return Err(not_found());
        };
        if project != "penstock-mock" || location.is_empty() {
            let refused = wrong(format!("Permission denied on resource project {project}."));
            return Err(Refusal { status: 403, ..refused });
        }
        let (model, method) = model.rsplit_once(':').ok_or_else(not_found)?;
        match (publisher, method) {
            ("google", "generateContent") => gemini::generate(ask, model, Delivery::Whole),
            ("google", "streamGenerateContent") if seen.query == "alt=sse" => {
                gemini::generate(ask, model, Delivery::Stream)
            }
            ("google", "countTokens") => gemini::count_tokens(ask),
            ("anthropic", "rawPredict") if model == "count-tokens" => {
                let body = unversioned(ask.body)?.to_string();
                anthropic::count_tokens(&Ask { body: body.as_bytes(), ..*ask })
            }
            ("anthropic", "rawPredict" | "streamRawPredict") => claude(ask, model, method),
            _ => Err(not_found()),
        }
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
        format!("data: {}\n\n", String::from_utf8_lossy(&self.error(refusal))).into()
    }
}

fn claude(ask: &Ask<'_>, model: &str, method: &str) -> Result<Answer, Refusal> {
    let mut body = unversioned(ask.body)?;
    let wanted = if body["stream"] == true { "streamRawPredict" } else { "rawPredict" };
    if method != wanted {
        return Err(wrong(format!("this body wants the method {wanted}")));
    }
    if let Some(members) = body.as_object_mut()
        && members.insert("model".to_owned(), model.into()).is_some()
    {
        return Err(wrong("model: Extra inputs are not permitted"));
    }
    let body = body.to_string();
    anthropic::messages(&Ask { body: body.as_bytes(), ..*ask })
}

/// The body as Anthropic itself wants it, where it is as Vertex AI wants it.
fn unversioned(body: &[u8]) -> Result<Value, Refusal> {
    let mut body: Value = serde_json::from_slice(body).map_err(|_| wrong("Malformed input request"))?;
    let version = body.as_object_mut().and_then(|members| members.remove("anthropic_version"));
    match version {
        Some(version) if version == "vertex-2023-10-16" => Ok(body),
        _ => Err(wrong("anthropic_version: must be vertex-2023-10-16")),
    }
}
