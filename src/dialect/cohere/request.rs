//! The body of `POST /v2/chat`.

use bytes::Bytes;
use penstock_actors::domain::Delivery;

use crate::{
    conversation::{Conversation, Effort, Format, Message, Part, ToolChoice},
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
    let sampling = &conversation.sampling;
    let penalty = |wanted: Option<f64>| wanted.filter(|p| *p >= 0.0).map(|p| p.min(1.0));
    let mut tools = leftover::functions(conversation)?;
    if let Some(ToolChoice::Tool(name)) = &conversation.tool_choice {
        tools.retain(|tool| tool.name == *name);
    }
    let strict = !tools.is_empty() && tools.iter().all(|tool| tool.strict == Some(true));
    let mut body = object([
        ("model", wanted.model.into()),
        ("messages", leftover::openai_messages(conversation, write_message)?),
        ("stream", (wanted.delivery == Delivery::Stream).into()),
        ("tools", list(tools.into_iter().map(leftover::openai_tool)).if_filled()),
        ("strict_tools", strict.then_some(true).into()),
        ("tool_choice", tool_choice(conversation).into()),
        ("response_format", format(conversation)),
        ("max_tokens", sampling.max_tokens.into()),
        ("stop_sequences", texts(&sampling.stop)),
        // Its range ends at 1.
        ("temperature", sampling.temperature.map(|t| t.min(1.0)).into()),
        ("seed", sampling.seed.into()),
        ("frequency_penalty", penalty(sampling.frequency_penalty).into()),
        ("presence_penalty", penalty(sampling.presence_penalty).into()),
        ("k", sampling.top_k.into()),
        ("p", sampling.top_p.map(|p| p.clamp(0.01, 0.99)).into()),
        ("logprobs", sampling.logprobs.map(|_| true).into()),
        ("thinking", thinking(conversation)),
    ]);
    leftover::pass_on(conversation, &[], &mut body)?;
    Ok(body.to_bytes())
}

/// Appends a message; each tool's result is one of its own, before what else the turn holds.
fn write_message<'a>(message: &'a Message, all: &mut Vec<Json<'a>>) -> Result<(), ParamError> {
    let (mut content, mut calls) = (Vec::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Text { text, .. } | Part::Refusal(text) => {
                content.push(object([("type", "text".into()), ("text", text.into())]));
            }
            Part::Thinking { text, .. } => {
                content.push(object([("type", "thinking".into()), ("thinking", text.into())]));
            }
            Part::RedactedThinking { .. } => {}
            Part::Image { source, detail, .. } => {
                let url = leftover::url_of(source, &message.path)?;
                let picture = object([("url", url.into()), ("detail", detail.as_ref().into())]);
                content.push(object([("type", "image_url".into()), ("image_url", picture)]));
            }
            Part::ToolCall(call) => calls.push(leftover::openai_call(call)),
            Part::ToolResult { call_id, content, .. } => {
                let text = leftover::text_of(content, &message.path)?;
                all.push(object([
                    ("role", "tool".into()),
                    ("tool_call_id", call_id.into()),
                    ("content", text.into()),
                ]));
            }
            Part::File { .. } | Part::Audio { .. } => {
                let why = "may hold only text and pictures for this model's provider";
                return Err(ParamError::unsupported(format!("{}.content", message.path), why));
            }
        }
    }
    if content.is_empty() && calls.is_empty() {
        return Ok(());
    }
    all.push(object([
        ("role", leftover::role(message.role).into()),
        ("content", list(content).if_filled()),
        ("tool_calls", list(calls).if_filled()),
    ]));
    Ok(())
}

/// The choice; where there is none to make, nothing is said.
fn tool_choice(conversation: &Conversation) -> Option<&'static str> {
    match conversation.tool_choice.as_ref().filter(|_| !conversation.tools.is_empty())? {
        ToolChoice::None => Some("NONE"),
        choice if choice.forces() => Some("REQUIRED"),
        _ => None,
    }
}

fn format(conversation: &Conversation) -> Json<'_> {
    let object_of = |schema| object([("type", "json_object".into()), ("json_schema", schema)]);
    match &conversation.format {
        None | Some(Format::Text) => Json::Absent,
        Some(Format::JsonObject) => object_of(Json::Absent),
        Some(Format::JsonSchema { schema, .. }) => object_of(schema.into()),
    }
}

fn thinking<'a>(conversation: &Conversation) -> Json<'a> {
    match conversation.reasoning.effort_or_budget() {
        None => Json::Absent,
        Some(Effort::None) => object([("type", "disabled".into())]),
        Some(_) => {
            let budget = conversation.reasoning.budget;
            object([("type", "enabled".into()), ("token_budget", budget.into())])
        }
    }
}
