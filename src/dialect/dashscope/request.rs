//! The body of a generation: model, input, parameters.

use bytes::Bytes;
use penstock_actors::domain::Delivery;

use crate::{
    conversation::{Conversation, Effort, Format, Function, Message, Part},
    dialect::{
        fields::ParamError,
        leftover::{self, Choice},
        tree::{Json, list, object, raw, texts},
        upstream::Wanted,
    },
};

/// The largest `top_p`: 1 is refused.
const LARGEST_TOP_P: f64 = 0.9999;
/// The largest temperature: 2 is refused.
const LARGEST_TEMPERATURE: f64 = 1.9999;

/// Writes a request.
///
/// # Errors
/// [`ParamError`] that names what this dialect cannot say.
pub(super) fn write(conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Bytes, ParamError> {
    leftover::one_answer(conversation)?;
    leftover::no_logprobs(conversation)?;
    let sampling = &conversation.sampling;
    let functions = leftover::functions(conversation)?;
    let choice = choice(conversation, &functions)?;
    let parallel = conversation.parallel_tool_calls.filter(|_| !functions.is_empty());
    let streams = wanted.delivery == Delivery::Stream;
    let thinking = conversation.reasoning.effort_or_budget().map(|effort| effort != Effort::None);
    let mut parameters = object([
        ("result_format", "message".into()),
        ("incremental_output", streams.then_some(true).into()),
        ("temperature", sampling.temperature.map(|t| t.min(LARGEST_TEMPERATURE)).into()),
        ("top_p", sampling.top_p.map(|p| p.min(LARGEST_TOP_P)).into()),
        ("top_k", sampling.top_k.into()),
        ("max_tokens", sampling.max_tokens.into()),
        ("seed", sampling.seed.filter(|seed| *seed >= 0).into()),
        ("stop", texts(&sampling.stop)),
        ("presence_penalty", sampling.presence_penalty.into()),
        ("tools", list(functions.into_iter().map(leftover::openai_tool)).if_filled()),
        ("tool_choice", choice),
        ("parallel_tool_calls", parallel.into()),
        ("response_format", format(conversation)?),
        ("enable_thinking", thinking.into()),
        ("thinking_budget", conversation.reasoning.budget.filter(|budget| *budget > 0).into()),
    ]);
    leftover::pass_on(conversation, &[], &mut parameters)?;
    let body = object([
        ("model", wanted.model.into()),
        ("input", object([("messages", leftover::openai_messages(conversation, write_message)?)])),
        ("parameters", parameters),
    ]);
    Ok(body.to_bytes())
}

/// How tools may be chosen.
fn choice<'a>(conversation: &Conversation, offered: &[&'a Function]) -> Result<Json<'a>, ParamError> {
    Ok(match leftover::choice(conversation, offered)? {
        Choice::Unsaid => Json::Absent,
        Choice::None => "none".into(),
        Choice::Auto => "auto".into(),
        Choice::This(function) => leftover::openai_named(function),
    })
}

fn format(conversation: &Conversation) -> Result<Json<'_>, ParamError> {
    match &conversation.format {
        None | Some(Format::Text) => Ok(Json::Absent),
        Some(Format::JsonObject) => Ok(raw(r#"{"type":"json_object"}"#)),
        Some(Format::JsonSchema { .. }) => Err(ParamError::unsupported(
            "response_format.type",
            "must be 'json_object' for this model's provider, which follows no schema",
        )),
    }
}

/// Appends a message; each tool's result is one of its own, before what else the turn holds.
fn write_message<'a>(message: &'a Message, all: &mut Vec<Json<'a>>) -> Result<(), ParamError> {
    let (mut said, mut calls) = (Vec::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::ToolCall(call) => calls.push(leftover::openai_call(call)),
            Part::ToolResult { call_id, content, .. } => {
                let text = leftover::text_of(content, &message.path)?;
                all.push(object([
                    ("role", "tool".into()),
                    ("content", text.into()),
                    ("tool_call_id", call_id.into()),
                ]));
            }
            other => said.push(other),
        }
    }
    let text = leftover::text_of(said, &message.path)?;
    if text.is_empty() && calls.is_empty() {
        return Ok(());
    }
    all.push(object([
        ("role", leftover::role(message.role).into()),
        ("content", text.into()),
        ("tool_calls", list(calls).if_filled()),
    ]));
    Ok(())
}
