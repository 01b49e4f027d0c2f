//! DashScope's own text generation (`.../aigc/text-generation/generation`), streamed in server-sent events.
//!
//! It knows the format as `dashscope` 2.0.2 (PyPI) writes and reads it.
//!
//! | field | what happens |
//! |---|---|
//! | more than one candidate, log probabilities, schemas of answers, media | refused, with the parameter's name |
//! | a tool that must be called | that tool is named; "some tool" only where one is offered |
//! | `frequency_penalty`, cache hints, user, service tier | left out: hints |
//! | reasoning | `enable_thinking`, with a budget where one is given |
//! | `enable_search`, `search_options` and any other unknown field | passed on, among the parameters |

mod answer;
mod request;

use penstock_actors::domain::Delivery;

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
pub struct DashScope;

impl Upstream for DashScope {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        let headers = match wanted.delivery {
            Delivery::Stream => {
                vec![("x-dashscope-sse", "enable".to_owned()), ("accept", "text/event-stream".to_owned())]
            }
            Delivery::Whole => Vec::new(),
        };
        Ok(Written { headers, body: request::write(conversation, wanted)? })
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(SseReader::new(SaidEvents::new(answer::read), longest))
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

/// What a code is about.
fn trouble(code: &str) -> Option<Trouble> {
    let class = code.split('.').next().unwrap_or_default();
    Some(match code {
        "Throttling.AllocationQuota" | "Throttling.RateQuota" | "LimitRequests" => Trouble::Throttled,
        "Arrearage" | "AllocationQuota.FreeTierOnly" | "PrepaidBillOverdue" | "PostpaidBillOverdue" => {
            Trouble::OutOfCredit
        }
        "DataInspectionFailed" | "data_inspection_failed" => Trouble::ContentPolicy,
        "InvalidApiKey" | "invalid_api_key" => Trouble::BadKey,
        "Model.AccessDenied" | "Workspace.AccessDenied" => Trouble::Forbidden,
        "ModelUnavailable" | "ServiceUnavailable" | "ModelServingError" => Trouble::Overloaded,
        "RequestTimeOut" | "ResponseTimeout" | "InternalError.Timeout" => Trouble::TimedOut,
        _ => match class {
            "Throttling" => Trouble::Throttled,
            "ModelNotFound" | "model_not_found" => Trouble::NotFound,
            "AccessDenied" => Trouble::Forbidden,
            "InvalidParameter" | "InvalidURL" | "BadRequest" | "invalid_parameter_error" => {
                Trouble::BadRequest
            }
            "InternalError" | "SystemError" => Trouble::Failed,
            _ => return None,
        },
    })
}

/// Reads a `finish_reason`, which is the text `null` until the end.
fn stop_reason(word: &str) -> Option<StopReason> {
    Some(match word {
        "" | "null" => return None,
        "stop" => StopReason::End,
        "length" => StopReason::Length,
        "tool_calls" => StopReason::ToolCalls,
        other => StopReason::Other(other.to_owned()),
    })
}

#[cfg(test)]
mod tests;
