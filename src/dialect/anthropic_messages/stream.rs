//! Reads a streamed answer: the events of `RawMessageStreamEvent`, one frame at a time.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ErrorBody, read_error,
    reply::{ReplyBlock, StopDetails, text_of},
    stop_reason,
    usage::{Tally, WireUsage},
};
use crate::{
    conversation::{Delta, StopReason},
    wire::sse,
};

/// Why a stream cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The provider says so.
    #[error("the stream failed: {}", .0.message)]
    Failed(ErrorBody),
    /// It is no stream of this dialect.
    #[error("the stream is not one of messages: {0}")]
    Garbage(String),
}

/// Turns the events of one answer into deltas.
///
/// Beside counts it holds the open tool calls only. The stop reason waits for `message_stop`.
#[derive(Debug, Default)]
pub struct EventReader {
    phase: Phase,
    tally: Tally,
    tool_calls: u32,
    open: Vec<OpenCall>,
}

#[derive(Debug, Default, PartialEq)]
enum Phase {
    /// Before `message_start`.
    #[default]
    Waiting,
    /// Inside the message, with the stop reason once it is known.
    Message(Option<StopReason>),
    /// After `message_stop`: what follows is padding.
    Over,
}

/// A tool call whose block has not stopped.
#[derive(Debug)]
struct OpenCall {
    block: u64,
    call: u32,
    /// The arguments given at once at the block's start, or `{}`: said at its stop, unless others
    /// came in between.
    unsaid: Option<String>,
}

/// Blocks are open one at a time; more than this is no answer.
const MOST_OPEN: usize = 256;

/// One event. Everything is raw until the type says that it matters.
#[derive(Deserialize)]
struct WireEvent<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StartedMessage {
    id: String,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct BlockDelta<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    signature: Option<&'a RawValue>,
    #[serde(borrow)]
    partial_json: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageDelta {
    stop_reason: Option<String>,
    stop_details: Option<StopDetails>,
}

impl EventReader {
    /// Whether the answer is complete.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether the answer has begun, so that the provider may have worked on it.
    pub fn has_begun(&self) -> bool {
        self.phase != Phase::Waiting
    }

    /// Reads one frame and appends its deltas.
    ///
    /// # Errors
    /// [`StreamError`]; nothing more may be read then.
    pub fn read(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        let Some(data) = sse::parse(frame).data else { return Ok(()) };
        if self.is_over() {
            return Ok(());
        }
        let event: WireEvent<'_> = serde_json::from_slice(&data)
            .map_err(|error| StreamError::Garbage(format!("an event is not JSON with a type: {error}")))?;
        match event.kind.as_str() {
            "message_start" => self.message_start(&event, out),
            "content_block_start" => self.block_start(&event, out),
            "content_block_delta" => self.block_delta(&event, out),
            "content_block_stop" => self.block_stop(&event, out),
            "message_delta" => self.message_delta(&event, out),
            "message_stop" => self.message_stop(out),
            "error" => Err(match read_error(&data) {
                Some(error) => StreamError::Failed(error),
                None => garbage("an error event without an error"),
            }),
            // Pings, and what future versions add.
            _ => Ok(()),
        }
    }

    fn message_start(&mut self, event: &WireEvent<'_>, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        if self.phase != Phase::Waiting {
            return Err(garbage("a second message_start"));
        }
        let message: StartedMessage = field(event.message, "message")?;
        self.phase = Phase::Message(None);
        out.push(Delta::Start { id: message.id });
        if let Some(usage) = message.usage {
            self.tally.report(&usage);
            out.push(Delta::Usage(self.tally.usage()));
        }
        Ok(())
    }

    fn block_start(&mut self, event: &WireEvent<'_>, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        self.inside()?;
        let block: ReplyBlock<'_> = field(event.content_block, "content_block")?;
        match block.kind.as_str() {
            "text" => say(text_of(block.text), Delta::Text, out),
            "thinking" => {
                say(text_of(block.thinking), Delta::Thinking, out);
                say(text_of(block.signature), Delta::ThinkingSignature, out);
            }
            "redacted_thinking" => say(text_of(block.data), Delta::RedactedThinking, out),
            "tool_use" => {
                let (Some(id), Some(name)) = (text_of(block.id), text_of(block.name)) else {
                    return Err(garbage("a tool use without id and name"));
                };
                if self.open.len() == MOST_OPEN {
                    return Err(garbage("too many open blocks"));
                }
                let index = self.tool_calls;
                self.tool_calls += 1;
                self.open.push(OpenCall {
                    block: field(event.index, "index")?,
                    call: index,
                    unsaid: Some(block.input.map_or("{}", RawValue::get).to_owned()),
                });
                out.push(Delta::ToolCallStart { index, id, name });
            }
            _ => {}
        }
        Ok(())
    }

