//! Reads answers: streams event by event, each with the text since the last, and whole ones where a server
//! answers so all the same.

use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::Deserialize;

use super::Refusal;
use crate::{
    conversation::{Delta, Part, Reply, StopReason},
    dialect::{
        count::Count,
        trouble::Trouble,
        upstream::{FrameReader, ReadError},
    },
    wire::sse,
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    event: String,
    message_id: Option<String>,
    answer: Option<String>,
    metadata: Metadata,
    data: Option<Finished>,
    /// Of a file that the application made.
    #[serde(rename = "type")]
    kind: Option<String>,
    url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    usage: Option<WireUsage>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
}

/// How a workflow ended.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Finished {
    status: Option<String>,
    error: Option<String>,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        Self { input: wire.prompt_tokens.get(), output: wire.completion_tokens.get(), ..Self::default() }
    }
}

impl Metadata {
    /// What was counted, if anything was.
    fn usage(&self) -> Option<Usage> {
        self.usage.map(Usage::from).filter(|usage| *usage != Usage::default())
    }
}

/// Turns the events of one answer into deltas.
#[derive(Debug, Default)]
pub(super) struct Events {
    begun: bool,
    over: bool,
    replaced: bool,
}

impl Events {
    fn begin(&mut self, id: &mut Option<String>, out: &mut Vec<Delta>) {
        if !std::mem::replace(&mut self.begun, true) {
            out.push(Delta::Start { id: id.take().unwrap_or_default() });
        }
    }
}

fn parse<'b, T: Deserialize<'b>>(data: &'b [u8]) -> Result<T, ReadError> {
    serde_json::from_slice(data)
        .map_err(|error| ReadError::garbage(format!("an event is malformed: {error}")))
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl FrameReader for Events {
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let Some(data) = sse::parse(frame).data.filter(|data| !self.over && !data.is_empty()) else {
            return Ok(());
        };
        #[derive(Deserialize)]
        struct Kind {
            #[serde(default)]
            event: String,
        }
        let Kind { event: kind } = parse(&data)?;
        match kind.as_str() {
            "error" => return Err(parse::<Refusal>(&data)?.into_error()),
            "message" | "agent_message" | "message_end" | "message_replace" | "message_file"
            | "workflow_finished" => {}
            // Steps of workflows, thoughts that are told as messages too, speech, pings.
            _ => return Ok(()),
        }
        let mut event: Event = parse(&data)?;
        match event.event.as_str() {
            "workflow_finished" => {
                let Finished { status, error } = event.data.unwrap_or_default();
                if status.as_deref() == Some("failed") {
                    return Err(ReadError::Failed(Trouble::Failed.failure(None, error)));
                }
            }
            "message_replace" => {
                self.begin(&mut event.message_id, out);
                self.replaced = true;
                out.extend(filled(event.answer).map(Delta::Refusal));
            }
            "message_file" => {
                self.begin(&mut event.message_id, out);
                let is_picture = event.kind.as_deref() == Some("image");
                let url = filled(event.url).filter(|_| is_picture);
                out.extend(url.map(|url| Delta::Text(format!("\n![]({url})\n"))));
            }
            "message_end" => {
                self.begin(&mut event.message_id, out);
                self.over = true;
                out.extend(event.metadata.usage().map(Delta::Usage));
                out.push(Delta::Stop(if self.replaced { StopReason::Refused } else { StopReason::End }));
            }
            _ => {
                self.begin(&mut event.message_id, out);
                out.extend(filled(event.answer).map(Delta::Text));
            }
        }
        Ok(())
    }

    fn end(&mut self, _tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("the stream ended before message_end"))
    }
}

/// Reads a whole answer.
///
/// # Errors
/// [`ReadError`] where it is an error, or none.
pub(super) fn read(body: &[u8]) -> Result<Reply, ReadError> {
    if let Ok(refusal) = serde_json::from_slice::<Refusal>(body) {
        return Err(refusal.into_error());
    }
    let Event { answer: Some(answer), message_id, metadata, .. } = parse(body)? else {
        return Err(ReadError::garbage("the answer is not one of Dify"));
    };
    let usage = metadata.usage().unwrap_or_default();
    Ok(Reply {
        id: message_id.unwrap_or_default(),
        parts: vec![Part::text(answer)],
        usage,
        ..Reply::default()
    })
}
