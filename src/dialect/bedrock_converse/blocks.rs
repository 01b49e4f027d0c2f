//! Parts of messages as content blocks.

use crate::{
    conversation::{CacheHint, Part, Source, ToolCall},
    dialect::{
        fields::ParamError,
        proof,
        tree::{Json, list, object, raw},
    },
};

/// Appends the blocks of a part, with the point up to which the prompt may be cached.
pub(super) fn push<'a>(part: &'a Part, path: &str, out: &mut Vec<Json<'a>>) -> Result<(), ParamError> {
    let (block, cache) = match part {
        // The API refuses texts of nothing.
        Part::Text { text, .. } if text.trim().is_empty() => (Json::Absent, None),
        Part::Text { text, cache, .. } => (object([("text", text.into())]), *cache),
        Part::Refusal(text) => (object([("text", text.into())]), None),
        Part::Image { source, cache, .. } => (object([("image", image(source, path)?)]), *cache),
        Part::File { source, name, cache } => {
            (object([("document", document(source, name.as_deref(), path)?)]), *cache)
        }
        Part::Audio { format, data } => {
            let source = object([("bytes", data.into())]);
            (object([("audio", object([("format", format.into()), ("source", source)]))]), None)
        }
        // Another provider's proof is refused.
        Part::Thinking { signature: Some(signature), .. } if proof::is_marked(signature) => {
            (Json::Absent, None)
        }
        Part::Thinking { text, signature: Some(signature) } => {
            let said = object([("text", text.into()), ("signature", signature.into())]);
            (object([("reasoningContent", object([("reasoningText", said)]))]), None)
        }
        // Without its proof no reasoning goes back.
        Part::Thinking { .. } => (Json::Absent, None),
        Part::RedactedThinking { data } => {
            (object([("reasoningContent", object([("redactedContent", data.into())]))]), None)
        }
        Part::ToolCall(call) => (object([("toolUse", tool_use(call, path)?)]), None),
        Part::ToolResult { call_id, content, failed, cache } => {
            let result = object([
                ("toolUseId", call_id.into()),
                ("content", list(results(content, path)?)),
                ("status", failed.then_some("error").into()),
            ]);
            (object([("toolResult", result)]), *cache)
        }
    };
    if !block.is_empty() {
        out.push(block);
        out.extend(cache.map(cache_point));
    }
    Ok(())
}

/// The point up to which the prompt may be cached.
pub(super) fn cache_point<'a>(hint: CacheHint) -> Json<'a> {
    let ttl = match hint {
        CacheHint::Brief => Json::Absent,
        CacheHint::Long => "1h".into(),
    };
    object([("cachePoint", object([("type", "default".into()), ("ttl", ttl)]))])
}

fn tool_use<'a>(call: &'a ToolCall, path: &str) -> Result<Json<'a>, ParamError> {
    let written = call.arguments.trim();
    let input = match written {
        "" => Json::empty(),
        _ => raw(written),
    };
    if input.is_empty() && !written.is_empty() || !written.is_empty() && !written.starts_with('{') {
        let why = "holds a tool call whose arguments are no JSON object, which this model's provider needs";
        return Err(ParamError::unsupported(path, why));
    }
    Ok(object([("toolUseId", (&call.id).into()), ("name", (&call.name).into()), ("input", input)]))
}

/// What a tool gave: at least one block, for the API wants one.
fn results<'a>(content: &'a [Part], path: &str) -> Result<Vec<Json<'a>>, ParamError> {
    let mut all = Vec::new();
    for part in content {
        match part {
            Part::Text { text, .. } => all.push(object([("text", text.into())])),
            Part::Image { source, .. } => all.push(object([("image", image(source, path)?)])),
            Part::File { source, name, .. } => {
                all.push(object([("document", document(source, name.as_deref(), path)?)]));
            }
            _ => {
                let why = "holds a tool's result that this model's provider does not take";
                return Err(ParamError::unsupported(path, why));
            }
        }
    }
    if all.is_empty() {
        all.push(object([("text", "".into())]));
    }
    Ok(all)
}

fn image<'a>(source: &'a Source, path: &str) -> Result<Json<'a>, ParamError> {
    let format = match source {
        Source::Base64 { media_type, .. } => match media_type.as_str() {
            "image/png" => "png",
            "image/jpeg" | "image/jpg" => "jpeg",
            "image/gif" => "gif",
            "image/webp" => "webp",
            _ => return Err(refused(path, "must be a PNG, JPEG, GIF or WebP picture")),
        },
        Source::Url(url) => match ending(url).as_str() {
            "png" => "png",
            "gif" => "gif",
            "webp" => "webp",
            _ => "jpeg",
        },
        Source::Id(_) => return Err(refused(path, "must hold the picture itself, not an id")),
    };
    Ok(object([("format", format.into()), ("source", bytes(source, path)?)]))
}

