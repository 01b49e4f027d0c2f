//! The body of `POST /v1/messages`.

use std::collections::BTreeMap;

use bytes::Bytes;
use penstock_actors::domain::catalog::Delivery;
use serde::Serialize;

use super::{
    blocks::Block,
    extra,
    thinking::{Thinking, thinking},
    tools::{self, WireChoice, WireTool},
    turns::{self, Turn},
};
use crate::{
    conversation::{Conversation, Format, Verbatim},
    dialect::fields::ParamError,
};

/// The limit where the client gives none; the API demands one.
const DEFAULT_MAX_TOKENS: u64 = 4096;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
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

/// Writes a request.
///
/// # Errors
/// [`ParamError`] that names what this dialect cannot say, in OpenAI's words for parameters.
pub fn write_request(
    conversation: &Conversation,
    model: &str,
    delivery: Delivery,
) -> Result<Bytes, ParamError> {
    refuse(conversation)?;
    let sampling = &conversation.sampling;
    let max_tokens = sampling.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
    let own = |name| conversation.extra.get(name);
    let (thinking, effort) = match own("thinking") {
        Some(own) => (Some(OwnOr::Own(own)), None),
        None => {
            let (thinking, effort) = thinking(conversation, model, max_tokens);
            (thinking.map(OwnOr::Made), effort)
        }
    };
    let format = format(conversation)?;
    let output_config = match own("output_config") {
        Some(own) => Some(OwnOr::Own(own)),
        None if effort.is_none() && format.is_none() => None,
        None => Some(OwnOr::Made(OutputConfig { effort, format })),
    };
    let body = Body {
        model,
        max_tokens,
        system: turns::system(conversation)?,
        messages: turns::turns(conversation)?,
        tools: tools::tools(conversation)?,
        tool_choice: tools::choice(conversation),
        temperature: sampling.temperature.filter(|t| *t < 1.0),
        top_p: sampling.top_p.filter(|p| *p < 1.0),
        top_k: sampling.top_k,
        stop_sequences: &sampling.stop,
        thinking,
        output_config,
        metadata: extra::metadata(conversation),
        service_tier: extra::service_tier(conversation),
        stream: delivery == Delivery::Stream,
        passed_on: extra::passed_on(conversation)?,
    };
    Ok(serde_json::to_vec(&body).expect("plain structs, and JSON that was parsed before").into())
}

/// Refuses what changes the shape of the answer and cannot be had.
fn refuse(conversation: &Conversation) -> Result<(), ParamError> {
    const NOT_HERE: &str = "is not supported by this model's provider";
    if conversation.sampling.candidates.is_some_and(|n| n > 1) {
        return Err(ParamError::unsupported("n", "must be 1 for this model's provider"));
    }
    if conversation.sampling.logprobs.is_some() {
        return Err(ParamError::unsupported("logprobs", NOT_HERE));
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
