//! Dify: chats and text generators, streamed and whole.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, Seen, unauthorised, wrong};
use crate::mock::{
    answer::{Answer, Ask, Said},
    body::Part,
    shape::{May, Must, Shape},
};

const FILE: Shape = Shape::Object(&[
    ("type", Shape::OneOf(&["image", "document", "audio", "video", "custom"]), Must),
    ("transfer_method", Shape::OneOf(&["remote_url"]), Must),
    ("url", Shape::Filled, Must),
]);
const REQUEST: Shape = Shape::Object(&[
    ("inputs", Shape::Map, Must),
    ("query", Shape::Text, May),
    ("response_mode", Shape::OneOf(&["streaming", "blocking"]), Must),
    ("user", Shape::Filled, Must),
    ("conversation_id", Shape::Text, May),
    ("files", Shape::Some(&FILE), May),
    ("auto_generate_name", Shape::Bool, May),
]);

/// An application of this path.
pub struct Dify {
    /// Whether its text is an input, and no query.
    pub generates: bool,
}

impl Foreign for Dify {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        seen.shown("Bearer").ok_or_else(|| unauthorised("Access token is invalid"))?;
        let request = REQUEST.read(ask.body).map_err(wrong)?;
        let query = if self.generates { &request["inputs"]["query"] } else { &request["query"] };
        let query = query.as_str().filter(|query| !query.is_empty());
        let prompt = prompt(query.ok_or_else(|| wrong("query is required in input form"))?);
        let words = prompt.words;
        let speech = prompt.speech(ask);
        let (id, tokens) = (format!("mock-{:016x}", ask.serial), speech.tokens());
        let metadata = match ask.settings.no_usage {
            true => json!({}),
            false => json!({"usage": {"prompt_tokens": words, "completion_tokens": tokens,
                "total_tokens": words + u64::from(tokens), "total_price": "0.0001", "currency": "USD"}}),
        };
        if request["response_mode"] == "blocking" {
            let body = json!({"event": "message", "task_id": id, "id": id, "message_id": id, "mode": "chat",
                "answer": speech.text(), "metadata": metadata, "created_at": ask.now});
            return Ok(Answer { prompt_tokens: words, said: Said::Whole(body.to_string().into(), tokens) });
        }
        let frame = |data: Value, tokens| Part::Frame(format!("data: {data}\n\n").into(), tokens);
        let step = |event: &str, data: Value| json!({"event": event, "task_id": id, "workflow_run_id": id, "data": data});
        let mut parts = vec![
            Part::Frame(Bytes::from_static(b"event: ping\n\n"), 0),
            frame(step("workflow_started", json!({"id": id})), 0),
        ];
        for piece in speech.pieces() {
            let said = json!({"event": "message", "task_id": id, "message_id": id, "conversation_id": "c",
                "answer": piece, "created_at": ask.now});
            parts.push(frame(said, 1));
        }
        parts.push(frame(step("workflow_finished", json!({"id": id, "status": "succeeded"})), 0));
        if !ask.settings.no_done {
            let end = json!({"event": "message_end", "task_id": id, "id": id, "message_id": id, "metadata": metadata});
            parts.push(frame(end, 0));
        }
        Ok(Answer { prompt_tokens: words, said: Said::Stream(parts) })
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        let code = match refusal.status {
            400 => "invalid_param",
            401 => "unauthorized",
            403 => "forbidden",
            404 => "not_found",
            429 => "too_many_requests",
            _ => "internal_server_error",
        };
        json!({"code": code, "message": refusal.message, "status": refusal.status}).to_string().into()
    }

    fn error_event(&self, refusal: &Refusal) -> Bytes {
        let event = json!({"event": "error", "task_id": "mock", "message_id": "mock", "status": refusal.status,
            "code": "completion_request_error", "message": refusal.message});
        format!("data: {event}\n\n").into()
    }
}

/// Reads the turns that stand in one text, as New API writes them.
fn prompt(query: &str) -> Prompt {
    let mut prompt = Prompt::default();
    prompt.add("user", query);
    if let Some((_, asked)) = query.rsplit_once("USER: \n") {
        asked.trim_end_matches('\n').clone_into(&mut prompt.asked);
    }
    prompt
}
