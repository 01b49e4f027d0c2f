//! `Content` and its parts.

use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE};
use serde_json::value::RawValue;

use super::{list, object, raw, take};
use crate::{
    conversation::{Message, Part, Role, Source, ToolCall},
    dialect::{
        fields::{Fields, ParamError},
        media::check_base64,
    },
};

/// Ids for calls that have none, and which of them wait for their results.
#[derive(Debug, Default)]
pub(super) struct Ids {
    made: u32,
    /// Name and id.
    waiting: Vec<(String, String)>,
}

impl Ids {
    fn call(&mut self, name: &str, given: Option<String>) -> String {
        let id = given.unwrap_or_else(|| format!("call_{}", self.made));
        self.made += 1;
        self.waiting.push((name.to_owned(), id.clone()));
        id
    }

    /// The id that a result answers: its own, or that of the first call of the name that waits.
    fn result(&mut self, name: &str, given: Option<String>) -> String {
        let known = |(of, id): &(String, String)| given.as_ref().map_or(of == name, |given| id == given);
        match self.waiting.iter().position(known) {
            Some(at) => self.waiting.remove(at).1,
            None => given.unwrap_or_else(|| format!("call_of_{name}")),
        }
    }
}

/// Reads the instructions: a content, its parts or a text.
pub(super) fn system(raw: &RawValue) -> Result<Vec<Part>, ParamError> {
    const PATH: &str = "systemInstruction";
    if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
        return Ok(vec![Part::text(text)]);
    }
    let mut fields = Fields::of(PATH, raw)?;
    let mut parts = Vec::new();
    for (path, raw) in list(&mut fields, "parts")? {
        let mut part = Fields::of(path, raw)?;
        match part.text("text")? {
            Some(text) => parts.push(Part::text(text)),
            None => return Err(ParamError::value(part.own_path().to_owned(), "must hold a text")),
        }
    }
    Ok(parts)
}

/// Reads a content.
pub(super) fn message(path: String, raw: &RawValue, ids: &mut Ids) -> Result<Message, ParamError> {
    let mut fields = Fields::of(path.clone(), raw)?;
    let role = match fields.text("role")?.as_deref() {
        None | Some("" | "user" | "function") => Role::User,
        Some("model") => Role::Assistant,
        Some("system") => Role::System,
        Some(_) => return Err(ParamError::value(fields.path("role"), "must be 'user' or 'model'")),
    };
    let mut parts = Vec::new();
    for (path, raw) in list(&mut fields, "parts")? {
        part(Fields::of(path, raw)?, role, ids, &mut parts)?;
    }
    Ok(Message { role, parts, name: None, path })
}

fn part(mut fields: Fields<'_>, role: Role, ids: &mut Ids, parts: &mut Vec<Part>) -> Result<(), ParamError> {
    let thought = take(&mut fields, "thought", "a boolean")?.unwrap_or(false);
    let signature: Option<String> = take(&mut fields, "thoughtSignature", "a string")?;
    let signature = signature.and_then(|encoded| decoded(&encoded));
    let text = fields.text("text")?;
    if let (true, Some(text)) = (thought, &text) {
        parts.push(Part::Thinking { text: text.clone(), signature });
        return Ok(());
    }
    // A proof belongs to the part that it stands in.
    if let Some(signature) = signature {
        match parts.last_mut() {
            Some(Part::Thinking { signature: none @ None, .. }) => *none = Some(signature),
            _ => parts.push(Part::Thinking { text: String::new(), signature: Some(signature) }),
        }
    }
    if let Some(text) = text {
        if !text.is_empty() {
            parts.push(Part::text(text));
        }
    } else if let Some(mut data) = object(&mut fields, "inlineData")? {
        let media_type: String = needed(&mut data, "mimeType")?;
        parts.push(media(media_type, bytes(&mut data)?));
    } else if let Some(mut file) = object(&mut fields, "fileData")? {
        let media_type: Option<String> = take(&mut file, "mimeType", "a string")?;
        let source = Source::Url(needed(&mut file, "fileUri")?);
        parts.push(match media_type {
            Some(media_type) if media_type.starts_with("image/") => {
                Part::Image { source, detail: None, cache: None }
            }
            _ => Part::File { source, name: None, cache: None },
        });
    } else if let Some(mut call) = object(&mut fields, "functionCall")? {
        let name: String = needed(&mut call, "name")?;
        let arguments = raw(&mut call, "args").map_or("{}", RawValue::get).to_owned();
        let id = ids.call(&name, call.text("id")?);
        parts.push(Part::ToolCall(ToolCall { id, name, arguments }));
    } else if let Some(response) = object(&mut fields, "functionResponse")? {
        parts.push(result(response, ids)?);
    } else {
        let known = ["executableCode", "codeExecutionResult", "toolCall", "toolResponse", "videoMetadata"];
        let path = fields.own_path().to_owned();
        if known.iter().any(|name| raw(&mut fields, name).is_some()) {
            return Err(ParamError::unsupported(path, "holds a part that this model's provider has not"));
        }
        let why = match role {
            Role::Assistant => "must hold text, inlineData, fileData or functionCall",
            _ => "must hold text, inlineData, fileData or functionResponse",
        };
        return Err(ParamError::value(path, why));
    }
    Ok(())
}

