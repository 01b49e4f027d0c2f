//! Writes a conversation as the body of `POST /v1/responses`.
//!
//! What cannot be said, and what becomes of it: stops, penalties, seeds and blocks of other providers' tools are
//! refused by name where they change the answer; `top_k` and cache hints are left out; proofs of reasoning go
//! back where they are OpenAI's. Nothing is stored there: conversations come whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use penstock_actors::domain::Delivery;
use serde::Serialize;

use super::NAME;
use crate::{
    conversation::{Conversation, Format, Message, Part, Role, Source, ToolCall, ToolChoice, Verbatim},
    dialect::{Wanted, fields::ParamError, foreign, proof},
};

const OWN: [&str; 13] = [
    "access_programs",
    "context_management",
    "conversation",
    "image",
    "max_tool_calls",
    "metadata",
    "moderation",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "background_options",
    "truncation",
];

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
    input: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<WireChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<WireReasoning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<WireText<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    store: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(flatten)]
    passed_on: BTreeMap<&'a str, &'a Verbatim>,
}

#[derive(Serialize)]
struct WireReasoning {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'static str>,
}

#[derive(Serialize)]
struct WireText<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<WireFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireFormat<'a> {
    Text,
    JsonObject,
    JsonSchema {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        schema: &'a Verbatim,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireTool<'a> {
    Function {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        parameters: Option<&'a Verbatim>,
        /// Said always: the API's default is `true`, other dialects' is not.
        strict: bool,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Chosen<'a> {
    Function { name: &'a str },
    AllowedTools { mode: &'static str, tools: Vec<Chosen<'a>> },
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireChoice<'a> {
    Word(&'static str),
    Chosen(Chosen<'a>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item<'a> {
    Message { role: &'static str, content: Vec<Content<'a>> },
    FunctionCall { call_id: &'a str, name: &'a str, arguments: &'a str },
    FunctionCallOutput { call_id: &'a str, output: Output<'a> },
    Reasoning { summary: Vec<Content<'a>>, encrypted_content: &'a str },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Output<'a> {
    Text(&'a str),
    Parts(Vec<Content<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    InputText { text: &'a str },
    OutputText { text: &'a str },
    SummaryText { text: &'a str },
    Refusal { refusal: &'a str },
    InputImage { image_url: String, detail: &'a str },
    InputFile(File<'a>),
    InputAudio { input_audio: Audio<'a> },
}

#[derive(Serialize)]
struct Audio<'a> {
    data: &'a str,
    format: &'a str,
}

#[derive(Default, Serialize)]
struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'a str>,
}

/// Writes a request.
///
/// # Errors
/// [`ParamError`] that names what this dialect cannot say.
pub(super) fn write_request(conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Bytes, ParamError> {
    let sampling = &conversation.sampling;
    if sampling.candidates.is_some_and(|n| n > 1) {
        return Err(ParamError::unsupported("n", "must be 1 for this model's provider"));
    }
    if !sampling.stop.is_empty() {
        return Err(ParamError::unsupported("stop", "is not supported by this model's provider"));
    }
    let tools = tools(conversation)?;
    let has_tools = !tools.is_empty();
    let mut include = vec!["reasoning.encrypted_content"];
    if sampling.logprobs.is_some() {
        include.push("message.output_text.logprobs");
    }
    let format = conversation.format.as_ref().map(format);
    let verbosity = conversation.verbosity.as_deref();
    let (effort, shown) = (conversation.reasoning.effort_or_budget(), conversation.reasoning.shown);
    let body = Body {
        model: wanted.model,
        instructions: instructions(conversation),
        input: items(conversation)?,
        tools,
        tool_choice: conversation.tool_choice.as_ref().filter(|_| has_tools).map(choice),
        parallel_tool_calls: conversation.parallel_tool_calls.filter(|_| has_tools),
        max_output_tokens: sampling.max_tokens.map(|most| most.max(16)),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_logprobs: sampling.logprobs.filter(|top| *top > 0),
        reasoning: (effort.is_some() || shown.is_some()).then(|| WireReasoning {
            effort: effort.map(|effort| effort.word()),
            summary: shown.unwrap_or(true).then_some("auto"),
        }),
        text: (format.is_some() || verbosity.is_some()).then_some(WireText { format, verbosity }),
        include,
        service_tier: conversation.service_tier.as_deref(),
        user: conversation.user.as_deref(),
        store: false,
        stream: wanted.delivery == Delivery::Stream,
        passed_on: foreign::passed_on(conversation, &OWN)?,
    };
    Ok(serde_json::to_vec(&body).expect("plain structs, and JSON that was parsed before").into())
}

fn instructions(conversation: &Conversation) -> Option<String> {
    let texts: Vec<_> = conversation
        .system
        .iter()
        .filter_map(|part| if let Part::Text { text, .. } = part { Some(text.as_str()) } else { None })
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

fn items(conversation: &Conversation) -> Result<Vec<Item<'_>>, ParamError> {
    let mut all = Vec::new();
    for message in &conversation.messages {
        let (role, mut content) = match message.role {
            Role::System => ("developer", Vec::new()),
            Role::User => ("user", Vec::new()),
            Role::Assistant => ("assistant", Vec::new()),
        };
        for part in &message.parts {
            let item = match part {
                Part::ToolCall(ToolCall { id, name, arguments }) => {
                    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments.as_str() };
                    Item::FunctionCall { call_id: id, name, arguments }
                }
                Part::ToolResult { call_id, content, .. } => {
                    Item::FunctionCallOutput { call_id, output: output(content, message)? }
                }
                Part::Thinking { text, signature } => {
                    let Some(encrypted_content) = signature.as_deref().and_then(|s| proof::unmark(NAME, s))
                    else {
                        continue;
                    };
                    let summary =
                        if text.is_empty() { Vec::new() } else { vec![Content::SummaryText { text }] };
                    Item::Reasoning { summary, encrypted_content }
                }
                Part::RedactedThinking { .. } => continue,
                Part::Text { text, .. } if message.role == Role::Assistant => {
                    content.push(Content::OutputText { text });
                    continue;
                }
                Part::Refusal(refusal) if message.role == Role::Assistant => {
                    content.push(Content::Refusal { refusal });
                    continue;
                }
                part => {
                    content.push(wire_content(part, message)?);
                    continue;
                }
            };
            say(role, &mut content, &mut all);
            all.push(item);
        }
        say(role, &mut content, &mut all);
    }
    if all.is_empty() {
        let why = "must hold one with content beside the instructions for this model's provider";
        return Err(ParamError::unsupported("messages", why));
    }
    Ok(all)
}

/// Ends a message, so that what follows keeps its place behind it.
fn say<'a>(role: &'static str, content: &mut Vec<Content<'a>>, all: &mut Vec<Item<'a>>) {
    if !content.is_empty() {
        all.push(Item::Message { role, content: std::mem::take(content) });
    }
}

fn output<'a>(content: &'a [Part], message: &Message) -> Result<Output<'a>, ParamError> {
    match content {
        [] => Ok(Output::Text("")),
        [Part::Text { text, .. }] => Ok(Output::Text(text)),
        several => several
            .iter()
            .map(|part| wire_content(part, message))
            .collect::<Result<_, _>>()
            .map(Output::Parts),
    }
}

fn wire_content<'a>(part: &'a Part, message: &Message) -> Result<Content<'a>, ParamError> {
    let unsupported = |why: &str| ParamError::unsupported(format!("{}.content", message.path), why);
    Ok(match part {
        Part::Text { text, .. } | Part::Refusal(text) => Content::InputText { text },
        Part::Image { source, detail, .. } => {
            let image_url = match source {
                Source::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
                Source::Url(url) => url.clone(),
                Source::Id(_) => {
                    return Err(unsupported("holds an image by its id at another provider; send its bytes"));
                }
            };
            Content::InputImage { image_url, detail: detail.as_deref().unwrap_or("auto") }
        }
        Part::File { source, name, .. } => {
            let filename = name.as_deref();
            Content::InputFile(match source {
                Source::Base64 { media_type, data } => File {
                    file_data: Some(format!("data:{media_type};base64,{data}")),
                    filename: Some(filename.unwrap_or("file")),
                    ..File::default()
                },
                Source::Url(url) => File { file_url: Some(url), filename, ..File::default() },
                Source::Id(id) => File { file_id: Some(id), ..File::default() },
            })
        }
        Part::Audio { format, data } => Content::InputAudio { input_audio: Audio { data, format } },
        Part::Thinking { .. }
        | Part::RedactedThinking { .. }
        | Part::ToolCall(_)
        | Part::ToolResult { .. } => {
            return Err(unsupported("holds what cannot stand there"));
        }
    })
}

fn tools(conversation: &Conversation) -> Result<Vec<WireTool<'_>>, ParamError> {
    let tools = foreign::functions(conversation)?.map(|function| WireTool::Function {
        name: &function.name,
        description: function.description.as_deref(),
        parameters: function.parameters.as_ref(),
        strict: function.strict.unwrap_or(false),
    });
    Ok(tools.collect())
}

fn choice(choice: &ToolChoice) -> WireChoice<'_> {
    match choice {
        ToolChoice::Auto => WireChoice::Word("auto"),
        ToolChoice::None => WireChoice::Word("none"),
        ToolChoice::Required => WireChoice::Word("required"),
        ToolChoice::Tool(name) => WireChoice::Chosen(Chosen::Function { name }),
        ToolChoice::AutoAmong(names) => WireChoice::Chosen(allowed("auto", names)),
        ToolChoice::RequiredAmong(names) => WireChoice::Chosen(allowed("required", names)),
    }
}

fn allowed<'a>(mode: &'static str, names: &'a [String]) -> Chosen<'a> {
    Chosen::AllowedTools { mode, tools: names.iter().map(|name| Chosen::Function { name }).collect() }
}

fn format(format: &Format) -> WireFormat<'_> {
    match format {
        Format::Text => WireFormat::Text,
        Format::JsonObject => WireFormat::JsonObject,
        Format::JsonSchema { name, description, schema, strict } => WireFormat::JsonSchema {
            // A name is demanded here and unknown elsewhere.
            name: name.as_deref().unwrap_or("answer"),
            description: description.as_deref(),
            schema,
            strict: *strict,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai_chat;

    fn check(body: &str) -> Result<String, ParamError> {
        let conversation = openai_chat::parse_request(body.as_bytes())?;
        let written =
            write_request(&conversation, &Wanted { model: "up", delivery: Delivery::Stream, params: &[] })?;
        Ok(String::from_utf8(written.to_vec()).expect("UTF-8"))
    }

    #[test]
    fn items_keep_their_order() {
        let body = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},
            {"role":"assistant","content":"b","reasoning_content":"hm","reasoning_content_signature":"openai:U0lH","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":""}}]},
            {"role":"tool","tool_call_id":"1","content":"r"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"z":1.50}}}]}"#;
        assert_eq!(
            check(body).as_deref(),
            Ok(
                r#"{"model":"up","instructions":"s","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"a"}]},{"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"U0lH"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"b"}]},{"type":"function_call","call_id":"1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"1","output":"r"}],"tools":[{"type":"function","name":"f","parameters":{"z":1.50},"strict":false}],"include":["reasoning.encrypted_content"],"store":false,"stream":true}"#
            )
        );
    }

    #[test]
    fn what_cannot_be_said_is_refused_by_name() {
        for (rest, param) in
            [(r#""n":2"#, "n"), (r#""stop":"x""#, "stop"), (r#""logit_bias":{"1":1}"#, "logit_bias")]
        {
            let body = format!(r#"{{"messages":[{{"role":"user","content":"a"}}],{rest}}}"#);
            assert_eq!(check(&body).expect_err(rest).param, param, "{rest}");
        }
    }
}
