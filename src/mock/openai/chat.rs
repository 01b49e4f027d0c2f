//! `POST /v1/chat/completions`: echoes, calls tools, fills in schemas; whole or streamed.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};

use super::{copies, messages, read_body, usage, usage_wanted};
use crate::mock::{
    answer::{Answer, Ask, Said, quoted},
    body::Part,
    check::{Fields, Param, Rule, Wrong, may, must, object},
    failure::Refusal,
    schema,
    text::Words,
};

const PARAMS: &[Param] = &[
    must("model", Rule::Text),
    must("messages", Rule::Filled),
    may("stream", Rule::Bool),
    may("stream_options", Rule::Object),
    may("audio", Rule::Object),
    may("frequency_penalty", Rule::Number(-2.0, 2.0)),
    may("function_call", Rule::TextOrObject),
    may("functions", Rule::Filled),
    may("logit_bias", Rule::Object),
    may("logprobs", Rule::Bool),
    may("max_completion_tokens", Rule::Whole(1, i64::MAX)),
    may("max_tokens", Rule::Whole(1, i64::MAX)),
    may("metadata", Rule::Object),
    may("modalities", Rule::Array),
    may("moderation", Rule::Object),
    may("n", Rule::Whole(1, 128)),
    may("parallel_tool_calls", Rule::Bool),
    may("prediction", Rule::Object),
    may("presence_penalty", Rule::Number(-2.0, 2.0)),
    may("prompt_cache_key", Rule::Text),
    may("prompt_cache_options", Rule::Object),
    may("prompt_cache_retention", Rule::Text),
    may("reasoning_effort", Rule::Text),
    may("response_format", Rule::Object),
    may("safety_identifier", Rule::Text),
    may("seed", Rule::Whole(i64::MIN, i64::MAX)),
    may("service_tier", Rule::Text),
    may("stop", Rule::TextOrArray),
    may("store", Rule::Bool),
    may("temperature", Rule::Number(0.0, 2.0)),
    may("tool_choice", Rule::TextOrObject),
    may("tools", Rule::Filled),
    may("top_logprobs", Rule::Whole(0, 20)),
    may("top_p", Rule::Number(0.0, 1.0)),
    may("user", Rule::Text),
    may("verbosity", Rule::OneOf(&["low", "medium", "high"])),
    may("web_search_options", Rule::Object),
];

const FORMAT: &[Param] = &[must("type", Rule::OneOf(&["text", "json_object", "json_schema"]))];
const JSON_SCHEMA: &[Param] =
    &[must("name", Rule::Text), may("schema", Rule::Object), may("strict", Rule::Bool)];
const TOOL: &[Param] = &[must("type", Rule::OneOf(&["function", "custom"]))];
const FUNCTION: &[Param] = &[
    must("name", Rule::Text),
    may("description", Rule::Text),
    may("parameters", Rule::Object),
    may("strict", Rule::Bool),
];

/// Answers.
///
/// # Errors
/// A [`Refusal`] where the request is wrong.
pub fn answer(ask: &Ask<'_>) -> Result<Answer, Refusal> {
    let fields = read_body(ask, PARAMS)?;
    let format = format(&fields)?;
    let talk = messages::read(&fields.elements("messages"), matches!(format, Format::Object))?;
    let most = fields.count("max_completion_tokens").or_else(|| fields.count("max_tokens"));
    let tool = tool(&fields, talk.user_is_last && talk.asked.to_ascii_lowercase().contains("tool"))?;
    if matches!(format, Format::Object) && !talk.names_json {
        return Err(Refusal::invalid("'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.").about("messages"));
    }
    let speech = match (tool, format) {
        (Some(Tool { name, arguments }), _) => {
            Speech { tool: Some(name), words: Words::of(arguments).limited(most) }
        }
        (None, Format::Object) => {
            let text = format!("{{\"echo\": {}}}", quoted(&talk.asked));
            Speech { tool: None, words: Words::of(text).limited(most) }
        }
        (None, Format::Schema(text)) => Speech { tool: None, words: Words::of(text).limited(most) },
        (None, Format::Text) => {
            Speech { tool: None, words: ask.words(|| format!("echo: {}", talk.asked), most) }
        }
    };
    let n = copies(&fields, speech.words.len_hint())?;
    let model = fields.text("model").unwrap_or_default();
    let writer = Writer {
        serial: ask.serial,
        now: ask.now,
        model: quoted(ask.model(&model)),
        n,
        prompt_tokens: talk.words,
        null_usage: usage_wanted(ask, &fields),
    };
    let said = if fields.is_true("stream") {
        Said::Stream(writer.stream(&speech, !ask.settings.no_done))
    } else {
        writer.whole(speech, !ask.settings.no_usage)
    };
    Ok(Answer { prompt_tokens: talk.words, said })
}

