//! `input`: the items of a request.

use serde_json::value::RawValue;

use super::super::response::REDACTED;
use crate::{
    conversation::{Message, Part, Role, Source, ToolCall},
    dialect::{
        fields::{Fields, ParamError},
        openai_chat::{picture, recording, source},
        proof,
    },
};

/// Reads the items. Those of the model that follow each other are one message, and so are results of tools.
pub(super) fn items(raw: &RawValue) -> Result<Vec<Message>, ParamError> {
    let list: Vec<&RawValue> = serde_json::from_str(raw.get())
        .map_err(|_| ParamError::expected("input", "a string or an array of items"))?;
    let mut messages: Vec<Message> = Vec::new();
    for (n, raw) in list.into_iter().enumerate() {
        let path = format!("input[{n}]");
        let (role, mut parts) = item(Fields::of(path.clone(), raw)?)?;
        let is_result = |part: &Part| matches!(part, Part::ToolResult { .. });
        match messages.last_mut() {
            Some(last)
                if last.role == role
                    && (role == Role::Assistant
                        || (last.parts.iter().all(is_result) && parts.iter().all(is_result))) =>
            {
                last.parts.append(&mut parts);
            }
            _ => messages.push(Message { role, parts, name: None, path }),
        }
    }
    Ok(messages)
}

fn item(mut fields: Fields<'_>) -> Result<(Role, Vec<Part>), ParamError> {
    let kind = fields.text("type")?;
    match kind.as_deref() {
        None | Some("message") => {
            let role = match fields.needed_text("role")?.as_str() {
                "user" => Role::User,
                "assistant" => Role::Assistant,
                "system" | "developer" => Role::System,
                _ => {
                    let why = "must be 'user', 'assistant', 'system' or 'developer'";
                    return Err(ParamError::value(fields.path("role"), why));
                }
            };
            let path = fields.path("content");
            Ok((role, content(&mut fields, "content")?.ok_or_else(|| ParamError::missing(path))?))
        }
        Some("function_call") => {
            let call = ToolCall {
                id: fields.needed_text("call_id")?,
                name: fields.needed_text("name")?,
                arguments: fields.needed_text("arguments")?,
            };
            Ok((Role::Assistant, vec![Part::ToolCall(call)]))
        }
        Some("function_call_output") => {
            let call_id = fields.needed_text("call_id")?;
            let path = fields.path("output");
            let content = content(&mut fields, "output")?.ok_or_else(|| ParamError::missing(path))?;
            Ok((Role::User, vec![Part::ToolResult { call_id, content, failed: false, cache: None }]))
        }
        Some("reasoning") => Ok((Role::Assistant, reasoning(&mut fields)?)),
        Some(kind) => {
            let shown: String = kind.chars().take(60).collect();
            let why = format!("is '{shown}', which this model's provider does not take");
            Err(ParamError::unsupported(fields.path("type"), why))
        }
    }
}

fn reasoning(fields: &mut Fields<'_>) -> Result<Vec<Part>, ParamError> {
    let encrypted = fields.text("encrypted_content")?;
    if let Some(data) = encrypted.as_deref().and_then(|encrypted| proof::unmark(REDACTED, encrypted)) {
        return Ok(vec![Part::RedactedThinking { data: data.to_owned() }]);
    }
    let mut text = String::new();
    for list in ["summary", "content"] {
        for (path, raw) in fields.list(list)?.unwrap_or_default() {
            let more = Fields::of(path, raw)?.text("text")?.unwrap_or_default();
            if list == "summary" || text.is_empty() {
                text.push_str(&more);
            }
        }
    }
    Ok(vec![Part::Thinking { text, signature: encrypted }])
}

fn content(fields: &mut Fields<'_>, name: &str) -> Result<Option<Vec<Part>>, ParamError> {
    let path = fields.path(name);
    let Some(raw) = fields.raw(name) else { return Ok(None) };
    if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
        return Ok(Some(vec![Part::text(text)]));
    }
    let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        return Err(ParamError::expected(path, "a string or an array of parts"));
    };
    let parts = list.into_iter().enumerate();
    parts.map(|(n, raw)| part(Fields::of(format!("{path}[{n}]"), raw)?)).collect::<Result<_, _>>().map(Some)
}

fn part(mut fields: Fields<'_>) -> Result<Part, ParamError> {
    match fields.needed_text("type")?.as_str() {
        "input_text" | "output_text" | "text" => Ok(Part::text(fields.needed_text("text")?)),
        "refusal" => Ok(Part::Refusal(fields.needed_text("refusal")?)),
        "input_image" => {
            let detail = fields.text("detail")?;
            let (url, id) = (fields.text("image_url")?, fields.text("file_id")?);
            let source = match (url, id) {
                (Some(url), _) => {
                    picture(url).map_err(|why| ParamError::value(fields.path("image_url"), why))?
                }
                (None, Some(id)) => Source::Id(id),
                (None, None) => return Err(ParamError::missing(fields.path("image_url"))),
            };
            Ok(Part::Image { source, detail, cache: None })
        }
        "input_file" => {
            let name = fields.text("filename")?;
            let (data, url, id) =
                (fields.text("file_data")?, fields.text("file_url")?, fields.text("file_id")?);
            let source = match (data, url, id) {
                (Some(data), ..) => {
                    source(data).map_err(|why| ParamError::value(fields.path("file_data"), why))?
                }
                (None, Some(url), _) => Source::Url(url),
                (None, None, Some(id)) => Source::Id(id),
                (None, None, None) => return Err(ParamError::missing(fields.path("file_data"))),
            };
            Ok(Part::File { source, name, cache: None })
        }
        "input_audio" => recording(fields.needed_object("input_audio")?),
        kind => {
            let shown: String = kind.chars().take(40).collect();
            Err(ParamError::value(fields.path("type"), format!("is '{shown}', which this item cannot hold")))
        }
    }
}
