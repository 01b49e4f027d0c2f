//! Reads answers: whole ones, and streamed ones event by event, each with the text since the last.

use penstock_actors::domain::Usage;
use serde::Deserialize;

use super::{stop_reason, trouble};
use crate::{
    conversation::Reply,
    dialect::{
        count::Count,
        pieces::CallPiece,
        said::{self, Said},
        upstream::ReadError,
    },
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    request_id: Option<String>,
    output: Option<Output>,
    usage: Option<WireUsage>,
    code: Option<String>,
    message: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Output {
    choices: Option<Vec<Choice>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    finish_reason: Option<String>,
    message: Message,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    content: Option<Content>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<WireCall>>,
}

/// A text, or with models of several modalities a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    List(Vec<Item>),
}

#[derive(Deserialize)]
struct Item {
    text: Option<String>,
}

impl Content {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::List(items) => items.into_iter().filter_map(|item| item.text).collect(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireCall {
    id: Option<String>,
    index: Option<u64>,
    function: WireFunction,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireFunction {
    name: Option<String>,
    arguments: Option<String>,
}

impl From<WireCall> for CallPiece {
    fn from(wire: WireCall) -> Self {
        let WireFunction { name, arguments } = wire.function;
        Self { index: wire.index, id: wire.id, name, arguments }
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    input_tokens: Count,
    output_tokens: Count,
    prompt_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Count,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Count,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let (input, output) = (wire.input_tokens.get(), wire.output_tokens.get());
        let cached_read = wire.prompt_tokens_details.unwrap_or_default().cached_tokens.get().min(input);
        let reasoning = wire.output_tokens_details.unwrap_or_default().reasoning_tokens.get().min(output);
        Self {
            input: input - cached_read,
            cached_read,
            output: output - reasoning,
            reasoning,
            ..Self::default()
        }
    }
}

/// Reads an answer, or an event of one.
///
/// # Errors
/// [`ReadError`] where it is an error, or none of DashScope's.
pub(super) fn read(body: &[u8]) -> Result<Said, ReadError> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| ReadError::garbage(format!("the answer is not one of DashScope: {error}")))?;
    if let Some(code) = said::filled(answer.code) {
        return Err(said::failed(trouble(&code), code, answer.message.unwrap_or_default()));
    }
    let choice = answer.output.and_then(|output| output.choices?.into_iter().next());
    let mut all = Said { id: answer.request_id, usage: answer.usage.map(Into::into), ..Said::default() };
    let Some(Choice { message, finish_reason }) = choice else { return Ok(all) };
    all.thinking = message.reasoning_content;
    all.text = message.content.map(Content::text);
    all.calls = message.tool_calls.into_iter().flatten().map(CallPiece::from).collect();
    all.stop = stop_reason(finish_reason.as_deref().unwrap_or_default());
    Ok(all)
}

/// Reads a whole answer.
///
/// # Errors
/// As [`read`].
pub(super) fn read_whole(body: &[u8]) -> Result<Reply, ReadError> {
    let said = read(body)?;
    match said.stop.is_some() || said.text.is_some() {
        true => Ok(said.into()),
        false => Err(ReadError::garbage("the answer has no choice")),
    }
}

/// Code and message of a refusal.
pub(super) fn refusal(body: &[u8]) -> Option<(String, String)> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    Some((answer.code?, answer.message.unwrap_or_default()))
}
