//! Coze's bots: `POST /v3/chat`, always streamed in server-sent events.
//!
//! It knows the format as `cozepy` 0.20.0 (PyPI) types it. The second version of the API, which One API speaks, is
//! no more. A model's name is the bot's id, behind `bot-` where One API's names are kept.
//!
//! | field | what happens |
//! |---|---|
//! | instructions | stand before the first text of the user: a bot has its own, and takes no others |
//! | pictures and documents by their address | parts of the message |
//! | pictures and documents by their bytes, audio, tools, schemas, stops, more than one candidate, log probabilities | refused, with the parameter's name |
//! | sampling, limits of tokens, reasoning, cache hints, service tier | left out: the bot has its own |
//! | a tool that the bot wants run elsewhere | ends the call: its result could not come back |
//! | `custom_variables`, `meta_data`, `parameters` and any other unknown field | passed on |

mod events;

use penstock_actors::domain::Delivery;
use serde::Deserialize;

use super::{
    AnswerHead, Failure,
    fields::ParamError,
    leftover,
    tree::{Json, list, object},
    trouble::{Trouble, unexplained},
    upstream::{DeltaReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Message, Part, Reply, Role, Source};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct Coze;

impl Upstream for Coze {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        leftover::only_text(conversation)?;
        let mut body = object([
            ("bot_id", wanted.model.strip_prefix("bot-").unwrap_or(wanted.model).into()),
            ("user_id", conversation.user.as_deref().unwrap_or(leftover::NOBODY).into()),
            ("additional_messages", list(messages(conversation)?)),
            ("stream", true.into()),
            // What was said is sent along each time.
            ("auto_save_history", false.into()),
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
        // The API never answers so, but for an error in a good status.
        match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) if refusal.code != 0 => Err(refusal.into_error()),
            _ => Err(ReadError::garbage("the answer is no stream of Coze, and no error of it")),
        }
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        match serde_json::from_slice::<Refusal>(body) {
            Ok(Refusal { code, msg }) if code != 0 => {
                let trouble = trouble(code).unwrap_or_else(|| Trouble::of_status(head.status));
                trouble.of_answer(head, Some(code.to_string()), Some(msg))
            }
            _ => unexplained(head),
        }
    }
}

/// What was said so far, the instructions before what the user said first.
fn messages(conversation: &Conversation) -> Result<Vec<Json<'_>>, ParamError> {
    let mut instructions = leftover::text_of(&conversation.system, "messages[0]")?;
    let mut all = Vec::new();
    for message in &conversation.messages {
        match message.role {
            Role::System => {
                leftover::join(&mut instructions, &leftover::text_of(&message.parts, &message.path)?);
            }
            Role::Assistant => {
                let text = leftover::text_of(&message.parts, &message.path)?;
                all.push(turn("assistant", "answer", "text", text));
            }
            Role::User => all.push(asked(message, std::mem::take(&mut instructions))?),
        }
    }
    if !instructions.is_empty() {
        all.push(turn("user", "question", "text", instructions));
    }
    Ok(all)
}

fn turn<'a>(role: &'static str, kind: &'static str, form: &'static str, content: String) -> Json<'a> {
    object([
        ("role", role.into()),
        ("type", kind.into()),
        ("content", content.into()),
        ("content_type", form.into()),
    ])
}

/// What the user says: a text, or a list of texts and files, which is written as a text too.
fn asked<'a>(message: &Message, instructions: String) -> Result<Json<'a>, ParamError> {
    let (mut files, mut said) = (Vec::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Image { source, .. } => files.push(file("image", source, &message.path)?),
            Part::File { source, .. } => files.push(file("file", source, &message.path)?),
            other => said.push(other),
        }
    }
    let mut text = instructions;
    leftover::join(&mut text, &leftover::text_of(said, &message.path)?);
    if files.is_empty() {
        return Ok(turn("user", "question", "text", text));
    }
    let mut items = Vec::new();
    if !text.is_empty() {
        items.push(object([("type", "text".into()), ("text", text.into())]));
    }
    items.extend(files);
    let items = String::from_utf8_lossy(&list(items).to_bytes()).into_owned();
    Ok(turn("user", "question", "object_string", items))
}

fn file<'a>(kind: &'static str, source: &'a Source, path: &str) -> Result<Json<'a>, ParamError> {
    let Source::Url(url) = source else {
        let why = "must name the addresses of pictures and documents for this model's provider";
        return Err(ParamError::unsupported(format!("{path}.content"), why));
    };
    Ok(object([("type", kind.into()), ("file_url", url.into())]))
}

/// An error, as a body or in an event.
#[derive(Clone, Debug, Default, Deserialize)]
struct Refusal {
    code: i64,
    #[serde(default)]
    msg: String,
}

impl Refusal {
    /// The failure that it is inside a good answer.
    fn into_error(self) -> ReadError {
        let trouble = trouble(self.code).unwrap_or(Trouble::Failed);
        ReadError::Failed(trouble.failure(Some(self.code.to_string()), Some(self.msg)))
    }
}

/// What a code is about, as the provider's page of error codes tells it.
fn trouble(code: i64) -> Option<Trouble> {
    Some(match code {
        4000..=4005 | 4007 | 4010 | 4300..=4304 => Trouble::BadRequest,
        // The bot, its model or its workflow is not there, or not published for the API.
        4006 | 4012 | 4015 | 4021 | 4200 => Trouble::NotFound,
        4009 => Trouble::Overloaded,
        4008 | 4011 | 4019 | 4022 | 4028 => Trouble::OutOfCredit,
        // The model behind the bot failed.
        4013 | 5000..=5999 => Trouble::Failed,
        4014 | 4105 => Trouble::ContentPolicy,
        4016 | 4020 => Trouble::Throttled,
        4100 | 700_012_006 => Trouble::BadKey,
        4101 | 4102 => Trouble::Forbidden,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
