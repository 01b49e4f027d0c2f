//! Cohere's chat, version 2: `POST /v2/chat`, streamed in server-sent events.
//!
//! It knows the format as `cohere` 7.3.1 (PyPI) types it.
//!
//! | field | what happens |
//! |---|---|
//! | more than one candidate, files, audio, ids of files, tools that are no functions | refused, with the parameter's name |
//! | a tool that must be called | only that tool is offered, and one must be called |
//! | penalties below 0, top log probabilities, cache hints, user, service tier, parallel tool calls | left out: hints |
//! | reasoning | `thinking`, with a budget where one is given |
//! | the plan that goes before tool calls | reasoning, without a proof |
//! | `documents`, `safety_mode`, `citation_options` and any other unknown field | passed on |

mod answer;
mod request;
mod stream;

use serde::Deserialize;

use super::{
    AnswerHead, Failure,
    fields::ParamError,
    trouble::{Trouble, unexplained},
    upstream::{DeltaReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Reply, StopReason};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct Cohere;

impl Upstream for Cohere {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        Ok(Written { headers: Vec::new(), body: request::write(conversation, wanted)? })
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(SseReader::new(stream::Events::default(), longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        answer::read(body)
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        match serde_json::from_slice::<Refusal>(body) {
            Ok(Refusal { message }) => trouble(head.status, &message).of_answer(head, None, Some(message)),
            Err(_) => unexplained(head),
        }
    }
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// What a refusal is about.
pub(super) fn trouble(status: u16, message: &str) -> Trouble {
    let lower = message.to_ascii_lowercase();
    match status {
        // The API's own status for keys that are not valid.
        498 => Trouble::BadKey,
        // Trial keys have a number of calls a month.
        429 if lower.contains("trial key") && lower.contains("month") => Trouble::OutOfCredit,
        400 if lower.contains("blocked") && lower.contains("content") => Trouble::ContentPolicy,
        status => Trouble::of_status(status),
    }
}

/// Reads a `finish_reason`; errors are none of an answer that is complete.
pub(super) fn stop_reason(word: &str) -> Result<StopReason, ReadError> {
    let failed = |trouble: Trouble, why: &str| {
        Err(ReadError::Failed(trouble.failure(Some(word.to_owned()), Some(why.to_owned()))))
    };
    match word {
        "COMPLETE" => Ok(StopReason::End),
        "STOP_SEQUENCE" => Ok(StopReason::StopSequence),
        "MAX_TOKENS" => Ok(StopReason::Length),
        "TOOL_CALL" => Ok(StopReason::ToolCalls),
        "ERROR_TOXIC" => Ok(StopReason::Refused),
        "ERROR" => failed(Trouble::Failed, "The model's provider failed while it generated."),
        "TIMEOUT" => failed(Trouble::TimedOut, "The model's provider did not finish in time."),
        other => Ok(StopReason::Other(other.to_owned())),
    }
}

#[cfg(test)]
mod tests;
