//! `messages` of a chat completions request.

use serde_json::value::RawValue;

use super::tools::cache_hint;
use crate::{
    conversation::{Message, Part, Role, Source, ToolCall},
    dialect::{
        fields::{Fields, ParamError},
        media::check_base64,
    },
};

/// Takes `messages`: the instructions in front, and the rest.
pub(super) fn parse(top: &mut Fields<'_>) -> Result<(Vec<Part>, Vec<Message>), ParamError> {
    let list = top.list("messages")?.ok_or_else(|| ParamError::missing("messages"))?;
    if list.is_empty() {
        return Err(ParamError::value("messages", "must hold at least one message"));
    }
    let (mut system, mut messages) = (Vec::new(), Vec::new());
    for (path, raw) in list {
        let message = message(path, raw)?;
        if message.role == Role::System && messages.is_empty() {
            system.extend(message.parts);
        } else {
            messages.push(message);
        }
    }
    Ok((system, messages))
}

fn message(path: String, raw: &RawValue) -> Result<Message, ParamError> {
    let mut fields = Fields::of(path.clone(), raw)?;
    let name = fields.text("name")?;
    let (role, parts) = match fields.needed_text("role")?.as_str() {
        "system" | "developer" => (Role::System, needed_content(&mut fields, Allowed::Text)?),
        "user" => (Role::User, needed_content(&mut fields, Allowed::Anything)?),
        "assistant" => (Role::Assistant, assistant(&mut fields)?),
        "tool" => {
            let call_id = fields.needed_text("tool_call_id")?;
            let content = needed_content(&mut fields, Allowed::Pictures)?;
            let cache = cache_hint(&mut fields)?;
            (Role::User, vec![Part::ToolResult { call_id, content, failed: false, cache }])
        }
        "function" => {
            return Err(ParamError::unsupported(
                fields.path("role"),
                "is 'function', which is deprecated; use 'tool' with 'tool_call_id'",
            ));
        }
        _ => {
            return Err(ParamError::value(
                fields.path("role"),
                "must be 'system', 'developer', 'user', 'assistant' or 'tool'",
            ));
        }
    };
    Ok(Message { role, parts, name, path })
}

/// An assistant's message: reasoning first, as every dialect wants it, then text, then tool calls.
fn assistant(fields: &mut Fields<'_>) -> Result<Vec<Part>, ParamError> {
    for (name, instead) in [("function_call", "use 'tool_calls'"), ("audio", "is not carried; send its text")]
    {
        if fields.raw(name).is_some() {
            return Err(ParamError::unsupported(
                fields.path(name),
                format!("in assistant messages is not supported: {instead}"),
            ));
        }
    }
    let mut parts = Vec::new();
    let signature = fields.text("reasoning_content_signature")?;
    if let Some(text) = fields.text("reasoning_content")?.or(signature.is_some().then(String::new)) {
        parts.push(Part::Thinking { text, signature });
    }
    if let Some(data) = fields.text("redacted_reasoning_content")? {
        parts.push(Part::RedactedThinking { data });
    }
    parts.extend(content(fields, Allowed::Spoken)?.unwrap_or_default());
    if let Some(refusal) = fields.text("refusal")? {
        parts.push(Part::Refusal(refusal));
    }
    for (path, raw) in fields.list("tool_calls")?.unwrap_or_default() {
        parts.push(tool_call(path, raw)?);
    }
    Ok(parts)
}

fn tool_call(path: String, raw: &RawValue) -> Result<Part, ParamError> {
    let mut call = Fields::of(path, raw)?;
    if let Some(kind) = call.text("type")?
        && kind != "function"
    {
        return Err(ParamError::unsupported(call.path("type"), "must be 'function'"));
    }
    let id = call.needed_text("id")?;
    let mut function = call.needed_object("function")?;
    let name = function.needed_text("name")?;
    let arguments = function.text("arguments")?.unwrap_or_default();
    Ok(Part::ToolCall(ToolCall { id, name, arguments }))
}

/// Which parts a message may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Text,
    Spoken,
    Pictures,
    Anything,
}

fn needed_content(fields: &mut Fields<'_>, allowed: Allowed) -> Result<Vec<Part>, ParamError> {
    content(fields, allowed)?.ok_or_else(|| ParamError::missing(fields.path("content")))
}

