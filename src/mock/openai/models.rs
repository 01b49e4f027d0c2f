//! `GET /v1/models` and `/v1/models/{id}`, in either dialect's shape. Every model exists.

use serde_json::{Value, json};

use crate::{dialect::Dialect, mock::answer::Answer};

/// The models that the list names.
pub const MODELS: &[&str] = &[
    "penstock-echo",
    "gpt-4o",
    "gpt-4o-mini",
    "text-embedding-3-small",
    "omni-moderation-latest",
    "claude-sonnet-4-5",
];

/// When they came to be, in seconds since 1970 and as Anthropic writes it.
const CREATED: (u64, &str) = (1_735_689_600, "2025-01-01T00:00:00Z");

/// The list.
pub fn list(dialect: Dialect) -> Answer {
    let data: Vec<_> = MODELS.iter().map(|id| model(id, dialect)).collect();
    let body = match dialect {
        Dialect::Gemini => json!({"models": data}),
        Dialect::AnthropicMessages => {
            json!({"data": data, "has_more": false, "first_id": MODELS.first(), "last_id": MODELS.last()})
        }
        _ => json!({"object": "list", "data": data}),
    };
    Answer::plain(body.to_string(), 0)
}

/// One model.
pub fn one(id: &str, dialect: Dialect) -> Answer {
    Answer::plain(model(id, dialect).to_string(), 0)
}

fn model(id: &str, dialect: Dialect) -> Value {
    match dialect {
        Dialect::Gemini => json!({
            "name": format!("models/{id}"), "version": "001", "displayName": id,
            "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }),
        Dialect::AnthropicMessages => json!({
            "type": "model", "id": id, "display_name": id, "created_at": CREATED.1, "lifecycle": "active",
        }),
        _ => json!({"id": id, "object": "model", "created": CREATED.0, "owned_by": "penstock"}),
    }
}
