//! Baidu's Wenxin, version 1: `.../wenxinworkshop/chat/{endpoint}`, streamed in server-sent events.
//!
//! It knows the format as `qianfan` 0.4.12 (PyPI) writes and reads it. The model stands in the path.
//!
//! | field | what happens |
//! |---|---|
//! | more than one candidate, log probabilities, schemas of answers, media | refused, with the parameter's name |
//! | messages | sides speak in turn: what one says in a row is joined, between a tool's result and the user's next word the model says "OK." |
//! | calls at once | one after the other, each with its result |
//! | a tool that must be called | that tool is named; "some tool" only where one is offered |
//! | seed, `top_k`, penalties of presence, reasoning, cache hints, service tier | left out: hints |
//! | `disable_search`, `enable_citation` and any other unknown field | passed on |
//!
//! Embeddings are had by OpenAI's clients: texts alone, without a choice of dimensions.

mod answer;
pub mod embed;
mod request;

use super::{
    AnswerHead, Failure,
    fields::ParamError,
    said::{self, SaidEvents},
    trouble::{Trouble, unexplained},
    upstream::{DeltaReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Reply};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct Wenxin;

impl Upstream for Wenxin {
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
            Some((code, message)) => said::refused(head, trouble(code), code.to_string(), message),
            None => unexplained(head),
        }
    }
}

/// What a code is about.
fn trouble(code: i64) -> Option<Trouble> {
    Some(match code {
        2 | 336_100 => Trouble::Overloaded,
        3 | 336_005 => Trouble::NotFound,
        // The whole cluster's limit.
        4 => Trouble::Overloaded,
        6 | 336_004 => Trouble::Forbidden,
        13..=15 | 100 | 110 | 111 => Trouble::BadKey,
        // What is open each day, or the account's money.
        17 | 19 | 336_117 => Trouble::OutOfCredit,
        18 | 336_501 | 336_502 => Trouble::Throttled,
        336_104..=336_106 | 336_001..=336_003 | 336_006 | 336_007 | 336_101..=336_103 => Trouble::BadRequest,
        1 | 336_000 | 500_000 => Trouble::Failed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
