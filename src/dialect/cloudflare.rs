//! Cloudflare's Workers AI, as it runs models: `.../ai/run/{model}`, streamed in server-sent events.
//!
//! It knows the format as `workers-ai-provider` and `@cloudflare/workers-types` (npm) write and type it. The model
//! stands in the path; newer ones answer with OpenAI's choices inside the same envelope.
//!
//! | field | what happens |
//! |---|---|
//! | more than one candidate, log probabilities, files, audio, tools that are no functions | refused, with the parameter's name |
//! | a tool that must be called | that tool is named; "some tool" only where one is offered |
//! | reasoning | `reasoning_effort` |
//! | stop texts, cache hints, user, service tier, parallel tool calls | left out: the API has none |
//! | `lora`, `raw`, `chat_template_kwargs` and any other unknown field | passed on |

mod answer;
mod request;

use super::{
    AnswerHead, Failure,
    fields::ParamError,
    said,
    trouble::{Trouble, unexplained},
    upstream::{DeltaReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Reply};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct Cloudflare;

impl Upstream for Cloudflare {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        Ok(Written { headers: Vec::new(), body: request::write(conversation, wanted)? })
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(SseReader::new(answer::Events::default(), longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        answer::read_whole(body)
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        match answer::refusal(body) {
            Some((code, message)) => said::refused(head, trouble(code), code.to_string(), message),
            None => unexplained(head),
        }
    }
}

/// What a code is about.
fn trouble(code: i64) -> Option<Trouble> {
    Some(match code {
        10_000 | 10_001 | 9_106 | 9_109 | 6_003 | 6_111 => Trouble::BadKey,
        3_003 | 3_006 | 3_039 | 5_004 | 5_006 => Trouble::BadRequest,
        3_023 | 3_041 | 5_016 | 5_018 => Trouble::Forbidden,
        3_042 | 5_005 | 5_007 | 5_019 | 7_000 | 7_003 => Trouble::NotFound,
        3_007 | 3_008 => Trouble::TimedOut,
        // What is free each day is used up.
        3_036 => Trouble::OutOfCredit,
        3_040 => Trouble::Overloaded,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
