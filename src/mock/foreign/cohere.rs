//! Cohere: `POST /v2/chat`.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, Seen, text_of, unauthorised, wrong};
use crate::mock::{
    answer::{Answer, Ask, Said},
    body::Part,
    shape::{May, Must, OPENAI_CALL, OPENAI_TOOL, Shape},
};

const ITEM: Shape = Shape::Object(&[
    ("type", Shape::OneOf(&["text", "image_url", "thinking", "document"]), Must),
    ("text", Shape::Text, May),
    ("thinking", Shape::Text, May),
    (
        "image_url",
        Shape::Object(&[
            ("url", Shape::Filled, Must),
            ("detail", Shape::OneOf(&["auto", "low", "high"]), May),
        ]),
        May,
    ),
    ("document", Shape::Map, May),
]);
const MESSAGE: Shape = Shape::Object(&[
    ("role", Shape::OneOf(&["system", "user", "assistant", "tool"]), Must),
    ("content", Shape::Or(&Shape::Text, &Shape::Some(&ITEM)), May),
    ("tool_calls", Shape::Some(&OPENAI_CALL), May),
    ("tool_plan", Shape::Text, May),
    ("tool_call_id", Shape::Filled, May),
]);
const REQUEST: Shape = Shape::Object(&[
    ("model", Shape::Filled, Must),
    ("messages", Shape::Some(&MESSAGE), Must),
    ("stream", Shape::Bool, Must),
    ("tools", Shape::Some(&OPENAI_TOOL), May),
    ("strict_tools", Shape::Bool, May),
    ("documents", Shape::List(&Shape::Any), May),
    ("citation_options", Shape::Map, May),
    (
        "response_format",
        Shape::Object(&[
            ("type", Shape::OneOf(&["text", "json_object"]), Must),
            ("json_schema", Shape::Map, May),
        ]),
        May,
    ),
    ("safety_mode", Shape::OneOf(&["CONTEXTUAL", "STRICT", "OFF"]), May),
    ("max_tokens", Shape::Whole(0), May),
    ("stop_sequences", Shape::List(&Shape::Text), May),
    ("temperature", Shape::Number(0.0, 1.0), May),
    ("seed", Shape::Whole(0), May),
    ("frequency_penalty", Shape::Number(0.0, 1.0), May),
    ("presence_penalty", Shape::Number(0.0, 1.0), May),
    ("k", Shape::Whole(0), May),
    ("p", Shape::Number(0.01, 0.99), May),
    ("logprobs", Shape::Bool, May),
    ("tool_choice", Shape::OneOf(&["REQUIRED", "NONE"]), May),
    (
        "thinking",
        Shape::Object(&[
            ("type", Shape::OneOf(&["enabled", "disabled"]), Must),
            ("token_budget", Shape::Whole(1), May),
        ]),
        May,
    ),
    ("priority", Shape::Whole(0), May),
]);

/// The provider.
pub struct Cohere;

