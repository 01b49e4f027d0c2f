//! The Anthropic dialect: `POST /v1/messages` and `/v1/messages/count_tokens`.

mod check;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};

use super::{
    answer::{Answer, Ask, Said, quoted},
    body::Part,
    check::Wrong,
    failure::Refusal,
    schema,
    text::Words,
};

/// Whether a request shows an API key and a version.
///
/// The key may stand in either header: SDKs up to 1.x send `x-api-key`, those from 2.0 `authorization`.
///
/// # Errors
/// 401 without the key, 400 without the version.
pub fn authorise(
    api_key: Option<&str>,
    authorization: Option<&str>,
    version: Option<&str>,
) -> Result<(), Refusal> {
    let bearer = authorization.and_then(|value| value.strip_prefix("Bearer "));
    if api_key.or(bearer).is_none_or(|key| key.trim().is_empty()) {
        let refusal = Refusal::invalid("x-api-key header is required");
        return Err(Refusal { status: 401, kind: "authentication_error", ..refusal });
    }
    match version {
        Some(date) if is_date(date) => Ok(()),
        Some(other) => {
            Err(Refusal::invalid(format!("anthropic-version: \"{other}\" is not a valid version")))
        }
        None => Err(Refusal::invalid("anthropic-version: header is required")),
    }
}

