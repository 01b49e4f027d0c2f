//! iFlytek's Spark over a websocket: one frame out, frames with pieces of the answer in.
//!
//! It knows the format as `spark-ai-python` 0.4.5 (PyPI) writes and reads it. The version in the address and the
//! domain in the request follow from the model's name; One API's names and the domains themselves are known. The
//! application's id is a part of the credential, and is added when the request is signed.
//!
//! | field | what happens |
//! |---|---|
//! | more than one candidate, log probabilities, stops, schemas, media, a tool that must be called | refused, with the parameter's name |
//! | tools | functions, for the models that have them; refused for others |
//! | calls of tools so far and their results | texts of the turns: the API has no place for them |
//! | temperature beyond 1, `top_k` beyond 6 | the nearest that is allowed |
//! | `top_p`, penalties, a seed, reasoning, cache hints, user, service tier | left out: the API has none |
//! | any unknown field | passed on, among the chat's parameters |

mod frames;

use penstock_actors::domain::Delivery;
use serde::Deserialize;

use super::{
    AnswerHead, Failure,
    fields::ParamError,
    json_lines::LineReader,
    leftover,
    tree::{Json, list, object, raw},
    trouble::{Trouble, unexplained},
    upstream::{Carrier, DeltaReader, ReadError, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Function, Message, Part, Reply, Role, ToolChoice};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct Spark;

impl Upstream for Spark {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        leftover::one_answer(conversation)?;
        leftover::no_logprobs(conversation)?;
        leftover::no_format(conversation)?;
        leftover::no_stops(conversation)?;
        let model = Model::of(wanted.model);
        let sampling = &conversation.sampling;
        let mut chat = object([
            ("domain", model.domain.into()),
            ("temperature", sampling.temperature.map(|t| t.clamp(0.01, 1.0)).into()),
            ("top_k", sampling.top_k.map(|k| k.clamp(1, 6)).into()),
            ("max_tokens", sampling.max_tokens.into()),
        ]);
        leftover::pass_on(conversation, &[], &mut chat)?;
        let functions = functions(conversation, model)?;
        let offered = object([("text", list(functions.into_iter().map(function)).if_filled())]);
        let payload = object([
            ("message", object([("text", list(messages(conversation)?))])),
            ("functions", offered.if_filled()),
        ]);
        let body = object([("parameter", object([("chat", chat)])), ("payload", payload)]);
        Ok(Written { headers: Vec::new(), body: body.to_bytes() })
    }

    fn delivers(&self, _wanted: Delivery) -> Delivery {
        Delivery::Stream
    }

    fn carrier(&self) -> Carrier {
        Carrier::WebSocket
    }

    fn in_path<'m>(&self, model: &'m str) -> &'m str {
        Model::of(model).path
    }

    fn stream_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(LineReader::new(frames::Frames::default(), longest))
    }

    fn read_whole(&self, _body: &[u8]) -> Result<Reply, ReadError> {
        Err(ReadError::garbage("the answer came over no websocket"))
    }

    /// The opening of the websocket was refused.
    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        #[derive(Deserialize)]
        struct Refusal {
            message: String,
        }
        match serde_json::from_slice::<Refusal>(body) {
            Ok(Refusal { message }) => {
                // A signature that is wrong or too old, by the status too.
                let signature = message.to_ascii_lowercase().contains("hmac");
                let trouble = if signature { Trouble::BadKey } else { Trouble::of_status(head.status) };
                trouble.of_answer(head, None, Some(message))
            }
            Err(_) => unexplained(head),
        }
    }
}

/// Where a model is asked, and what it is called there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Model {
    path: &'static str,
    domain: &'static str,
    has_functions: bool,
}

/// By domain.
const MODELS: &[Model] = &[
    Model { path: "v1.1/chat", domain: "lite", has_functions: false },
    Model { path: "v2.1/chat", domain: "generalv2", has_functions: false },
    Model { path: "v3.1/chat", domain: "generalv3", has_functions: true },
    Model { path: "chat/pro-128k", domain: "pro-128k", has_functions: false },
    Model { path: "v3.5/chat", domain: "generalv3.5", has_functions: true },
    Model { path: "chat/max-32k", domain: "max-32k", has_functions: false },
    Model { path: "v4.0/chat", domain: "4.0Ultra", has_functions: true },
];

