//! Reads a whole answer: `ConverseResponse`.

use penstock_actors::domain::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::stop_reason;
use crate::{
    conversation::{Part, Reply, ToolCall},
    dialect::{count::Count, upstream::ReadError},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    output: Output<'a>,
    stop_reason: String,
    #[serde(default)]
    usage: WireUsage,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Message<'a>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Vec<Block<'a>>,
}

/// A block: one member says what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    text: Option<String>,
    #[serde(borrow)]
    tool_use: Option<ToolUse<'a>>,
    reasoning_content: Option<Reasoning>,
    citations_content: Option<CitationsContent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse<'a> {
    tool_use_id: String,
    name: String,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reasoning {
    reasoning_text: Option<ReasoningText>,
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
struct ReasoningText {
    text: String,
    signature: Option<String>,
}

#[derive(Deserialize)]
struct CitationsContent {
    #[serde(default)]
    content: Vec<Cited>,
}

#[derive(Deserialize)]
struct Cited {
    text: Option<String>,
}

/// `TokenUsage`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireUsage {
    input_tokens: Count,
    output_tokens: Count,
    cache_read_input_tokens: Count,
    cache_write_input_tokens: Count,
}

impl From<WireUsage> for Usage {
    /// The API counts cached tokens apart from the input.
    fn from(usage: WireUsage) -> Self {
        Self {
            input: usage.input_tokens.get(),
            cached_read: usage.cache_read_input_tokens.get(),
            cache_write_5m: usage.cache_write_input_tokens.get(),
            output: usage.output_tokens.get(),
            ..Self::default()
        }
    }
}

/// Reads a whole answer. Blocks of unknown kinds are left out.
///
/// # Errors
/// [`ReadError`] where it is none.
pub(super) fn read(body: &[u8]) -> Result<Reply, ReadError> {
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|error| ReadError::garbage(format!("the answer is not one of Converse: {error}")))?;
    Ok(Reply {
        // The id stands in a header that only AWS' support asks for.
        id: String::new(),
        parts: answer.output.message.content.into_iter().filter_map(part).collect(),
        logprobs: Vec::new(),
        stop: stop_reason(&answer.stop_reason),
        usage: answer.usage.into(),
    })
}

fn part(block: Block<'_>) -> Option<Part> {
    if let Some(ToolUse { tool_use_id, name, input }) = block.tool_use {
        let arguments = input.map_or("{}", RawValue::get).to_owned();
        return Some(Part::ToolCall(ToolCall { id: tool_use_id, name, arguments }));
    }
    if let Some(Reasoning { reasoning_text, redacted_content }) = block.reasoning_content {
        return match (reasoning_text, redacted_content) {
            (Some(ReasoningText { text, signature }), _) => Some(Part::Thinking { text, signature }),
            (None, Some(data)) => Some(Part::RedactedThinking { data }),
            (None, None) => None,
        };
    }
    let cited = block.citations_content.map(|c| c.content.into_iter().filter_map(|c| c.text).collect());
    block.text.or(cited).map(Part::text)
}
