//! Messages as they are written for a provider.

use serde::Serialize;

use crate::{
    conversation::{Conversation, Message, Part, Role, Source, ToolCall},
    dialect::fields::ParamError,
};

/// One message.
#[derive(Debug, Default, Serialize)]
pub(super) struct WireMessage<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    /// Absent only beside tool calls or a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(String),
    Parts(Vec<WirePart<'a>>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WirePart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
    InputAudio { input_audio: InputAudio<'a> },
    File { file: File<'a> },
}

#[derive(Debug, Serialize)]
struct ImageUrl<'a> {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct InputAudio<'a> {
    data: &'a str,
    format: &'a str,
}

#[derive(Debug, Default, Serialize)]
struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct WireCall<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Called<'a>,
}

#[derive(Debug, Serialize)]
struct Called<'a> {
    name: &'a str,
    arguments: &'a str,
}

/// Writes the instructions and the messages.
pub(super) fn messages(conversation: &Conversation) -> Result<Vec<WireMessage<'_>>, ParamError> {
    let mut all = Vec::with_capacity(conversation.messages.len() + 1);
    if !conversation.system.is_empty() {
        all.push(plain("system", joined(&conversation.system)));
    }
    for message in &conversation.messages {
        match message.role {
            Role::System => all.push(plain("system", joined(&message.parts))),
            Role::User => user(message, &mut all)?,
            Role::Assistant => all.extend(assistant(message)?),
        }
    }
    Ok(all)
}

fn plain(role: &'static str, text: String) -> WireMessage<'static> {
    WireMessage { role, content: Some(Content::Text(text)), ..WireMessage::default() }
}

/// The texts of parts, as one.
fn joined(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text { text, .. } | Part::Refusal(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n\n")
}

/// A user's message: each tool's result is a message of its own, and comes first.
///
/// A tool's message takes text alone, so what else a result holds follows as the user's.
fn user<'a>(message: &'a Message, all: &mut Vec<WireMessage<'a>>) -> Result<(), ParamError> {
    let mut parts = Vec::new();
    for part in &message.parts {
        if let Part::ToolResult { call_id, content, .. } = part {
            all.push(WireMessage { tool_call_id: Some(call_id), ..plain("tool", joined(content)) });
            for part in content.iter().filter(|part| !matches!(part, Part::Text { .. })) {
                parts.push(wire_part(part, message)?);
            }
        }
    }
    for part in message.parts.iter().filter(|part| !matches!(part, Part::ToolResult { .. })) {
        parts.push(wire_part(part, message)?);
    }
    if !parts.is_empty() {
        let content = Some(match &parts[..] {
            [WirePart::Text { text }] => Content::Text((*text).to_owned()),
            _ => Content::Parts(parts),
        });
        all.push(WireMessage {
            role: "user",
            name: message.name.as_deref(),
            content,
            ..WireMessage::default()
        });
    }
    Ok(())
}

fn wire_part<'a>(part: &'a Part, message: &Message) -> Result<WirePart<'a>, ParamError> {
    let unsupported = |why: &str| ParamError::unsupported(format!("{}.content", message.path), why);
    Ok(match part {
        Part::Text { text, .. } | Part::Refusal(text) => WirePart::Text { text },
        Part::Image { source, detail, .. } => {
            let url = match source {
                Source::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
                Source::Url(url) => url.clone(),
                Source::Id(_) => {
                    return Err(unsupported("holds an image by its id at another provider; send its bytes"));
                }
            };
            WirePart::ImageUrl { image_url: ImageUrl { url, detail: detail.as_deref() } }
        }
        Part::Audio { format, data } => WirePart::InputAudio { input_audio: InputAudio { data, format } },
        Part::File { source, name, .. } => {
            let name = name.as_deref();
            WirePart::File {
                file: match source {
                    // A name is demanded beside bytes.
                    Source::Base64 { media_type, data } => File {
                        file_data: Some(format!("data:{media_type};base64,{data}")),
                        filename: Some(name.unwrap_or("file")),
                        ..File::default()
                    },
                    Source::Id(id) => File { file_id: Some(id), filename: name, ..File::default() },
                    Source::Url(_) => {
                        return Err(unsupported(
                            "holds a file by its address, which this model's provider does not fetch; send its bytes",
                        ));
                    }
                },
            }
        }
        Part::Thinking { .. }
        | Part::RedactedThinking { .. }
        | Part::ToolCall(_)
        | Part::ToolResult { .. } => {
            return Err(unsupported("holds what only the model may say"));
        }
    })
}

/// The model's own message; `None` where nothing of it can be shown again.
fn assistant(message: &Message) -> Result<Option<WireMessage<'_>>, ParamError> {
    let mut out = WireMessage { role: "assistant", name: message.name.as_deref(), ..WireMessage::default() };
    let mut texts: Option<String> = None;
    for part in &message.parts {
        match part {
            Part::Text { text, .. } => texts.get_or_insert_default().push_str(text),
            Part::Refusal(text) => out.refusal.get_or_insert_default().push_str(text),
            Part::ToolCall(ToolCall { id, name, arguments }) => {
                let arguments = if arguments.trim().is_empty() { "{}" } else { arguments.as_str() };
                out.tool_calls.push(WireCall { id, kind: "function", function: Called { name, arguments } });
            }
            // The dialect has no place for reasoning in what comes back.
            Part::Thinking { .. } | Part::RedactedThinking { .. } => {}
            Part::Image { .. } | Part::File { .. } | Part::Audio { .. } => {
                return Err(ParamError::unsupported(
                    format!("{}.content", message.path),
                    "holds a picture or file of the model's, which this model's provider does not take back",
                ));
            }
            Part::ToolResult { .. } => {}
        }
    }
    if texts.is_none() && out.refusal.is_none() && out.tool_calls.is_empty() {
        return Ok(None);
    }
    out.content = texts.map(Content::Text);
    Ok(Some(out))
}
