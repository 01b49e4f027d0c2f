//! Reads a stream: events of the chat and of its messages, each named in its `event:` line.

use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::Deserialize;

use super::Refusal;
use crate::{
    conversation::{Delta, StopReason},
    dialect::{
        count::Count,
        trouble::Trouble,
        upstream::{FrameReader, ReadError},
    },
    wire::sse,
};

/// `Chat`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Chat {
    id: String,
    last_error: Option<Refusal>,
    usage: Option<WireUsage>,
}

/// `ChatUsage`.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    output_count: Count,
    input_count: Count,
}

/// `Message`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Message {
    id: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    content: Option<String>,
    content_type: Option<String>,
    reasoning_content: Option<String>,
}

impl Message {
    /// Whether it is what the bot says, and text.
    fn is_answer(&self) -> bool {
        let is_text = self.content_type.as_deref().is_none_or(|form| matches!(form, "" | "text"));
        matches!(self.kind.as_str(), "" | "answer") && is_text
    }
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        Self { input: wire.input_count.get(), output: wire.output_count.get(), ..Self::default() }
    }
}

/// Turns the events of one chat into deltas.
#[derive(Debug, Default)]
pub(super) struct Events {
    begun: bool,
    over: bool,
    /// The message of which pieces came last.
    pieces_of: Option<String>,
}

fn parse<'b, T: Deserialize<'b>>(data: &'b [u8]) -> Result<T, ReadError> {
    serde_json::from_slice(data)
        .map_err(|error| ReadError::garbage(format!("an event is malformed: {error}")))
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl Events {
    fn begin(&mut self, id: String, out: &mut Vec<Delta>) {
        if !std::mem::replace(&mut self.begun, true) {
            out.push(Delta::Start { id });
        }
    }

    fn say(&mut self, message: Message, out: &mut Vec<Delta>) {
        self.begin(String::new(), out);
        out.extend(filled(message.reasoning_content).map(Delta::Thinking));
        out.extend(filled(message.content).map(Delta::Text));
    }
}

impl FrameReader for Events {
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let event = sse::parse(frame);
        let Some(data) = event.data.filter(|_| !self.over) else { return Ok(()) };
        match event.event {
            b"conversation.chat.created" | b"conversation.chat.in_progress" => {
                self.begin(parse::<Chat>(&data)?.id, out);
            }
            b"conversation.message.delta" => {
                let message: Message = parse(&data)?;
                if message.is_answer() {
                    self.pieces_of = Some(message.id.clone().unwrap_or_default());
                    self.say(message, out);
                }
            }
            b"conversation.message.completed" => {
                let message: Message = parse(&data)?;
                // It repeats its pieces; one that had none is told here.
                if message.is_answer() && self.pieces_of != Some(message.id.clone().unwrap_or_default()) {
                    self.say(message, out);
                }
            }
            b"conversation.chat.completed" => {
                let chat: Chat = parse(&data)?;
                self.begin(chat.id, out);
                self.over = true;
                let usage = chat.usage.map(Usage::from).filter(|usage| *usage != Usage::default());
                out.extend(usage.map(Delta::Usage));
                out.push(Delta::Stop(StopReason::End));
            }
            b"conversation.chat.failed" | b"conversation.chat.canceled" => {
                let refusal = parse::<Chat>(&data)?.last_error.unwrap_or_default();
                return Err(refusal.into_error());
            }
            b"conversation.chat.requires_action" => {
                let why = "The bot wants a tool of its own to be run, which cannot be done in this call.";
                let code = Some("bot_requires_action".to_owned());
                return Err(ReadError::Failed(Trouble::NotFound.failure(code, Some(why.to_owned()))));
            }
            b"error" => return Err(parse::<Refusal>(&data)?.into_error()),
            // Without a name: an error that comes before the first event. Others are sound, and the end.
            b"" => {
                if let Ok(refusal) = parse::<Refusal>(&data)
                    && refusal.code != 0
                {
                    return Err(refusal.into_error());
                }
                return Err(ReadError::garbage("an event has no name"));
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        // An error in a good status may come as bare JSON under the type of a stream.
        match serde_json::from_slice::<Refusal>(tail) {
            Ok(refusal) if !self.begun && refusal.code != 0 => Err(refusal.into_error()),
            _ => Err(ReadError::garbage("the stream ended before the chat did")),
        }
    }
}
