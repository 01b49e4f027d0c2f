//! The body of `POST /api/chat`.

use bytes::Bytes;
use penstock_actors::domain::Delivery;

use crate::{
    conversation::{Conversation, Effort, Format, Message, Part, Source, ToolCall, ToolChoice},
    dialect::{
        fields::ParamError,
        leftover,
        tree::{Json, list, object, texts},
        upstream::Wanted,
    },
};

/// Writes a request.
///
/// # Errors
/// [`ParamError`] that names what this dialect cannot say.
pub(super) fn write(conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Bytes, ParamError> {
    leftover::one_answer(conversation)?;
    if conversation.tool_choice.as_ref().is_some_and(ToolChoice::forces) {
        let why = "may not force a call for this model's provider";
        return Err(ParamError::unsupported("tool_choice", why));
    }
    let sampling = &conversation.sampling;
    let options = object([
        ("temperature", sampling.temperature.into()),
        ("top_p", sampling.top_p.into()),
        ("top_k", sampling.top_k.into()),
        ("num_predict", sampling.max_tokens.into()),
        ("seed", sampling.seed.into()),
        ("presence_penalty", sampling.presence_penalty.into()),
        ("frequency_penalty", sampling.frequency_penalty.into()),
        ("stop", texts(&sampling.stop)),
    ]);
    let tools = match conversation.tool_choice {
        Some(ToolChoice::None) => Vec::new(),
        _ => leftover::functions(conversation)?.into_iter().map(leftover::openai_tool).collect(),
    };
    let mut body = object([
        ("model", wanted.model.into()),
        (
            "messages",
            leftover::openai_messages(conversation, |message, all| {
                write_message(conversation, message, all)
            })?,
        ),
        ("tools", list(tools).if_filled()),
        ("stream", (wanted.delivery == Delivery::Stream).into()),
        ("format", format(conversation)),
        ("think", think(conversation, wanted.model)),
        ("options", options.if_filled()),
        ("logprobs", sampling.logprobs.map(|_| true).into()),
        ("top_logprobs", sampling.logprobs.filter(|n| *n > 0).into()),
    ]);
    leftover::pass_on(conversation, &[], &mut body)?;
    Ok(body.to_bytes())
}

/// Appends a message; each tool's result is one of its own, before what else the turn holds.
fn write_message<'a>(
    conversation: &'a Conversation,
    message: &'a Message,
    all: &mut Vec<Json<'a>>,
) -> Result<(), ParamError> {
    let (mut text, mut thinking) = (String::new(), String::new());
    let (mut images, mut calls) = (Vec::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Text { text: more, .. } | Part::Refusal(more) => leftover::join(&mut text, more),
            Part::Thinking { text: more, .. } => leftover::join(&mut thinking, more),
            Part::RedactedThinking { .. } => {}
            Part::Image { source, .. } => images.push(image(source, &message.path)?),
            Part::ToolCall(call) => calls.push(tool_call(call, &message.path)?),
            Part::ToolResult { call_id, content, .. } => {
                let text = leftover::text_of(content, &message.path)?;
                all.push(object([
                    ("role", "tool".into()),
                    ("content", text.into()),
                    ("tool_name", leftover::called_name(conversation, call_id).into()),
                ]));
            }
            Part::File { .. } | Part::Audio { .. } => {
                let why = "may hold only text and pictures for this model's provider";
                return Err(ParamError::unsupported(format!("{}.content", message.path), why));
            }
        }
    }
    if text.is_empty() && images.is_empty() && calls.is_empty() && thinking.is_empty() {
        return Ok(());
    }
    all.push(object([
        ("role", leftover::role(message.role).into()),
        ("content", text.into()),
        ("thinking", Some(thinking).filter(|t| !t.is_empty()).into()),
        ("images", list(images).if_filled()),
        ("tool_calls", list(calls).if_filled()),
    ]));
    Ok(())
}

fn image<'a>(source: &'a Source, path: &str) -> Result<Json<'a>, ParamError> {
    match source {
        Source::Base64 { media_type, data } => match media_type.as_str() {
            "image/png" | "image/jpeg" | "image/jpg" | "image/webp" => Ok(data.into()),
            _ => {
                let why = "must hold PNG, JPEG or WebP pictures for this model's provider";
                Err(ParamError::unsupported(format!("{path}.content"), why))
            }
        },
        Source::Url(_) | Source::Id(_) => Err(ParamError::unsupported(
            format!("{path}.content"),
            "must hold pictures as data URLs for this model's provider",
        )),
    }
}

/// Arguments are an object here.
fn tool_call<'a>(call: &'a ToolCall, path: &str) -> Result<Json<'a>, ParamError> {
    let arguments = leftover::arguments(call, path)?;
    Ok(object([("function", object([("name", (&call.name).into()), ("arguments", arguments)]))]))
}

fn format(conversation: &Conversation) -> Json<'_> {
    match &conversation.format {
        None | Some(Format::Text) => Json::Absent,
        Some(Format::JsonObject) => "json".into(),
        Some(Format::JsonSchema { schema, .. }) => schema.into(),
    }
}

/// Whether to think, and for the models that know levels, how much.
fn think<'a>(conversation: &Conversation, model: &str) -> Json<'a> {
    match conversation.reasoning.effort_or_budget() {
        None => Json::Absent,
        Some(effort) if model.contains("gpt-oss") => match effort {
            Effort::None | Effort::Minimal | Effort::Low => "low".into(),
            Effort::Medium => "medium".into(),
            Effort::High | Effort::ExtraHigh | Effort::Max => "high".into(),
        },
        Some(effort) => (effort != Effort::None).into(),
    }
}