enum Format {
    Text,
    Object,
    /// The text that satisfies the schema.
    Schema(String),
}

fn format(fields: &Fields<'_>) -> Result<Format, Refusal> {
    let Some(format) = fields.object("response_format") else { return Ok(Format::Text) };
    format.check("response_format", FORMAT)?;
    match format.text("type").as_deref() {
        Some("json_object") => Ok(Format::Object),
        Some("json_schema") => {
            let place = "response_format.json_schema";
            let json_schema = format.object("json_schema").ok_or_else(|| Wrong::Missing(place.into()))?;
            json_schema.check(place, JSON_SCHEMA)?;
            let schema = json_schema.get("schema").map_or("{\"type\":\"object\"}", |schema| schema.get());
            Ok(Format::Schema(schema::answer_to(schema)))
        }
        _ => Ok(Format::Text),
    }
}

struct Tool {
    name: String,
    arguments: String,
}

/// The tool to call, if one is to be called.
fn tool(fields: &Fields<'_>, mentioned: bool) -> Result<Option<Tool>, Refusal> {
    let mut functions = Vec::new();
    for (n, raw) in fields.elements("tools").into_iter().enumerate() {
        let place = format!("tools[{n}]");
        Rule::Object.check(raw, || place.clone())?;
        let tool = object(raw).ok_or(Wrong::NotJson)?;
        tool.check(&place, TOOL)?;
        if tool.text("type").as_deref() == Some("function") {
            let place = format!("{place}.function");
            let function = tool.object("function").ok_or_else(|| Wrong::Missing(place.clone()))?;
            function.check(&place, FUNCTION)?;
            let name = function.text("name").unwrap_or_default().into_owned();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)) {
                return Err(Refusal::invalid(format!("Invalid '{place}.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."))
                    .about(format!("{place}.name"))
                    .coded("invalid_value"));
            }
            functions.push((name, function));
        }
    }
    let chosen = match fields.get("tool_choice") {
        Some(_) if fields.get("tools").is_none() => {
            return Err(Refusal::invalid(
                "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            )
            .about("tool_choice"));
        }
        Some(choice) => match object(choice) {
            Some(named) => {
                let name = named
                    .object("function")
                    .and_then(|function| function.text("name").map(|n| n.into_owned()));
                let name = name.ok_or_else(|| Wrong::Missing("tool_choice.function.name".into()))?;
                let found = functions.iter().find(|(one, _)| *one == name);
                Some(found.ok_or_else(|| {
                    Refusal::invalid(format!("Tool choice '{name}' not found in 'tools' parameter."))
                        .about("tool_choice")
                })?)
            }
            None => {
                Rule::OneOf(&["none", "auto", "required"]).check(choice, || "tool_choice".into())?;
                let calls = choice.get() == "\"required\"" || choice.get() == "\"auto\"" && mentioned;
                functions.first().filter(|_| calls)
            }
        },
        None => functions.first().filter(|_| mentioned),
    };
    Ok(chosen.map(|(name, function)| {
        let schema = function.get("parameters").map_or("{\"type\":\"object\"}", |schema| schema.get());
        Tool { name: name.clone(), arguments: schema::answer_to(schema) }
    }))
}

/// What is said: a text, or the arguments of a tool.
struct Speech {
    tool: Option<String>,
    words: Words,
}

impl Speech {
    fn finish(&self) -> &'static str {
        match (self.words.shortened, &self.tool) {
            (true, _) => "\"length\"",
            (false, Some(_)) => "\"tool_calls\"",
            (false, None) => "\"stop\"",
        }
    }
}

struct Writer {
    serial: u64,
    now: u64,
    /// In quotes.
    model: String,
    n: u32,
    prompt_tokens: u64,
    /// Whether the stream ends with usage, so that every chunk has the member.
    null_usage: bool,
}

