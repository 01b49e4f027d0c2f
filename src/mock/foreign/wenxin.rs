//! Baidu's Wenxin, version 1.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, Seen, tokens, unauthorised, wrong};
use crate::mock::{
    answer::{Answer, Ask, Said},
    body::Part,
    shape::{May, Must, OPENAI_CHOICE, Shape},
    text,
};

const CALL: Shape = Shape::Object(&[
    ("name", Shape::Filled, Must),
    ("arguments", Shape::Text, Must),
    ("thoughts", Shape::Text, May),
]);
const MESSAGE: Shape = Shape::Object(&[
    ("role", Shape::OneOf(&["user", "assistant", "function"]), Must),
    ("content", Shape::Text, Must),
    ("name", Shape::Filled, May),
    ("function_call", CALL, May),
]);
const FUNCTION: Shape = Shape::Object(&[
    ("name", Shape::Filled, Must),
    ("description", Shape::Filled, Must),
    ("parameters", Shape::Map, Must),
]);
const REQUEST: Shape = Shape::Object(&[
    ("messages", Shape::Some(&MESSAGE), Must),
    ("functions", Shape::Some(&FUNCTION), May),
    ("tool_choice", OPENAI_CHOICE, May),
    ("temperature", Shape::Number(0.000_1, 1.0), May),
    ("top_p", Shape::Number(0.0, 1.0), May),
    ("penalty_score", Shape::Number(1.0, 2.0), May),
    ("stream", Shape::Bool, May),
    ("system", Shape::Filled, May),
    ("stop", Shape::List(&Shape::Text), May),
    ("disable_search", Shape::Bool, May),
    ("enable_citation", Shape::Bool, May),
    ("max_output_tokens", Shape::Whole(2), May),
    ("response_format", Shape::OneOf(&["text", "json_object"]), May),
    ("user_id", Shape::Filled, May),
]);

const EMBEDDINGS: Shape =
    Shape::Object(&[("input", Shape::Some(&Shape::Filled), Must), ("user_id", Shape::Filled, May)]);

/// The provider.
pub struct Wenxin;

impl Foreign for Wenxin {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        let shown = seen.query.split('&').find_map(|pair| pair.strip_prefix("access_token="));
        if shown != Some(tokens::BAIDU) {
            return Err(unauthorised("Access token invalid or no longer valid"));
        }
        if seen.path.contains("/embeddings/") {
            return embeddings(ask);
        }
        let request = REQUEST.read(ask.body).map_err(wrong)?;
        let prompt = prompt(&request)?;
        let words = prompt.words;
        let mut speech = prompt.speech(ask);
        // It calls one function at a time.
        speech.calls.truncate(1);
        let (id, tokens) = (format!("as-{:016x}", ask.serial), speech.tokens());
        let usage = json!({"prompt_tokens": words, "completion_tokens": tokens,
            "total_tokens": words + u64::from(tokens)});
        let finish = match (speech.calls.first(), speech.words.shortened) {
            (Some(_), _) => "function_call",
            (None, true) => "length",
            (None, false) => "normal",
        };
        let answer = |result: String| {
            let mut answer = json!({"id": id, "object": "chat.completion", "created": ask.now,
                "result": result, "is_truncated": false, "need_clear_history": false});
            if !ask.settings.no_usage {
                answer["usage"] = usage.clone();
            }
            answer
        };
        let end = |result: String| {
            let mut last = answer(result);
            last["finish_reason"] = finish.into();
            if let Some((name, arguments)) = speech.calls.first() {
                last["function_call"] =
                    json!({"name": name, "thoughts": "a function knows", "arguments": arguments});
            }
            last
        };
        if request["stream"] != true {
            let body = end(speech.text()).to_string();
            return Ok(Answer { prompt_tokens: words, said: Said::Whole(body.into(), tokens) });
        }
        let frame = |mut event: Value, n: usize, is_end: bool, tokens| {
            event["sentence_id"] = n.into();
            event["is_end"] = is_end.into();
            Part::Frame(format!("data: {event}\n\n").into(), tokens)
        };
        let pieces = speech.pieces();
        let mut parts: Vec<_> =
            pieces.iter().enumerate().map(|(n, piece)| frame(answer(piece.clone()), n, false, 1)).collect();
        if !ask.settings.no_done {
            parts.push(frame(end(String::new()), pieces.len(), true, 0));
        }
        Ok(Answer { prompt_tokens: words, said: Said::Stream(parts) })
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        let code = match refusal.status {
            400 => 336_003,
            401 => 110,
            403 => 6,
            404 => 3,
            429 => 18,
            503 => 336_100,
            _ => 336_000,
        };
        json!({"error_code": code, "error_msg": refusal.message, "id": "as-mock"}).to_string().into()
    }

    fn error_event(&self, refusal: &Refusal) -> Bytes {
        // It writes no event where it refuses.
        [b"data: ", &self.error(refusal)[..], b"\n\n"].concat().into()
    }
}

fn embeddings(ask: &Ask<'_>) -> Result<Answer, Refusal> {
    let request = EMBEDDINGS.read(ask.body).map_err(wrong)?;
    let mut words = 0;
    let mut data = Vec::new();
    for text in request["input"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        words += text::count(text) as u64;
        data.push(json!({"object": "embedding", "index": data.len(), "embedding": [0.5, text.len() as f64]}));
    }
    let body = json!({"id": "as-mock", "object": "embedding_list", "created": ask.now, "data": data,
        "usage": {"prompt_tokens": words, "total_tokens": words}});
    Ok(Answer { prompt_tokens: words, said: Said::Whole(body.to_string().into(), 0) })
}

fn prompt(request: &Value) -> Result<Prompt, Refusal> {
    let mut prompt = Prompt {
        forced: request["tool_choice"].is_object(),
        most: request["max_output_tokens"].as_u64().map(|n| n as u32),
        ..Prompt::default()
    };
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    if messages.len().is_multiple_of(2) {
        return Err(wrong("the length of messages must be an odd number"));
    }
    for (n, message) in messages.iter().enumerate() {
        let (role, content) = (message["role"].as_str().unwrap_or_default(), message["content"].as_str());
        let content = content.unwrap_or_default();
        let is_models = role == "assistant";
        if is_models == n.is_multiple_of(2) || (n == 0 && role == "function") {
            return Err(wrong(format!("the role of message {n} must not be {role}")));
        }
        if content.trim().is_empty() && !message["function_call"].is_object() {
            return Err(wrong(format!("the content of message {n} is empty")));
        }
        if (role == "function") != message["name"].is_string() {
            return Err(wrong(format!("message {n} must have a name if it is a function's")));
        }
        prompt.add(if role == "function" { "tool" } else { role }, content);
    }
    for function in request["functions"].as_array().into_iter().flatten() {
        let name = function["name"].as_str().unwrap_or_default();
        prompt.tools.push((name.to_owned(), function["parameters"].to_string()));
    }
    if request["response_format"] == "json_object" {
        prompt.schema = Some(r#"{"type":"object"}"#.to_owned());
    }
    Ok(prompt)
}
