//! The body of a run.

use bytes::Bytes;
use penstock_actors::domain::Delivery;

use crate::{
    conversation::{Conversation, Effort, Format, Message, Part},
    dialect::{
        fields::ParamError,
        leftover::{self, Choice},
        tree::{Json, list, object},
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
    let mut functions = leftover::functions(conversation)?;
    let choice = match leftover::choice(conversation, &functions)? {
        Choice::This(function) => leftover::openai_named(function),
        Choice::None => {
            functions.clear();
            Json::Absent
        }
        Choice::Unsaid | Choice::Auto => Json::Absent,
    };
    let mut body = object([
        (
            "messages",
            leftover::openai_messages(conversation, |message, all| {
                write_message(conversation, message, all)
            })?,
        ),
        ("stream", (wanted.delivery == Delivery::Stream).then_some(true).into()),
        ("tools", list(functions.into_iter().map(leftover::openai_tool)).if_filled()),
        ("tool_choice", choice),
        ("response_format", format(conversation)),
        ("max_tokens", sampling.max_tokens.into()),
        ("temperature", sampling.temperature.into()),
        ("top_p", sampling.top_p.into()),
        ("top_k", sampling.top_k.into()),
        ("seed", sampling.seed.filter(|seed| *seed > 0).into()),
        ("frequency_penalty", sampling.frequency_penalty.into()),
        ("presence_penalty", sampling.presence_penalty.into()),
        ("reasoning_effort", effort(conversation).into()),
    ]);
    leftover::pass_on(conversation, &[], &mut body)?;
    Ok(body.to_bytes())
}

fn effort(conversation: &Conversation) -> Option<&'static str> {
    Some(match conversation.reasoning.effort_or_budget()? {
        Effort::None => return None,
        Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::ExtraHigh | Effort::Max => "high",
    })
}

/// Appends a message; each tool's result is one of its own, before what else the turn holds.
fn write_message<'a>(
    conversation: &'a Conversation,
    message: &'a Message,
    all: &mut Vec<Json<'a>>,
) -> Result<(), ParamError> {
    let (mut text, mut items, mut calls) = (String::new(), Vec::new(), Vec::new());
    let mut has_pictures = false;
    for part in &message.parts {
        match part {
            Part::Text { text: more, .. } | Part::Refusal(more) => {
                leftover::join(&mut text, more);
                items.push(object([("type", "text".into()), ("text", more.into())]));
            }
            Part::Image { source, .. } => {
                has_pictures = true;
                let url = object([("url", leftover::url_of(source, &message.path)?.into())]);
                items.push(object([("type", "image_url".into()), ("image_url", url)]));
            }
            Part::Thinking { .. } | Part::RedactedThinking { .. } => {}
            Part::ToolCall(call) => calls.push(leftover::openai_call(call)),
            Part::ToolResult { call_id, content, .. } => {
                let text = leftover::text_of(content, &message.path)?;
                all.push(object([
                    ("role", "tool".into()),
                    ("content", text.into()),
                    ("tool_call_id", call_id.into()),
                    ("name", leftover::called_name(conversation, call_id).into()),
                ]));
            }
            Part::File { .. } | Part::Audio { .. } => {
                let why = "may hold only text and pictures for this model's provider";
                return Err(ParamError::unsupported(format!("{}.content", message.path), why));
            }
        }
    }
    if items.is_empty() && calls.is_empty() {
        return Ok(());
    }
    all.push(object([
        ("role", leftover::role(message.role).into()),
        ("content", if has_pictures { list(items) } else { text.into() }),
        ("tool_calls", list(calls).if_filled()),
    ]));
    Ok(())
}

/// The schema stands bare, without name and strictness.
fn format(conversation: &Conversation) -> Json<'_> {
    match &conversation.format {
        None | Some(Format::Text) => Json::Absent,
        Some(Format::JsonObject) => object([("type", "json_object".into())]),
        Some(Format::JsonSchema { schema, .. }) => {
            object([("type", "json_schema".into()), ("json_schema", schema.into())])
        }
    }
}
