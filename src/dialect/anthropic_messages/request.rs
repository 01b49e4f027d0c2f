//! The body of `POST /v1/messages`.

use std::collections::BTreeMap;

use bytes::Bytes;
use penstock_actors::domain::catalog::Delivery;
use serde::Serialize;

use super::{
    blocks::Block,
    extra,
    models::Generation,
    thinking::{Thinking, thinking},
    tools::{self, WireChoice, WireTool},
    turns::{self, Turn},
};
use crate::{
    conversation::{Conversation, Format, Verbatim},
    dialect::{fields::ParamError, vertex_claude},
};

/// The limit where the client gives none; the API demands one.
const DEFAULT_MAX_TOKENS: u64 = 4096;

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    anthropic_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<WireChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<OwnOr<'a, Thinking>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OwnOr<'a, OutputConfig<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<extra::Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(flatten)]
    passed_on: BTreeMap<&'a str, &'a Verbatim>,
}

/// What the client wrote in Anthropic's words, or what we make of its own.
#[derive(Serialize)]
#[serde(untagged)]
enum OwnOr<'a, T> {
    Own(&'a Verbatim),
    Made(T),
}

impl OwnOr<'_, Thinking> {
    /// Whether we asked for reasoning, with which the API takes no sampling of the client's.
    fn excludes_tuning(&self) -> bool {
        matches!(self, Self::Made(Thinking::Adaptive { .. } | Thinking::Enabled { .. }))
    }
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<OutputFormat<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum OutputFormat<'a> {
    JsonSchema { schema: &'a Verbatim },
}

/// Who serves the request: clouds have it a little different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Anthropic, or someone who speaks alike.
    Anthropic,
    /// Bedrock, where model and delivery stand in the path.
    Bedrock,
    /// Vertex AI, where the model stands in the path.
    Vertex,
}

/// Writes a request.
///
/// # Errors
/// [`ParamError`] that names what this dialect cannot say, in OpenAI's words for parameters.
pub fn write_request(
    conversation: &Conversation,
    model: &str,
    delivery: Delivery,
    host: Host,
) -> Result<Bytes, ParamError> {
    refuse(conversation)?;
    let sampling = &conversation.sampling;
    let generation = Generation::of(model);
    let own = |name| conversation.extra.get(name);
    let max_tokens = sampling.max_tokens.unwrap_or_else(|| default_max_tokens(own("thinking")));
    let (thinking, effort) = match own("thinking") {
        Some(own) => (Some(OwnOr::Own(own)), None),
        None => {
            let (thinking, effort) = thinking(conversation, generation, max_tokens);
            (thinking.map(OwnOr::Made), effort)
        }
    };
    let tuned = generation != Generation::Untuned && !thinking.as_ref().is_some_and(OwnOr::excludes_tuning);
    let format = format(conversation)?;
    let output_config = match own("output_config") {
        Some(own) => Some(OwnOr::Own(own)),
        None if effort.is_none() && format.is_none() => None,
        None => Some(OwnOr::Made(OutputConfig { effort, format })),
    };
    let body = Body {
        anthropic_version: match host {
            Host::Anthropic => None,
            Host::Bedrock => Some("bedrock-2023-05-31"),
            Host::Vertex => Some(vertex_claude::VERSION),
        },
        model: (host == Host::Anthropic).then_some(model),
        max_tokens,
        system: turns::system(conversation)?,
        messages: turns::turns(conversation)?,
        tools: tools::tools(conversation)?,
        tool_choice: tools::choice(conversation),
        temperature: sampling.temperature.filter(|t| tuned && *t < 1.0),
        top_p: sampling.top_p.filter(|p| tuned && *p < 1.0),
        top_k: sampling.top_k.filter(|_| tuned),
        stop_sequences: &sampling.stop,
        thinking,
        output_config,
        metadata: extra::metadata(conversation),
        service_tier: extra::service_tier(conversation),
        stream: delivery == Delivery::Stream && host != Host::Bedrock,
        passed_on: extra::passed_on(conversation)?,
    };
    Ok(serde_json::to_vec(&body).expect("plain structs, and JSON that was parsed before").into())
}