fn document<'a>(source: &'a Source, name: Option<&str>, path: &str) -> Result<Json<'a>, ParamError> {
    let by_type = |media_type: &str| match media_type {
        "application/pdf" => Some("pdf"),
        "text/csv" => Some("csv"),
        "application/msword" => Some("doc"),
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => Some("docx"),
        "application/vnd.ms-excel" => Some("xls"),
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => Some("xlsx"),
        "text/html" => Some("html"),
        "text/markdown" => Some("md"),
        text if text.starts_with("text/") => Some("txt"),
        _ => None,
    };
    let format = match source {
        Source::Base64 { media_type, .. } => by_type(media_type),
        Source::Url(url) => {
            let ending = ending(url);
            ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"]
                .into_iter()
                .find(|f| **f == ending)
        }
        Source::Id(_) => return Err(refused(path, "must hold the file itself, not an id")),
    };
    let format = format
        .ok_or_else(|| refused(path, "must be a PDF, CSV, Word, Excel, HTML, Markdown or text file"))?;
    let name = document_name(name.unwrap_or("document"));
    Ok(object([("format", format.into()), ("name", name.into()), ("source", bytes(source, path)?)]))
}

/// A name of letters, digits, single spaces, hyphens and brackets, which is all that the API takes.
fn document_name(name: &str) -> String {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '(' | ')' | '[' | ']');
    let spaced: String = stem.chars().map(|c| if fits(c) { c } else { ' ' }).collect();
    let plain = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
    if plain.is_empty() { "document".to_owned() } else { plain.chars().take(200).collect() }
}

fn bytes<'a>(source: &'a Source, path: &str) -> Result<Json<'a>, ParamError> {
    match source {
        Source::Base64 { data, .. } => Ok(object([("bytes", data.into())])),
        Source::Url(url) if url.starts_with("s3://") => {
            Ok(object([("s3Location", object([("uri", url.into())]))]))
        }
        Source::Url(_) | Source::Id(_) => {
            Err(refused(path, "must hold the bytes as a data URL, or lie in S3, for this model's provider"))
        }
    }
}

fn ending(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase()
}

fn refused(path: &str, why: &str) -> ParamError {
    ParamError::unsupported(format!("{path}.content"), why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(part: &Part) -> Result<String, ParamError> {
        let mut out = Vec::new();
        push(part, "messages[0]", &mut out)?;
        Ok(String::from_utf8(Json::List(out).to_bytes().to_vec()).expect("UTF-8"))
    }

    #[test]
    fn what_the_api_would_refuse_is_refused_or_left_out() {
        assert_eq!(block(&Part::text(" \n")).expect("nothing"), "[]");
        assert_eq!(block(&Part::Thinking { text: "t".into(), signature: None }).expect("nothing"), "[]");
        let call = |arguments: &str| {
            Part::ToolCall(ToolCall { id: "t".into(), name: "f".into(), arguments: arguments.into() })
        };
        assert_eq!(
            block(&call("")).expect("a call"),
            r#"[{"toolUse":{"toolUseId":"t","name":"f","input":{}}}]"#
        );
        for arguments in ["{", "[]", "7", "\"x\""] {
            assert!(block(&call(arguments)).is_err(), "{arguments}");
        }
        let image = |source| Part::Image { source, detail: None, cache: None };
        assert!(block(&image(Source::Url("https://h/a.png".into()))).is_err());
        assert!(block(&image(Source::Id("file-1".into()))).is_err());
        assert_eq!(
            block(&image(Source::Url("s3://b/a.png".into()))).expect("S3"),
            r#"[{"image":{"format":"png","source":{"s3Location":{"uri":"s3://b/a.png"}}}}]"#
        );
    }

    #[test]
    fn a_documents_name_holds_only_what_the_api_takes() {
        for (name, wanted) in [
            ("a/b_c.v2.pdf", "a b c v2"),
            ("Bericht (1).pdf", "Bericht (1)"),
            ("报告.pdf", "document"),
            ("", "document"),
        ] {
            assert_eq!(document_name(name), wanted);
        }
    }
}
