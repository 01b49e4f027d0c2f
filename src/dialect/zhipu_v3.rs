//! Zhipu's API, version 3: `.../model-api/{model}/invoke`, streamed by `sse-invoke`.
//!
//! It knows the format as `zhipuai` 1.0.7 (PyPI) writes and reads it. The model stands in the path.
//!
//! | field | what happens |
//! |---|---|
//! | tools, more than one candidate, log probabilities, shapes of answers, media | refused, with the parameter's name |
//! | instructions | the beginning of what the user says first: there is no place of their own |
//! | messages | sides speak in turn: what one says in a row is joined |
//! | limits of tokens, stop texts, seed, penalties, `top_k`, reasoning, cache hints, user, service tier | left out: the API has none |
//! | `ref`, `request_id` and any other unknown field | passed on |

mod answer;

use bytes::Bytes;
use penstock_actors::domain::Delivery;

use super::{
    AnswerHead, Failure,
    fields::ParamError,
    leftover, said,
    tree::{Json, list, object},
    trouble::{Trouble, unexplained},
    turns,
    upstream::{DeltaReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Reply, Role};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct ZhipuV3;

impl Upstream for ZhipuV3 {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        let headers = match wanted.delivery {
            Delivery::Stream => vec![("accept", "text/event-stream".to_owned())],
            Delivery::Whole => Vec::new(),
        };
        Ok(Written { headers, body: write(conversation, wanted)? })
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

fn write(conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Bytes, ParamError> {
    leftover::one_answer(conversation)?;
    leftover::no_logprobs(conversation)?;
    leftover::no_tools(conversation)?;
    leftover::no_format(conversation)?;
    let mut turns = turns::texts(conversation)?;
    let mut system = leftover::text_of(&conversation.system, "messages[0]")?;
    if let Some((_, first)) = turns.first_mut().filter(|_| !system.is_empty()) {
        leftover::join(&mut system, first);
        *first = system;
    }
    let spoken = |(role, text): (Role, String)| {
        let role = if role == Role::Assistant { "assistant" } else { "user" };
        object([("role", role.into()), ("content", text.into())])
    };
    let streams = wanted.delivery == Delivery::Stream;
    let sampling = &conversation.sampling;
    let mut body = object([
        ("prompt", list(turns.into_iter().map(spoken))),
        // Both lie between their ends.
        ("temperature", sampling.temperature.map(|t| t.clamp(0.01, 1.0)).into()),
        ("top_p", sampling.top_p.map(|p| p.clamp(0.01, 0.99)).into()),
        ("incremental", streams.then_some(true).into()),
        // Unasked, the text would come as JSON inside of JSON.
        ("return_type", Json::from("text")),
    ]);
    leftover::pass_on(conversation, &[], &mut body)?;
    Ok(body.to_bytes())
}

/// What a code is about.
fn trouble(code: i64) -> Option<Trouble> {
    Some(match code {
        401 | 1000..=1004 => Trouble::BadKey,
        1110..=1112 | 1120 | 1220 => Trouble::Forbidden,
        1113 | 1304 => Trouble::OutOfCredit,
        1211 | 1221 | 1222 => Trouble::NotFound,
        1210 | 1212..=1215 | 1231 | 1261 => Trouble::BadRequest,
        1300 | 1301 => Trouble::ContentPolicy,
        1302 | 1303 => Trouble::Throttled,
        1305 => Trouble::Overloaded,
        500 | 1200 | 1230 | 1234 | 1260 => Trouble::Failed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