/// Whether a text has the form of `2023-06-01`, as every version has.
fn is_date(text: &str) -> bool {
    let shape =
        |(n, byte): (usize, u8)| if matches!(n, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    text.len() == 10 && text.bytes().enumerate().all(shape)
}

/// Words a [`Wrong`] as Anthropic does.
fn refuse(wrong: Wrong) -> Refusal {
    let path = |place: String| place.replace('[', ".").replace(']', "");
    Refusal::invalid(match wrong {
        Wrong::NotJson => "The request body is not valid JSON".to_owned(),
        Wrong::Unknown(name) => format!("{name}: Extra inputs are not permitted"),
        Wrong::Missing(place) => format!("{}: Field required", path(place)),
        Wrong::Kind { place, expected, .. } => {
            let valid = match expected {
                "a string" => "valid string",
                "an integer" => "valid integer",
                "a decimal" => "valid number",
                "a boolean" => "valid boolean",
                "an array" => "valid list",
                "an object" => "valid dictionary",
                other => other,
            };
            format!("{}: Input should be a {valid}", path(place))
        }
        Wrong::Range { place, expected, .. } => format!("{}: Input should be {expected}", path(place)),
        Wrong::Value { place, accepted, .. } => {
            format!("{}: Input should be '{}'", path(place), accepted.join("', '"))
        }
        Wrong::Empty(place) => format!("{}: at least one element is required", path(place)),
    })
}

/// Answers `POST /v1/messages`.
///
/// # Errors
/// A [`Refusal`] where the request is wrong.
pub fn messages(ask: &Ask<'_>) -> Result<Answer, Refusal> {
    let request = check::messages(ask.body, ask.strictness())?;
    let most = request.fields.count("max_tokens");
    let (tool, words) = match (&request.tool, &request.schema) {
        (Some(tool), _) => (Some(&*tool.name), Words::of(schema::answer_to(tool.schema)).limited(most)),
        (None, Some(schema)) => (None, Words::of(schema::answer_to(schema)).limited(most)),
        (None, None) => (None, ask.words(|| format!("echo: {}", request.asked), most)),
    };
    let model = request.fields.text("model").unwrap_or_default();
    let writer = Writer {
        serial: ask.serial,
        model: quoted(ask.model(&model)),
        prompt_tokens: request.words,
        with_usage: !ask.settings.no_usage,
    };
    let said = if request.fields.is_true("stream") {
        Said::Stream(writer.stream(tool, words, !ask.settings.no_done))
    } else {
        writer.whole(tool, words)
    };
    Ok(Answer { prompt_tokens: request.words, said })
}

/// Answers `POST /v1/messages/count_tokens`.
///
/// # Errors
/// A [`Refusal`] where the request is wrong.
pub fn count_tokens(ask: &Ask<'_>) -> Result<Answer, Refusal> {
    let request = check::count_tokens(ask.body, ask.strictness())?;
    Ok(Answer::plain(format!("{{\"input_tokens\":{}}}", request.words), 0))
}

struct Writer {
    serial: u64,
    /// In quotes.
    model: String,
    prompt_tokens: u64,
    with_usage: bool,
}

impl Writer {
    /// A message around its content.
    fn message(&self, content: &[u8], stop_reason: &str, output_tokens: u32, out: &mut BytesMut) {
        let Self { serial, model, prompt_tokens, .. } = self;
        let _ = write!(
            out,
            "{{\"id\":\"msg_mock{serial:016x}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":{model},\"content\":["
        );
        out.extend_from_slice(content);
        let _ = write!(out, "],\"stop_reason\":{stop_reason},\"stop_sequence\":null");
        if self.with_usage {
            let _ = write!(
                out,
                ",\"usage\":{{\"input_tokens\":{prompt_tokens},\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":{output_tokens},\"service_tier\":\"standard\"}}"
            );
        }
        out.extend_from_slice(b"}");
    }

    fn whole(&self, tool: Option<&str>, words: Words) -> Said {
        let (tokens, reason) = (words.left(), stop_reason(tool, &words));
        let mut content = BytesMut::with_capacity(words.len_hint() + 96);
        match tool {
            Some(name) => {
                let _ = write!(
                    content,
                    "{{\"type\":\"tool_use\",\"id\":\"{}\",\"name\":\"{name}\",\"input\":",
                    self.tool_id()
                );
                content.extend_from_slice(&input(words));
                content.extend_from_slice(b"}");
            }
            None => {
                content.extend_from_slice(b"{\"type\":\"text\",\"text\":\"");
                words.write_all(&mut content);
                content.extend_from_slice(b"\"}");
            }
        }
        let mut out = BytesMut::with_capacity(content.len() + 384);
        self.message(&content, reason, tokens, &mut out);
        Said::Whole(out.freeze(), tokens)
    }

    fn stream(&self, tool: Option<&str>, words: Words, with_done: bool) -> Vec<Part> {
        let (tokens, reason) = (words.left(), stop_reason(tool, &words));
        let mut start = BytesMut::from("{\"type\":\"message_start\",\"message\":");
        self.message(b"", "null", 1, &mut start);
        start.extend_from_slice(b"}");
        let (block, before) = match tool {
            Some(name) => {
                let id = self.tool_id();
                let block =
                    format!("{{\"type\":\"tool_use\",\"id\":\"{id}\",\"name\":\"{name}\",\"input\":{{}}}}");
                (block, "{\"type\":\"input_json_delta\",\"partial_json\":\"")
            }
            None => ("{\"type\":\"text\",\"text\":\"\"}".into(), "{\"type\":\"text_delta\",\"text\":\""),
        };
        let usage = if self.with_usage {
            format!(",\"usage\":{{\"input_tokens\":{},\"output_tokens\":{tokens}}}", self.prompt_tokens)
        } else {
            String::new()
        };
        let mut parts = vec![
            event("message_start", &start),
            event(
                "content_block_start",
                format!("{{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{block}}}").as_bytes(),
            ),
            event("ping", b"{\"type\":\"ping\"}"),
            Part::Words {
                before: Bytes::from(format!(
                    "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{before}"
                )),
                words,
                after: Bytes::from_static(b"\"}}\n\n"),
            },
            event("content_block_stop", b"{\"type\":\"content_block_stop\",\"index\":0}"),
            event(
                "message_delta",
                format!("{{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":{reason},\"stop_sequence\":null}}{usage}}}").as_bytes(),
            ),
        ];
        if with_done {
            parts.push(event("message_stop", b"{\"type\":\"message_stop\"}"));
        }
        parts
    }

    fn tool_id(&self) -> String {
        format!("toolu_mock{:016x}", self.serial)
    }
}

fn event(name: &str, data: &[u8]) -> Part {
    let mut out = BytesMut::with_capacity(name.len() + data.len() + 17);
    let _ = write!(out, "event: {name}\ndata: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
    Part::Frame(out.freeze(), 0)
}

fn stop_reason(tool: Option<&str>, words: &Words) -> &'static str {
    match (words.shortened, tool) {
        (true, _) => "\"max_tokens\"",
        (false, Some(_)) => "\"tool_use\"",
        (false, None) => "\"end_turn\"",
    }
}

/// A tool's input as JSON; empty where a limit cut it short, for a body must stay valid.
fn input(words: Words) -> Bytes {
    if words.shortened {
        return Bytes::from_static(b"{}");
    }
    let mut escaped = BytesMut::from("\"");
    words.write_all(&mut escaped);
    escaped.extend_from_slice(b"\"");
    serde_json::from_slice::<String>(&escaped).unwrap_or_else(|_| "{}".into()).into()
}
