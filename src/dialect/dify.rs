//! Dify's applications: `/v1/chat-messages` and `/v1/completion-messages`, streamed in server-sent events.
//!
//! It knows the format as `dify-client` 0.1.10 (PyPI) writes it and Dify's own API pages tell it. The answer is
//! always streamed, since agents know nothing else, and gathered for clients that want it whole.
//!
//! | field | what happens |
//! |---|---|
//! | instructions and earlier turns | one text, each turn under its speaker's name, as New API writes it |
//! | pictures and documents by their address | `files` |
//! | pictures and documents by their bytes, audio, tools, schemas, stops, more than one candidate, log probabilities | refused, with the parameter's name |
//! | sampling, limits of tokens, reasoning, cache hints, service tier | left out: the application has its own |
//! | `inputs`, `conversation_id` and any other unknown field | passed on |

mod events;

use serde::Deserialize;

use super::{
    AnswerHead, Failure,
    fields::ParamError,
    flat, leftover,
    tree::{Json, list, object},
    trouble::{Trouble, unexplained},
    upstream::{DeltaReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Part, Reply, Source};
use penstock_actors::domain::Delivery;

/// The dialect, of one kind of applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dify {
    /// Chats, agents and chat flows.
    Chat,
    /// Text generators, whose text is the input `query`.
    Completion,
}

/// How New API writes turns.
const STYLE: flat::Style = flat::Style { names: ["SYSTEM: \n", "USER: \n", "ASSISTANT: \n"], end: "\n" };

impl Upstream for Dify {
    fn write(&self, conversation: &Conversation, _wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        leftover::only_text(conversation)?;
        let mut files = Vec::new();
        let query = flat::flat(conversation, &STYLE, |message| {
            let mut said = Vec::new();
            for part in &message.parts {
                match part {
                    Part::Image { source, .. } => files.push(file("image", source, &message.path)?),
                    Part::File { source, .. } => files.push(file("document", source, &message.path)?),
                    other => said.push(other),
                }
            }
            leftover::text_of(said, &message.path)
        })?;
        let inputs = match self {
            Self::Chat => Json::empty(),
            Self::Completion => object([("query", query.clone().into())]),
        };
        let given = conversation.extra.get("inputs");
        let mut body = object([
            ("inputs", given.map_or(inputs, Json::from)),
            ("query", query.into()),
            ("response_mode", "streaming".into()),
            ("user", conversation.user.as_deref().unwrap_or(leftover::NOBODY).into()),
            ("files", list(files).if_filled()),
        ]);
        leftover::pass_on(conversation, &[], &mut body)?;
        Ok(Written { headers: Vec::new(), body: body.to_bytes() })
    }

    fn delivers(&self, _wanted: Delivery) -> Delivery {
        Delivery::Stream
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(SseReader::new(events::Events::default(), longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        events::read(body)
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        match serde_json::from_slice::<Refusal>(body) {
            Ok(Refusal { code, message, .. }) => {
                let trouble = trouble(&code, &message).unwrap_or_else(|| Trouble::of_status(head.status));
                trouble.of_answer(head, Some(code), Some(message))
            }
            Err(_) => unexplained(head),
        }
    }
}

fn file<'a>(kind: &'static str, source: &'a Source, path: &str) -> Result<Json<'a>, ParamError> {
    let Source::Url(url) = source else {
        let why = "must name the addresses of pictures and documents for this model's provider";
        return Err(ParamError::unsupported(format!("{path}.content"), why));
    };
    Ok(object([("type", kind.into()), ("transfer_method", "remote_url".into()), ("url", url.into())]))
}

/// An error, as a body or as an event.
#[derive(Deserialize)]
struct Refusal {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    status: u16,
}

impl Refusal {
    /// The failure that it is inside a good answer.
    fn into_error(self) -> ReadError {
        let Self { code, message, status } = self;
        let trouble = trouble(&code, &message).unwrap_or_else(|| Trouble::of_status(status));
        ReadError::Failed(trouble.failure(Some(code), Some(message)))
    }
}

/// What a code is about. The application's own troubles with its model are no mistake of the client's.
fn trouble(code: &str, message: &str) -> Option<Trouble> {
    Some(match code {
        "unauthorized" => Trouble::BadKey,
        "forbidden" | "provider_not_initialize" => Trouble::Forbidden,
        "provider_quota_exceeded" => Trouble::OutOfCredit,
        "app_unavailable" | "not_chat_app" | "not_completion_app" | "model_currently_not_support" => {
            Trouble::NotFound
        }
        "conversation_completed" | "invalid_param" | "bad_request" => Trouble::BadRequest,
        "rate_limit_error" | "too_many_requests" => Trouble::Throttled,
        "completion_request_error" => match message.to_ascii_lowercase() {
            said if said.contains("rate limit") || said.contains("429") => Trouble::Throttled,
            _ => Trouble::Failed,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
