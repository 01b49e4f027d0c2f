//! The body of `POST /v1/chat`: the last message, and what was said before it.

use bytes::Bytes;
use penstock_actors::domain::Delivery;
use serde_json::{Map, Value, json};

use crate::{
    conversation::{Conversation, Format, Function, Message, Part, Role, ToolChoice},
    dialect::{
        fields::ParamError,
        leftover,
        tree::{Json, list, object, raw, texts},
        upstream::Wanted,
    },
};

/// Writes a request.
///
/// # Errors
/// [`ParamError`] that names what this dialect cannot say.
pub(super) fn write(conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Bytes, ParamError> {
    leftover::one_answer(conversation)?;
    leftover::no_logprobs(conversation)?;
    let sampling = &conversation.sampling;
    let penalty = |wanted: Option<f64>| wanted.filter(|p| *p >= 0.0).map(|p| p.min(1.0));
    let tools = tools(conversation)?;
    let (history, last) = said(conversation)?;
    let (message, results) = match last {
        Said::User(text) => (text, Vec::new()),
        // The question stands in the history, before the calls.
        Said::Results(results) => (String::new(), results),
        Said::System(_) | Said::Model { .. } => return Err(not_last(conversation)),
    };
    let preamble = leftover::text_of(&conversation.system, "messages[0]")?;
    let mut body = object([
        ("model", wanted.model.into()),
        ("message", message.into()),
        ("stream", (wanted.delivery == Delivery::Stream).into()),
        ("preamble", Some(preamble).filter(|text| !text.is_empty()).into()),
        ("chat_history", list(history.into_iter().map(Json::from)).if_filled()),
        ("tools", list(tools.into_iter().map(tool)).if_filled()),
        ("tool_results", list(results).if_filled()),
        ("response_format", format(conversation)),
        ("max_tokens", sampling.max_tokens.into()),
        ("stop_sequences", texts(&sampling.stop)),
        ("temperature", sampling.temperature.map(|t| t.min(1.0)).into()),
        ("seed", sampling.seed.into()),
        ("frequency_penalty", penalty(sampling.frequency_penalty).into()),
        ("presence_penalty", penalty(sampling.presence_penalty).into()),
        ("k", sampling.top_k.into()),
        ("p", sampling.top_p.map(|p| p.clamp(0.01, 0.99)).into()),
    ]);
    leftover::pass_on(conversation, &[], &mut body)?;
    Ok(body.to_bytes())
}

fn tools(conversation: &Conversation) -> Result<Vec<&Function>, ParamError> {
    match &conversation.tool_choice {
        Some(choice) if choice.forces() && !conversation.tools.is_empty() => {
            let why = "can force no tool for this model's provider";
            Err(ParamError::unsupported("tool_choice", why))
        }
        Some(ToolChoice::None) => Ok(Vec::new()),
        _ => leftover::functions(conversation),
    }
}

/// An entry of the history.
enum Said<'a> {
    User(String),
    System(String),
    Model { text: String, calls: Vec<Json<'a>> },
    Results(Vec<Json<'a>>),
}

impl<'a> From<Said<'a>> for Json<'a> {
    fn from(said: Said<'a>) -> Self {
        let spoken = |role: &'static str, text: String, calls: Vec<Json<'a>>| {
            let calls = list(calls).if_filled();
            object([("role", role.into()), ("message", text.into()), ("tool_calls", calls)])
        };
        match said {
            Said::User(text) => spoken("USER", text, Vec::new()),
            Said::System(text) => spoken("SYSTEM", text, Vec::new()),
            Said::Model { text, calls } => spoken("CHATBOT", text, calls),
            Said::Results(results) => object([("role", "TOOL".into()), ("tool_results", list(results))]),
        }
    }
}

/// What was said before, and what is said last.
fn said(conversation: &Conversation) -> Result<(Vec<Said<'_>>, Said<'_>), ParamError> {
    let mut all = Vec::new();
    for message in &conversation.messages {
        read_message(conversation, message, &mut all)?;
    }
    let last = all.pop().ok_or_else(|| not_last(conversation))?;
    Ok((all, last))
}

fn not_last(conversation: &Conversation) -> ParamError {
    let path = conversation.messages.last().map_or("messages", |message| message.path.as_str());
    ParamError::unsupported(path, "must be the user's, or hold a tool's result, for this model's provider")
}

/// Appends a message; results of tools go before what else the turn holds.
fn read_message<'a>(
    conversation: &'a Conversation,
    message: &'a Message,
    all: &mut Vec<Said<'a>>,
) -> Result<(), ParamError> {
    let (mut spoken, mut calls, mut results) = (Vec::new(), Vec::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::ToolCall(made) => calls.push(call(&made.name, leftover::arguments(made, &message.path)?)),
            Part::ToolResult { call_id, content, .. } => {
                let Some(made) = leftover::called(conversation, call_id) else {
                    let why = "holds a tool's result whose call is not there";
                    return Err(ParamError::unsupported(&message.path, why));
                };
                let made = call(&made.name, leftover::arguments(made, &message.path)?);
                let text = leftover::text_of(content, &message.path)?;
                results.push(object([("call", made), ("outputs", outputs(&text))]));
            }
            other => spoken.push(other),
        }
    }
    if !results.is_empty() {
        match all.last_mut() {
            Some(Said::Results(before)) => before.append(&mut results),
            _ => all.push(Said::Results(results)),
        }
    }
    let text = leftover::text_of(spoken, &message.path)?;
    if text.is_empty() && calls.is_empty() {
        return Ok(());
    }
    all.push(match message.role {
        Role::System => Said::System(text),
        Role::User => Said::User(text),
        Role::Assistant => Said::Model { text, calls },
    });
    Ok(())
}

