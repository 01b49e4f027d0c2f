//! DashScope: text generation by its own API.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, Seen, text_of, unauthorised, wrong};
use crate::mock::{
    answer::{Answer, Ask, Said},
    body::Part,
    shape::{May, Must, OPENAI_CALL, OPENAI_CHOICE, OPENAI_TOOL, Shape},
};

const MESSAGE: Shape = Shape::Object(&[
    ("role", Shape::OneOf(&["system", "user", "assistant", "tool"]), Must),
    ("content", Shape::Text, Must),
    ("tool_calls", Shape::Some(&OPENAI_CALL), May),
    ("tool_call_id", Shape::Filled, May),
]);
const PARAMETERS: Shape = Shape::Object(&[
    ("result_format", Shape::OneOf(&["message"]), Must),
    ("incremental_output", Shape::Bool, May),
    ("temperature", Shape::Number(0.0, 1.99999), May),
    ("top_p", Shape::Number(0.0, 0.99999), May),
    ("top_k", Shape::Whole(0), May),
    ("max_tokens", Shape::Whole(1), May),
    ("seed", Shape::Whole(0), May),
    ("stop", Shape::List(&Shape::Text), May),
    ("presence_penalty", Shape::Number(-2.0, 2.0), May),
    ("repetition_penalty", Shape::Number(0.0, 2.0), May),
    ("tools", Shape::Some(&OPENAI_TOOL), May),
    ("tool_choice", Shape::Or(&Shape::OneOf(&["none", "auto"]), &OPENAI_CHOICE), May),
    ("parallel_tool_calls", Shape::Bool, May),
    ("response_format", Shape::Object(&[("type", Shape::OneOf(&["text", "json_object"]), Must)]), May),
    ("enable_thinking", Shape::Bool, May),
    ("thinking_budget", Shape::Whole(1), May),
    ("enable_search", Shape::Bool, May),
    ("search_options", Shape::Map, May),
]);
const REQUEST: Shape = Shape::Object(&[
    ("model", Shape::Filled, Must),
    ("input", Shape::Object(&[("messages", Shape::Some(&MESSAGE), Must)]), Must),
    ("parameters", PARAMETERS, Must),
]);

/// The provider.
pub struct DashScope;

impl Foreign for DashScope {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        seen.shown("Bearer").ok_or_else(|| unauthorised("Invalid API-key provided."))?;
        let request = REQUEST.read(ask.body).map_err(wrong)?;
        let parameters = &request["parameters"];
        let streams = seen.header("x-dashscope-sse") == Some("enable");
        if streams && parameters["incremental_output"] != true {
            return Err(wrong("the mock streams only increments"));
        }
        let prompt = prompt(&request);
        let words = prompt.words;
        let speech = prompt.speech(ask);
        let (id, tokens) = (format!("mock-{:016x}", ask.serial), speech.tokens());
        let usage = json!({"input_tokens": words, "output_tokens": tokens,
            "total_tokens": words + u64::from(tokens)});
        let finish = match (speech.calls.is_empty(), speech.words.shortened) {
            (false, _) => "tool_calls",
            (true, true) => "length",
            (true, false) => "stop",
        };
        let call = |n: usize, id: String, name: &str, arguments: &str| json!({"id": id, "type": "function", "index": n, "function": {"name": name, "arguments": arguments}});
        let answer = |message: Value, finish: &str| {
            let choice = json!({"finish_reason": finish, "message": message});
            let mut answer = json!({"request_id": id, "output": {"choices": [choice]}});
            if !ask.settings.no_usage {
                answer["usage"] = usage.clone();
            }
            answer
        };
        let call_id = |n: usize| format!("call_{n}{:08x}", ask.serial);
        if !streams {
            let mut message = json!({"role": "assistant", "content": speech.text()});
            let calls = speech.calls.iter().enumerate();
            let calls: Vec<_> = calls.map(|(n, (name, args))| call(n, call_id(n), name, args)).collect();
            if !calls.is_empty() {
                message["tool_calls"] = calls.into();
            }
            let body = answer(message, finish).to_string();
            return Ok(Answer { prompt_tokens: words, said: Said::Whole(body.into(), tokens) });
        }
        let frame = |message: Value, finish: &str, tokens| {
            let data = answer(message, finish);
            Part::Frame(format!("id:1\nevent:result\n:HTTP_STATUS/200\ndata:{data}\n\n").into(), tokens)
        };
        let mut parts = Vec::new();
        for piece in speech.pieces() {
            parts.push(frame(json!({"role": "assistant", "content": piece}), "null", 1));
        }
        for (n, (name, arguments)) in speech.calls.iter().enumerate() {
            let half = arguments.len() / 2;
            let first = call(n, call_id(n), name, &arguments[..half]);
            parts.push(frame(json!({"content": "", "tool_calls": [first]}), "null", 0));
            let more = call(n, String::new(), "", &arguments[half..]);
            parts.push(frame(json!({"content": "", "tool_calls": [more]}), "null", 0));
        }
        if !ask.settings.no_done {
            parts.push(frame(json!({"content": ""}), finish, 0));
        }
        Ok(Answer { prompt_tokens: words, said: Said::Stream(parts) })
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        let code = match refusal.status {
            400 => "InvalidParameter",
            401 => "InvalidApiKey",
            403 => "Model.AccessDenied",
            404 => "ModelNotFound",
            429 => "Throttling.RateQuota",
            503 => "ModelServingError",
            _ => "InternalError.Algo",
        };
        json!({"code": code, "message": refusal.message, "request_id": "mock"}).to_string().into()
    }

    fn error_event(&self, refusal: &Refusal) -> Bytes {
        let data = self.error(refusal);
        let data = String::from_utf8_lossy(&data);
        format!("id:1\nevent:error\n:HTTP_STATUS/500\ndata:{data}\n\n").into()
    }
}

fn prompt(request: &Value) -> Prompt {
    let parameters = &request["parameters"];
    let mut prompt = Prompt {
        forced: parameters["tool_choice"].is_object(),
        most: parameters["max_tokens"].as_u64().map(|n| n as u32),
        ..Prompt::default()
    };
    for message in request["input"]["messages"].as_array().into_iter().flatten() {
        prompt.add(message["role"].as_str().unwrap_or_default(), &text_of(&message["content"]));
    }
    prompt.openai_tools(&parameters["tools"]);
    if parameters["tool_choice"] == "none" {
        prompt.tools.clear();
    }
    if parameters["response_format"]["type"] == "json_object" {
        prompt.schema = Some(r#"{"type":"object"}"#.to_owned());
    }
    prompt
}
