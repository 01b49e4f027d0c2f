//! Cohere's chat, version 1: `POST /v1/chat`, streamed in JSON lines.
//!
//! It knows the format as `cohere` 5.13.12 (PyPI) types it.
//!
//! | field | what happens |
//! |---|---|
//! | more than one candidate, log probabilities, media, tools that are no functions, a tool that must be called | refused, with the parameter's name |
//! | `tool_choice` "none" | the tools are left out |
//! | what a schema says of a parameter beyond its type | told in the parameter's description |
//! | penalties below 0, reasoning, cache hints, user, service tier, parallel tool calls | left out: hints |
//! | the plan that goes before tool calls | reasoning, without a proof |
//! | `documents`, `connectors`, `safety_mode` and any other unknown field | passed on |

mod answer;
mod request;

use super::{
    AnswerHead, Failure,
    cohere::Cohere,
    fields::ParamError,
    json_lines::LineReader,
    upstream::{DeltaReader, ReadError, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Reply};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct CohereV1;

impl Upstream for CohereV1 {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        Ok(Written { headers: Vec::new(), body: request::write(conversation, wanted)? })
    }

    fn stream_type(&self) -> &'static str {
        "application/stream+json"
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(LineReader::new(answer::Lines::default(), longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        answer::read_whole(body)
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        // Both versions refuse in the same words.
        Cohere.failure(head, body)
    }
}

#[cfg(test)]
mod tests;
