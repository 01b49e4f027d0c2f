//! Reads answers: whole ones wrapped in `Response`, streamed ones event by event.

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

#[derive(Deserialize)]
struct Outer {
    #[serde(rename = "Response")]
    response: Answer,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    id: Option<String>,
    usage: Option<WireUsage>,
    choices: Option<Vec<Choice>>,
    error: Option<WireError>,
    error_msg: Option<WireErrorMsg>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireError {
    code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireErrorMsg {
    #[serde(default)]
    msg: String,
    code: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Choice {
    finish_reason: Option<String>,
    message: Option<Message>,
    delta: Option<Message>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Message {
    content: Option<String>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<WireCall>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct WireCall {
    id: Option<String>,
    index: Option<u64>,
    function: WireFunction,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct WireFunction {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct WireUsage {
    prompt_tokens: i64,
    completion_tokens: i64,
    prompt_tokens_details: Details,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Details {
    cached_tokens: i64,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        let input = count(wire.prompt_tokens);
        let cached_read = count(wire.prompt_tokens_details.cached_tokens).min(input);
        Self {
            input: input - cached_read,
            cached_read,
            output: count(wire.completion_tokens),
            ..Self::default()
        }
    }
}

impl Answer {
    /// The error that it is, in spite of its status.
    fn error(&mut self) -> Option<ReadError> {
        if let Some(WireError { code, message }) = self.error.take() {
            return Some(failed(code, message));
        }
        let WireErrorMsg { msg, code } = self.error_msg.take()?;
        let code = match code {
            Some(serde_json::Value::String(code)) => code,
            Some(code) => code.to_string(),
            None => String::new(),
        };
        Some(failed(code, msg))
    }
}

/// Reads a whole answer.
///
/// # Errors
/// [`ReadError`] where it is an error, or none.
pub(super) fn read(body: &[u8]) -> Result<Reply, ReadError> {
    let Outer { response: mut answer } = serde_json::from_slice(body)
        .map_err(|error| ReadError::garbage(format!("the answer is not one of Hunyuan: {error}")))?;
    if let Some(error) = answer.error() {
        return Err(error);
    }
    let choice = answer.choices.into_iter().flatten().next();
    let Some(Choice { message: Some(message), finish_reason, .. }) = choice else {
        return Err(ReadError::garbage("the answer has no message"));
    };
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let mut parts = Vec::new();
    parts.extend(filled(message.reasoning_content).map(|text| Part::Thinking { text, signature: None }));
    parts.extend(filled(message.content).map(Part::text));
    for (n, call) in message.tool_calls.into_iter().flatten().enumerate() {
        parts.push(Part::ToolCall(ToolCall {
            id: filled(call.id).unwrap_or_else(|| format!("call_{n}")),
            name: call.function.name.unwrap_or_default(),
            arguments: call.function.arguments.unwrap_or_default(),
        }));
    }
    let stop = stop_reason(finish_reason.as_deref().unwrap_or_default()).unwrap_or(StopReason::End);
    let usage = answer.usage.unwrap_or_default().into();
    Ok(Reply { id: answer.id.unwrap_or_default(), parts, logprobs: Vec::new(), stop, usage })
}

/// Code and message of a refusal.
pub(super) fn refusal(body: &[u8]) -> Option<(String, String)> {
    let outer: Outer = serde_json::from_slice(body).ok()?;
    outer.response.error.map(|error| (error.code, error.message))
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
            out.push(Delta::Start { id: answer.id.unwrap_or_default() });
        }
        let mut stop = None;
        if let Some(choice) = answer.choices.into_iter().flatten().next() {
            let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
            if let Some(delta) = choice.delta {
                out.extend(filled(delta.reasoning_content).map(Delta::Thinking));
                out.extend(filled(delta.content).map(Delta::Text));
                for WireCall { id, index, function } in delta.tool_calls.into_iter().flatten() {
                    let WireFunction { name, arguments } = function;
                    self.calls.add(CallPiece { index, id, name, arguments }, out)?;
                }
            }
            stop = stop_reason(choice.finish_reason.as_deref().unwrap_or_default());
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
        Err(ReadError::garbage("the stream ended before a FinishReason"))
    }
}
