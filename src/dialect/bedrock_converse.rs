//! Bedrock's Converse: one shape for every model there, streamed in AWS' event stream.
//!
//! It knows `POST /model/{id}/converse` and `/converse-stream` as botocore 1.44's model of `bedrock-runtime`
//! types them. The signature is made by whoever sends.
//!
//! | field | what happens |
//! |---|---|
//! | more than one candidate, log probabilities, JSON without a schema, ids of files, tools that are no functions | refused, with the parameter's name |
//! | remote pictures | refused unless they lie in S3; whoever sends may fetch them before |
//! | penalties, seed, user, participants' names, parallel tool calls | left out: hints |
//! | `top_k`, reasoning | `additionalModelRequestFields`, in the words of Claude and Nova; left out for other models |
//! | Converse's own fields by their own names | passed on at the top |
//! | any other unknown field | `additionalModelRequestFields` |

mod blocks;
mod failure;
mod reply;
mod request;
mod stream;

use super::{
    AnswerHead, Failure,
    fields::ParamError,
    media::Kind,
    upstream::{DeltaReader, ReadError, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Reply, StopReason};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct BedrockConverse;

impl Upstream for BedrockConverse {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        Ok(Written { headers: Vec::new(), body: request::write(conversation, wanted.model)? })
    }

    /// The API fetches nothing.
    fn takes(&self, _kind: Kind, _url: &str) -> bool {
        false
    }

    fn stream_type(&self) -> &'static str {
        EVENT_STREAM
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(stream::Reader::new(longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        reply::read(body)
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        failure::of_answer(head, body)
    }
}

/// The media type of AWS' event stream.
pub const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

pub use failure::{of_answer as failure_of_answer, of_exception};

/// Reads a `stopReason`.
fn stop_reason(word: &str) -> StopReason {
    match word {
        "end_turn" => StopReason::End,
        "stop_sequence" => StopReason::StopSequence,
        "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
        "tool_use" => StopReason::ToolCalls,
        "guardrail_intervened" | "content_filtered" => StopReason::Refused,
        other => StopReason::Other(other.to_owned()),
    }
}

#[cfg(test)]
mod tests;