/// One API's names, and the versions that stand in them.
const NAMES: &[(&str, &str)] = &[
    ("spark-lite", "lite"),
    ("v1.1", "lite"),
    ("general", "lite"),
    ("v2.1", "generalv2"),
    ("spark-pro", "generalv3"),
    ("v3.1", "generalv3"),
    ("spark-pro-128k", "pro-128k"),
    ("v3.1-128k", "pro-128k"),
    ("spark-max", "generalv3.5"),
    ("v3.5", "generalv3.5"),
    ("spark-max-32k", "max-32k"),
    ("v3.5-32k", "max-32k"),
    ("spark-4.0-ultra", "4.0Ultra"),
    ("v4.0", "4.0Ultra"),
];

impl Model {
    /// The model of a name; the least one where nobody knows the name, as in One API.
    fn of(name: &str) -> Self {
        let behind = name.split_once('-').map_or("", |(_, version)| version);
        let of_name = |name: &str| {
            let known = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            let domain = known.map_or(name, |(_, domain)| *domain);
            MODELS.iter().find(|model| model.domain.eq_ignore_ascii_case(domain)).copied()
        };
        of_name(name).or_else(|| of_name(behind)).unwrap_or(MODELS[0])
    }
}

/// The functions to offer.
fn functions(conversation: &Conversation, model: Model) -> Result<Vec<&Function>, ParamError> {
    let choice = conversation.tool_choice.as_ref();
    if conversation.tools.is_empty() || choice == Some(&ToolChoice::None) {
        return Ok(Vec::new());
    }
    if !model.has_functions {
        leftover::no_tools(conversation)?;
    }
    if choice.is_some_and(ToolChoice::forces) {
        let why = "must be 'auto' or 'none' for this model's provider";
        return Err(ParamError::unsupported("tool_choice", why));
    }
    leftover::functions(conversation)
}

fn function(function: &Function) -> Json<'_> {
    let schema =
        function.parameters.as_ref().map_or_else(|| raw(r#"{"type":"object","properties":{}}"#), Json::from);
    object([
        ("name", (&function.name).into()),
        ("description", function.description.as_deref().unwrap_or_default().into()),
        ("parameters", schema),
    ])
}

/// The turns. Only the first may be the system's; two of one side that follow each other are one.
fn messages(conversation: &Conversation) -> Result<Vec<Json<'_>>, ParamError> {
    let mut turns: Vec<(&'static str, String)> = Vec::new();
    let mut add = |role: &'static str, text: String| match turns.last_mut() {
        _ if text.is_empty() => {}
        Some((last, said)) if *last == role => leftover::join(said, &text),
        _ => turns.push((role, text)),
    };
    add("system", leftover::text_of(&conversation.system, "messages[0]")?);
    for (n, message) in conversation.messages.iter().enumerate() {
        let role = match message.role {
            Role::System if n == 0 && conversation.system.is_empty() => "system",
            Role::System | Role::User => "user",
            Role::Assistant => "assistant",
        };
        add(role, said(conversation, message)?);
    }
    let turn =
        |(role, text): (&'static str, String)| object([("role", role.into()), ("content", text.into())]);
    Ok(turns.into_iter().map(turn).collect())
}

/// The text of a turn, with calls and results in words.
fn said(conversation: &Conversation, message: &Message) -> Result<String, ParamError> {
    let mut text = String::new();
    for part in &message.parts {
        let more = match part {
            Part::ToolCall(call) => format!("{}({})", call.name, call.arguments),
            Part::ToolResult { call_id, content, .. } => {
                let name = leftover::called_name(conversation, call_id).unwrap_or("tool");
                format!("{name}: {}", leftover::text_of(content, &message.path)?)
            }
            other => leftover::text_of([other], &message.path)?,
        };
        leftover::join(&mut text, &more);
    }
    Ok(text)
}

/// What a code of a frame is about.
fn trouble(code: i64) -> Trouble {
    match code {
        10003 | 10004 | 10005 | 10163 | 10404 | 10907 => Trouble::BadRequest,
        10006 | 10007 | 11202 | 11203 => Trouble::Throttled,
        10008 | 10110 => Trouble::Overloaded,
        10013 | 10014 | 10019 => Trouble::ContentPolicy,
        10015 | 10016 => Trouble::Forbidden,
        10313 => Trouble::BadKey,
        11200 | 11201 => Trouble::OutOfCredit,
        _ => Trouble::Failed,
    }
}

#[cfg(test)]
mod tests;
