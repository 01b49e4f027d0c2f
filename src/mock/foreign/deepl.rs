//! DeepL: translations, which are echoes here.

use bytes::Bytes;
use serde_json::json;

use super::{Foreign, Prompt, Refusal, Seen, wrong};
use crate::mock::{
    answer::{Answer, Ask, Said},
    shape::{May, Must, Shape},
};

const REQUEST: Shape = Shape::Object(&[
    ("text", Shape::Some(&Shape::Filled), Must),
    ("target_lang", Shape::Filled, Must),
    ("source_lang", Shape::Filled, May),
    ("context", Shape::Text, May),
    ("formality", Shape::OneOf(&["default", "more", "less", "prefer_more", "prefer_less"]), May),
    ("glossary_id", Shape::Filled, May),
    ("model_type", Shape::Filled, May),
    ("split_sentences", Shape::OneOf(&["0", "1", "nonewlines"]), May),
    ("preserve_formatting", Shape::Bool, May),
    ("tag_handling", Shape::OneOf(&["xml", "html"]), May),
    ("show_billed_characters", Shape::Bool, May),
]);

/// Some of the languages that can be wanted.
const TARGETS: [&str; 10] = ["BG", "DE", "EN", "EN-GB", "EN-US", "FR", "JA", "PT-BR", "ZH", "ZH-HANS"];

/// The provider.
pub struct DeepL;

impl Foreign for DeepL {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        let refused = || Refusal { status: 403, ..wrong("Forbidden") };
        let key = seen.shown("DeepL-Auth-Key").ok_or_else(refused)?;
        if key.contains("wrong") {
            return Err(refused());
        }
        let request = REQUEST.read(ask.body).map_err(wrong)?;
        let target = request["target_lang"].as_str().unwrap_or_default();
        if !TARGETS.contains(&target) {
            return Err(wrong("Value for 'target_lang' not supported."));
        }
        let (mut translations, mut words, mut tokens) = (Vec::new(), 0, 0);
        for text in request["text"].as_array().into_iter().flatten() {
            let mut prompt = Prompt::default();
            prompt.add("user", text.as_str().unwrap_or_default());
            words += prompt.words;
            let speech = prompt.speech(ask);
            tokens += speech.tokens();
            translations.push(json!({"detected_source_language": "EN", "text": speech.text()}));
        }
        let body = json!({"translations": translations}).to_string();
        Ok(Answer { prompt_tokens: words, said: Said::Whole(body.into(), tokens) })
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        json!({"message": refusal.message}).to_string().into()
    }
}
