//! Reads a provider's stream of `chat.completion.chunk` events, one frame at a time.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    reply::{CallSaid, Said, arguments_of, logprobs_of, text_of},
    stop_reason,
};
use crate::{
    conversation::{Delta, Part},
    dialect::{ReadError, openai, upstream::FrameReader},
    wire::sse,
};

/// Turns the chunks of one answer into deltas.
///
/// The first choice counts. The finish reason waits for `[DONE]`, or for the end where a provider says none.
#[derive(Debug, Default)]
pub(super) struct ChunkReader {
    begun: bool,
    over: bool,
    finish: Option<String>,
    calls: Vec<Call>,
}

/// A tool call as the provider numbers it.
#[derive(Debug)]
struct Call {
    index: u64,
    id: String,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    id: Option<String>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    delta: Option<Said<'a>>,
    finish_reason: Option<String>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
}

impl ChunkReader {
    fn data(&mut self, data: &[u8], out: &mut Vec<Delta>) -> Result<(), ReadError> {
        if self.over || data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            return self.stop(out);
        }
        let chunk: Chunk<'_> = serde_json::from_slice(data)
            .map_err(|error| ReadError::garbage(format!("an event is not a chunk: {error}")))?;
        if let Some(error) = chunk.error.filter(|raw| raw.get() != "null") {
            return Err(ReadError::Failed(openai::failure_inside(error.get().as_bytes())));
        }
        if !self.begun {
            self.begun = true;
            out.push(Delta::Start { id: chunk.id.unwrap_or_default() });
        }
        out.extend(chunk.usage.and_then(|raw| openai::usage(raw.get().as_bytes())).map(Delta::Usage));
        for choice in chunk.choices.into_iter().flatten().filter(|c| c.index.unwrap_or(0) == 0) {
            if let Some(said) = &choice.delta {
                self.said(said, out);
            }
            let likely = logprobs_of(choice.logprobs);
            out.extend((!likely.is_empty()).then_some(Delta::Logprobs(likely)));
            if let Some(word) = choice.finish_reason.filter(|word| !word.is_empty()) {
                self.finish = Some(word);
            }
        }
        Ok(())
    }

    fn said(&mut self, said: &Said<'_>, out: &mut Vec<Delta>) {
        out.extend(said.thinking().map(Delta::Thinking));
        out.extend(text_of(said.reasoning_content_signature).map(Delta::ThinkingSignature));
        out.extend(text_of(said.redacted_reasoning_content).map(Delta::RedactedThinking));
        for part in said.content() {
            match part {
                Part::Text { text, .. } if !text.is_empty() => out.push(Delta::Text(text)),
                Part::Thinking { text, .. } if !text.is_empty() => out.push(Delta::Thinking(text)),
                _ => {}
            }
        }
        out.extend(said.citations().into_iter().map(Delta::Citation));
        let pictures = said.pictures().into_iter();
        out.extend(pictures.map(|(media_type, data)| Delta::Media { media_type, data }));
        out.extend(text_of(said.refusal).map(Delta::Refusal));
        for call in said.tool_calls.iter().flatten() {
            self.call(call, out);
        }
    }

    fn call(&mut self, said: &CallSaid<'_>, out: &mut Vec<Delta>) {
        let id = said.id.as_deref().filter(|id| !id.is_empty());
        let name = said.function.as_ref().and_then(|f| f.name.as_deref()).filter(|name| !name.is_empty());
        // Some providers number every call 0, some none: a new id is a new call.
        let same = |call: &Call| {
            said.index.is_none_or(|index| call.index == index) && id.is_none_or(|id| call.id == id)
        };
        let at = match self.calls.iter().rposition(same) {
            Some(at) => at,
            None if id.is_none() && name.is_none() => return,
            None => {
                let at = self.calls.len();
                let id = id.map_or_else(|| format!("call_{at}"), str::to_owned);
                self.calls.push(Call { index: said.index.unwrap_or(at as u64), id: id.clone() });
                let name = name.unwrap_or_default().to_owned();
                out.push(Delta::ToolCallStart { index: at as u32, id, name });
                at
            }
        };
        let fragment = arguments_of(said.function.as_ref().and_then(|f| f.arguments));
        if !fragment.is_empty() {
            out.push(Delta::ToolCallArguments { index: at as u32, fragment });
        }
    }

    fn stop(&mut self, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let Some(word) = self.finish.take() else {
            return Err(ReadError::garbage("the stream ended without a finish reason"));
        };
        self.over = true;
        out.push(Delta::Stop(stop_reason(&word, !self.calls.is_empty())));
        Ok(())
    }
}

impl FrameReader for ChunkReader {
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let event = sse::parse(frame);
        let Some(data) = event.data else { return Ok(()) };
        if event.event == b"error" {
            return Err(ReadError::Failed(openai::failure_inside(&data)));
        }
        self.data(&data, out)
    }

    fn end(&mut self, tail: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        // Some providers leave the last blank line out; half an event is still a cut.
        let data = sse::parse(tail).data.unwrap_or_default();
        if &data[..] == b"[DONE]" || serde_json::from_slice::<Chunk<'_>>(&data).is_ok() {
            self.data(&data, out)?;
        }
        if self.over { Ok(()) } else { self.stop(out) }
    }
}
