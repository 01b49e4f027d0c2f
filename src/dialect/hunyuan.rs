//! Tencent's Hunyuan by its own API: `ChatCompletions` of 2023-09-01, streamed in server-sent events.
//!
//! It knows the format as `tencentcloud-sdk-python-hunyuan` 3.1.180 (PyPI) types it.
//!
//! | field | what happens |
//! |---|---|
//! | more than one candidate, log probabilities, shapes of answers, files, audio | refused, with the parameter's name |
//! | a tool that must be called | that tool is forced; "some tool" only where one is offered |
//! | limits of tokens, penalties, `top_k`, a seed beyond 10000, cache hints, user, service tier | left out: the API has none |
//! | reasoning | `EnableThinking` |
//! | `EnableEnhancement`, `SearchInfo` and any other unknown field | passed on |

mod answer;
mod request;

use super::{
    AnswerHead, Failure,
    fields::ParamError,
    said::{self, SaidEvents},
    trouble::{Trouble, unexplained},
    upstream::{DeltaReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Reply, StopReason};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct Hunyuan;

impl Upstream for Hunyuan {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        Ok(Written { headers: Vec::new(), body: request::write(conversation, wanted)? })
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(SseReader::new(SaidEvents::new(answer::read_event), longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        answer::read_whole(body)
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        match answer::refusal(body) {
            Some((code, message)) => said::refused(head, trouble(&code), code, message),
            None => unexplained(head),
        }
    }
}

/// What a code is about; its first word is the class, the second what of it.
fn trouble(code: &str) -> Option<Trouble> {
    let (class, detail) = code.split_once('.').unwrap_or((code, ""));
    Some(match (class, detail) {
        ("AuthFailure", "UnauthorizedOperation") => Trouble::Forbidden,
        ("AuthFailure", _) => Trouble::BadKey,
        ("UnauthorizedOperation", _) => Trouble::Forbidden,
        ("RequestLimitExceeded" | "LimitExceeded", _) => Trouble::Throttled,
        ("FailedOperation", "EngineRequestTimeout") => Trouble::TimedOut,
        ("FailedOperation", "EngineServerLimitExceeded") => Trouble::Overloaded,
        (
            "FailedOperation",
            "ResourcePackExhausted"
            | "FreeResourcePackExhausted"
            | "ServiceStopArrears"
            | "ServiceStop"
            | "ServiceNotActivated",
        ) => Trouble::OutOfCredit,
        ("InvalidParameterValue", "Model") | ("ResourceNotFound", _) => Trouble::NotFound,
        ("InvalidParameter" | "InvalidParameterValue" | "MissingParameter" | "UnknownParameter", _) => {
            Trouble::BadRequest
        }
        ("OperationDenied", "TextIllegalDetected" | "ImageIllegalDetected") => Trouble::ContentPolicy,
        ("ResourceInsufficient", _) => Trouble::Overloaded,
        ("FailedOperation" | "InternalError", _) => Trouble::Failed,
        _ => return None,
    })
}

/// Reads a `FinishReason`; it is empty until the end.
fn stop_reason(word: &str) -> Option<StopReason> {
    Some(match word {
        "" => return None,
        "stop" => StopReason::End,
        "length" => StopReason::Length,
        "tool_calls" => StopReason::ToolCalls,
        "sensitive" => StopReason::Refused,
        other => StopReason::Other(other.to_owned()),
    })
}

#[cfg(test)]
mod tests;
