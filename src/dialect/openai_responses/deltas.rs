//! Reads a provider's stream of `ResponseStreamEvent`s, one frame at a time.

use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    NAME, WireUsage,
    response::{AnnotationRead, ItemRead, LikelyRead, stop},
};
use crate::{
    conversation::{Delta, Logprob},
    dialect::{ReadError, openai, proof, upstream::FrameReader},
    wire::sse,
};

/// Turns the events of one answer into deltas.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    begun: bool,
    over: bool,
    /// The place among the output's items of each tool call, and whether arguments came.
    calls: Vec<(u64, bool)>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: String,
    output_index: Option<u64>,
    delta: Option<String>,
    #[serde(default)]
    logprobs: Vec<LikelyRead>,
    annotation: Option<AnnotationRead>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Response<'a> {
    id: Option<String>,
    status: Option<String>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    incomplete_details: Option<Incomplete>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

impl EventReader {
    fn data(&mut self, data: &[u8], out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let event: Event<'_> = serde_json::from_slice(data)
            .map_err(|error| ReadError::garbage(format!("an event is not JSON with a type: {error}")))?;
        match event.kind.as_str() {
            "response.created" | "response.in_progress" | "response.queued" => self.begin(&event, out)?,
            "response.output_text.delta" => {
                out.extend(event.delta.filter(|text| !text.is_empty()).map(Delta::Text));
                let likely: Vec<_> = event.logprobs.into_iter().map(Logprob::from).collect();
                out.extend((!likely.is_empty()).then_some(Delta::Logprobs(likely)));
            }
            "response.refusal.delta" => out.extend(event.delta.map(Delta::Refusal)),
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                out.extend(event.delta.map(Delta::Thinking));
            }
            "response.output_text.annotation.added" => {
                out.extend(event.annotation.and_then(AnnotationRead::citation).map(Delta::Citation));
            }
            "response.output_item.added" => self.added(&event, out),
            "response.function_call_arguments.delta" => self.arguments(&event, event.delta.as_deref(), out),
            // Some give the arguments only when they are done.
            "response.function_call_arguments.done" if !self.has_arguments(&event) => {
                self.arguments(&event, event.arguments.as_deref(), out);
            }
            "response.output_item.done" => Self::done(&event, out),
            "response.completed" | "response.incomplete" | "response.failed" => self.end(&event, out)?,
            "error" => return Err(ReadError::Failed(openai::failure_inside(data))),
            // Events of the provider's own tools, and what repeats others.
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, event: &Event<'_>, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        let response = response(event)?;
        let id = response.id.unwrap_or_default();
        out.push(Delta::Start { id: id.strip_prefix("resp_").unwrap_or(&id).to_owned() });
        Ok(())
    }

    fn added(&mut self, event: &Event<'_>, out: &mut Vec<Delta>) {
        let Some(item) = item(event).filter(|item| item.kind == "function_call") else { return };
        let index = self.calls.len() as u32;
        self.calls.push((event.output_index.unwrap_or(u64::from(index)), false));
        out.push(Delta::ToolCallStart {
            index,
            id: item.call_id.unwrap_or_default(),
            name: item.name.unwrap_or_default(),
        });
    }

    fn has_arguments(&self, event: &Event<'_>) -> bool {
        self.calls.iter().any(|(place, came)| Some(*place) == event.output_index && *came)
    }

    fn arguments(&mut self, event: &Event<'_>, fragment: Option<&str>, out: &mut Vec<Delta>) {
        let at = self.calls.iter().position(|(place, _)| Some(*place) == event.output_index);
        if let (Some(at), Some(fragment)) = (at, fragment.filter(|fragment| !fragment.is_empty())) {
            self.calls[at].1 = true;
            out.push(Delta::ToolCallArguments { index: at as u32, fragment: fragment.to_owned() });
        }
    }

    /// What only a finished item tells.
    fn done(event: &Event<'_>, out: &mut Vec<Delta>) {
        let Some(item) = item(event) else { return };
        match item.kind.as_str() {
            "reasoning" => {
                let signature =
                    item.encrypted_content.map(|one| Delta::ThinkingSignature(proof::mark(NAME, &one)));
                out.extend(signature);
            }
            "image_generation_call" => {
                let media_type = format!("image/{}", item.output_format.as_deref().unwrap_or("png"));
                out.extend(item.result.map(|data| Delta::Media { media_type, data }));
            }
            _ => {}
        }
    }

    fn end(&mut self, event: &Event<'_>, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        self.begin(event, out)?;
        let response = response(event)?;
        out.extend(response.usage.map(|usage| Delta::Usage(Usage::from(usage))));
        if let Some(error) = response.error.filter(|raw| raw.get() != "null") {
            return Err(ReadError::Failed(openai::failure_inside(error.get().as_bytes())));
        }
        let reason = response.incomplete_details.and_then(|details| details.reason);
        let stop = stop(response.status.as_deref(), reason.as_deref(), !self.calls.is_empty());
        let stop = stop.ok_or_else(|| ReadError::garbage("the answer ended in no known status"))?;
        self.over = true;
        out.push(Delta::Stop(stop));
        Ok(())
    }
}

fn response<'a>(event: &Event<'a>) -> Result<Response<'a>, ReadError> {
    let raw = event.response.ok_or_else(|| ReadError::garbage("an event has no 'response'"))?;
    serde_json::from_str(raw.get())
        .map_err(|error| ReadError::garbage(format!("an event's 'response' is malformed: {error}")))
}

fn item(event: &Event<'_>) -> Option<ItemRead> {
    serde_json::from_str(event.item?.get()).ok()
}

impl FrameReader for EventReader {
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        match sse::parse(frame).data {
            Some(data) if !data.is_empty() && &data[..] != b"[DONE]" && !self.over => self.data(&data, out),
            _ => Ok(()),
        }
    }

    fn end(&mut self, _tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("the stream ended before response.completed"))
    }
}
