//! Writes a conversation as the body of `POST /v1/chat/completions`.
//!
//! What cannot be said, and what becomes of it: files by address and blocks of other providers' tools are
//! refused by name; `top_k`, cache hints (this dialect's providers cache by themselves), reasoning without
//! a place for it, and whether a tool's result is a failure are left out.

mod content;

use std::collections::BTreeMap;

use bytes::Bytes;
use penstock_actors::domain::Delivery;
use serde::Serialize;

use content::{WireMessage, messages};

use crate::{
    conversation::{Conversation, Format, Function, ToolChoice, Verbatim},
    dialect::{Wanted, fields::ParamError, foreign},
};

/// Fields that this dialect has and a conversation gives no meaning.
const OWN: [&str; 13] = [
    "audio",
    "function_call",
    "functions",
    "logit_bias",
    "modalities",
    "moderation",
    "prediction",
    "web_search_options",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "store",
];

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<WireChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<WireFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(flatten)]
    passed_on: BTreeMap<&'a str, &'a Verbatim>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireTool<'a> {
    Function { function: WireFunction<'a> },
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a Verbatim>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Chosen<'a> {
    Function { function: Named<'a> },
    AllowedTools { allowed_tools: Allowed<'a> },
}

#[derive(Serialize)]
struct Allowed<'a> {
    mode: &'static str,
    tools: Vec<Chosen<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireChoice<'a> {
    Word(&'static str),
    Chosen(Chosen<'a>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireFormat<'a> {
    Text,
    JsonObject,
    JsonSchema { json_schema: WireSchema<'a> },
}

#[derive(Serialize)]
struct WireSchema<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    schema: &'a Verbatim,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// Writes a request.
///
/// # Errors
/// [`ParamError`] that names what this dialect cannot say.
pub(super) fn write_request(conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Bytes, ParamError> {
    let sampling = &conversation.sampling;
    if sampling.candidates.is_some_and(|n| n > 1) {
        return Err(ParamError::unsupported("n", "must be 1 where the answer is converted"));
    }
    let tools = tools(conversation)?;
    let has_tools = !tools.is_empty();
    let body = Body {
        model: wanted.model,
        messages: messages(conversation)?,
        tools,
        tool_choice: conversation.tool_choice.as_ref().filter(|_| has_tools).map(choice),
        parallel_tool_calls: conversation.parallel_tool_calls.filter(|_| has_tools),
        max_completion_tokens: sampling.max_tokens,
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        stop: &sampling.stop,
        seed: sampling.seed,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        logprobs: sampling.logprobs.map(|_| true),
        top_logprobs: sampling.logprobs.filter(|top| *top > 0),
        response_format: conversation.format.as_ref().map(format),
        reasoning_effort: conversation.reasoning.effort_or_budget().map(|effort| effort.word()),
        verbosity: conversation.verbosity.as_deref(),
        service_tier: conversation.service_tier.as_deref(),
        user: conversation.user.as_deref(),
        stream: wanted.delivery == Delivery::Stream,
        passed_on: foreign::passed_on(conversation, &OWN)?,
    };
    Ok(serde_json::to_vec(&body).expect("plain structs, and JSON that was parsed before").into())
}

fn tools(conversation: &Conversation) -> Result<Vec<WireTool<'_>>, ParamError> {
    let tools = foreign::functions(conversation)?.map(
        |Function { name, description, parameters, strict, .. }| {
            let (description, parameters) = (description.as_deref(), parameters.as_ref());
            WireTool::Function { function: WireFunction { name, description, parameters, strict: *strict } }
        },
    );
    Ok(tools.collect())
}

fn choice(choice: &ToolChoice) -> WireChoice<'_> {
    match choice {
        ToolChoice::Auto => WireChoice::Word("auto"),
        ToolChoice::None => WireChoice::Word("none"),
        ToolChoice::Required => WireChoice::Word("required"),
        ToolChoice::Tool(name) => WireChoice::Chosen(named(name)),
        ToolChoice::AutoAmong(names) => WireChoice::Chosen(allowed("auto", names)),
        ToolChoice::RequiredAmong(names) => WireChoice::Chosen(allowed("required", names)),
    }
}

fn named(name: &str) -> Chosen<'_> {
    Chosen::Function { function: Named { name } }
}

fn allowed<'a>(mode: &'static str, names: &'a [String]) -> Chosen<'a> {
    Chosen::AllowedTools { allowed_tools: Allowed { mode, tools: names.iter().map(|n| named(n)).collect() } }
}

fn format(format: &Format) -> WireFormat<'_> {
    match format {
        Format::Text => WireFormat::Text,
        Format::JsonObject => WireFormat::JsonObject,
        Format::JsonSchema { name, description, schema, strict } => WireFormat::JsonSchema {
            json_schema: WireSchema {
                // A name is demanded here and unknown elsewhere.
                name: name.as_deref().unwrap_or("answer"),
                description: description.as_deref(),
                schema,
                strict: *strict,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai_chat::parse_request;

    fn check(body: &str) -> Result<String, ParamError> {
        let wanted = Wanted { model: "up", delivery: Delivery::Whole, params: &[] };
        let written = write_request(&parse_request(body.as_bytes())?, &wanted)?;
        Ok(String::from_utf8(written.to_vec()).expect("UTF-8"))
    }

    #[test]
    fn what_is_read_is_written_as_it_was() {
        let rest = r##""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"z":{"$ref":"#"},"a":1.50},"strict":true}}],"tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false,"max_completion_tokens":7,"temperature":0.5,"top_p":0.25,"stop":["a","b"],"seed":3,"presence_penalty":1.0,"frequency_penalty":-1.0,"logprobs":true,"top_logprobs":2,"response_format":{"type":"json_schema","json_schema":{"name":"n","description":"d","schema":{"type":"object"},"strict":true}},"reasoning_effort":"high","verbosity":"low","service_tier":"flex","user":"u","logit_bias":{"1":2},"new":[1.0]}"##;
        let messages = r#""messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ==","detail":"low"}},{"type":"input_audio","input_audio":{"data":"QQ==","format":"wav"}},{"type":"file","file":{"file_data":"data:application/pdf;base64,QQ==","filename":"f.pdf"}}]},{"role":"assistant","content":"b","tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"t","content":"r"}]"#;
        let body = format!(r#"{{"model":"up",{messages},{rest}"#);
        assert_eq!(check(&body).as_deref(), Ok(body.as_str()));
    }

    #[test]
    fn choices_are_left_out_where_there_is_nothing_to_choose() {
        let body = r#"{"messages":[{"role":"user","content":"a"}],"tool_choice":"required","parallel_tool_calls":true,"top_k":3}"#;
        assert_eq!(
            check(body).as_deref(),
            Ok(r#"{"model":"up","messages":[{"role":"user","content":"a"}]}"#)
        );
    }

    #[test]
    fn what_cannot_be_said_is_refused_by_name() {
        for (rest, param) in [
            (r#""n":2"#, "n"),
            (r#""tools":[{"type":"web_search_20250305","name":"w"}]"#, "tools[0].type"),
            (r#""container":"c""#, "container"),
        ] {
            let body = format!(r#"{{"messages":[{{"role":"user","content":"a"}}],{rest}}}"#);
            let error = check(&body).expect_err(rest);
            assert_eq!((error.param.as_str(), error.code), (param, ParamError::UNSUPPORTED), "{rest}");
        }
    }
}
