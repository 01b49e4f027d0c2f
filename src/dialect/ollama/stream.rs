//! Reads answers: one object whole, or a line for each piece, of which the last has `done`.

use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::failed;
use crate::{
    conversation::{Alternative, Delta, Logprob, Part, Reply, StopReason, ToolCall},
    dialect::{
        count::Count,
        upstream::{FrameReader, ReadError},
    },
};

/// One line, or the whole answer.
#[derive(Deserialize)]
struct Line<'a> {
    error: Option<String>,
    #[serde(default)]
    created_at: String,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(default)]
    logprobs: Vec<WireLogprob>,
    #[serde(default)]
    done: bool,
    done_reason: Option<String>,
    prompt_eval_count: Option<Count>,
    eval_count: Option<Count>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    content: String,
    #[serde(default)]
    thinking: String,
    #[serde(default, borrow)]
    tool_calls: Vec<WireCall<'a>>,
}

#[derive(Deserialize)]
struct WireCall<'a> {
    id: Option<String>,
    #[serde(borrow)]
    function: WireFunction<'a>,
}

#[derive(Deserialize)]
struct WireFunction<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireLogprob {
    token: String,
    logprob: f64,
    #[serde(default)]
    top_logprobs: Vec<WireAlternative>,
}

#[derive(Deserialize)]
struct WireAlternative {
    token: String,
    logprob: f64,
}

/// Reads the lines of one answer.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: bool,
    calls: u32,
    over: bool,
}

impl FrameReader for Lines {
    fn frame(&mut self, line: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        if self.over {
            return Ok(());
        }
        let line = read(line)?;
        if !self.begun {
            self.begun = true;
            out.push(Delta::Start { id: stamp(&line.created_at) });
        }
        let usage = line.usage();
        let stop = line.stop(self.calls > 0);
        if let Some(message) = line.message {
            out.extend(Some(message.thinking).filter(|t| !t.is_empty()).map(Delta::Thinking));
            out.extend(Some(message.content).filter(|t| !t.is_empty()).map(Delta::Text));
            for call in message.tool_calls {
                let index = self.calls;
                self.calls += 1;
                let call = tool_call(call, &line.created_at, index);
                out.push(Delta::ToolCallStart { index, id: call.id, name: call.name });
                out.push(Delta::ToolCallArguments { index, fragment: call.arguments });
            }
        }
        if !line.logprobs.is_empty() {
            out.push(Delta::Logprobs(line.logprobs.into_iter().map(Logprob::from).collect()));
        }
        out.extend(usage.map(Delta::Usage));
        if let Some(stop) = stop {
            self.over = true;
            let stop = if self.calls > 0 && stop == StopReason::End { StopReason::ToolCalls } else { stop };
            out.push(Delta::Stop(stop));
        }
        Ok(())
    }

    fn end(&mut self, _tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("the stream ended before the line that says done"))
    }
}

/// Reads a whole answer.
///
/// # Errors
/// [`ReadError`] where it is an error, or none.
pub(super) fn read_whole(body: &[u8]) -> Result<Reply, ReadError> {
    let line = read(body)?;
    let usage = line.usage().unwrap_or_default();
    let Some(message) = line.message.as_ref() else {
        return Err(ReadError::garbage("the answer has no message"));
    };
    let Some(stop) = line.stop(!message.tool_calls.is_empty()) else {
        return Err(ReadError::garbage("the answer is not done"));
    };
    let mut parts = Vec::new();
    let created = line.created_at;
    let Some(message) = line.message else { return Err(ReadError::garbage("the answer has no message")) };
    if !message.thinking.is_empty() {
        parts.push(Part::Thinking { text: message.thinking, signature: None });
    }
    if !message.content.is_empty() {
        parts.push(Part::text(message.content));
    }
    let calls = message.tool_calls.into_iter().zip(0..);
    parts.extend(calls.map(|(call, index)| Part::ToolCall(tool_call(call, &created, index))));
    let logprobs = line.logprobs.into_iter().map(Logprob::from).collect();
    Ok(Reply { id: stamp(&created), parts, logprobs, stop, usage })
}

fn read(line: &[u8]) -> Result<Line<'_>, ReadError> {
    let mut line: Line<'_> = serde_json::from_slice(line)
        .map_err(|error| ReadError::garbage(format!("the answer is not one of Ollama: {error}")))?;
    match line.error.take() {
        Some(error) => Err(failed(error)),
        None => Ok(line),
    }
}

impl Line<'_> {
    fn usage(&self) -> Option<Usage> {
        let (input, output) = (self.prompt_eval_count, self.eval_count);
        (input.is_some() || output.is_some()).then(|| Usage {
            input: input.unwrap_or_default().get(),
            output: output.unwrap_or_default().get(),
            ..Usage::default()
        })
    }

    fn stop(&self, called: bool) -> Option<StopReason> {
        self.done.then(|| match self.done_reason.as_deref() {
            Some("length") => StopReason::Length,
            None | Some("stop" | "") if called => StopReason::ToolCalls,
            None | Some("stop" | "") => StopReason::End,
            Some(other) => StopReason::Other(other.to_owned()),
        })
    }
}

/// The time of an answer, which tells it from others, as an id.
fn stamp(created: &str) -> String {
    created.chars().filter(char::is_ascii_digit).collect()
}

fn tool_call(call: WireCall<'_>, created: &str, index: u32) -> ToolCall {
    let id = call.id.filter(|id| !id.is_empty());
    ToolCall {
        id: id.unwrap_or_else(|| format!("call_{}_{index}", stamp(created))),
        name: call.function.name,
        arguments: call.function.arguments.map_or("{}", RawValue::get).to_owned(),
    }
}

impl From<WireLogprob> for Logprob {
    fn from(wire: WireLogprob) -> Self {
        let alternative = |w: WireAlternative| Alternative { token: w.token, logprob: w.logprob };
        Self {
            chosen: Alternative { token: wire.token, logprob: wire.logprob },
            top: wire.top_logprobs.into_iter().map(alternative).collect(),
        }
    }
}