impl Writer {
    fn head(&self, object: &str) -> String {
        let Self { serial, now, model, .. } = self;
        format!(
            "{{\"id\":\"chatcmpl-mock{serial:016x}\",\"object\":\"{object}\",\"created\":{now},\"model\":{model},\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\",\"choices\":["
        )
    }

    /// A body of JSON.
    fn whole(&self, speech: Speech, with_usage: bool) -> Said {
        let (words, finish) = (speech.words.left(), speech.finish());
        let mut said = BytesMut::new();
        speech.words.write_all(&mut said);
        let head = self.head("chat.completion");
        let mut out = BytesMut::with_capacity(head.len() + (said.len() + 256) * self.n as usize + 384);
        out.extend_from_slice(head.as_bytes());
        for index in 0..self.n {
            let comma = if index > 0 { "," } else { "" };
            let _ =
                write!(out, "{comma}{{\"index\":{index},\"message\":{{\"role\":\"assistant\",\"content\":");
            match &speech.tool {
                Some(name) => {
                    let id = self.call_id(index);
                    let _ = write!(
                        out,
                        "null,\"tool_calls\":[{{\"id\":\"{id}\",\"type\":\"function\",\"function\":{{\"name\":\"{name}\",\"arguments\":\""
                    );
                    out.extend_from_slice(&said);
                    out.extend_from_slice(b"\"}}]");
                }
                None => {
                    out.extend_from_slice(b"\"");
                    out.extend_from_slice(&said);
                    out.extend_from_slice(b"\"");
                }
            }
            let _ = write!(
                out,
                ",\"refusal\":null,\"annotations\":[]}},\"logprobs\":null,\"finish_reason\":{finish}}}"
            );
        }
        out.extend_from_slice(b"]");
        if with_usage {
            let _ =
                write!(out, ",\"usage\":{}", usage(self.prompt_tokens, u64::from(words) * u64::from(self.n)));
        }
        out.extend_from_slice(b"}");
        Said::Whole(out.freeze(), words * self.n)
    }

    /// The frames of a stream.
    fn stream(&self, speech: &Speech, with_done: bool) -> Vec<Part> {
        let head = format!("data: {}", self.head("chat.completion.chunk"));
        let close = if self.null_usage { "],\"usage\":null}\n\n" } else { "]}\n\n" };
        let rest = |finish: &str| format!("}},\"logprobs\":null,\"finish_reason\":{finish}}}{close}");
        let frame = |index: u32, delta: &str, finish: &str| {
            Part::Frame(
                Bytes::from(format!("{head}{{\"index\":{index},\"delta\":{{{delta}{}", rest(finish))),
                0,
            )
        };
        let mut parts = Vec::with_capacity(4 * self.n as usize + 2);
        for index in 0..self.n {
            let role = "\"role\":\"assistant\",\"content\":";
            let (before, after) = match &speech.tool {
                Some(name) => {
                    let id = self.call_id(index);
                    let opening = format!(
                        "{role}null,\"tool_calls\":[{{\"index\":0,\"id\":\"{id}\",\"type\":\"function\",\"function\":{{\"name\":\"{name}\",\"arguments\":\"\"}}}}],\"refusal\":null"
                    );
                    parts.push(frame(index, &opening, "null"));
                    ("\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"", "\"}}]")
                }
                None => {
                    parts.push(frame(index, &format!("{role}\"\",\"refusal\":null"), "null"));
                    ("\"content\":\"", "\"")
                }
            };
            parts.push(Part::Words {
                before: Bytes::from(format!("{head}{{\"index\":{index},\"delta\":{{{before}")),
                words: speech.words.clone(),
                after: Bytes::from(format!("{after}{}", rest("null"))),
            });
            parts.push(frame(index, "", speech.finish()));
        }
        if self.null_usage {
            let usage = usage(self.prompt_tokens, u64::from(speech.words.left()) * u64::from(self.n));
            parts.push(Part::Frame(Bytes::from(format!("{head}],\"usage\":{usage}}}\n\n")), 0));
        }
        if with_done {
            parts.push(Part::Frame(Bytes::from_static(b"data: [DONE]\n\n"), 0));
        }
        parts
    }

    fn call_id(&self, index: u32) -> String {
        format!("call_mock{:016x}{index:02x}", self.serial)
    }
}
