//! The OpenAI dialect: how wrongs are worded, who may ask, and what the endpoints share.

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod messages;
pub mod models;
pub mod moderations;

use super::{
    check::{Fields, Param, Rule, Wrong, may, read},
    failure::Refusal,
};
use crate::mock::answer::Ask;

/// Bytes that the copies of one answer may come to.
const MOST_BYTES: usize = 64 << 20;

const STREAM_OPTIONS: &[Param] = &[may("include_usage", Rule::Bool), may("include_obfuscation", Rule::Bool)];

/// Whether a request shows an API key.
///
/// # Errors
/// 401 where it does not.
pub fn authorise(authorization: Option<&str>) -> Result<(), Refusal> {
    match authorization.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(key) if !key.trim().is_empty() => Ok(()),
        _ => Err(Refusal {
            status: 401,
            ..Refusal::invalid(
                "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            )
            .coded("invalid_api_key")
        }),
    }
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::NotJson => Self::invalid("We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"),
            Wrong::Unknown(name) => Self::invalid(format!("Unrecognized request argument supplied: {name}")),
            Wrong::Missing(place) if place == "model" => Self::invalid("you must provide a model parameter").about(place),
            Wrong::Missing(place) => Self::invalid(format!("Missing required parameter: '{place}'."))
                .about(place)
                .coded("missing_required_parameter"),
            Wrong::Kind { place, expected, got } => {
                Self::invalid(format!("Invalid type for '{place}': expected {expected}, but got {got} instead."))
                    .about(place)
                    .coded("invalid_type")
            }
            Wrong::Range { place, expected, got } => {
                Self::invalid(format!("Invalid '{place}': expected a value of {expected}, but got {got} instead."))
                    .about(place)
                    .coded("invalid_value")
            }
            Wrong::Value { place, got, accepted } => {
                let accepted = accepted.join("', '");
                Self::invalid(format!("Invalid value: '{got}'. Supported values are: '{accepted}'."))
                    .about(place)
                    .coded("invalid_value")
            }
            Wrong::Empty(place) => Self::invalid(format!(
                "Invalid '{place}': empty array. Expected an array with minimum length 1, but got an empty array instead."
            ))
            .about(place)
            .coded("empty_array"),
        }
    }
}

/// Reads a body and checks what every endpoint has.
fn read_body<'a>(ask: &Ask<'a>, params: &[Param]) -> Result<Fields<'a>, Refusal> {
    let fields = read(ask.body, params, ask.strictness())?;
    if let Some(options) = fields.object("stream_options") {
        options.check("stream_options", STREAM_OPTIONS)?;
        if !fields.is_true("stream") {
            return Err(Refusal::invalid(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            )
            .about("stream_options"));
        }
    }
    Ok(fields)
}

/// Whether a stream ends with usage.
fn usage_wanted(ask: &Ask<'_>, fields: &Fields<'_>) -> bool {
    !ask.settings.no_usage
        && fields.object("stream_options").is_some_and(|options| options.is_true("include_usage"))
}

/// The `usage` member of an answer.
fn usage(prompt: u64, completion: u64) -> String {
    let total = prompt + completion;
    format!(
        "{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{total},\"prompt_tokens_details\":{{\"cached_tokens\":0,\"audio_tokens\":0}},\"completion_tokens_details\":{{\"reasoning_tokens\":0,\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}}"
    )
}

/// How many copies of an answer are wanted.
fn copies(fields: &Fields<'_>, bytes: usize) -> Result<u32, Refusal> {
    let n = fields.count("n").unwrap_or(1);
    if bytes.saturating_mul(n as usize) > MOST_BYTES {
        return Err(Refusal::invalid("The mock does not say that much at once.").about("n"));
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_may_ask() {
        assert_eq!(authorise(Some("Bearer sk-1")), Ok(()));
        for header in [None, Some("Bearer "), Some("sk-1"), Some("Basic eA==")] {
            let refused = authorise(header).expect_err("no key");
            assert_eq!((refused.status, refused.code), (401, Some("invalid_api_key")));
        }
    }
}