fn content(fields: &mut Fields<'_>, allowed: Allowed) -> Result<Option<Vec<Part>>, ParamError> {
    let path = fields.path("content");
    let Some(raw) = fields.raw("content") else { return Ok(None) };
    if raw.get().starts_with('"')
        && let Ok(text) = serde_json::from_str::<String>(raw.get())
    {
        return Ok(Some(vec![Part::text(text)]));
    }
    let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        return Err(ParamError::expected(path, "a string or an array of parts"));
    };
    list.into_iter()
        .enumerate()
        .map(|(i, raw)| part(Fields::of(format!("{path}[{i}]"), raw)?, allowed))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn part(mut fields: Fields<'_>, allowed: Allowed) -> Result<Part, ParamError> {
    let kind = fields.needed_text("type")?;
    let cache = cache_hint(&mut fields)?;
    match (kind.as_str(), allowed) {
        ("text", _) => Ok(Part::Text { text: fields.needed_text("text")?, citations: Vec::new(), cache }),
        ("refusal", Allowed::Spoken) => Ok(Part::Refusal(fields.needed_text("refusal")?)),
        ("image_url", Allowed::Anything | Allowed::Pictures) => {
            let mut image = fields.needed_object("image_url")?;
            let source = picture(image.needed_text("url")?)
                .map_err(|why| ParamError::value(image.path("url"), why))?;
            Ok(Part::Image { source, detail: image.text("detail")?, cache })
        }
        ("file", Allowed::Anything) => {
            let mut file = fields.needed_object("file")?;
            let source = match (file.text("file_data")?, file.text("file_id")?) {
                (Some(data), _) => {
                    source(data).map_err(|why| ParamError::value(file.path("file_data"), why))?
                }
                (None, Some(id)) => Source::Id(id),
                (None, None) => return Err(ParamError::missing(file.path("file_data"))),
            };
            Ok(Part::File { source, name: file.text("filename")?, cache })
        }
        ("input_audio", Allowed::Anything) => recording(fields.needed_object("input_audio")?),
        _ => Err(ParamError::value(
            fields.path("type"),
            format!("is '{}', which this message cannot hold", kind.chars().take(40).collect::<String>()),
        )),
    }
}

/// Reads a recording.
pub(in crate::dialect) fn recording(mut audio: Fields<'_>) -> Result<Part, ParamError> {
    let (format, data) = (audio.needed_text("format")?, audio.needed_text("data")?);
    check_base64(&data).map_err(|why| ParamError::value(audio.path("data"), why))?;
    Ok(Part::Audio { format, data })
}

/// Reads a data URL (RFC 2397, base64 only) or an http address.
pub(in crate::dialect) fn source(url: String) -> Result<Source, &'static str> {
    const WHY: &str = "must be an http(s) address or a data URL in base64";
    let is_scheme = |scheme: &str| url.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
    if is_scheme("https://") || is_scheme("http://") {
        return Ok(Source::Url(url));
    }
    if !is_scheme("data:") {
        return Err(WHY);
    }
    let (head, data) = url["data:".len()..].split_once(',').ok_or(WHY)?;
    let (media_type, encoding) = head.rsplit_once(';').ok_or(WHY)?;
    if !encoding.trim().eq_ignore_ascii_case("base64") {
        return Err(WHY);
    }
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !is_media_type(&media_type) {
        return Err("must say its media type, as in data:image/png;base64,");
    }
    check_base64(data)?;
    Ok(Source::Base64 { media_type, data: data.to_owned() })
}

/// The same, of a picture: some providers take documents, recordings and films there, too, but none takes text.
pub(in crate::dialect) fn picture(url: String) -> Result<Source, &'static str> {
    let source = source(url)?;
    match &source {
        Source::Base64 { media_type, .. }
            if media_type.starts_with("text/") || media_type.ends_with("json") =>
        {
            Err("must be a picture, not a text")
        }
        _ => Ok(source),
    }
}