    fn block_delta(&mut self, event: &WireEvent<'_>, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        self.inside()?;
        let delta: BlockDelta<'_> = field(event.delta, "delta")?;
        match delta.kind.as_str() {
            "text_delta" => say(field::<String>(delta.text, "text")?, Delta::Text, out),
            "thinking_delta" => say(field::<String>(delta.thinking, "thinking")?, Delta::Thinking, out),
            "signature_delta" => {
                say(field::<String>(delta.signature, "signature")?, Delta::ThinkingSignature, out)
            }
            "input_json_delta" => {
                let block: u64 = field(event.index, "index")?;
                // Server tools have such deltas too; their calls are not the client's.
                let Some(open) = self.open.iter_mut().find(|open| open.block == block) else { return Ok(()) };
                let fragment: String = field(delta.partial_json, "partial_json")?;
                if !fragment.is_empty() {
                    open.unsaid = None;
                    out.push(Delta::ToolCallArguments { index: open.call, fragment });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn block_stop(&mut self, event: &WireEvent<'_>, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        self.inside()?;
        let block: u64 = field(event.index, "index")?;
        if let Some(at) = self.open.iter().position(|open| open.block == block) {
            close(self.open.remove(at), out);
        }
        Ok(())
    }

    fn message_delta(&mut self, event: &WireEvent<'_>, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        let delta: MessageDelta = field(event.delta, "delta")?;
        let stop = self.inside()?;
        if let Some(word) = delta.stop_reason {
            *stop = Some(stop_reason(&word));
        }
        if let Some(explanation) = delta.stop_details.and_then(|details| details.explanation) {
            out.push(Delta::Refusal(explanation));
        }
        if event.usage.is_some() {
            self.tally.report(&field(event.usage, "usage")?);
            out.push(Delta::Usage(self.tally.usage()));
        }
        Ok(())
    }

    fn message_stop(&mut self, out: &mut Vec<Delta>) -> Result<(), StreamError> {
        let stop = self.inside()?.take().ok_or_else(|| garbage("it ends without a stop reason"))?;
        for open in self.open.drain(..) {
            close(open, out);
        }
        self.phase = Phase::Over;
        out.push(Delta::Stop(stop));
        Ok(())
    }

    fn inside(&mut self) -> Result<&mut Option<StopReason>, StreamError> {
        match &mut self.phase {
            Phase::Message(stop) => Ok(stop),
            Phase::Waiting | Phase::Over => Err(garbage("it does not begin with message_start")),
        }
    }
}

fn close(open: OpenCall, out: &mut Vec<Delta>) {
    if let Some(fragment) = open.unsaid {
        out.push(Delta::ToolCallArguments { index: open.call, fragment });
    }
}

/// Gives a text, unless it is absent or empty.
fn say(text: impl Into<Option<String>>, delta: fn(String) -> Delta, out: &mut Vec<Delta>) {
    out.extend(text.into().filter(|text| !text.is_empty()).map(delta));
}

fn garbage(why: &str) -> StreamError {
    StreamError::Garbage(why.to_owned())
}

/// Reads a field that an event of this type must have.
fn field<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>, name: &str) -> Result<T, StreamError> {
    let raw = raw.ok_or_else(|| StreamError::Garbage(format!("an event has no '{name}'")))?;
    serde_json::from_str(raw.get())
        .map_err(|error| StreamError::Garbage(format!("an event's '{name}' is malformed: {error}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: &str = r#"{"type":"message_start","message":{"id":"m"}}"#;
    const STOPS: [&str; 2] =
        [r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"}}"#, r#"{"type":"message_stop"}"#];

    fn check(events: &[&str]) -> Result<Vec<Delta>, StreamError> {
        let mut reader = EventReader::default();
        let mut out = Vec::new();
        for event in events {
            reader.read(&Bytes::from(format!("data: {event}\n\n")), &mut out)?;
        }
        Ok(out)
    }

    fn arguments(events: &[&str]) -> Vec<(u32, String)> {
        let all = [&[START], events, &STOPS].concat();
        let deltas = check(&all).expect("a stream").into_iter();
        deltas
            .filter_map(|delta| match delta {
                Delta::ToolCallArguments { index, fragment } => Some((index, fragment)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn calls_without_fragments_have_the_arguments_of_their_start() {
        let start = |index: u32, input: &str| {
            format!(
                r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"tool_use","id":"t{index}","name":"f","input":{input}}}}}"#
            )
        };
        let stop = |index: u32| format!(r#"{{"type":"content_block_stop","index":{index}}}"#);
        let empty = r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}"#;
        assert_eq!(arguments(&[&start(1, "{}"), empty, &stop(1)]), [(0, "{}".into())]);
        assert_eq!(arguments(&[&start(1, r#"{"a":1}"#), &stop(1)]), [(0, r#"{"a":1}"#.into())]);
        // Neither block is stopped, and they are open at once.
        let piece = r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"b\":2}"}}"#;
        assert_eq!(
            arguments(&[&start(1, "{}"), &start(2, "{}"), piece]),
            [(1, r#"{"b":2}"#.into()), (0, "{}".into())]
        );
    }

    #[test]
    fn the_unknown_is_ignored_and_the_malformed_is_not() {
        let all = [
            r#"{"type":"ping"}"#,
            START,
            r#"{"type":"new_event","delta":"text","index":"x","usage":[]}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"new_block","data":{}}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"new_delta"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
        ];
        assert_eq!(check(&all), Ok(vec![Delta::Start { id: "m".into() }]));
        for wrong in [
            &["[DONE]"][..],
            &["{}"],
            &[r#"{"type":"message_stop"}"#],
            &[START, START],
            &[START, r#"{"type":"content_block_delta","index":0}"#],
            &[START, r#"{"type":"content_block_stop"}"#],
            &[START, r#"{"type":"message_stop"}"#],
            &[START, r#"{"type":"error"}"#],
        ] {
            assert!(matches!(check(wrong), Err(StreamError::Garbage(_))), "{wrong:?}");
        }
    }

    #[test]
    fn what_follows_the_end_is_padding() {
        let all = [&[START], &STOPS[..], &["[DONE]"]].concat();
        assert_eq!(check(&all).expect("a stream").last(), Some(&Delta::Stop(StopReason::ToolCalls)));
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_panic(frames in proptest::collection::vec(r#"[\[\]{}",:0-9a-z_ \n]{0,80}"#, 0..4)) {
            let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
            let _ = check(&[&[START], &frames[..]].concat());
        }
    }
}
