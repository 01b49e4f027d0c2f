//! Content blocks of a request: `ContentBlockParam` of the official SDKs.

use serde_json::value::RawValue;

use crate::{
    conversation::{CacheHint, Citation, Part, Role, Source, ToolCall},
    dialect::{
        fields::{Fields, ParamError},
        media::check_base64,
    },
};

/// Takes a field that is a text or text blocks.
pub(super) fn texts(fields: &mut Fields<'_>, name: &str) -> Result<Vec<Part>, ParamError> {
    blocks(fields, name, Allowed::Text).map(Option::unwrap_or_default)
}

/// Takes a message's content.
pub(super) fn parts(message: &mut Fields<'_>, role: Role) -> Result<Vec<Part>, ParamError> {
    let allowed = match role {
        Role::System => Allowed::Text,
        Role::User => Allowed::Asked,
        Role::Assistant => Allowed::Spoken,
    };
    let path = message.path("content");
    blocks(message, "content", allowed)?.ok_or_else(|| ParamError::missing(path))
}

/// Which blocks may stand here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    Text,
    Asked,
    Spoken,
    Result,
}

fn blocks(fields: &mut Fields<'_>, name: &str, allowed: Allowed) -> Result<Option<Vec<Part>>, ParamError> {
    let path = fields.path(name);
    let Some(raw) = fields.raw(name) else { return Ok(None) };
    if raw.get().starts_with('"')
        && let Ok(text) = serde_json::from_str::<String>(raw.get())
    {
        return Ok(Some(vec![Part::text(text)]));
    }
    let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
        return Err(ParamError::expected(path, "a string or an array of blocks"));
    };
    let mut parts = Vec::with_capacity(list.len());
    for (n, raw) in list.into_iter().enumerate() {
        block(Fields::of(format!("{path}[{n}]"), raw)?, allowed, &mut parts)?;
    }
    Ok(Some(parts))
}

fn block(mut fields: Fields<'_>, allowed: Allowed, parts: &mut Vec<Part>) -> Result<(), ParamError> {
    let kind = fields.needed_text("type")?;
    let cache = cache_hint(&mut fields)?;
    let part = match (kind.as_str(), allowed) {
        ("text", _) => {
            Part::Text { text: fields.needed_text("text")?, citations: citations(&mut fields)?, cache }
        }
        ("image", Allowed::Asked | Allowed::Result | Allowed::Spoken) => {
            let source = source(fields.needed_object("source")?)?;
            Part::Image { source, detail: None, cache }
        }
        ("document", Allowed::Asked | Allowed::Result) => return document(&mut fields, cache, parts),
        ("search_result", Allowed::Asked | Allowed::Result) => {
            let mut text = [fields.text("title")?, fields.text("source")?]
                .into_iter()
                .flatten()
                .fold(String::new(), |text, line| text + &line + "\n");
            for part in blocks(&mut fields, "content", Allowed::Text)?.unwrap_or_default() {
                if let Part::Text { text: more, .. } = part {
                    text.push_str(&more);
                }
            }
            Part::Text { text, citations: Vec::new(), cache }
        }
        ("thinking", Allowed::Spoken) => Part::Thinking {
            text: fields.needed_text("thinking")?,
            signature: fields.text("signature")?.filter(|s| !s.is_empty()),
        },
        ("redacted_thinking", Allowed::Spoken) => {
            Part::RedactedThinking { data: fields.needed_text("data")? }
        }
        ("tool_use", Allowed::Spoken) => {
            let path = fields.path("input");
            let input = fields.raw("input").ok_or_else(|| ParamError::missing(&path))?;
            if !input.get().starts_with('{') {
                return Err(ParamError::expected(path, "an object"));
            }
            Part::ToolCall(ToolCall {
                id: fields.needed_text("id")?,
                name: fields.needed_text("name")?,
                arguments: input.get().to_owned(),
            })
        }
        ("tool_result", Allowed::Asked) => Part::ToolResult {
            call_id: fields.needed_text("tool_use_id")?,
            content: blocks(&mut fields, "content", Allowed::Result)?.unwrap_or_default(),
            failed: fields.take("is_error", "a boolean")?.unwrap_or(false),
            cache,
        },
        (kind, _) if PROVIDERS_OWN.contains(&kind) => {
            return Err(ParamError::unsupported(
                fields.path("type"),
                format!("is '{kind}', a block of Anthropic's own tools, which this model's provider has not"),
            ));
        }
        _ => {
            let shown: String = kind.chars().take(40).collect();
            return Err(ParamError::value(
                fields.path("type"),
                format!("is '{shown}', which this message cannot hold"),
            ));
        }
    };
    parts.push(part);
    Ok(())
}

/// Blocks of tools that run at Anthropic.
const PROVIDERS_OWN: [&str; 11] = [
    "server_tool_use",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "tool_reference",
    "container_upload",
    "mcp_tool_use",
    "mcp_tool_result",
];

fn document(
    fields: &mut Fields<'_>,
    cache: Option<CacheHint>,
    parts: &mut Vec<Part>,
) -> Result<(), ParamError> {
    let name = fields.text("title")?;
    let mut inner = fields.needed_object("source")?;
    match inner.text("type")?.as_deref() {
        // A text is a text, wherever it stands.
        Some("text") => {
            let text = inner.needed_text("data")?;
            parts.push(Part::Text { text, citations: Vec::new(), cache });
        }
        Some("content") => {
            parts.extend(blocks(&mut inner, "content", Allowed::Result)?.unwrap_or_default());
        }
        kind => {
            let source = source_of(kind.map(str::to_owned), inner)?;
            parts.push(Part::File { source, name, cache });
        }
    }
    Ok(())
}

fn source(mut fields: Fields<'_>) -> Result<Source, ParamError> {
    let kind = fields.text("type")?;
    source_of(kind, fields)
}

fn source_of(kind: Option<String>, mut fields: Fields<'_>) -> Result<Source, ParamError> {
    match kind.as_deref() {
        Some("base64") => {
            let (media_type, data) = (fields.needed_text("media_type")?, fields.needed_text("data")?);
            check_base64(&data).map_err(|why| ParamError::value(fields.path("data"), why))?;
            Ok(Source::Base64 { media_type, data })
        }
        Some("url") => Ok(Source::Url(fields.needed_text("url")?)),
        Some("file") => Ok(Source::Id(fields.needed_text("file_id")?)),
        _ => Err(ParamError::value(fields.path("type"), "must be 'base64', 'url' or 'file'")),
    }
}

/// Takes the citations of a text that comes back; those that name no address are left out.
fn citations(fields: &mut Fields<'_>) -> Result<Vec<Citation>, ParamError> {
    let mut citations = Vec::new();
    for (path, raw) in fields.list("citations")?.unwrap_or_default() {
        let mut one = Fields::of(path, raw)?;
        if let Some(url) = one.text("url")? {
            let (title, quote) = (one.text("title")?, one.text("cited_text")?);
            citations.push(Citation { url, title, quote, place: None });
        }
    }
    Ok(citations)
}

/// Takes `cache_control`.
pub(super) fn cache_hint(fields: &mut Fields<'_>) -> Result<Option<CacheHint>, ParamError> {
    let Some(mut hint) = fields.object("cache_control")? else { return Ok(None) };
    Ok(Some(match hint.text("ttl")?.as_deref() {
        Some("1h") => CacheHint::Long,
        _ => CacheHint::Brief,
    }))
}
