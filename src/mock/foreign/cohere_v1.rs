//! Cohere, version 1: `POST /v1/chat`, whole or in JSON lines.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, Seen, unauthorised, wrong};
use crate::mock::{
    answer::{Answer, Ask, Said},
    body::Part,
    shape::{May, Must, Shape},
};

const CALL: Shape = Shape::Object(&[("name", Shape::Filled, Must), ("parameters", Shape::Map, Must)]);
const RESULT: Shape = Shape::Object(&[("call", CALL, Must), ("outputs", Shape::Some(&Shape::Map), Must)]);
const SPOKEN: Shape = Shape::Object(&[
    ("role", Shape::OneOf(&["USER", "SYSTEM", "CHATBOT"]), Must),
    ("message", Shape::Text, Must),
    ("tool_calls", Shape::Some(&CALL), May),
]);
const ANSWERED: Shape =
    Shape::Object(&[("role", Shape::OneOf(&["TOOL"]), Must), ("tool_results", Shape::Some(&RESULT), Must)]);
const TOOL: Shape = Shape::Object(&[
    ("name", Shape::Filled, Must),
    ("description", Shape::Filled, Must),
    ("parameter_definitions", Shape::Map, May),
]);
const DEFINITION: Shape = Shape::Object(&[
    ("type", Shape::OneOf(&["str", "int", "float", "bool", "list", "dict"]), Must),
    ("description", Shape::Filled, May),
    ("required", Shape::Bool, May),
]);
const REQUEST: Shape = Shape::Object(&[
    ("model", Shape::Filled, Must),
    ("message", Shape::Text, Must),
    ("stream", Shape::Bool, Must),
    ("preamble", Shape::Filled, May),
    ("chat_history", Shape::Some(&Shape::Or(&SPOKEN, &ANSWERED)), May),
    ("tools", Shape::Some(&TOOL), May),
    ("tool_results", Shape::Some(&RESULT), May),
    ("force_single_step", Shape::Bool, May),
    ("documents", Shape::List(&Shape::Map), May),
    ("connectors", Shape::List(&Shape::Map), May),
    ("citation_quality", Shape::OneOf(&["fast", "accurate", "off"]), May),
    ("safety_mode", Shape::OneOf(&["CONTEXTUAL", "STRICT", "NONE"]), May),
    (
        "response_format",
        Shape::Object(&[("type", Shape::OneOf(&["text", "json_object"]), Must), ("schema", Shape::Map, May)]),
        May,
    ),
    ("max_tokens", Shape::Whole(0), May),
    ("stop_sequences", Shape::List(&Shape::Text), May),
    ("temperature", Shape::Number(0.0, 1.0), May),
    ("seed", Shape::Whole(0), May),
    ("frequency_penalty", Shape::Number(0.0, 1.0), May),
    ("presence_penalty", Shape::Number(0.0, 1.0), May),
    ("k", Shape::Whole(0), May),
    ("p", Shape::Number(0.01, 0.99), May),
]);

/// The provider.
pub struct CohereV1;

impl Foreign for CohereV1 {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        seen.shown("Bearer").ok_or_else(|| unauthorised("no api key supplied"))?;
        let request = REQUEST.read(ask.body).map_err(wrong)?;
        let prompt = prompt(&request)?;
        let words = prompt.words;
        let speech = prompt.speech(ask);
        let (id, tokens) = (format!("mock-{:016x}", ask.serial), speech.tokens());
        let meta = match ask.settings.no_usage {
            true => json!({"api_version": {"version": "1"}}),
            false => json!({"api_version": {"version": "1"},
                "billed_units": {"input_tokens": words as f64, "output_tokens": f64::from(tokens)},
                "tokens": {"input_tokens": words as f64, "output_tokens": f64::from(tokens)}}),
        };
        let finish = if speech.words.shortened { "MAX_TOKENS" } else { "COMPLETE" };
        let call = |(name, arguments): &(String, String)| {
            let parameters: Value = serde_json::from_str(arguments).unwrap_or_default();
            json!({"name": name, "parameters": parameters})
        };
        let calls: Vec<_> = speech.calls.iter().map(call).collect();
        let text = if calls.is_empty() { speech.text() } else { "I will call a tool.".to_owned() };
        let mut whole = json!({"text": text, "generation_id": id, "finish_reason": finish, "meta": meta, "chat_history": []});
        if !calls.is_empty() {
            whole["tool_calls"] = calls.clone().into();
        }
        if request["stream"] == false {
            return Ok(Answer { prompt_tokens: words, said: Said::Whole(whole.to_string().into(), tokens) });
        }
        let line = |event: Value, tokens| Part::Frame((event.to_string() + "\n").into(), tokens);
        let event = |kind: &str, name: &str, value: Value| json!({"is_finished": false, "event_type": kind, name: value});
        let mut parts = vec![line(event("stream-start", "generation_id", id.into()), 0)];
        for piece in speech.pieces() {
            parts.push(line(event("text-generation", "text", piece.into()), 1));
        }
        if !calls.is_empty() {
            let mut made = event("tool-calls-generation", "tool_calls", calls.into());
            made["text"] = "I will call a tool.".into();
            parts.push(line(made, tokens));
        }
        if !ask.settings.no_done {
            let end = json!({"is_finished": true, "event_type": "stream-end", "finish_reason": finish, "response": whole});
            parts.push(line(end, 0));
        }
        Ok(Answer { prompt_tokens: words, said: Said::Stream(parts) })
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        json!({"message": refusal.message}).to_string().into()
    }

    fn error_event(&self, refusal: &Refusal) -> Bytes {
        [&self.error(refusal)[..], b"\n"].concat().into()
    }

    fn stream_type(&self) -> &'static str {
        "application/stream+json"
    }
}

fn prompt(request: &Value) -> Result<Prompt, Refusal> {
    let mut prompt = Prompt { most: request["max_tokens"].as_u64().map(|n| n as u32), ..Prompt::default() };
    for entry in request["chat_history"].as_array().into_iter().flatten() {
        prompt.add(entry["role"].as_str().unwrap_or_default(), entry["message"].as_str().unwrap_or_default());
    }
    let (message, results) = (request["message"].as_str().unwrap_or_default(), &request["tool_results"]);
    match (message.is_empty(), results.is_array()) {
        (false, false) => prompt.add("USER", message),
        (true, true) => prompt.add("TOOL", ""),
        (true, false) => {
            return Err(wrong("message must be at least 1 token long or tool results must be specified"));
        }
        (false, true) => return Err(wrong("cannot specify both message and tool_results in multistep mode")),
    }
    for tool in request["tools"].as_array().into_iter().flatten() {
        let definitions = tool["parameter_definitions"].as_object();
        let mut properties = json!({});
        for (name, definition) in definitions.into_iter().flatten() {
            DEFINITION.check(definition, &format!("parameter_definitions.{name}")).map_err(wrong)?;
            properties[name] = json!({"type": "string"});
        }
        let required: Vec<_> = definitions.into_iter().flatten().map(|(name, _)| name.clone()).collect();
        let schema = json!({"type": "object", "properties": properties, "required": required});
        prompt.tools.push((tool["name"].as_str().unwrap_or_default().into(), schema.to_string()));
    }
    if request["response_format"]["type"] == "json_object" {
        let schema = request["response_format"].get("schema");
        prompt.schema = Some(schema.map_or(r#"{"type":"object"}"#.into(), Value::to_string));
    }
    Ok(prompt)
}
