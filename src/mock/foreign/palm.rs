//! Google's PaLM 2: `models/{model}:generateMessage`, which streams nothing and counts nothing.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, Seen, unauthorised, wrong};
use crate::{
    dialect::Dialect,
    mock::{
        answer::{Answer, Ask, Said},
        shape::{May, Must, Shape},
    },
};

const MESSAGE: Shape =
    Shape::Object(&[("author", Shape::OneOf(&["0", "1"]), Must), ("content", Shape::Filled, Must)]);
const EXAMPLE: Shape = Shape::Object(&[("input", MESSAGE, Must), ("output", MESSAGE, Must)]);
const REQUEST: Shape = Shape::Object(&[
    (
        "prompt",
        Shape::Object(&[
            ("context", Shape::Filled, May),
            ("examples", Shape::List(&EXAMPLE), May),
            ("messages", Shape::Some(&MESSAGE), Must),
        ]),
        Must,
    ),
    ("temperature", Shape::Number(0.0, 1.0), May),
    ("candidateCount", Shape::Whole(1), May),
    ("topP", Shape::Number(0.0, 1.0), May),
    ("topK", Shape::Whole(1), May),
]);

/// The provider.
pub struct Palm;

impl Foreign for Palm {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        let shown = seen.header("x-goog-api-key").filter(|key| !key.trim().is_empty());
        shown.ok_or_else(|| unauthorised("API key not valid. Please pass a valid API key."))?;
        let request = REQUEST.read(ask.body).map_err(wrong)?;
        let prompt = prompt(&request)?;
        let words = prompt.words;
        let speech = prompt.speech(ask);
        let body = json!({
            "candidates": [{"author": "1", "content": speech.text()}],
            "messages": request["prompt"]["messages"],
        });
        let said = Said::Whole(body.to_string().into(), speech.tokens());
        Ok(Answer { prompt_tokens: words, said })
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        refusal.body(Dialect::Gemini, "")
    }
}

fn prompt(request: &Value) -> Result<Prompt, Refusal> {
    let mut prompt = Prompt::default();
    let messages = request["prompt"]["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    if messages.windows(2).any(|pair| pair[0]["author"] == pair[1]["author"]) {
        return Err(wrong("Turns must alternate between two authors."));
    }
    for message in messages {
        let role = if message["author"] == "0" { "user" } else { "assistant" };
        prompt.add(role, message["content"].as_str().unwrap_or_default());
    }
    Ok(prompt)
}
