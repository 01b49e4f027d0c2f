//! Reads answers: whole ones, and streamed ones event by event, each with the text since the last.

use penstock_actors::domain::Usage;
use serde::Deserialize;

use super::trouble;
use crate::{
    conversation::{Citation, Reply, StopReason},
    dialect::{
        count::Count,
        pieces::CallPiece,
        said::{self, Said},
        upstream::ReadError,
    },
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    id: Option<String>,
    result: Option<String>,
    is_end: Option<bool>,
    is_truncated: Option<bool>,
    need_clear_history: Option<bool>,
    finish_reason: Option<String>,
    function_call: Option<WireCall>,
    search_info: Option<SearchInfo>,
    usage: Option<WireUsage>,
    error_code: Option<i64>,
    error_msg: Option<String>,
}

#[derive(Deserialize)]
struct WireCall {
    name: String,
    arguments: Option<String>,
    thoughts: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SearchInfo {
    search_results: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    url: String,
    title: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
}

impl Answer {
    fn read(body: &[u8]) -> Result<Self, ReadError> {
        let mut answer: Self = serde_json::from_slice(body)
            .map_err(|error| ReadError::garbage(format!("the answer is not one of Wenxin: {error}")))?;
        match answer.error_code.filter(|code| *code != 0) {
            Some(code) => {
                let message = answer.error_msg.take().unwrap_or_default();
                Err(said::failed(trouble(code), code.to_string(), message))
            }
            None if answer.result.is_none() && answer.function_call.is_none() => {
                Err(ReadError::garbage("the answer has no result"))
            }
            None => Ok(answer),
        }
    }

    fn stop(&self) -> StopReason {
        match self.finish_reason.as_deref() {
            _ if self.need_clear_history == Some(true) => StopReason::Refused,
            Some("length") => StopReason::Length,
            Some("content_filter") => StopReason::Refused,
            Some("stop") => StopReason::StopSequence,
            Some("function_call") => StopReason::ToolCalls,
            _ if self.is_truncated == Some(true) => StopReason::Length,
            None | Some("" | "normal") => StopReason::End,
            Some(other) => StopReason::Other(other.to_owned()),
        }
    }

    fn said(self, stop: Option<StopReason>) -> Said {
        let usage = self.usage.map(|wire| Usage {
            input: wire.prompt_tokens.get(),
            output: wire.completion_tokens.get(),
            ..Usage::default()
        });
        let found = self.search_info.unwrap_or_default().search_results.into_iter();
        let citations =
            found.map(|f| Citation { url: f.url, title: f.title, ..Citation::default() }).collect();
        let mut all = Said { id: self.id, text: self.result, citations, usage, stop, ..Said::default() };
        if let Some(WireCall { name, arguments, thoughts }) = self.function_call {
            all.thinking = thoughts;
            let arguments = Some(said::filled(arguments).unwrap_or_else(|| "{}".to_owned()));
            all.calls.push(CallPiece { index: Some(0), id: None, name: Some(name), arguments });
        }
        all
    }
}

/// Reads an event of a stream.
///
/// # Errors
/// [`ReadError`] where it is an error, or none of Wenxin's.
pub(super) fn read_event(event: &[u8]) -> Result<Said, ReadError> {
    let answer = Answer::read(event)?;
    let stop = (answer.is_end == Some(true)).then(|| answer.stop());
    Ok(answer.said(stop))
}

/// Reads a whole answer.
///
/// # Errors
/// As [`read_event`].
pub(super) fn read_whole(body: &[u8]) -> Result<Reply, ReadError> {
    let answer = Answer::read(body)?;
    let stop = answer.stop();
    Ok(answer.said(Some(stop)).into())
}

/// Code and message of a refusal.
pub(super) fn refusal(body: &[u8]) -> Option<(i64, String)> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    Some((answer.error_code?, answer.error_msg.unwrap_or_default()))
}
