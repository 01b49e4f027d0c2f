//! AI Proxy's library: `POST /api/library/ask`.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, Seen, unauthorised, wrong};
use crate::mock::{
    answer::{Answer, Ask, Said},
    body::Part,
    shape::{May, Must, Shape},
};

const REQUEST: Shape = Shape::Object(&[
    ("model", Shape::Filled, Must),
    ("query", Shape::Filled, Must),
    ("libraryId", Shape::Filled, Must),
    ("stream", Shape::Bool, May),
]);

/// The provider.
pub struct Library;

impl Foreign for Library {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        seen.shown("Bearer").ok_or_else(|| unauthorised("the key is not valid"))?;
        let request = REQUEST.read(ask.body).map_err(wrong)?;
        let mut prompt = Prompt::default();
        let query = request["query"].as_str().unwrap_or_default();
        prompt.add("user", query);
        let words = prompt.words;
        let speech = prompt.speech(ask);
        // The library has documents on documents.
        let documents = match query.contains("documents") {
            true => json!([{"title": "On [documents]", "url": "https://example.com/1"},
                {"title": "", "url": "https://example.com/2"}]),
            false => json!([]),
        };
        if request["stream"] != true {
            let body =
                json!({"success": true, "answer": speech.text(), "documents": documents, "errCode": 0});
            let said = Said::Whole(body.to_string().into(), speech.tokens());
            return Ok(Answer { prompt_tokens: words, said });
        }
        let frame = |content: &str, documents: &Value, finish: bool, tokens| {
            let event = json!({"content": content, "finish": finish, "model": request["model"], "documents": documents});
            Part::Frame(format!("data: {event}\n\n").into(), tokens)
        };
        let none = json!([]);
        let mut parts: Vec<_> =
            speech.pieces().iter().map(|piece| frame(piece, &documents, false, 1)).collect();
        if !ask.settings.no_done {
            parts.push(frame("", &none, true, 0));
        }
        Ok(Answer { prompt_tokens: words, said: Said::Stream(parts) })
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        json!({"success": false, "errCode": refusal.status, "message": refusal.message}).to_string().into()
    }

    fn error_event(&self, refusal: &Refusal) -> Bytes {
        [b"data: ", &self.error(refusal)[..], b"\n\n"].concat().into()
    }
}