fn needed<'a, T: serde::Deserialize<'a>>(fields: &mut Fields<'a>, name: &str) -> Result<T, ParamError> {
    take(fields, name, "a string")?.ok_or_else(|| ParamError::missing(fields.path(name)))
}

fn media(media_type: String, data: String) -> Part {
    let media_type = media_type.to_ascii_lowercase();
    match media_type.split_once('/') {
        Some(("image", _)) => {
            Part::Image { source: Source::Base64 { media_type, data }, detail: None, cache: None }
        }
        Some(("audio", kind)) => {
            let kind = kind.strip_prefix("x-").unwrap_or(kind);
            let format = if kind == "mpeg" { "mp3" } else { kind }.to_owned();
            Part::Audio { format, data }
        }
        Some(("text", _)) => {
            match STANDARD.decode(&data).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
                Some(text) => Part::text(text),
                None => Part::File { source: Source::Base64 { media_type, data }, name: None, cache: None },
            }
        }
        _ => Part::File { source: Source::Base64 { media_type, data }, name: None, cache: None },
    }
}

fn result(mut response: Fields<'_>, ids: &mut Ids) -> Result<Part, ParamError> {
    let name: String = needed(&mut response, "name")?;
    let call_id = ids.result(&name, response.text("id")?);
    let said = raw(&mut response, "response").map_or("{}", RawValue::get);
    let single = |key: &str| {
        let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(said).ok()?;
        let text = map.get(key)?.as_str()?.to_owned();
        (map.len() == 1).then_some(text)
    };
    let failed = single("error");
    let is_failed = failed.is_some();
    // The keys that the documentation gives a plain result, and a failure.
    let text = failed.or_else(|| single("output")).or_else(|| single("result"));
    let mut content = vec![Part::text(text.unwrap_or_else(|| said.to_owned()))];
    for (path, raw) in list(&mut response, "parts")? {
        let mut part = Fields::of(path, raw)?;
        if let Some(mut data) = object(&mut part, "inlineData")? {
            let media_type: String = needed(&mut data, "mimeType")?;
            content.push(media(media_type, bytes(&mut data)?));
        }
    }
    Ok(Part::ToolResult { call_id, content, failed: is_failed, cache: None })
}

/// Bytes in base64.
fn bytes(fields: &mut Fields<'_>) -> Result<String, ParamError> {
    let data = plain(needed(fields, "data")?);
    check_base64(&data).map_err(|why| ParamError::value(fields.path("data"), why))?;
    Ok(data)
}

/// Base64 in the alphabet that every provider takes, and padded. Gemini's API takes the URL's alphabet too, and its
/// own SDK for Python writes that (`google.genai._common.encode_unserializable_types`).
fn plain(data: String) -> String {
    let mut data = data.replace('-', "+").replace('_', "/");
    while !data.len().is_multiple_of(4) {
        data.push('=');
    }
    data
}

/// A proof, which clients are given in base64; `None` for one that we did not give.
fn decoded(encoded: &str) -> Option<String> {
    let bytes = STANDARD.decode(encoded).or_else(|_| URL_SAFE.decode(encoded)).ok()?;
    String::from_utf8(bytes).ok().filter(|proof| !proof.is_empty())
}