fn call<'a>(name: &'a str, parameters: Json<'a>) -> Json<'a> {
    object([("name", name.into()), ("parameters", parameters)])
}

/// A result as the list of objects that is wanted: as it is where it is one, else as the only member.
fn outputs<'a>(text: &str) -> Json<'a> {
    let all = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) => format!("[{text}]"),
        Ok(Value::Array(items)) if !items.is_empty() && items.iter().all(Value::is_object) => text.to_owned(),
        _ => json!([{"result": text}]).to_string(),
    };
    raw(&all)
}

/// A function; parameters are told one by one, with Python's names of their types.
fn tool(function: &Function) -> Json<'_> {
    let schema = function.parameters.as_ref().and_then(|schema| serde_json::from_str(schema.as_str()).ok());
    let definitions = definitions(&schema.unwrap_or(Value::Null));
    let definitions =
        if definitions.is_empty() { Json::Absent } else { raw(&Value::from(definitions).to_string()) };
    object([
        ("name", (&function.name).into()),
        ("description", function.description.as_ref().unwrap_or(&function.name).into()),
        ("parameter_definitions", definitions),
    ])
}

fn definitions(schema: &Value) -> Map<String, Value> {
    let required =
        |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let one = |(name, about): (&String, &Value)| {
        let mut told = json!({"type": python(about), "required": required(name)});
        let said = about["description"].as_str().unwrap_or_default();
        // What has no place of its own the model reads.
        let more = about.as_object().is_some_and(|all| {
            all.keys().any(|key| !matches!(key.as_str(), "type" | "description" | "title" | "default"))
        });
        let described = match (said, more) {
            ("", false) => None,
            (said, false) => Some(said.to_owned()),
            (said, true) => Some(format!("{said} (JSON schema: {about})").trim_start().to_owned()),
        };
        if let Some(text) = described {
            told["description"] = text.into();
        }
        (name.clone(), told)
    };
    schema["properties"].as_object().into_iter().flatten().map(one).collect()
}

fn python(about: &Value) -> &'static str {
    let kind = match &about["type"] {
        Value::Array(kinds) => kinds.iter().find_map(|kind| kind.as_str().filter(|kind| *kind != "null")),
        kind => kind.as_str(),
    };
    match kind {
        Some("integer") => "int",
        Some("number") => "float",
        Some("boolean") => "bool",
        Some("array") => "list",
        Some("object") => "dict",
        _ => "str",
    }
}

fn format(conversation: &Conversation) -> Json<'_> {
    let object_of = |schema| object([("type", "json_object".into()), ("schema", schema)]);
    match &conversation.format {
        None | Some(Format::Text) => Json::Absent,
        Some(Format::JsonObject) => object_of(Json::Absent),
        Some(Format::JsonSchema { schema, .. }) => object_of(schema.into()),
    }
}
