//! Fields of other dialects: which are dropped, refused, translated or passed on.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    conversation::{Conversation, Verbatim},
    dialect::{fields::ParamError, foreign},
};

/// Fields that this dialect has, or that are translated below.
const OWN: [&str; 10] = [
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "inference_geo",
    "mcp_servers",
    "speed",
    "user_profile_id",
    "workspace_id",
    "output_format",
];

/// Fields that are translated where they are known, and never passed on.
const TRANSLATED: [&str; 2] = ["thinking", "output_config"];

/// The request's `metadata`.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Metadata {
    user_id: String,
}

/// Checks the fields that nobody understood, and gives those to pass on.
pub(super) fn passed_on(conversation: &Conversation) -> Result<BTreeMap<&str, &Verbatim>, ParamError> {
    for (name, why) in [
        ("stop_sequences", "is called 'stop' here"),
        ("system", "is not a parameter here; send a message of that role"),
    ] {
        if conversation.extra.contains_key(name) {
            return Err(ParamError::unsupported(name, why));
        }
    }
    let mut passed = foreign::passed_on(conversation, &OWN)?;
    passed.retain(|name, _| !TRANSLATED.contains(name));
    Ok(passed)
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