impl Foreign for Cohere {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        seen.shown("Bearer").ok_or_else(|| unauthorised("no api key supplied"))?;
        let request = REQUEST.read(ask.body).map_err(wrong)?;
        let prompt = prompt(&request)?;
        let words = prompt.words;
        let speech = prompt.speech(ask);
        let id = format!("mock-{:016x}", ask.serial);
        let tokens = speech.tokens();
        let usage = match ask.settings.no_usage {
            true => json!({}),
            false => json!({"billed_units": {"input_tokens": words, "output_tokens": tokens},
                "tokens": {"input_tokens": words as f64, "output_tokens": f64::from(tokens)}, "cached_tokens": 0}),
        };
        let finish = match (speech.calls.is_empty(), speech.words.shortened) {
            (false, _) => "TOOL_CALL",
            (true, true) => "MAX_TOKENS",
            (true, false) => "COMPLETE",
        };
        let call = |n: usize, name: &str, arguments: &str| {
            json!({"id": format!("{name}_{n}{:08x}", ask.serial), "type": "function",
                "function": {"name": name, "arguments": arguments}})
        };
        if request["stream"] == false {
            let mut message = json!({"role": "assistant"});
            match speech.calls.is_empty() {
                true => message["content"] = json!([{"type": "text", "text": speech.text()}]),
                false => {
                    message["tool_plan"] = "I will call a tool.".into();
                    let calls = speech.calls.iter().enumerate();
                    message["tool_calls"] = calls.map(|(n, (name, args))| call(n, name, args)).collect();
                }
            }
            let body = json!({"id": id, "finish_reason": finish, "message": message, "usage": usage});
            return Ok(Answer { prompt_tokens: words, said: Said::Whole(body.to_string().into(), tokens) });
        }
        let frame = |data: Value, tokens| {
            let name = data["type"].as_str().unwrap_or_default().to_owned();
            Part::Frame(format!("event: {name}\ndata: {data}\n\n").into(), tokens)
        };
        let message =
            json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
        let mut parts =
            vec![frame(json!({"id": id, "type": "message-start", "delta": {"message": message}}), 0)];
        let delta = |kind: &str, index: usize, message: Value| json!({"type": kind, "index": index, "delta": {"message": message}});
        if speech.calls.is_empty() {
            parts.push(frame(delta("content-start", 0, json!({"content": {"type": "text", "text": ""}})), 0));
            for piece in speech.pieces() {
                parts.push(frame(delta("content-delta", 0, json!({"content": {"text": piece}})), 1));
            }
            parts.push(frame(json!({"type": "content-end", "index": 0}), 0));
        }
        for (n, (name, arguments)) in speech.calls.iter().enumerate() {
            parts.push(frame(delta("tool-call-start", n, json!({"tool_calls": call(n, name, "")})), 0));
            let half = arguments.len() / 2;
            for piece in [&arguments[..half], &arguments[half..]] {
                let more = json!({"tool_calls": {"function": {"arguments": piece}}});
                parts.push(frame(delta("tool-call-delta", n, more), 0));
            }
            parts.push(frame(
                json!({"type": "tool-call-end", "index": n}),
                super::super::text::count(arguments) as u32,
            ));
        }
        if !ask.settings.no_done {
            parts.push(frame(
                json!({"type": "message-end", "delta": {"finish_reason": finish, "usage": usage}}),
                0,
            ));
        }
        Ok(Answer { prompt_tokens: words, said: Said::Stream(parts) })
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        json!({"id": "mock", "message": refusal.message}).to_string().into()
    }

    fn error_event(&self, refusal: &Refusal) -> Bytes {
        let end =
            json!({"type": "message-end", "delta": {"error": refusal.message, "finish_reason": "ERROR"}});
        let start = r#"{"id":"mock","type":"message-start","delta":{"message":{"role":"assistant"}}}"#;
        format!("event: message-start\ndata: {start}\n\nevent: message-end\ndata: {end}\n\n").into()
    }
}

fn prompt(request: &Value) -> Result<Prompt, Refusal> {
    let mut prompt = Prompt {
        forced: request["tool_choice"] == "REQUIRED",
        most: request["max_tokens"].as_u64().map(|n| n as u32),
        ..Prompt::default()
    };
    let mut open = Vec::new();
    for message in request["messages"].as_array().into_iter().flatten() {
        let role = message["role"].as_str().unwrap_or_default();
        if role == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            if !open.contains(&id) {
                return Err(wrong(format!("tool call id {id} not found in the previous tool calls")));
            }
        } else {
            let calls = message["tool_calls"].as_array().into_iter().flatten();
            open = calls.filter_map(|call| call["id"].as_str()).collect();
        }
        prompt.add(role, &text_of(&message["content"]));
    }
    prompt.openai_tools(&request["tools"]);
    if request["response_format"]["type"] == "json_object" {
        let schema = request["response_format"].get("json_schema");
        prompt.schema = Some(schema.map_or(r#"{"type":"object"}"#.into(), Value::to_string));
    }
    if request["tool_choice"] == "NONE" {
        prompt.tools.clear();
    }
    Ok(prompt)
}
