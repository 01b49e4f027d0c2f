//! OpenAI's responses: `POST /v1/responses`, whole and as a stream. Nothing is stored.

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json, value::RawValue};

use super::{
    answer::{Answer, Ask, Said},
    body::Part,
    check::{Fields, Param, Rule, Strictness, Wrong, elements, may, must, object, read, text},
    failure::Refusal,
    schema,
    text::{Words, count},
};

const CREATE: &[Param] = &[
    must("model", Rule::Text),
    may("stream", Rule::Bool),
    may("background", Rule::Bool),
    may("context_management", Rule::Array),
    may("conversation", Rule::TextOrObject),
    may("include", Rule::Array),
    may("input", Rule::TextOrArray),
    may("instructions", Rule::Text),
    may("max_output_tokens", Rule::Whole(16, i64::MAX)),
    may("max_tool_calls", Rule::Whole(1, i64::MAX)),
    may("metadata", Rule::Object),
    may("moderation", Rule::Object),
    may("parallel_tool_calls", Rule::Bool),
    may("previous_response_id", Rule::Text),
    may("prompt", Rule::Object),
    may("prompt_cache_key", Rule::Text),
    may("prompt_cache_options", Rule::Object),
    may("prompt_cache_retention", Rule::Text),
    may("reasoning", Rule::Object),
    may("safety_identifier", Rule::Text),
    may("service_tier", Rule::OneOf(&["auto", "default", "flex", "scale", "priority"])),
    may("store", Rule::Bool),
    may("stream_options", Rule::Object),
    may("temperature", Rule::Number(0.0, 2.0)),
    may("text", Rule::Object),
    may("tool_choice", Rule::TextOrObject),
    may("tools", Rule::Array),
    may("top_logprobs", Rule::Whole(0, 20)),
    may("top_p", Rule::Number(0.0, 1.0)),
    may("truncation", Rule::OneOf(&["auto", "disabled"])),
    may("user", Rule::Text),
];

