//! Reads answers: whole ones wrapped in `Response`, streamed ones event by event.

use penstock_actors::domain::Usage;
use serde::Deserialize;

use super::{stop_reason, trouble};
use crate::{
    conversation::Reply,
    dialect::{
        count::Count,
        pieces::CallPiece,
        said::{self, Said},
        upstream::ReadError,
    },
};

#[derive(Deserialize)]
struct Outer {
    #[serde(rename = "Response")]
    response: Answer,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    id: Option<String>,
    usage: Option<WireUsage>,
    choices: Option<Vec<Choice>>,
    error: Option<WireError>,
    error_msg: Option<WireErrorMsg>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireError {
    code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireErrorMsg {
    #[serde(default)]
    msg: String,
    code: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Choice {
    finish_reason: Option<String>,
    message: Option<Message>,
    delta: Option<Message>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Message {
    content: Option<String>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<WireCall>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct WireCall {
    id: Option<String>,
    index: Option<u64>,
    function: WireFunction,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct WireFunction {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct WireUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
    prompt_tokens_details: Details,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Details {
    cached_tokens: Count,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        let input = wire.prompt_tokens.get();
        let cached_read = wire.prompt_tokens_details.cached_tokens.get().min(input);
        Self {
            input: input - cached_read,
            cached_read,
            output: wire.completion_tokens.get(),
            ..Self::default()
        }
    }
}

impl From<WireCall> for CallPiece {
    fn from(wire: WireCall) -> Self {
        let WireFunction { name, arguments } = wire.function;
        Self { index: wire.index, id: wire.id, name, arguments }
    }
}

impl Answer {
    /// The error that it is, in spite of its status.
    fn error(&mut self) -> Option<ReadError> {
        if let Some(WireError { code, message }) = self.error.take() {
            return Some(said::failed(trouble(&code), code, message));
        }
        let WireErrorMsg { msg, code } = self.error_msg.take()?;
        let code = match code {
            Some(serde_json::Value::String(code)) => code,
            Some(code) => code.to_string(),
            None => String::new(),
        };
        Some(said::failed(trouble(&code), code, msg))
    }

    fn read(mut self) -> Result<Said, ReadError> {
        if let Some(error) = self.error() {
            return Err(error);
        }
        let mut all = Said { id: self.id, usage: self.usage.map(Into::into), ..Said::default() };
        let Some(choice) = self.choices.into_iter().flatten().next() else { return Ok(all) };
        all.stop = stop_reason(choice.finish_reason.as_deref().unwrap_or_default());
        let Some(message) = choice.message.or(choice.delta) else { return Ok(all) };
        all.thinking = message.reasoning_content;
        all.text = message.content;
        all.calls = message.tool_calls.into_iter().flatten().map(CallPiece::from).collect();
        Ok(all)
    }
}

fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ReadError> {
    serde_json::from_slice(body)
        .map_err(|error| ReadError::garbage(format!("the answer is not one of Hunyuan: {error}")))
}

/// Reads an event of a stream.
///
/// # Errors
/// [`ReadError`] where it is an error, or none of Hunyuan's.
pub(super) fn read_event(event: &[u8]) -> Result<Said, ReadError> {
    parsed::<Answer>(event)?.read()
}

/// Reads a whole answer.
///
/// # Errors
/// As [`read_event`].
pub(super) fn read_whole(body: &[u8]) -> Result<Reply, ReadError> {
    let said = parsed::<Outer>(body)?.response.read()?;
    match said.stop.is_some() || said.text.is_some() {
        true => Ok(said.into()),
        false => Err(ReadError::garbage("the answer has no message")),
    }
}

/// Code and message of a refusal.
pub(super) fn refusal(body: &[u8]) -> Option<(String, String)> {
    let outer: Outer = serde_json::from_slice(body).ok()?;
    outer.response.error.map(|error| (error.code, error.message))
}
