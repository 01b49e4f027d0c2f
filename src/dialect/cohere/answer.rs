//! Reads a whole answer: `V2ChatResponse`.

use penstock_actors::domain::Usage;
use serde::Deserialize;

use super::stop_reason;
use crate::{
    conversation::{Part, Reply, ToolCall},
    dialect::{count::Count, upstream::ReadError},
};

#[derive(Deserialize)]
struct Answer {
    id: String,
    message: Message,
    finish_reason: String,
    #[serde(default)]
    usage: WireUsage,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<Vec<Item>>,
    #[serde(default)]
    tool_calls: Option<Vec<WireCall>>,
    tool_plan: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    text: Option<String>,
    thinking: Option<String>,
}

/// `ToolCallV2`; in streams the first of a call's pieces.
#[derive(Debug, Deserialize)]
pub(super) struct WireCall {
    pub(super) id: String,
    pub(super) function: WireFunction,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct WireFunction {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) arguments: Option<String>,
}

/// `Usage`. Counts are written as decimals.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    tokens: Option<Tokens>,
    billed_units: Option<Tokens>,
    cached_tokens: Count,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Tokens {
    input_tokens: Count,
    output_tokens: Count,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let tokens = wire.tokens.or(wire.billed_units).unwrap_or_default();
        let (input, cached) = (tokens.input_tokens.get(), wire.cached_tokens.get());
        let cached_read = cached.min(input);
        Self {
            input: input - cached_read,
            cached_read,
            output: tokens.output_tokens.get(),
            ..Self::default()
        }
    }
}

/// Reads a whole answer.
///
/// # Errors
/// [`ReadError`] where it is an error, or none.
pub(super) fn read(body: &[u8]) -> Result<Reply, ReadError> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| ReadError::garbage(format!("the answer is not one of Cohere's chat: {error}")))?;
    let stop = stop_reason(&answer.finish_reason)?;
    let Message { content, tool_calls, tool_plan } = answer.message;
    let mut parts = Vec::new();
    parts.extend(tool_plan.filter(|p| !p.is_empty()).map(thought));
    for Item { text, thinking } in content.into_iter().flatten() {
        parts.extend(thinking.map(thought));
        parts.extend(text.map(Part::text));
    }
    parts.extend(tool_calls.into_iter().flatten().map(|call| {
        let arguments = call.function.arguments.unwrap_or_default();
        Part::ToolCall(ToolCall { id: call.id, name: call.function.name, arguments })
    }));
    Ok(Reply { id: answer.id, parts, logprobs: Vec::new(), stop, usage: answer.usage.into() })
}

fn thought(text: String) -> Part {
    Part::Thinking { text, signature: None }
}
