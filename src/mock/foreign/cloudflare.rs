//! Cloudflare's Workers AI: `/client/v4/accounts/{account}/ai/run/{model}`.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, Seen, text_of, unauthorised, wrong};
use crate::mock::{
    answer::{Answer, Ask, Said},
    body::Part,
    shape::{May, Must, OPENAI_CALL, OPENAI_CHOICE, OPENAI_TOOL, Shape},
};

const ITEM: Shape = Shape::Object(&[
    ("type", Shape::OneOf(&["text", "image_url"]), Must),
    ("text", Shape::Text, May),
    ("image_url", Shape::Object(&[("url", Shape::Filled, Must)]), May),
]);
const MESSAGE: Shape = Shape::Object(&[
    ("role", Shape::OneOf(&["system", "user", "assistant", "tool"]), Must),
    ("content", Shape::Or(&Shape::Text, &Shape::Some(&ITEM)), Must),
    ("tool_calls", Shape::Some(&OPENAI_CALL), May),
    ("tool_call_id", Shape::Filled, May),
    ("name", Shape::Filled, May),
]);
const REQUEST: Shape = Shape::Object(&[
    ("messages", Shape::Some(&MESSAGE), Must),
    ("tools", Shape::Some(&OPENAI_TOOL), May),
    ("tool_choice", OPENAI_CHOICE, May),
    (
        "response_format",
        Shape::Object(&[
            ("type", Shape::OneOf(&["json_object", "json_schema"]), Must),
            ("json_schema", Shape::Map, May),
        ]),
        May,
    ),
    ("raw", Shape::Bool, May),
    ("stream", Shape::Bool, May),
    ("lora", Shape::Filled, May),
    ("max_tokens", Shape::Whole(1), May),
    ("temperature", Shape::Number(0.0, 5.0), May),
    ("top_p", Shape::Number(0.0, 2.0), May),
    ("top_k", Shape::Whole(1), May),
    ("seed", Shape::Whole(1), May),
    ("repetition_penalty", Shape::Number(0.0, 2.0), May),
    ("frequency_penalty", Shape::Number(-2.0, 2.0), May),
    ("presence_penalty", Shape::Number(-2.0, 2.0), May),
    ("reasoning_effort", Shape::OneOf(&["low", "medium", "high"]), May),
    ("chat_template_kwargs", Shape::Map, May),
]);

/// The provider.
pub struct Cloudflare;

/// Whether a path is one of its; the model's slashes part it, as they stand.
pub fn serves(path: &str) -> bool {
    let run = path.strip_prefix("/client/v4/accounts/").and_then(|rest| rest.split_once("/ai/run/"));
    run.is_some_and(|(account, model)| {
        !account.is_empty() && model.starts_with('@') && model.split('/').count() == 3
    })
}

impl Foreign for Cloudflare {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        seen.shown("Bearer").ok_or_else(|| unauthorised("Authentication error"))?;
        let request = REQUEST.read(ask.body).map_err(wrong)?;
        let prompt = prompt(&request);
        let (words, shaped) = (prompt.words, prompt.schema.is_some());
        let speech = prompt.speech(ask);
        let tokens = speech.tokens();
        let usage = json!({"prompt_tokens": words, "completion_tokens": tokens,
            "total_tokens": words + u64::from(tokens)});
        let counted = |mut answer: Value| {
            if !ask.settings.no_usage {
                answer["usage"] = usage.clone();
            }
            answer
        };
        let call = |(name, arguments): &(String, String)| {
            let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
            json!({"name": name, "arguments": arguments})
        };
        let calls: Vec<_> = speech.calls.iter().map(call).collect();
        let finish = match (calls.is_empty(), speech.words.shortened) {
            (false, _) => "tool_calls",
            (true, true) => "length",
            (true, false) => "stop",
        };
        if request["stream"] != true {
            // A shape that was asked for comes as JSON, not as a text.
            let text = match shaped {
                true => serde_json::from_str(&speech.text()).unwrap_or_default(),
                false => Value::from(speech.text()),
            };
            let mut result = counted(json!({"response": text, "finish_reason": finish}));
            if !calls.is_empty() {
                result["tool_calls"] = calls.into();
            }
            let body = json!({"result": result, "success": true, "errors": [], "messages": []});
            return Ok(Answer { prompt_tokens: words, said: Said::Whole(body.to_string().into(), tokens) });
        }
        let frame = |event: Value, tokens| Part::Frame(format!("data: {event}\n\n").into(), tokens);
        let mut parts: Vec<_> = speech
            .pieces()
            .into_iter()
            .map(|piece| frame(json!({"response": piece, "p": "abcd"}), 1))
            .collect();
        if !calls.is_empty() {
            parts.push(frame(json!({"response": "", "tool_calls": calls}), 0));
        }
        parts.push(frame(counted(json!({"response": "", "finish_reason": finish})), 0));
        if !ask.settings.no_done {
            parts.push(Part::Frame(Bytes::from_static(b"data: [DONE]\n\n"), 0));
        }
        Ok(Answer { prompt_tokens: words, said: Said::Stream(parts) })
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        let code = match refusal.status {
            400 => 5004,
            401 => 10_000,
            403 => 5018,
            404 => 5007,
            429 => 971,
            503 => 3040,
            _ => 3000,
        };
        let error = json!({"code": code, "message": refusal.message});
        json!({"result": null, "success": false, "errors": [error], "messages": []}).to_string().into()
    }

    fn error_event(&self, refusal: &Refusal) -> Bytes {
        [b"data: ", &self.error(refusal)[..], b"\n\n"].concat().into()
    }
}

fn prompt(request: &Value) -> Prompt {
    let mut prompt = Prompt {
        forced: request["tool_choice"].is_object(),
        most: request["max_tokens"].as_u64().map(|n| n as u32),
        ..Prompt::default()
    };
    for message in request["messages"].as_array().into_iter().flatten() {
        prompt.add(message["role"].as_str().unwrap_or_default(), &text_of(&message["content"]));
    }
    prompt.openai_tools(&request["tools"]);
    match request["response_format"]["type"].as_str() {
        Some("json_schema") => prompt.schema = Some(request["response_format"]["json_schema"].to_string()),
        Some(_) => prompt.schema = Some(r#"{"type":"object"}"#.to_owned()),
        None => {}
    }
    prompt
}
