//! Reads answers: whole ones in an envelope, and events with the text since the last.

use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::Deserialize;
use serde_json::Value;

use super::trouble;
use crate::{
    conversation::{Delta, Reply, StopReason},
    dialect::{
        count::Count,
        pieces::CallPiece,
        said::{self, Progress, Said},
        upstream::{FrameReader, ReadError},
    },
    wire::sse,
};

/// The envelope of everything that is no event.
#[derive(Deserialize)]
struct Outer {
    result: Option<Answer>,
    success: Option<bool>,
    #[serde(default)]
    errors: Vec<WireError>,
}

#[derive(Deserialize)]
struct WireError {
    code: Option<i64>,
    #[serde(default)]
    message: String,
}

/// An answer, or an event.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    id: Option<String>,
    /// A text, or where a shape was asked for, the JSON itself.
    response: Option<Value>,
    tool_calls: Option<Vec<WireCall>>,
    choices: Option<Vec<Choice>>,
    finish_reason: Option<String>,
    usage: Option<WireUsage>,
    errors: Vec<WireError>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    message: Option<Message>,
    delta: Option<Message>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<WireCall>>,
}

/// A call: flat in older models, as OpenAI's in newer ones.
#[derive(Default, Deserialize)]
#[serde(default)]
struct WireCall {
    id: Option<String>,
    index: Option<u64>,
    name: Option<String>,
    arguments: Option<Value>,
    function: Option<WireFunction>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireFunction {
    name: Option<String>,
    arguments: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
    prompt_tokens_details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Count,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let input = wire.prompt_tokens.get();
        let cached_read = wire.prompt_tokens_details.unwrap_or_default().cached_tokens.get().min(input);
        let output = wire.completion_tokens.get();
        Self { input: input - cached_read, cached_read, output, ..Self::default() }
    }
}

/// A text, or JSON as one.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        value => Some(value.to_string()),
    }
}

fn stop_reason(word: &str) -> Option<StopReason> {
    Some(match word {
        "" => return None,
        "stop" => StopReason::End,
        "length" | "model_length" => StopReason::Length,
        "tool_calls" => StopReason::ToolCalls,
        "content_filter" => StopReason::Refused,
        other => StopReason::Other(other.to_owned()),
    })
}

fn failed(error: WireError) -> ReadError {
    let WireError { code, message } = error;
    said::failed(code.and_then(trouble), code.map_or_else(String::new, |code| code.to_string()), message)
}

impl Answer {
    fn said(self) -> Said {
        let mut all = Said {
            id: self.id,
            text: self.response.and_then(text),
            usage: self.usage.map(Into::into),
            stop: self.finish_reason.as_deref().and_then(stop_reason),
            ..Said::default()
        };
        let mut calls = self.tool_calls;
        if let Some(choice) = self.choices.into_iter().flatten().next() {
            all.stop = all.stop.or(choice.finish_reason.as_deref().and_then(stop_reason));
            if let Some(message) = choice.message.or(choice.delta) {
                all.text = all.text.or(message.content);
                all.thinking = message.reasoning_content.or(message.reasoning);
                calls = calls.or(message.tool_calls);
            }
        }
        for (call, n) in calls.into_iter().flatten().zip(0..) {
            let WireCall { id, index, name, arguments, function } = call;
            let WireFunction { name: inner, arguments: written } = function.unwrap_or_default();
            let arguments = arguments.or(written).and_then(text);
            let (name, index) = (name.or(inner), Some(index.unwrap_or(n)));
            // Some end each stream of calls with an empty one.
            if name.is_some() || arguments.is_some() {
                all.calls.push(CallPiece { index, id, name, arguments });
            }
        }
        all
    }
}

/// Reads a whole answer.
///
/// # Errors
/// [`ReadError`] where it is an error, or none.
pub(super) fn read_whole(body: &[u8]) -> Result<Reply, ReadError> {
    let outer: Outer = serde_json::from_slice(body)
        .map_err(|error| ReadError::garbage(format!("the answer is not one of Workers AI: {error}")))?;
    match (outer.success, outer.result, outer.errors.into_iter().next()) {
        (Some(true), Some(answer), None) => {
            let said = answer.said();
            match said.text.is_some() || !said.calls.is_empty() || said.stop.is_some() {
                true => Ok(said.into()),
                false => Err(ReadError::garbage("the answer says nothing")),
            }
        }
        (_, _, Some(error)) => Err(failed(error)),
        _ => Err(ReadError::garbage("the answer has neither a result nor errors")),
    }
}

/// Code and message of a refusal.
pub(super) fn refusal(body: &[u8]) -> Option<(i64, String)> {
    let outer: Outer = serde_json::from_slice(body).ok()?;
    let error = outer.errors.into_iter().next()?;
    Some((error.code?, error.message))
}

/// Turns the events of one answer into deltas; the last one is `[DONE]`.
#[derive(Debug, Default)]
pub(super) struct Events {
    progress: Progress,
    /// Why it stopped, where that was said: usage may follow.
    stop: Option<StopReason>,
}

impl FrameReader for Events {
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let Some(data) = sse::parse(frame).data else { return Ok(()) };
        if self.progress.is_over() {
            return Ok(());
        }
        if &data[..] == b"[DONE]" {
            let stop = self.stop.take().or(Some(StopReason::End));
            return self.progress.tell(Said { stop, ..Said::default() }, out);
        }
        let mut answer: Answer = serde_json::from_slice(&data)
            .map_err(|error| ReadError::garbage(format!("an event is malformed: {error}")))?;
        if let Some(error) = answer.errors.pop() {
            return Err(failed(error));
        }
        let mut said = answer.said();
        self.stop = said.stop.take().or(self.stop.take());
        self.progress.tell(said, out)
    }

    fn end(&mut self, _tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("the stream ended before its last event"))
    }
}