/// What asks a Claude to reason, as members of the request: for hosts with a request of their own.
pub fn reasoning_fields(conversation: &Conversation, model: &str) -> Vec<(&'static str, String)> {
    let max_tokens = conversation.sampling.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    let (thinking, effort) = thinking(conversation, Generation::of(model), max_tokens);
    let effort = effort.map(|effort| ("output_config", format!(r#"{{"effort":"{effort}"}}"#)));
    let thinking = thinking.and_then(|thinking| serde_json::to_string(&thinking).ok());
    thinking.map(|thinking| ("thinking", thinking)).into_iter().chain(effort).collect()
}

/// Whether a Claude takes temperature, `top_p` and `top_k` with this request.
pub fn takes_tuning(conversation: &Conversation, model: &str) -> bool {
    let reasons = reasoning_fields(conversation, model)
        .iter()
        .any(|(name, value)| *name == "thinking" && !value.contains("disabled"));
    Generation::of(model) != Generation::Untuned && !reasons
}

/// The limit where the client gives none: room for the answer beside the reasoning it asks for.
fn default_max_tokens(thinking: Option<&Verbatim>) -> u64 {
    #[derive(serde::Deserialize)]
    struct Budget {
        budget_tokens: u64,
    }
    let budget = thinking.and_then(|own| serde_json::from_str(own.as_str()).ok());
    DEFAULT_MAX_TOKENS.saturating_add(budget.map_or(0, |Budget { budget_tokens }| budget_tokens))
}

/// Refuses what changes the answer's shape or end and cannot be had.
fn refuse(conversation: &Conversation) -> Result<(), ParamError> {
    if conversation.sampling.candidates.is_some_and(|n| n > 1) {
        return Err(ParamError::unsupported("n", "must be 1 for this model's provider"));
    }
    if conversation.sampling.logprobs.is_some() {
        return Err(ParamError::unsupported("logprobs", "is not supported by this model's provider"));
    }
    if conversation.sampling.stop.iter().any(|text| text.trim().is_empty()) {
        return Err(ParamError::unsupported(
            "stop",
            "may not be white space alone for this model's provider",
        ));
    }
    Ok(())
}

fn format(conversation: &Conversation) -> Result<Option<OutputFormat<'_>>, ParamError> {
    match &conversation.format {
        None | Some(Format::Text) => Ok(None),
        Some(Format::JsonSchema { schema, .. }) => Ok(Some(OutputFormat::JsonSchema { schema })),
        Some(Format::JsonObject) => Err(ParamError::unsupported(
            "response_format.type",
            "must be 'json_schema' for this model's provider, which has no JSON without a schema",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::{Effort, Message, Part, Reasoning, Role, Sampling};

    fn check(model: &str, effort: Option<Effort>) -> String {
        let message = Message {
            role: Role::User,
            parts: vec![Part::text("hi")],
            name: None,
            path: "messages[0]".into(),
        };
        let sampling =
            Sampling { temperature: Some(0.5), top_p: Some(1.0), top_k: Some(3), ..Default::default() };
        let reasoning = Reasoning { effort, ..Default::default() };
        let conversation =
            Conversation { messages: vec![message], sampling, reasoning, ..Default::default() };
        let body =
            write_request(&conversation, model, Delivery::Whole, Host::Anthropic).expect("it can be said");
        let body = String::from_utf8(body.to_vec()).expect("UTF-8");
        let (_, rest) = body.split_once(r#""hi"}]}]"#).expect("the message");
        rest.to_owned()
    }

    #[test]
    fn sampling_is_tuned_where_the_model_allows_it() {
        assert_eq!(check("claude-sonnet-4-6", None), r#","temperature":0.5,"top_k":3}"#);
        assert_eq!(check("claude-opus-5-5", None), "}");
        assert_eq!(
            check("claude-sonnet-4-6", Some(Effort::High)),
            r#","thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"high"}}"#
        );
        assert_eq!(
            check("claude-haiku-4-5", Some(Effort::Medium)),
            r#","thinking":{"type":"enabled","budget_tokens":2048}}"#
        );
    }

    #[test]
    fn a_budget_of_the_clients_has_room() {
        let own = Verbatim::parse(r#"{"type":"enabled","budget_tokens":9000}"#);
        assert_eq!(default_max_tokens(own.as_ref()), 13_096);
        assert_eq!(default_max_tokens(None), 4096);
    }
}
