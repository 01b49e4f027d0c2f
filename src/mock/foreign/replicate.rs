//! Replicate: predictions, asked for again and streamed at addresses of their own.
//!
//! Nothing is kept between requests: what was asked stands in a prediction's id. One that is asked to speak slowly is
//! not finished when it is made.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, Seen, Speech, unauthorised, wrong};
use crate::mock::{
    answer::{Answer, Ask, Said},
    body::Part,
    shape::{May, Must, Shape},
};

const REQUEST: Shape = Shape::Object(&[
    (
        "input",
        Shape::Object(&[
            ("prompt", Shape::Filled, Must),
            ("system_prompt", Shape::Text, May),
            ("max_tokens", Shape::Whole(1), May),
            ("temperature", Shape::Number(0.0, 5.0), May),
            ("top_p", Shape::Number(0.0, 1.0), May),
            ("top_k", Shape::Whole(0), May),
            ("presence_penalty", Shape::Number(-2.0, 2.0), May),
            ("frequency_penalty", Shape::Number(-2.0, 2.0), May),
            ("seed", Shape::Whole(0), May),
            ("stop_sequences", Shape::Filled, May),
        ]),
        Must,
    ),
    ("stream", Shape::Bool, May),
    ("webhook", Shape::Filled, May),
]);

/// The provider.
pub struct Replicate;

impl Foreign for Replicate {
    fn takes(&self, method: &str) -> bool {
        matches!(method, "POST" | "GET")
    }

    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        seen.shown("Bearer").ok_or_else(|| unauthorised("You did not pass a valid authentication token"))?;
        let no_such = || Refusal { status: 404, ..wrong("The requested resource could not be found.") };
        let asked = |id: &str| Asked::of_id(id).ok_or_else(no_such);
        match (seen.method, seen.path.strip_prefix("/v1/").unwrap_or_default()) {
            ("POST", path) if path.starts_with("models/") => {
                if path.matches('/').count() != 3 {
                    return Err(no_such());
                }
                let request =
                    REQUEST.read(ask.body).map_err(|said| Refusal { status: 422, ..wrong(said) })?;
                let input = &request["input"];
                let prompt = input["prompt"].as_str().unwrap_or_default().to_owned();
                let most = input["max_tokens"].as_u64();
                let unfinished = request["stream"] == true || prompt.contains("slowly");
                let waits = seen.header("prefer").is_some_and(|prefer| prefer.starts_with("wait"));
                let left = u64::from(unfinished || !waits);
                Ok(Asked { prompt, most, left }.prediction(seen, ask))
            }
            ("GET", path) => match path.split_once('/') {
                Some(("predictions", id)) => {
                    let asked = asked(id)?;
                    Ok(Asked { left: asked.left.saturating_sub(1), ..asked }.prediction(seen, ask))
                }
                Some(("streams", id)) => Ok(asked(id)?.stream(ask)),
                _ => Err(no_such()),
            },
            ("POST", path) => {
                let id = path.strip_prefix("predictions/").and_then(|rest| rest.strip_suffix("/cancel"));
                let asked = asked(id.unwrap_or_default())?;
                let body = json!({"id": asked.id(), "status": "canceled"}).to_string();
                Ok(Answer::plain(body, 0))
            }
            _ => Err(no_such()),
        }
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        json!({"title": "Refused", "detail": refusal.message, "status": refusal.status}).to_string().into()
    }

    fn error_event(&self, refusal: &Refusal) -> Bytes {
        format!("event: error\nid: 1:0\ndata: {}\n\n", json!({"detail": refusal.message})).into()
    }
}

/// What was asked, and how often more before it is finished.
struct Asked {
    prompt: String,
    most: Option<u64>,
    left: u64,
}

impl Asked {
    fn id(&self) -> String {
        let said = json!({"prompt": self.prompt, "most": self.most, "left": self.left}).to_string();
        said.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    fn of_id(id: &str) -> Option<Self> {
        let pairs = id.as_bytes().chunks(2);
        let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let said: Value = serde_json::from_slice(&bytes.collect::<Option<Vec<_>>>()?).ok()?;
        let (prompt, left) = (said["prompt"].as_str()?.to_owned(), said["left"].as_u64()?);
        Some(Self { prompt, most: said["most"].as_u64(), left })
    }

    /// What the model says, to a prompt of so many words.
    fn speech(&self, ask: &Ask<'_>) -> (Speech, u64) {
        let mut prompt = Prompt { most: self.most.map(|most| most as u32), ..Prompt::default() };
        prompt.add("user", &self.prompt);
        if let Some((_, asked)) = self.prompt.rsplit_once("user: ") {
            asked.trim_end_matches('\n').clone_into(&mut prompt.asked);
        }
        let words = prompt.words;
        (prompt.speech(ask), words)
    }

    fn prediction(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Answer {
        let (id, (speech, words)) = (self.id(), self.speech(ask));
        let base = format!("http://{}/v1", seen.header("host").unwrap_or_default());
        let mut body = json!({"id": id, "model": "mock", "status": "processing", "output": null, "error": null,
            "urls": {"get": format!("{base}/predictions/{id}"), "stream": format!("{base}/streams/{id}"),
                "cancel": format!("{base}/predictions/{id}/cancel")}});
        if self.left > 0 {
            return Answer { prompt_tokens: 0, said: Said::Whole(body.to_string().into(), 0) };
        }
        let tokens = speech.tokens();
        body["status"] = "succeeded".into();
        body["output"] = speech.pieces().into();
        if !ask.settings.no_usage {
            body["metrics"] =
                json!({"predict_time": 0.1, "input_token_count": words, "output_token_count": tokens});
        }
        Answer { prompt_tokens: words, said: Said::Whole(body.to_string().into(), tokens) }
    }

    fn stream(&self, ask: &Ask<'_>) -> Answer {
        let (speech, words) = self.speech(ask);
        let mut parts = Vec::new();
        for (n, piece) in speech.pieces().into_iter().enumerate() {
            let lines = piece.replace('\n', "\ndata: ");
            parts.push(Part::Frame(format!("event: output\nid: {n}:0\ndata: {lines}\n\n").into(), 1));
        }
        if !ask.settings.no_done {
            parts.push(Part::Frame(Bytes::from_static(b"event: done\nid: 9:0\ndata: {}\n\n"), 0));
        }
        Answer { prompt_tokens: words, said: Said::Stream(parts) }
    }
}
