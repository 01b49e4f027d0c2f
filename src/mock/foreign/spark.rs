//! iFlytek's Spark: a signed address, one frame in, frames out. `mock/sockets.rs` carries them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Uri;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, SECRET, Seen, unauthorised, wrong};
use crate::{
    mock::{
        answer::{Answer, Ask, Said},
        body::Part,
        shape::{May, Must, Shape},
    },
    provider::signing::{Scheme, Unsigned},
};

const TURN: Shape = Shape::Object(&[
    ("role", Shape::OneOf(&["system", "user", "assistant"]), Must),
    ("content", Shape::Filled, Must),
]);
const FUNCTION: Shape = Shape::Object(&[
    ("name", Shape::Filled, Must),
    ("description", Shape::Text, Must),
    ("parameters", Shape::Map, Must),
]);
const CHAT: Shape = Shape::Object(&[
    (
        "domain",
        Shape::OneOf(&["lite", "generalv2", "generalv3", "pro-128k", "generalv3.5", "max-32k", "4.0Ultra"]),
        Must,
    ),
    ("temperature", Shape::Number(0.001, 1.0), May),
    ("top_k", Shape::Whole(1), May),
    ("max_tokens", Shape::Whole(1), May),
    ("auditing", Shape::Filled, May),
]);
const REQUEST: Shape = Shape::Object(&[
    ("header", Shape::Object(&[("app_id", Shape::Filled, Must), ("uid", Shape::Filled, May)]), Must),
    ("parameter", Shape::Object(&[("chat", CHAT, Must)]), Must),
    (
        "payload",
        Shape::Object(&[
            ("message", Shape::Object(&[("text", Shape::Some(&TURN), Must)]), Must),
            ("functions", Shape::Object(&[("text", Shape::Some(&FUNCTION), Must)]), May),
        ]),
        Must,
    ),
]);

/// The application of the credentials that the mock accepts.
const APP: &str = "mock-app";

/// The provider.
pub struct Spark;

impl Spark {
    /// Checks the signed address, before a websocket is opened.
    pub fn authorise(seen: &Seen<'_>) -> Result<(), Refusal> {
        let refused = || unauthorised("HMAC signature cannot be verified");
        let field = |name: &str| {
            let mut fields = seen.query.split('&').filter_map(|field| field.split_once('='));
            fields.find(|(known, _)| *known == name).map(|(_, value)| form_decoded(value))
        };
        let host = seen.header("host").unwrap_or_default();
        let shown = field("authorization").and_then(|shown| STANDARD.decode(shown).ok());
        let shown = String::from_utf8(shown.unwrap_or_default()).unwrap_or_default();
        let key = shown.strip_prefix("api_key=\"").and_then(|rest| rest.split_once('"')).map(|(key, _)| key);
        let date =
            field("date").and_then(|date| httpdate::parse_http_date(&date).ok()).ok_or_else(refused)?;
        let age = seen.now.duration_since(date).unwrap_or_default();
        if age.as_secs() > 300 || field("host").as_deref() != Some(host) {
            return Err(Refusal { status: 403, ..refused() });
        }
        let uri: Uri = format!("http://{host}{}", seen.path).parse().map_err(|_| refused())?;
        let credential = format!("{APP}|{SECRET}|{}", key.unwrap_or_default());
        let wanted =
            Scheme::SparkUrl.sign(&credential, &Unsigned { uri: &uri, body: b"{}", region: None }, date);
        match wanted.ok().and_then(|wanted| wanted.query) {
            Some(wanted) if wanted == seen.query => Ok(()),
            _ => Err(refused()),
        }
    }

    /// An error as a frame.
    pub fn refusal(refusal: &Refusal) -> Bytes {
        let code = match refusal.status {
            400 => 10005,
            403 => 10016,
            429 => 10007,
            503 => 10008,
            _ => 10012,
        };
        json!({"header": {"code": code, "message": refusal.message, "sid": "mock", "status": 2}})
            .to_string()
            .into()
    }

    /// Answers a message.
    ///
    /// # Errors
    /// A [`Refusal`] where the provider would refuse it.
    pub fn reply(&self, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        let request = REQUEST.read(ask.body).map_err(wrong)?;
        if request["header"]["app_id"] != APP {
            return Err(wrong("the application is not the key's"));
        }
        let prompt = prompt(&request);
        let words = prompt.words;
        let speech = prompt.speech(ask);
        let tokens = speech.tokens();
        let mut said: Vec<_> =
            speech.pieces().into_iter().map(|piece| (json!({"content": piece}), 1)).collect();
        // One at a time.
        said.extend(speech.calls.iter().take(1).map(|(name, arguments)| {
            (json!({"content": "", "function_call": {"name": name, "arguments": arguments}}), tokens)
        }));
        let last = said.len();
        said.push((json!({"content": ""}), 0));
        let mut parts = Vec::new();
        for (n, (mut text, count)) in said.into_iter().enumerate() {
            let status = if n == last { 2 } else { u8::from(n > 0) };
            text["role"] = "assistant".into();
            text["index"] = 0.into();
            let mut frame = json!({
                "header": {"code": 0, "message": "Success", "sid": format!("mock-{:016x}", ask.serial), "status": status},
                "payload": {"choices": {"status": status, "seq": n, "text": [text]}},
            });
            if n == last && !ask.settings.no_usage {
                frame["payload"]["usage"]["text"] = json!({"question_tokens": 1, "prompt_tokens": words,
                    "completion_tokens": tokens, "total_tokens": words + u64::from(tokens)});
            }
            if n < last || !ask.settings.no_done {
                parts.push(Part::Frame(frame.to_string().into(), count));
            }
        }
        Ok(Answer { prompt_tokens: words, said: Said::Stream(parts) })
    }
}

impl Foreign for Spark {
    /// Without a websocket there is nothing.
    fn answer(&self, seen: &Seen<'_>, _ask: &Ask<'_>) -> Result<Answer, Refusal> {
        Err(Refusal::no_route(seen.method, seen.path))
    }

    /// What a refused opening says.
    fn error(&self, refusal: &Refusal) -> Bytes {
        json!({"message": refusal.message}).to_string().into()
    }
}

fn prompt(request: &Value) -> Prompt {
    let most = request["parameter"]["chat"]["max_tokens"].as_u64().map(|n| n as u32);
    let mut prompt = Prompt { most, ..Prompt::default() };
    for turn in request["payload"]["message"]["text"].as_array().into_iter().flatten() {
        prompt.add(turn["role"].as_str().unwrap_or_default(), turn["content"].as_str().unwrap_or_default());
    }
    for function in request["payload"]["functions"]["text"].as_array().into_iter().flatten() {
        let name = function["name"].as_str().unwrap_or_default();
        prompt.tools.push((name.to_owned(), function["parameters"].to_string()));
    }
    prompt
}

/// Reads a value as forms write it.
fn form_decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let digits = std::str::from_utf8(&digits).unwrap_or_default();
                out.push(u8::from_str_radix(digits, 16).unwrap_or(b'?'));
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