const REASONING: &[Param] = &[
    may("effort", Rule::OneOf(&["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
    may("summary", Rule::OneOf(&["auto", "concise", "detailed"])),
    may("generate_summary", Rule::Text),
];

const FUNCTION: &[Param] = &[
    must("type", Rule::Text),
    must("name", Rule::Text),
    may("description", Rule::Text),
    may("parameters", Rule::Object),
    may("strict", Rule::Bool),
];

const MESSAGE: &[Param] = &[
    may("type", Rule::Text),
    may("id", Rule::Text),
    may("status", Rule::Text),
    must("role", Rule::OneOf(&["user", "assistant", "system", "developer"])),
    must("content", Rule::TextOrArray),
];

const CALL: &[Param] = &[
    must("type", Rule::Text),
    may("id", Rule::Text),
    may("status", Rule::Text),
    must("call_id", Rule::Text),
    must("name", Rule::Text),
    must("arguments", Rule::Text),
];

const OUTPUT: &[Param] = &[
    must("type", Rule::Text),
    may("id", Rule::Text),
    may("status", Rule::Text),
    must("call_id", Rule::Text),
    must("output", Rule::TextOrArray),
];

const THOUGHT: &[Param] = &[
    must("type", Rule::Text),
    may("id", Rule::Text),
    may("status", Rule::Text),
    must("summary", Rule::Array),
    may("content", Rule::Array),
    may("encrypted_content", Rule::Text),
];

#[derive(Default)]
struct Talk {
    words: u64,
    asked: String,
    user_is_last: bool,
    /// Calls without a result.
    called: Vec<String>,
}

/// Answers a request.
///
/// # Errors
/// A [`Refusal`] where it is wrong.
pub fn answer(ask: &Ask<'_>) -> Result<Answer, Refusal> {
    let strictness = ask.strictness();
    let fields = read(ask.body, CREATE, strictness)?;
    if let Some(reasoning) = fields.object("reasoning") {
        known(&reasoning, "reasoning", REASONING, strictness)?;
    }
    let talk = talk(&fields, strictness)?;
    let tool = tool(&fields, &talk, strictness)?;
    let format = fields.object("text").and_then(|text| text.object("format"));
    if let Some(format) = &format {
        format.check("text.format", &[must("type", Rule::OneOf(&["text", "json_object", "json_schema"]))])?;
        if format.text("type").as_deref() == Some("json_schema") {
            format.check("text.format", &[must("name", Rule::Text), must("schema", Rule::Object)])?;
        }
    }
    let schema = format.as_ref().and_then(|format| format.get("schema"));
    let most = fields.count("max_output_tokens");
    let words = match (&tool, schema) {
        (Some((_, schema)), _) => Words::of(schema::answer_to(schema)),
        (None, Some(schema)) => Words::of(schema::answer_to(schema.get())).limited(most),
        (None, None) => ask.words(|| format!("echo: {}", talk.asked), most),
    };
    let model = fields.text("model").unwrap_or_default();
    let writer = Writer {
        serial: ask.serial,
        now: ask.now,
        model: ask.model(&model).to_owned(),
        prompt: talk.words,
        with_usage: !ask.settings.no_usage,
    };
    let name = tool.map(|(name, _)| name);
    let said = match fields.is_true("stream") {
        true => Said::Stream(writer.stream(name.as_deref(), words)),
        false => {
            let tokens = words.left();
            let (item, status) = writer.item(name.as_deref(), words);
            Said::Whole(writer.response(status, &[item], Some(tokens)).to_string().into(), tokens)
        }
    };
    Ok(Answer { prompt_tokens: talk.words, said })
}

fn known(fields: &Fields<'_>, place: &str, params: &[Param], strictness: Strictness) -> Result<(), Refusal> {
    if let Some(name) = fields.unknown(params).filter(|_| strictness == Strictness::Strict) {
        return Err(Refusal::invalid(format!("Unknown parameter: '{place}.{name}'."))
            .about(format!("{place}.{name}"))
            .coded("unknown_parameter"));
    }
    Ok(fields.check(place, params)?)
}

fn talk(fields: &Fields<'_>, strictness: Strictness) -> Result<Talk, Refusal> {
    let mut talk = Talk::default();
    talk.words += fields.text("instructions").map_or(0, |text| count(&text) as u64);
    let Some(input) = fields.get("input") else {
        return Err(Wrong::Missing("input".into()).into());
    };
    if let Some(said) = text(input) {
        talk.hear(&said);
        talk.user_is_last = true;
        return Ok(talk);
    }
    for (n, raw) in elements(input).into_iter().enumerate() {
        let place = format!("input[{n}]");
        let item = object(raw).ok_or(Wrong::NotJson)?;
        let kind = item.text("type").unwrap_or("message".into()).into_owned();
        match kind.as_str() {
            "message" => {
                known(&item, &place, MESSAGE, strictness)?;
                talk.message(&item, &place)?;
            }
            "function_call" => {
                known(&item, &place, CALL, strictness)?;
                talk.called.push(item.text("call_id").unwrap_or_default().into_owned());
            }
            "function_call_output" => {
                known(&item, &place, OUTPUT, strictness)?;
                let id = item.text("call_id").unwrap_or_default();
                let Some(at) = talk.called.iter().position(|one| *one == id) else {
                    let message = format!("No tool call found for function call output with call_id {id}.");
                    return Err(Refusal::invalid(message).about("input"));
                };
                talk.called.remove(at);
                talk.user_is_last = false;
            }
            "reasoning" => known(&item, &place, THOUGHT, strictness)?,
            other => {
                let message = format!("Invalid value: '{other}'.");
                return Err(Refusal::invalid(message).about(format!("{place}.type")).coded("invalid_value"));
            }
        }
    }
    match talk.called.first() {
        None => Ok(talk),
        Some(id) => {
            Err(Refusal::invalid(format!("No tool output found for function call {id}.")).about("input"))
        }
    }
}

impl Talk {
    fn hear(&mut self, said: &str) {
        self.words += count(said) as u64;
        self.asked = said.to_owned();
    }

    fn message(&mut self, item: &Fields<'_>, place: &str) -> Result<(), Refusal> {
        let role = item.text("role").unwrap_or_default().into_owned();
        let mut said = String::new();
        let content = item.get("content");
        if let Some(plain) = content.and_then(text) {
            said.push_str(&plain);
        }
        for (n, raw) in content.map(elements).unwrap_or_default().into_iter().enumerate() {
            let place = format!("{place}.content[{n}]");
            let part = object(raw).ok_or(Wrong::NotJson)?;
            part.check(&place, &[must("type", Rule::Text)])?;
            let kind = part.text("type").unwrap_or_default().into_owned();
            let fits: &[&str] = match role.as_str() {
                "assistant" => &["output_text", "refusal"],
                _ => &["input_text", "input_image", "input_file", "input_audio"],
            };
            if !fits.contains(&kind.as_str()) {
                let fits = fits.join("', '");
                let message = format!("Invalid value: '{kind}'. Supported values are: '{fits}'.");
                return Err(Refusal::invalid(message).about(format!("{place}.type")).coded("invalid_value"));
            }
            if let Some(text) = part.text("text") {
                said.push_str(&text);
            }
        }
        self.user_is_last = role == "user";
        match role.as_str() {
            "user" => self.hear(&said),
            _ => self.words += count(&said) as u64,
        }
        Ok(())
    }
}

/// The function to call, and its schema, if one is to be called.
fn tool(
    fields: &Fields<'_>,
    talk: &Talk,
    strictness: Strictness,
) -> Result<Option<(String, String)>, Refusal> {
    let mut functions = Vec::new();
    for (n, raw) in fields.elements("tools").into_iter().enumerate() {
        let tool = object(raw).ok_or(Wrong::NotJson)?;
        if tool.text("type").as_deref() == Some("function") {
            known(&tool, &format!("tools[{n}]"), FUNCTION, strictness)?;
            let name = tool.text("name").unwrap_or_default().into_owned();
            functions.push((name, tool.get("parameters").map_or("{}", RawValue::get).to_owned()));
        }
    }
    let mentioned = talk.user_is_last && talk.asked.to_ascii_lowercase().contains("tool");
    let Some(choice) = fields.get("tool_choice") else {
        return Ok(functions.into_iter().next().filter(|_| mentioned));
    };
    if let Some(chosen) = object(choice) {
        let name = chosen.text("name").unwrap_or_default().into_owned();
        return Ok(functions.into_iter().find(|(known, _)| *known == name));
    }
    Ok(match text(choice).as_deref() {
        Some("required") => functions.into_iter().next(),
        Some("none") => None,
        _ => functions.into_iter().next().filter(|_| mentioned),
    })
}

struct Writer {
    serial: u64,
    now: u64,
    model: String,
    prompt: u64,
    with_usage: bool,
}

impl Writer {
    fn response(&self, status: &str, output: &[Value], tokens: Option<u32>) -> Value {
        let reason = json!({ "reason": "max_output_tokens" });
        let usage = tokens.filter(|_| self.with_usage).map(|tokens| {
            json!({
                "input_tokens": self.prompt,
                "input_tokens_details": { "cached_tokens": 0 },
                "output_tokens": tokens,
                "output_tokens_details": { "reasoning_tokens": 0 },
                "total_tokens": self.prompt + u64::from(tokens),
            })
        });
        json!({
            "id": format!("resp_mock{:016x}", self.serial),
            "object": "response",
            "created_at": self.now,
            "status": status,
            "error": null,
            "incomplete_details": if status == "incomplete" { reason } else { Value::Null },
            "instructions": null,
            "metadata": {},
            "model": self.model,
            "output": output,
            "parallel_tool_calls": true,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": usage,
        })
    }

    fn id(&self, letters: &str) -> String {
        format!("{letters}_mock{:016x}", self.serial)
    }

    /// The one item of the output, done, and the status of the response.
    fn item(&self, tool: Option<&str>, words: Words) -> (Value, &'static str) {
        let status = if words.shortened { "incomplete" } else { "completed" };
        let mut said = BytesMut::from(&b"\""[..]);
        words.write_all(&mut said);
        said.extend_from_slice(b"\"");
        let said: String = serde_json::from_slice(&said).unwrap_or_default();
        let item = match tool {
            Some(name) => json!({
                "type": "function_call", "id": self.id("fc"), "call_id": self.id("call"), "name": name,
                "arguments": said, "status": status,
            }),
            None => json!({
                "type": "message", "id": self.id("msg"), "role": "assistant", "status": status,
                "content": [{ "type": "output_text", "text": said, "annotations": [], "logprobs": [] }],
            }),
        };
        (item, status)
    }

    fn stream(&self, tool: Option<&str>, words: Words) -> Vec<Part> {
        let tokens = words.left();
        let (item, status) = self.item(tool, words.clone());
        let mut number = 0;
        let mut event = |name: &str, mut members: Value| {
            members["type"] = name.into();
            members["sequence_number"] = number.into();
            number += 1;
            Part::Frame(Bytes::from(format!("event: {name}\ndata: {members}\n\n")), 0)
        };
        let mut parts = Vec::new();
        for name in ["response.created", "response.in_progress"] {
            parts.push(event(name, json!({ "response": self.response("in_progress", &[], None) })));
        }
        let mut begun = item.clone();
        begun["status"] = "in_progress".into();
        let (delta, done, key, place) = match tool {
            Some(_) => {
                begun["arguments"] = "".into();
                let place = json!({ "item_id": item["id"], "output_index": 0 });
                (
                    "response.function_call_arguments.delta",
                    "response.function_call_arguments.done",
                    "arguments",
                    place,
                )
            }
            None => {
                begun["content"] = json!([]);
                let place = json!({ "item_id": item["id"], "output_index": 0, "content_index": 0 });
                ("response.output_text.delta", "response.output_text.done", "text", place)
            }
        };
        parts.push(event("response.output_item.added", json!({ "output_index": 0, "item": begun })));
        if tool.is_none() {
            let mut added = place.clone();
            added["part"] = json!({ "type": "output_text", "text": "", "annotations": [], "logprobs": [] });
            parts.push(event("response.content_part.added", added));
        }
        let mut delta_of = place.clone();
        delta_of["delta"] = "\u{1}".into();
        if tool.is_none() {
            delta_of["logprobs"] = json!([]);
        }
        if let Part::Frame(frame, _) = event(delta, delta_of) {
            let frame = String::from_utf8_lossy(&frame).into_owned();
            let (before, after) = frame.split_once("\\u0001").unwrap_or((&frame, ""));
            parts.push(Part::Words {
                before: before.to_owned().into(),
                words,
                after: after.to_owned().into(),
            });
        }
        let mut done_of = place.clone();
        done_of[key] =
            if tool.is_some() { item["arguments"].clone() } else { item["content"][0]["text"].clone() };
        parts.push(event(done, done_of));
        if tool.is_none() {
            let mut done = place;
            done["part"] = item["content"][0].clone();
            parts.push(event("response.content_part.done", done));
        }
        parts.push(event("response.output_item.done", json!({ "output_index": 0, "item": item })));
        let name = if status == "incomplete" { "response.incomplete" } else { "response.completed" };
        parts.push(event(name, json!({ "response": self.response(status, &[item], Some(tokens)) })));
        parts
    }
}
