//! Zhipu, version 3: `.../model-api/{model}/invoke` and `sse-invoke`.

use std::time::UNIX_EPOCH;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use ring::hmac;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, SECRET, Seen, unauthorised, wrong};
use crate::mock::{
    answer::{Answer, Ask, Said},
    body::Part,
    shape::{May, Must, Shape},
};

const MESSAGE: Shape =
    Shape::Object(&[("role", Shape::OneOf(&["user", "assistant"]), Must), ("content", Shape::Filled, Must)]);
const REQUEST: Shape = Shape::Object(&[
    ("prompt", Shape::Some(&MESSAGE), Must),
    ("temperature", Shape::Number(0.000_1, 1.0), May),
    ("top_p", Shape::Number(0.000_1, 0.999_9), May),
    ("request_id", Shape::Filled, May),
    ("incremental", Shape::Bool, May),
    ("return_type", Shape::OneOf(&["json_string", "text"]), May),
    ("ref", Shape::Map, May),
]);

/// The provider.
pub struct ZhipuV3;

impl Foreign for ZhipuV3 {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        authorise(seen)?;
        let request = REQUEST.read(ask.body).map_err(wrong)?;
        let prompt = prompt(&request)?;
        let words = prompt.words;
        let speech = prompt.speech(ask);
        let (id, tokens) = (format!("{:016}", ask.serial), speech.tokens());
        let mut told = json!({"request_id": id, "task_id": id, "task_status": "SUCCESS"});
        if !ask.settings.no_usage {
            told["usage"] = json!({"prompt_tokens": words, "completion_tokens": tokens,
                "total_tokens": words + u64::from(tokens)});
        }
        if !seen.path.ends_with("/sse-invoke") {
            let text = match request["return_type"] == "text" {
                true => speech.text(),
                false => Value::from(speech.text()).to_string(),
            };
            told["choices"] = json!([{"role": "assistant", "content": text}]);
            let body = json!({"code": 200, "msg": "\u{64cd}\u{4f5c}\u{6210}\u{529f}", "success": true, "data": told});
            return Ok(Answer { prompt_tokens: words, said: Said::Whole(body.to_string().into(), tokens) });
        }
        if request["incremental"] == false {
            return Err(wrong("the mock streams only increments"));
        }
        let frame = |event: &str, text: &str, meta: &str, tokens| {
            let data = text.split('\n').map(|line| format!("data:{line}\n")).collect::<String>();
            Part::Frame(format!("event:{event}\nid:{id}\n{data}{meta}\n").into(), tokens)
        };
        let mut parts: Vec<_> = speech.pieces().iter().map(|piece| frame("add", piece, "", 1)).collect();
        if !ask.settings.no_done {
            parts.push(frame("finish", "", &format!("meta:{told}\n"), 0));
        }
        Ok(Answer { prompt_tokens: words, said: Said::Stream(parts) })
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        let code = match refusal.status {
            400 => 1214,
            401 => 1002,
            403 => 1220,
            404 => 1211,
            429 => 1302,
            503 => 1305,
            _ => 1234,
        };
        json!({"code": code, "msg": refusal.message, "success": false}).to_string().into()
    }

    fn error_event(&self, refusal: &Refusal) -> Bytes {
        let data = self.error(refusal);
        format!("event:error\nid:mock\ndata:{}\n\n", String::from_utf8_lossy(&data)).into()
    }
}

/// Checks the token: whose it is, that it is signed, and that it is in force.
fn authorise(seen: &Seen<'_>) -> Result<(), Refusal> {
    let refused = || unauthorised("the token is illegal");
    let token = seen.header("authorization").ok_or_else(refused)?;
    let (signed, signature) = token.rsplit_once('.').ok_or_else(refused)?;
    let (head, claims) = signed.split_once('.').ok_or_else(refused)?;
    let read =
        |part: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
    let (head, claims) = (read(head).ok_or_else(refused)?, read(claims).ok_or_else(refused)?);
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| refused())?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let is_signed = hmac::verify(&key, signed.as_bytes(), &signature).is_ok();
    let now = seen.now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let ends = claims["exp"].as_u64().is_some_and(|exp| exp > now);
    let known = head["alg"] == "HS256" && head["sign_type"] == "SIGN" && claims["api_key"].is_string();
    match is_signed && ends && known {
        true => Ok(()),
        false => Err(refused()),
    }
}

fn prompt(request: &Value) -> Result<Prompt, Refusal> {
    let mut prompt = Prompt::default();
    let messages = request["prompt"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (n, message) in messages.iter().enumerate() {
        let role = if n.is_multiple_of(2) { "user" } else { "assistant" };
        if message["role"] != role {
            return Err(wrong(format!("prompt[{n}].role must be {role}")));
        }
        prompt.add(role, message["content"].as_str().unwrap_or_default());
    }
    match messages.len().is_multiple_of(2) {
        true => Err(wrong("the last of prompt must be the user's")),
        false => Ok(prompt),
    }
}
