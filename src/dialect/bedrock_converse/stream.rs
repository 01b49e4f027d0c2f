//! Reads a streamed answer: `ConverseStreamOutput`, a message of the event stream each.

use bytes::Bytes;
use serde::Deserialize;

use super::{failure, reply::WireUsage, stop_reason};
use crate::{
    conversation::{Delta, StopReason},
    dialect::upstream::{DeltaReader, ReadError},
    wire::aws_events::{EventFramer, Message},
};

/// Reads one stream.
#[derive(Debug)]
pub(super) struct Reader {
    framer: EventFramer,
    answer: Answer,
}

/// How far the answer is. The end waits for the usage, which comes after the stop reason.
#[derive(Debug, Default)]
struct Answer {
    begun: bool,
    stop: Option<StopReason>,
    /// Blocks that are tool calls: the block's index, and the call's.
    calls: Vec<(u64, u32)>,
    /// The last block of reasoning, whose proof has not come.
    over: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockStart {
    start: Option<Start>,
    content_block_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    tool_use: Option<ToolUseStart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUseStart {
    tool_use_id: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockDelta {
    delta: DeltaBody,
    content_block_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeltaBody {
    text: Option<String>,
    tool_use: Option<ToolUseDelta>,
    reasoning_content: Option<ReasoningDelta>,
}

#[derive(Deserialize)]
struct ToolUseDelta {
    input: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningDelta {
    text: Option<String>,
    signature: Option<String>,
    redacted_content: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageStop {
    stop_reason: String,
}

#[derive(Deserialize)]
struct Metadata {
    usage: Option<WireUsage>,
}

/// Calls of one answer are few; more than this is no answer.
const MOST_CALLS: usize = 256;

impl Reader {
    pub(super) fn new(longest: usize) -> Self {
        Self { framer: EventFramer::new(longest), answer: Answer::default() }
    }
}

impl DeltaReader for Reader {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let mut read = Ok(());
        let answer = &mut self.answer;
        let framed = self.framer.push(&chunk, |message| {
            if read.is_ok() {
                read = answer.message(&message, out);
            }
        });
        read?;
        framed.map_err(|error| ReadError::garbage(error.to_string()))
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        match self.answer.stop.take() {
            // The usage is missing, and nothing else.
            Some(stop) if self.framer.is_at_border() => {
                out.push(Delta::Stop(stop));
                Ok(())
            }
            _ => Err(ReadError::garbage("the stream ended before messageStop")),
        }
    }
}

impl Answer {
    fn message(&mut self, message: &Message, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        match message.header(":message-type") {
            Some("exception") => {
                let kind = message.header(":exception-type").unwrap_or_default();
                return Err(ReadError::Failed(failure::of_exception(kind, &message.payload)));
            }
            Some("error") => {
                let kind = message.header(":error-code").unwrap_or_default();
                let told = message.header(":error-message").unwrap_or_default();
                let body = serde_json::json!({ "message": told }).to_string();
                return Err(ReadError::Failed(failure::of_exception(kind, body.as_bytes())));
            }
            _ if self.over => return Ok(()),
            _ => {}
        }
        let payload = &message.payload;
        match message.header(":event-type").unwrap_or_default() {
            "messageStart" if self.begun => Err(ReadError::garbage("a second messageStart")),
            "messageStart" => {
                self.begun = true;
                out.push(Delta::Start { id: String::new() });
                Ok(())
            }
            "contentBlockStart" => self.block_start(read(payload)?, out),
            "contentBlockDelta" => self.block_delta(read(payload)?, out),
            "messageStop" => {
                self.inside()?;
                let MessageStop { stop_reason: word } = read(payload)?;
                self.stop = Some(stop_reason(&word));
                Ok(())
            }
            "metadata" => {
                let Metadata { usage } = read(payload)?;
                out.extend(usage.map(|usage| Delta::Usage(usage.into())));
                if let Some(stop) = self.stop.take() {
                    self.over = true;
                    out.push(Delta::Stop(stop));
                }
                Ok(())
            }
            // Ends of blocks, and what future versions add.
            _ => Ok(()),
        }
    }

    fn block_start(&mut self, block: BlockStart, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        self.inside()?;
        let Some(ToolUseStart { tool_use_id, name }) = block.start.and_then(|start| start.tool_use) else {
            return Ok(());
        };
        if self.calls.len() == MOST_CALLS {
            return Err(ReadError::garbage("too many tool calls"));
        }
        let index = self.calls.len() as u32;
        self.calls.push((block.content_block_index, index));
        out.push(Delta::ToolCallStart { index, id: tool_use_id, name });
        Ok(())
    }

    fn block_delta(&mut self, block: BlockDelta, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        self.inside()?;
        let DeltaBody { text, tool_use, reasoning_content } = block.delta;
        out.extend(text.filter(|t| !t.is_empty()).map(Delta::Text));
        if let Some(ToolUseDelta { input }) = tool_use {
            let call = self.calls.iter().rev().find(|(index, _)| *index == block.content_block_index);
            let Some((_, index)) = call else {
                return Err(ReadError::garbage("arguments of a tool call that did not begin"));
            };
            out.push(Delta::ToolCallArguments { index: *index, fragment: input });
        }
        if let Some(ReasoningDelta { text, signature, redacted_content }) = reasoning_content {
            out.extend(text.filter(|t| !t.is_empty()).map(Delta::Thinking));
            out.extend(signature.filter(|s| !s.is_empty()).map(Delta::ThinkingSignature));
            out.extend(redacted_content.map(Delta::RedactedThinking));
        }
        Ok(())
    }

    fn inside(&self) -> Result<(), ReadError> {
        match self.begun && self.stop.is_none() {
            true => Ok(()),
            false => Err(ReadError::garbage("an event outside of the message")),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, ReadError> {
    serde_json::from_slice(payload)
        .map_err(|error| ReadError::garbage(format!("an event is malformed: {error}")))
}
