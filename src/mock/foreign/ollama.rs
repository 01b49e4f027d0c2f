//! Ollama: `POST /api/chat`, whole or in JSON lines.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, Seen, Speech, text_of, wrong};
use crate::mock::{
    answer::{Answer, Ask, Said},
    body::Part,
    shape::{May, Must, Shape},
};

const CALL: Shape = Shape::Object(&[(
    "function",
    Shape::Object(&[("name", Shape::Filled, Must), ("arguments", Shape::Map, Must)]),
    Must,
)]);
const MESSAGE: Shape = Shape::Object(&[
    ("role", Shape::OneOf(&["system", "user", "assistant", "tool"]), Must),
    ("content", Shape::Text, May),
    ("thinking", Shape::Text, May),
    ("images", Shape::List(&Shape::Base64), May),
    ("tool_name", Shape::Text, May),
    ("tool_calls", Shape::Some(&CALL), May),
]);
const FUNCTION: Shape = Shape::Object(&[
    ("name", Shape::Filled, Must),
    ("description", Shape::Text, May),
    ("parameters", Shape::Map, May),
]);
const TOOL: Shape =
    Shape::Object(&[("type", Shape::OneOf(&["function"]), Must), ("function", FUNCTION, Must)]);
const OPTIONS: Shape = Shape::Object(&[
    ("temperature", Shape::Number(0.0, 100.0), May),
    ("top_p", Shape::Number(0.0, 1.0), May),
    ("top_k", Shape::Whole(0), May),
    ("num_predict", Shape::Whole(-2), May),
    ("num_ctx", Shape::Whole(1), May),
    ("seed", Shape::Whole(i64::MIN), May),
    ("presence_penalty", Shape::Number(-2.0, 2.0), May),
    ("frequency_penalty", Shape::Number(-2.0, 2.0), May),
    ("stop", Shape::List(&Shape::Text), May),
]);
const REQUEST: Shape = Shape::Object(&[
    ("model", Shape::Filled, Must),
    ("messages", Shape::List(&MESSAGE), Must),
    ("tools", Shape::Some(&TOOL), May),
    ("stream", Shape::Bool, May),
    ("format", Shape::Or(&Shape::OneOf(&["json"]), &Shape::Map), May),
    ("think", Shape::Or(&Shape::Bool, &Shape::OneOf(&["low", "medium", "high"])), May),
    ("options", OPTIONS, May),
    ("keep_alive", Shape::Any, May),
    ("logprobs", Shape::Bool, May),
    ("top_logprobs", Shape::Whole(0), May),
]);
const CREATED: &str = "2026-11-22T03:04:05.123456789Z";

/// The provider.
pub struct Ollama;

impl Foreign for Ollama {
    fn answer(&self, _seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        let request = REQUEST.read(ask.body).map_err(wrong)?;
        let prompt = prompt(&request);
        let (words, model) = (prompt.words, request["model"].as_str().unwrap_or_default());
        let speech = prompt.speech(ask);
        let line = |message: Value| json!({"model": model, "created_at": CREATED, "message": message, "done": false});
        let calls = calls(&speech);
        let mut last = json!({"model": model, "created_at": CREATED, "done": true,
            "message": {"role": "assistant", "content": ""},
            "done_reason": if speech.words.shortened { "length" } else { "stop" }, "total_duration": 1});
        if !ask.settings.no_usage {
            last["prompt_eval_count"] = words.into();
            last["eval_count"] = speech.tokens().into();
        }
        // The default is a stream.
        if request["stream"] == false {
            last["message"]["content"] = speech.text().into();
            if !calls.is_empty() {
                last["message"]["tool_calls"] = calls.into();
            }
            return Ok(Answer {
                prompt_tokens: words,
                said: Said::Whole(last.to_string().into(), speech.tokens()),
            });
        }
        let said = |message: Value| Bytes::from(line(message).to_string() + "\n");
        let mut parts: Vec<_> = speech
            .pieces()
            .into_iter()
            .map(|piece| Part::Frame(said(json!({"role": "assistant", "content": piece})), 1))
            .collect();
        if !calls.is_empty() {
            let message = json!({"role": "assistant", "content": "", "tool_calls": calls});
            parts.push(Part::Frame(said(message), speech.tokens()));
        }
        if !ask.settings.no_done {
            parts.push(Part::Frame((last.to_string() + "\n").into(), 0));
        }
        Ok(Answer { prompt_tokens: words, said: Said::Stream(parts) })
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        json!({"error": refusal.message}).to_string().into()
    }

    fn error_event(&self, refusal: &Refusal) -> Bytes {
        [&self.error(refusal)[..], b"\n"].concat().into()
    }

    fn stream_type(&self) -> &'static str {
        "application/x-ndjson"
    }
}

fn prompt(request: &Value) -> Prompt {
    let mut prompt =
        Prompt { most: request["options"]["num_predict"].as_u64().map(|n| n as u32), ..Prompt::default() };
    for message in request["messages"].as_array().into_iter().flatten() {
        prompt.add(message["role"].as_str().unwrap_or_default(), &text_of(&message["content"]));
    }
    prompt.openai_tools(&request["tools"]);
    match &request["format"] {
        Value::Object(_) => prompt.schema = Some(request["format"].to_string()),
        Value::String(_) => prompt.schema = Some(r#"{"type":"object"}"#.into()),
        _ => {}
    }
    prompt
}

fn calls(speech: &Speech) -> Vec<Value> {
    let call = |(name, arguments): &(String, String)| {
        let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
        json!({"function": {"name": name, "arguments": arguments}})
    };
    speech.calls.iter().map(call).collect()
}
