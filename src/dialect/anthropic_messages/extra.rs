//! Fields of other dialects: which are dropped, refused, translated or passed on.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    conversation::{Conversation, Verbatim},
    dialect::fields::ParamError,
};

/// OpenAI's hints and bookkeeping. Without them the answer means the same.
const DROPPED: [&str; 8] = [
    "store",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    // Translated below.
    "metadata",
    "thinking",
    "output_config",
];

/// Without these the answer means something else, unless their value says nothing.
const REFUSED: [&str; 7] = [
    "functions",
    "function_call",
    "logit_bias",
    "audio",
    "web_search_options",
    "moderation",
    "stop_sequences",
];

/// Names the request gives itself. A client that means Anthropic's must say them in its own dialect.
const OURS: [&str; 1] = ["system"];

/// The request's `metadata`.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Metadata {
    user_id: String,
}

/// Checks the fields that nobody understood, and gives those to pass on.
pub(super) fn passed_on(conversation: &Conversation) -> Result<BTreeMap<&str, &Verbatim>, ParamError> {
    let mut passed = BTreeMap::new();
    for (name, value) in &conversation.extra {
        let name = name.as_str();
        if REFUSED.contains(&name) && !says_nothing(value) {
            let why = match name {
                "functions" => "is deprecated and not supported by this model's provider; use 'tools'",
                "function_call" => {
                    "is deprecated and not supported by this model's provider; use 'tool_choice'"
                }
                "stop_sequences" => "is called 'stop' here",
                _ => "is not supported by this model's provider",
            };
            return Err(ParamError::unsupported(name, why));
        }
        if OURS.contains(&name) {
            return Err(ParamError::unsupported(
                name,
                "is not a parameter here; send a message of that role",
            ));
        }
        if name == "modalities" {
            text_only(value)?;
        } else if !REFUSED.contains(&name) && !DROPPED.contains(&name) {
            passed.insert(name, value);
        }
    }
    Ok(passed)
}

fn says_nothing(value: &Verbatim) -> bool {
    match serde_json::from_str(value.as_str()) {
        Ok(serde_json::Value::Array(all)) => all.is_empty(),
        Ok(serde_json::Value::Object(all)) => all.is_empty(),
        _ => false,
    }
}

fn text_only(modalities: &Verbatim) -> Result<(), ParamError> {
    match serde_json::from_str::<Vec<String>>(modalities.as_str()) {
        Ok(all) if all.iter().all(|one| one == "text") => Ok(()),
        _ => Err(ParamError::unsupported("modalities", "may only ask for text from this model's provider")),
    }
}

/// Who the end user is: `metadata.user_id` as the client wrote it, or else its user.
pub(super) fn metadata(conversation: &Conversation) -> Option<Metadata> {
    #[derive(serde::Deserialize)]
    struct Known {
        user_id: Option<String>,
    }
    let own = conversation.extra.get("metadata").and_then(|value| serde_json::from_str(value.as_str()).ok());
    own.and_then(|Known { user_id }| user_id)
        .or_else(|| conversation.user.clone())
        .map(|user_id| Metadata { user_id })
}

/// The service tier, in Anthropic's words.
pub(super) fn service_tier(conversation: &Conversation) -> Option<&'static str> {
    match conversation.service_tier.as_deref()? {
        "auto" | "priority" | "fast" => Some("auto"),
        "default" | "standard_only" => Some("standard_only"),
        _ => None,
    }
}
