//! Reads answers: whole ones, and streamed ones event by event, each with the text since the last.

use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::Deserialize;

use super::{failed, is_done, stop_reason};
use crate::{
    conversation::{Delta, Part, Reply, StopReason, ToolCall},
    dialect::{
        pieces::{CallPiece, CallPieces},
        upstream::{FrameReader, ReadError},
    },
    wire::sse,
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

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    input_tokens: i64,
    output_tokens: i64,
    prompt_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: i64,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: i64,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        let (input, output) = (count(wire.input_tokens), count(wire.output_tokens));
        let cached_read = count(wire.prompt_tokens_details.unwrap_or_default().cached_tokens).min(input);
        let reasoning = count(wire.output_tokens_details.unwrap_or_default().reasoning_tokens).min(output);
        Self {
            input: input - cached_read,
            cached_read,
            output: output - reasoning,
            reasoning,
            ..Self::default()
        }
    }
}

impl Answer {
    /// The error that it is, in spite of its status.
    fn error(&mut self) -> Option<ReadError> {
        let code = self.code.take().filter(|code| !code.is_empty())?;
        Some(failed(code, self.message.take().unwrap_or_default()))
    }

    fn choice(&mut self) -> Option<Choice> {
        self.output.take()?.choices?.into_iter().next()
    }
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// Reads a whole answer.
///
/// # Errors
/// [`ReadError`] where it is an error, or none.
pub(super) fn read(body: &[u8]) -> Result<Reply, ReadError> {
    let mut answer: Answer = serde_json::from_slice(body)
        .map_err(|error| ReadError::garbage(format!("the answer is not one of DashScope: {error}")))?;
    if let Some(error) = answer.error() {
        return Err(error);
    }
    let Some(Choice { message, finish_reason }) = answer.choice() else {
        return Err(ReadError::garbage("the answer has no choice"));
    };
    let mut parts = Vec::new();
    parts.extend(filled(message.reasoning_content).map(|text| Part::Thinking { text, signature: None }));
    parts.extend(filled(message.content.map(Content::text)).map(Part::text));
    for (n, call) in message.tool_calls.into_iter().flatten().enumerate() {
        parts.push(Part::ToolCall(ToolCall {
            id: filled(call.id).unwrap_or_else(|| format!("call_{n}")),
            name: call.function.name.unwrap_or_default(),
            arguments: call.function.arguments.unwrap_or_default(),
        }));
    }
    let stop = stop_reason(finish_reason.as_deref().unwrap_or_default()).unwrap_or(StopReason::End);
    let usage = answer.usage.unwrap_or_default().into();
    Ok(Reply { id: answer.request_id.unwrap_or_default(), parts, logprobs: Vec::new(), stop, usage })
}

/// Code and message of a refusal.
pub(super) fn refusal(body: &[u8]) -> Option<(String, String)> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    Some((answer.code?, answer.message.unwrap_or_default()))
}

/// Turns the events of one answer into deltas.
#[derive(Debug, Default)]
pub(super) struct Events {
    begun: bool,
    over: bool,
    calls: CallPieces,
}

impl FrameReader for Events {
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let Some(data) = sse::parse(frame).data else { return Ok(()) };
        if self.over || is_done(&data) {
            return Ok(());
        }
        let mut answer: Answer = serde_json::from_slice(&data)
            .map_err(|error| ReadError::garbage(format!("an event is malformed: {error}")))?;
        if let Some(error) = answer.error() {
            return Err(error);
        }
        if !std::mem::replace(&mut self.begun, true) {
            out.push(Delta::Start { id: answer.request_id.take().unwrap_or_default() });
        }
        let mut stop = None;
        if let Some(Choice { message, finish_reason }) = answer.choice() {
            out.extend(filled(message.reasoning_content).map(Delta::Thinking));
            out.extend(filled(message.content.map(Content::text)).map(Delta::Text));
            for WireCall { id, index, function } in message.tool_calls.into_iter().flatten() {
                let WireFunction { name, arguments } = function;
                self.calls.add(CallPiece { index, id, name, arguments }, out)?;
            }
            stop = stop_reason(finish_reason.as_deref().unwrap_or_default());
        }
        // Counts stand in every event, and grow.
        out.extend(answer.usage.map(|usage| Delta::Usage(usage.into())));
        if let Some(stop) = stop {
            self.over = true;
            let stop = if self.calls.any() && stop == StopReason::End { StopReason::ToolCalls } else { stop };
            out.push(Delta::Stop(stop));
        }
        Ok(())
    }

    fn end(&mut self, _tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("the stream ended before a finish_reason"))
    }
}
