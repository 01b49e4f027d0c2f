//! Reads a streamed answer: `V2ChatStreamResponse`, an event each.

use bytes::Bytes;
use serde::Deserialize;

use super::{
    answer::{WireCall, WireFunction, WireUsage},
    stop_reason,
};
use crate::{
    conversation::Delta,
    dialect::upstream::{FrameReader, ReadError},
    wire::sse,
};

/// Turns the events of one answer into deltas.
#[derive(Debug, Default)]
pub(super) struct Events {
    begun: bool,
    over: bool,
    /// Index in the provider's words, of the call that has ours.
    calls: Vec<u64>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
    index: Option<u64>,
    delta: Option<EventDelta>,
}

#[derive(Deserialize)]
struct EventDelta {
    message: Option<Message>,
    finish_reason: Option<String>,
    error: Option<String>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Content>,
    tool_plan: Option<String>,
    tool_calls: Option<Calls>,
}

/// An object in deltas; the start of the message has an empty list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Piece { text: Option<String>, thinking: Option<String> },
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Calls {
    Begun(WireCall),
    More { function: WireFunction },
    Other(serde::de::IgnoredAny),
}

/// Calls of one answer are few; more than this is no answer.
const MOST_CALLS: usize = 256;

impl FrameReader for Events {
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let Some(data) = sse::parse(frame).data else { return Ok(()) };
        if self.over || &data[..] == b"[DONE]" {
            return Ok(());
        }
        let event: Event = serde_json::from_slice(&data)
            .map_err(|error| ReadError::garbage(format!("an event is malformed: {error}")))?;
        if event.kind == "message-start" {
            if std::mem::replace(&mut self.begun, true) {
                return Err(ReadError::garbage("a second message-start"));
            }
            out.push(Delta::Start { id: event.id.unwrap_or_default() });
            return Ok(());
        }
        let Some(delta) = event.delta else { return Ok(()) };
        if !self.begun {
            return Err(ReadError::garbage("the stream does not begin with message-start"));
        }
        match event.kind.as_str() {
            "content-start" | "content-delta" => {
                if let Some(Content::Piece { text, thinking }) = delta.message.and_then(|m| m.content) {
                    say(thinking, Delta::Thinking, out);
                    say(text, Delta::Text, out);
                }
            }
            "tool-plan-delta" => say(delta.message.and_then(|m| m.tool_plan), Delta::Thinking, out),
            "tool-call-start" => {
                let Some(Calls::Begun(call)) = delta.message.and_then(|m| m.tool_calls) else {
                    return Err(ReadError::garbage("a tool call without id and name"));
                };
                if self.calls.len() == MOST_CALLS {
                    return Err(ReadError::garbage("too many tool calls"));
                }
                let index = self.calls.len() as u32;
                self.calls.push(event.index.unwrap_or_default());
                out.push(Delta::ToolCallStart { index, id: call.id, name: call.function.name });
                let fragment = |fragment| Delta::ToolCallArguments { index, fragment };
                say(call.function.arguments, fragment, out);
            }
            "tool-call-delta" => {
                if let Some(Calls::More { function }) = delta.message.and_then(|m| m.tool_calls) {
                    let at = event.index.unwrap_or_default();
                    let Some(index) = self.calls.iter().rposition(|known| *known == at) else {
                        return Err(ReadError::garbage("arguments of a tool call that did not begin"));
                    };
                    let index = index as u32;
                    say(function.arguments, |fragment| Delta::ToolCallArguments { index, fragment }, out);
                }
            }
            "message-end" => {
                out.extend(delta.usage.map(|usage| Delta::Usage(usage.into())));
                if let Some(error) = delta.error.filter(|e| !e.is_empty()) {
                    let trouble = super::trouble(500, &error);
                    return Err(ReadError::Failed(trouble.failure(None, Some(error))));
                }
                let stop = stop_reason(&delta.finish_reason.unwrap_or_default())?;
                self.over = true;
                out.push(Delta::Stop(stop));
            }
            // Ends of blocks, citations, and what future versions add.
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, _tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("the stream ended before message-end"))
    }
}

/// Gives a text, unless it is absent or empty.
fn say(text: Option<String>, delta: impl FnOnce(String) -> Delta, out: &mut Vec<Delta>) {
    out.extend(text.filter(|text| !text.is_empty()).map(delta));
}
