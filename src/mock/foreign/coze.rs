//! Coze: bots, always streamed. Refusals stand in a good status, but for a token that is wrong.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, Seen, unauthorised, wrong};
use crate::mock::{
    answer::{Answer, Ask, Said},
    body::Part,
    shape::{May, Must, Shape},
};

const MESSAGE: Shape = Shape::Object(&[
    ("role", Shape::OneOf(&["user", "assistant"]), Must),
    ("type", Shape::OneOf(&["question", "answer"]), Must),
    ("content", Shape::Filled, Must),
    ("content_type", Shape::OneOf(&["text", "object_string"]), Must),
    ("meta_data", Shape::Map, May),
]);
const ITEMS: Shape = Shape::Some(&Shape::Object(&[
    ("type", Shape::OneOf(&["text", "image", "file", "audio"]), Must),
    ("text", Shape::Text, May),
    ("file_url", Shape::Filled, May),
]));
const REQUEST: Shape = Shape::Object(&[
    ("bot_id", Shape::Filled, Must),
    ("user_id", Shape::Filled, Must),
    ("additional_messages", Shape::Some(&MESSAGE), Must),
    ("stream", Shape::Bool, Must),
    ("auto_save_history", Shape::Bool, May),
    ("custom_variables", Shape::Map, May),
    ("meta_data", Shape::Map, May),
    ("parameters", Shape::Map, May),
    ("enable_card", Shape::Bool, May),
]);

/// The provider.
pub struct Coze;

impl Foreign for Coze {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        seen.shown("Bearer").ok_or_else(|| unauthorised("authentication is invalid"))?;
        let request = REQUEST.read(ask.body).map_err(wrong)?;
        if !request["bot_id"].as_str().is_some_and(|id| id.bytes().all(|b| b.is_ascii_digit())) {
            return Err(wrong("bot_id must be a number"));
        }
        if request["stream"] != true {
            return Err(wrong("the mock streams alone"));
        }
        let mut prompt = Prompt::default();
        for message in request["additional_messages"].as_array().into_iter().flatten() {
            prompt.add(message["role"].as_str().unwrap_or_default(), &text_of(message)?);
        }
        let words = prompt.words;
        let speech = prompt.speech(ask);
        let (id, tokens) = (format!("{}", 7_000_000_000_000_000_u64 + ask.serial), speech.tokens());
        let frame = |event: &str, data: Value, tokens| {
            Part::Frame(format!("event:{event}\ndata:{data}\n\n").into(), tokens)
        };
        let chat = |status: &str| {
            json!({"id": id, "conversation_id": "1", "bot_id": request["bot_id"], "created_at": ask.now,
                "last_error": {"code": 0, "msg": ""}, "status": status})
        };
        let message = |kind: &str, content: &str| {
            json!({"id": "2", "conversation_id": "1", "role": "assistant", "type": kind, "content": content,
                "content_type": "text", "chat_id": id})
        };
        let mut parts = vec![
            frame("conversation.chat.created", chat("created"), 0),
            frame("conversation.chat.in_progress", chat("in_progress"), 0),
        ];
        for piece in speech.pieces() {
            parts.push(frame("conversation.message.delta", message("answer", &piece), 1));
        }
        parts.push(frame("conversation.message.completed", message("answer", &speech.text()), 0));
        let verbose = json!({"msg_type": "generate_answer_finish", "data": ""}).to_string();
        parts.push(frame("conversation.message.completed", message("verbose", &verbose), 0));
        if !ask.settings.no_done {
            let mut end = chat("completed");
            if !ask.settings.no_usage {
                end["usage"] = json!({"token_count": words + u64::from(tokens), "output_count": tokens,
                    "input_count": words});
            }
            parts.push(frame("conversation.chat.completed", end, 0));
            parts.push(frame("done", Value::from("[DONE]"), 0));
        }
        Ok(Answer { prompt_tokens: words, said: Said::Stream(parts) })
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        let code = match refusal.status {
            400 => 4000,
            401 => 4100,
            403 => 4101,
            404 => 4200,
            429 => 4020,
            503 => 4009,
            _ => 5000,
        };
        json!({"code": code, "msg": refusal.message, "detail": {"logid": "mock"}}).to_string().into()
    }

    fn error_event(&self, refusal: &Refusal) -> Bytes {
        let data = self.error(refusal);
        format!("event:error\ndata:{}\n\n", String::from_utf8_lossy(&data)).into()
    }
}

/// The text of a message, which may be a list that is written as a text.
fn text_of(message: &Value) -> Result<String, Refusal> {
    let content = message["content"].as_str().unwrap_or_default();
    if message["content_type"] == "text" {
        return Ok(content.to_owned());
    }
    let items = ITEMS.read(content.as_bytes()).map_err(wrong)?;
    let texts = items.as_array().into_iter().flatten().filter_map(|item| item["text"].as_str());
    Ok(texts.collect::<Vec<_>>().join("\n"))
}
