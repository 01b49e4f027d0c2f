//! The body of `ChatCompletions`.

use bytes::Bytes;
use penstock_actors::domain::Delivery;

use crate::{
    conversation::{Conversation, Effort, Function, Message, Part},
    dialect::{
        fields::ParamError,
        leftover::{self, Choice},
        tree::{Json, list, object, texts},
        upstream::Wanted,
    },
};

/// The largest seed.
const LARGEST_SEED: i64 = 10_000;

/// Writes a request.
///
/// # Errors
/// [`ParamError`] that names what this dialect cannot say.
pub(super) fn write(conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Bytes, ParamError> {
    leftover::one_answer(conversation)?;
    leftover::no_logprobs(conversation)?;
    leftover::no_format(conversation)?;
    let sampling = &conversation.sampling;
    let functions = leftover::functions(conversation)?;
    let (choice, forced) = choice(conversation, &functions)?;
    let thinking = conversation.reasoning.effort_or_budget().map(|effort| effort != Effort::None);
    let mut body = object([
        ("Model", wanted.model.into()),
        ("Messages", list(messages(conversation)?)),
        ("Stream", (wanted.delivery == Delivery::Stream).into()),
        ("TopP", sampling.top_p.into()),
        ("Temperature", sampling.temperature.into()),
        ("Seed", sampling.seed.filter(|seed| (1..=LARGEST_SEED).contains(seed)).into()),
        ("Stop", texts(&sampling.stop)),
        ("Tools", list(functions.into_iter().map(tool)).if_filled()),
        ("ToolChoice", choice.into()),
        ("CustomTool", forced.map_or(Json::Absent, tool)),
        ("EnableThinking", thinking.into()),
    ]);
    leftover::pass_on(conversation, &[], &mut body)?;
    Ok(body.to_bytes())
}

type Forced<'a> = (Option<&'static str>, Option<&'a Function>);

/// How tools may be chosen, and the one that must be.
fn choice<'a>(conversation: &Conversation, offered: &[&'a Function]) -> Result<Forced<'a>, ParamError> {
    Ok(match leftover::choice(conversation, offered)? {
        Choice::Unsaid => (None, None),
        Choice::None => (Some("none"), None),
        Choice::Auto => (Some("auto"), None),
        Choice::This(function) => (Some("custom"), Some(function)),
    })
}

/// A function; its schema is a text here.
fn tool(function: &Function) -> Json<'_> {
    let schema = function.parameters.as_ref().map_or(r#"{"type":"object","properties":{}}"#, |p| p.as_str());
    let inner = object([
        ("Name", (&function.name).into()),
        ("Parameters", schema.into()),
        ("Description", function.description.as_ref().into()),
    ]);
    object([("Type", "function".into()), ("Function", inner)])
}

fn messages(conversation: &Conversation) -> Result<Vec<Json<'_>>, ParamError> {
    let mut all = Vec::new();
    if !conversation.system.is_empty() {
        let text = leftover::text_of(&conversation.system, "messages[0]")?;
        all.push(object([("Role", "system".into()), ("Content", text.into())]));
    }
    for message in &conversation.messages {
        write_message(message, &mut all)?;
    }
    Ok(all)
}

/// Appends a message; each tool's result is one of its own, before what else the turn holds.
fn write_message<'a>(message: &'a Message, all: &mut Vec<Json<'a>>) -> Result<(), ParamError> {
    let (mut text, mut thinking) = (String::new(), String::new());
    let (mut contents, mut calls) = (Vec::new(), Vec::new());
    let mut pictures = false;
    for part in &message.parts {
        match part {
            Part::Text { text: more, .. } | Part::Refusal(more) => {
                leftover::join(&mut text, more);
                contents.push(object([("Type", "text".into()), ("Text", more.into())]));
            }
            Part::Thinking { text: more, .. } => leftover::join(&mut thinking, more),
            Part::RedactedThinking { .. } => {}
            Part::Image { source, .. } => {
                pictures = true;
                let url = object([("Url", leftover::url_of(source, &message.path)?.into())]);
                contents.push(object([("Type", "image_url".into()), ("ImageUrl", url)]));
            }
            Part::ToolCall(call) => {
                let arguments = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
                let inner = object([("Name", (&call.name).into()), ("Arguments", arguments.into())]);
                let index = calls.len() as i64;
                calls.push(object([
                    ("Id", (&call.id).into()),
                    ("Type", "function".into()),
                    ("Function", inner),
                    ("Index", Json::Whole(index)),
                ]));
            }
            Part::ToolResult { call_id, content, .. } => {
                let text = leftover::text_of(content, &message.path)?;
                all.push(object([
                    ("Role", "tool".into()),
                    ("Content", text.into()),
                    ("ToolCallId", call_id.into()),
                ]));
            }
            Part::File { .. } | Part::Audio { .. } => {
                let why = "may hold only text and pictures for this model's provider";
                return Err(ParamError::unsupported(format!("{}.content", message.path), why));
            }
        }
    }
    if contents.is_empty() && calls.is_empty() {
        return Ok(());
    }
    let content = if pictures { Json::Absent } else { text.into() };
    all.push(object([
        ("Role", leftover::role(message.role).into()),
        ("Content", content),
        ("Contents", if pictures { list(contents) } else { Json::Absent }),
        ("ReasoningContent", Some(thinking).filter(|t| !t.is_empty()).into()),
        ("ToolCalls", list(calls).if_filled()),
    ]));
    Ok(())
}