/// Two words with a slash between them (RFC 6838, section 4.2).
fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.split_once('/').is_some_and(|(kind, name)| is_name(kind) && is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(messages: &str) -> Result<(Vec<Part>, Vec<Message>), ParamError> {
        let body = format!(r#"{{"messages":[{messages}]}}"#);
        parse(&mut Fields::of_body(body.as_bytes()).expect("an object"))
    }

    #[test]
    fn instructions_in_front_are_the_system_and_later_ones_stay_in_place() {
        let (system, messages) = check(
            r#"{"role":"system","content":"a"},{"role":"developer","content":[{"type":"text","text":"b"}]},
            {"role":"user","content":"c","name":"ann"},{"role":"system","content":"d"}"#,
        )
        .expect("valid");
        assert_eq!(system, [Part::text("a"), Part::text("b")]);
        assert_eq!(messages.iter().map(|m| m.role).collect::<Vec<_>>(), [Role::User, Role::System]);
        assert_eq!(messages[0].name.as_deref(), Some("ann"));
        assert_eq!(messages[1].path, "messages[3]");
    }

    #[test]
    fn wrong_messages_are_named() {
        for (messages, param) in [
            (r#"{"content":"x"}"#, "messages[0].role"),
            (r#"{"role":"robot","content":"x"}"#, "messages[0].role"),
            (r#"{"role":"function","name":"f","content":"x"}"#, "messages[0].role"),
            (r#"{"role":"user"}"#, "messages[0].content"),
            (r#"{"role":"user","content":7}"#, "messages[0].content"),
            (r#"{"role":"user","content":"\ud800"}"#, "messages[0].content"),
            (r#"{"role":"user","content":[{"type":"text"}]}"#, "messages[0].content[0].text"),
            (r#"{"role":"user","content":[{"type":"video"}]}"#, "messages[0].content[0].type"),
            (r#"{"role":"user","content":["x"]}"#, "messages[0].content[0]"),
            (
                r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"gs://b/o"}}]}"#,
                "messages[0].content[0].image_url.url",
            ),
            (
                r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png,abc"}}]}"#,
                "messages[0].content[0].image_url.url",
            ),
            (
                r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,Q"}}]}"#,
                "messages[0].content[0].image_url.url",
            ),
            (
                r#"{"role":"user","content":[{"type":"file","file":{"file_data":"data:application/pdf;base64,"}}]}"#,
                "messages[0].content[0].file.file_data",
            ),
            (
                r#"{"role":"user","content":[{"type":"input_audio","input_audio":{"format":"wav","data":"Q-"}}]}"#,
                "messages[0].content[0].input_audio.data",
            ),
            (
                r#"{"role":"system","content":[{"type":"image_url","image_url":{"url":"https://x/y"}}]}"#,
                "messages[0].content[0].type",
            ),
            (r#"{"role":"tool","content":"x"}"#, "messages[0].tool_call_id"),
            (r#"{"role":"assistant","tool_calls":[{"id":"a"}]}"#, "messages[0].tool_calls[0].function"),
            (r#"{"role":"assistant","function_call":{"name":"f"}}"#, "messages[0].function_call"),
        ] {
            assert_eq!(check(messages).expect_err(messages).param, param, "{messages}");
        }
    }

    #[test]
    fn urls_are_told_from_data() {
        let base64 = |m: &str, d: &str| Ok(Source::Base64 { media_type: m.into(), data: d.into() });
        assert_eq!(source("HTTPS://x/y".into()), Ok(Source::Url("HTTPS://x/y".into())));
        assert_eq!(source("data:image/PNG;base64,QUJD".into()), base64("image/png", "QUJD"));
        assert_eq!(source("data:text/plain;charset=utf-8;base64,QQ==".into()), base64("text/plain", "QQ=="));
        assert!(source("data:;base64".into()).is_err());
        for wrong in [
            "data:;base64,QQ==",
            "data:png;base64,QQ==",
            "data:image/;base64,QQ==",
            "data:image/p ng;base64,QQ==",
        ] {
            assert!(source(wrong.into()).is_err_and(|why| why.contains("media type")), "{wrong}");
        }
        for wrong in ["", "QQ", "Q", "Q Q=", "QQ==\n", "_-==", "QQ==QQ==", "\u{e9}"] {
            let url = format!("data:image/png;base64,{wrong}");
            assert!(
                source(url).is_err_and(|why| why.contains("base64") || why.contains("no bytes")),
                "{wrong}"
            );
        }
        assert!(picture("data:text/html;base64,QQ==".into()).is_err());
        assert!(picture("data:application/pdf;base64,QQ==".into()).is_ok(), "as some clients send documents");
        assert!(source("dät".into()).is_err());
        assert!(source(String::new()).is_err());
    }
}
