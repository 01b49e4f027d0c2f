//! Reads answers: whole ones, and events whose data is bare text and whose `meta` has the counts.

use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::Deserialize;

use super::trouble;
use crate::{
    conversation::{Delta, Reply, StopReason},
    dialect::{
        count::Count,
        said::{self, Progress, Said},
        upstream::{FrameReader, ReadError},
    },
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    code: Option<i64>,
    msg: Option<String>,
    success: Option<bool>,
    data: Option<Data>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    task_id: Option<String>,
    request_id: Option<String>,
    task_status: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Choice {
    content: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let (input, output) = (wire.prompt_tokens.get(), wire.completion_tokens.get());
        // Older models tell the sum alone.
        let input = if input + output == 0 { wire.total_tokens.get() } else { input };
        Self { input, output, ..Self::default() }
    }
}

/// Reads a whole answer.
///
/// # Errors
/// [`ReadError`] where it is an error, or none.
pub(super) fn read_whole(body: &[u8]) -> Result<Reply, ReadError> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| ReadError::garbage(format!("the answer is not one of Zhipu: {error}")))?;
    if answer.success == Some(false) || answer.code.is_some_and(|code| code != 200) {
        let code = answer.code.unwrap_or(0);
        return Err(said::failed(trouble(code), code.to_string(), answer.msg.unwrap_or_default()));
    }
    let data = answer.data.unwrap_or_default();
    if data.task_status.as_deref() == Some("FAIL") {
        return Err(said::failed(None, "FAIL".to_owned(), answer.msg.unwrap_or_default()));
    }
    let choice = data.choices.into_iter().flatten().next();
    let choice = choice.ok_or_else(|| ReadError::garbage("the answer has no choice"))?;
    let (text, id) = (Some(choice.content), data.request_id.or(data.task_id));
    Ok(Said { id, text, usage: data.usage.map(Into::into), ..Said::default() }.into())
}

/// Code and message of a refusal; some have them inside of `error`.
pub(super) fn refusal(body: &[u8]) -> Option<(i64, String)> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    Some((answer.code?, answer.msg.unwrap_or_default()))
}

/// Turns the events of one answer into deltas.
#[derive(Debug, Default)]
pub(super) struct Events {
    progress: Progress,
}

impl FrameReader for Events {
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        if self.progress.is_over() {
            return Ok(());
        }
        let text = text_of(frame)?;
        let data: Data = match field(frame, "meta:") {
            Some(meta) => serde_json::from_slice(meta)
                .map_err(|error| ReadError::garbage(format!("an event's meta is malformed: {error}")))?,
            None => Data::default(),
        };
        let stop = match field(frame, "event:").unwrap_or_default() {
            b"add" => None,
            b"finish" => Some(StopReason::End),
            // What stops an answer in the middle is the provider's rules.
            b"interrupted" => Some(StopReason::Refused),
            b"error" => return Err(failed(text.unwrap_or_default())),
            // Without a name, an error that comes as an answer does.
            _ => match text.as_deref().and_then(|text| refusal(text.as_bytes())) {
                Some((code, message)) => {
                    return Err(said::failed(trouble(code), code.to_string(), message));
                }
                None => return Ok(()),
            },
        };
        let id = field(frame, "id:").map(|id| String::from_utf8_lossy(id).into_owned());
        // The text of an interruption is the provider's, not the model's.
        let text = text.filter(|_| stop != Some(StopReason::Refused));
        let usage = data.usage.map(Into::into);
        self.progress.tell(Said { id, text, usage, stop, ..Said::default() }, out)
    }

    fn end(&mut self, _tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("the stream ended before the event finish"))
    }
}

/// The failure that an event tells: by code where it has one, else in words.
fn failed(text: String) -> ReadError {
    match refusal(text.as_bytes()) {
        Some((code, message)) => said::failed(trouble(code), code.to_string(), message),
        None => said::failed(None, "error".to_owned(), text),
    }
}

/// The lines of an event.
fn lines(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    frame.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// The value of a field.
fn field<'f>(frame: &'f [u8], name: &str) -> Option<&'f [u8]> {
    let value = lines(frame).find_map(|line| line.strip_prefix(name.as_bytes()))?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// An event's text. A space behind the colon is text: this provider writes none of its own, which readers of
/// events would leave out (WHATWG HTML, section 9.2.6).
fn text_of(frame: &[u8]) -> Result<Option<String>, ReadError> {
    let mut all: Option<Vec<u8>> = None;
    for line in lines(frame).filter_map(|line| line.strip_prefix(b"data:")) {
        match &mut all {
            Some(text) => {
                text.push(b'\n');
                text.extend_from_slice(line);
            }
            None => all = Some(line.to_vec()),
        }
    }
    let text = all.map(String::from_utf8).transpose();
    text.map_err(|_| ReadError::garbage("an event's data is no UTF-8"))
}
