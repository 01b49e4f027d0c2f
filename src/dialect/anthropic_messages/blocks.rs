//! Content blocks as they are written: `ContentBlockParam` of the official SDKs.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    conversation::{CacheHint, Part, Source, ToolCall},
    dialect::fields::ParamError,
};

/// A content block of a request.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'a> {
    Text {
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Image {
        source: BlockSource<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Document {
        source: BlockSource<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: &'a RawValue,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Block<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum BlockSource<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

#[derive(Debug, Serialize)]
pub(super) struct CacheControl {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl From<CacheHint> for CacheControl {
    fn from(hint: CacheHint) -> Self {
        Self { kind: "ephemeral", ttl: (hint == CacheHint::Long).then_some("1h") }
    }
}

/// Writes a part; `None` for one that must be left out: blank text, reasoning without its proof.
///
/// `path` is the message's.
pub(super) fn block<'a>(part: &'a Part, path: &str) -> Result<Option<Block<'a>>, ParamError> {
    Ok(Some(match part {
        // The API refuses blank texts.
        Part::Text { text, .. } | Part::Refusal(text) if text.trim().is_empty() => return Ok(None),
        Part::Text { text, cache, .. } => {
            Block::Text { text: text.into(), cache_control: cache.map(CacheControl::from) }
        }
        Part::Refusal(text) => Block::Text { text: text.into(), cache_control: None },
        Part::Image { source, cache, .. } => {
            Block::Image { source: image_source(source, path)?, cache_control: cache.map(CacheControl::from) }
        }
        Part::File { source, name, cache } => Block::Document {
            source: document_source(source, path)?,
            title: name.as_deref(),
            cache_control: cache.map(CacheControl::from),
        },
        Part::Audio { .. } => {
            return Err(ParamError::unsupported(
                format!("{path}.content"),
                "holds audio, which this model's provider does not take",
            ));
        }
        Part::Thinking { signature: None, .. } => return Ok(None),
        Part::Thinking { text, signature: Some(signature) } => Block::Thinking { thinking: text, signature },
        Part::RedactedThinking { data } => Block::RedactedThinking { data },
        Part::ToolCall(call) => {
            Block::ToolUse { id: tool_id(&call.id), name: &call.name, input: input(call, path)? }
        }
        Part::ToolResult { call_id, content, failed, cache } => Block::ToolResult {
            tool_use_id: tool_id(call_id),
            content: content
                .iter()
                .filter_map(|part| block(part, path).transpose())
                .collect::<Result<_, _>>()?,
            is_error: *failed,
            cache_control: cache.map(CacheControl::from),
        },
    }))
}

/// Makes an id the API takes (`^[a-zA-Z0-9_-]+$`) of any other provider's; the same of the same.
fn tool_id(id: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !id.is_empty() && id.chars().all(is_plain) {
        return id.into();
    }
    let plain: String = id.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain.is_empty() { "_".into() } else { plain.into() }
}

/// A tool call's arguments as an object; none at all are `{}`.
fn input<'a>(call: &'a ToolCall, path: &str) -> Result<&'a RawValue, ParamError> {
    let text = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if raw.get().starts_with('{') => Ok(raw),
        _ => {
            let id: String = call.id.chars().take(80).collect();
            Err(ParamError::unsupported(
                format!("{path}.tool_calls"),
                format!(
                    "holds the call '{id}', whose arguments are not a JSON object, which this model's provider demands"
                ),
            ))
        }
    }
}

fn image_source<'a>(source: &'a Source, path: &str) -> Result<BlockSource<'a>, ParamError> {
    let unsupported = |why| Err(ParamError::unsupported(format!("{path}.content"), why));
    match source {
        Source::Url(url) => Ok(BlockSource::Url { url }),
        Source::Base64 { media_type, data } => match media_type.as_str() {
            "image/jpeg" | "image/png" | "image/gif" | "image/webp" => {
                Ok(BlockSource::Base64 { media_type, data })
            }
            "image/jpg" => Ok(BlockSource::Base64 { media_type: "image/jpeg", data }),
            _ => unsupported("holds an image that is not JPEG, PNG, GIF or WebP"),
        },
        Source::Id(_) => unsupported("holds an image by its id at another provider; send its bytes"),
    }
}

fn document_source<'a>(source: &'a Source, path: &str) -> Result<BlockSource<'a>, ParamError> {
    let unsupported = |why| Err(ParamError::unsupported(format!("{path}.content"), why));
    match source {
        Source::Url(url) => Ok(BlockSource::Url { url }),
        Source::Base64 { media_type, data } if media_type == "application/pdf" => {
            Ok(BlockSource::Base64 { media_type, data })
        }
        Source::Base64 { .. } => unsupported("holds a file that is not a PDF"),
        Source::Id(_) => unsupported("holds a file by its id at another provider; send its bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(part: &Part) -> Result<String, ParamError> {
        Ok(serde_json::to_string(&block(part, "messages[1]")?).expect("plain structs"))
    }

    #[test]
    fn arguments_become_input_as_they_were_written() {
        let call = |id: &str, arguments: &str| {
            Part::ToolCall(ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into() })
        };
        assert_eq!(
            check(&call("call_1", r#"{"z":1.50,"a":"é"}"#)).expect("valid"),
            r#"{"type":"tool_use","id":"call_1","name":"f","input":{"z":1.50,"a":"é"}}"#
        );
        assert_eq!(
            check(&call("functions.f:0", " ")).expect("valid"),
            r#"{"type":"tool_use","id":"functions_f_0","name":"f","input":{}}"#
        );
        for wrong in ["[1]", "{", "null", "\"x\"", "{} {}"] {
            assert_eq!(check(&call("a", wrong)).expect_err(wrong).param, "messages[1].tool_calls", "{wrong}");
        }
    }

    #[test]
    fn blank_texts_and_unsigned_reasoning_are_left_out() {
        assert_eq!(check(&Part::text(" \n")), Ok("null".into()));
        assert_eq!(check(&Part::Thinking { text: "x".into(), signature: None }), Ok("null".into()));
        assert_eq!(
            check(&Part::Thinking { text: "x".into(), signature: Some("s".into()) }).expect("valid"),
            r#"{"type":"thinking","thinking":"x","signature":"s"}"#
        );
    }

    #[test]
    fn images_go_by_value_or_by_address() {
        let image = |source| Part::Image { source, detail: None, cache: Some(CacheHint::Long) };
        assert_eq!(
            check(&image(Source::Base64 { media_type: "image/jpg".into(), data: "QQ==".into() }))
                .expect("valid"),
            r#"{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"QQ=="},"cache_control":{"type":"ephemeral","ttl":"1h"}}"#
        );
        assert_eq!(
            check(&image(Source::Url("https://x/y".into()))).expect("valid"),
            r#"{"type":"image","source":{"type":"url","url":"https://x/y"},"cache_control":{"type":"ephemeral","ttl":"1h"}}"#
        );
        let tiff = image(Source::Base64 { media_type: "image/tiff".into(), data: String::new() });
        assert_eq!(check(&tiff).expect_err("no TIFF").code, "unsupported_parameter");
    }
}
