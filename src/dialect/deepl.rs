//! DeepL's translations: `POST /v2/translate`, never streamed.
//!
//! It knows the format as `deepl` 1.32.0 (PyPI) writes and reads it. A model's name ends with the language that is
//! wanted, as in One API: `deepl-zh`, `deepl-en-GB`; Chinese where it names none. DeepL bills characters and counts
//! no tokens, so usage is estimated.
//!
//! | field | what happens |
//! |---|---|
//! | the last text of the user | is translated |
//! | instructions, earlier turns, sampling, limits of tokens, reasoning, user, service tier | left out: no model is asked |
//! | media, tools, schemas, stops, more than one candidate, log probabilities | refused, with the parameter's name |
//! | `source_lang`, `formality`, `context`, `glossary_id` and any other unknown field | passed on |

use bytes::Bytes;
use penstock_actors::domain::Delivery;
use serde::Deserialize;

use super::{
    AnswerHead, Failure,
    fields::ParamError,
    flat, leftover,
    tree::{list, object},
    trouble::{Trouble, unexplained},
    upstream::{DeltaReader, FrameReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Delta, Part, Reply};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct DeepL;

/// The language where a model's name has none.
const USUAL: &str = "ZH";

impl Upstream for DeepL {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        leftover::only_text(conversation)?;
        let language = wanted.model.split_once('-').map_or(USUAL, |(_, language)| language);
        let mut body = object([
            ("text", list([flat::last_asked(conversation)?.into()])),
            ("target_lang", language.to_ascii_uppercase().into()),
        ]);
        leftover::pass_on(conversation, &[], &mut body)?;
        Ok(Written { headers: Vec::new(), body: body.to_bytes() })
    }

    fn delivers(&self, _wanted: Delivery) -> Delivery {
        Delivery::Whole
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(SseReader::new(NoStream, longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        let answer: Answer = serde_json::from_slice(body)
            .map_err(|error| ReadError::garbage(format!("the answer is not one of DeepL: {error}")))?;
        let text: Vec<_> = answer.translations.into_iter().map(|translation| translation.text).collect();
        match text.is_empty() {
            true => Err(ReadError::garbage("the answer has no translation")),
            false => Ok(Reply { parts: vec![Part::text(text.join("\n"))], ..Reply::default() }),
        }
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        let trouble = match head.status {
            // The key is wrong, or of the other host: free ones end with ":fx".
            403 => Trouble::BadKey,
            414 => Trouble::BadRequest,
            // The period's characters are used up.
            456 => Trouble::OutOfCredit,
            status => Trouble::of_status(status),
        };
        match serde_json::from_slice::<Refusal>(body) {
            Ok(Refusal { message, detail }) => {
                let said = [Some(message), detail].into_iter().flatten().collect::<Vec<_>>().join(": ");
                trouble.of_answer(head, None, Some(said))
            }
            Err(_) if trouble == Trouble::of_status(head.status) => unexplained(head),
            Err(_) => trouble.of_answer(head, None, None),
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    translations: Vec<Translation>,
}

#[derive(Deserialize)]
struct Translation {
    text: String,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
    detail: Option<String>,
}

/// Events are none of its answers.
struct NoStream;

impl FrameReader for NoStream {
    fn frame(&mut self, _frame: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("DeepL does not stream"))
    }

    fn end(&mut self, _tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("DeepL does not stream"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conversation::StopReason,
        dialect::checks::{self, refusal},
    };

    #[test]
    fn the_last_text_of_the_user_is_translated_into_the_language_of_the_models_name() {
        let request = r#"{"model":"m","temperature":1,"formality":"more","messages":[{"role":"system","content":"s"},
            {"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"Gr\u00fc\u00dfe"}]}"#;
        for (model, language) in [("deepl-zh", "ZH"), ("deepl-en-GB", "EN-GB"), ("deepl", "ZH")] {
            let body = checks::written(&DeepL, request, model, Delivery::Whole).expect("it can be said");
            let wanted = format!(r#"{{"text":["Grüße"],"target_lang":"{language}","formality":"more"}}"#);
            assert_eq!(body, wanted);
        }
        for (messages, param) in [
            (r#"[{"role":"system","content":"s"}]"#, "messages"),
            (r#"[{"role":"user","content":" "}]"#, "messages"),
            (
                r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x"}}]}]"#,
                "messages[0].content",
            ),
        ] {
            let request = format!(r#"{{"model":"m","messages":{messages}}}"#);
            let refused = checks::written(&DeepL, &request, "deepl-zh", Delivery::Whole);
            assert_eq!(refused, Err(param.to_owned()), "{messages}");
        }
    }

    #[test]
    fn an_answer_is_its_translations_and_counts_nothing() {
        let body =
            br#"{"translations":[{"detected_source_language":"EN","text":"\u4f60\u597d"},{"text":"b"}]}"#;
        let reply = DeepL.read_whole(body).expect("an answer");
        assert_eq!(reply.parts, [Part::text("\u{4f60}\u{597d}\nb")]);
        assert_eq!(reply.stop, StopReason::End);
        assert!(!reply.into_deltas().iter().any(|delta| matches!(delta, Delta::Usage(_))));
        for garbage in ["", "{}", "[]", r#"{"translations":[]}"#, r#"{"message":"no"}"#] {
            assert!(matches!(DeepL.read_whole(garbage.as_bytes()), Err(ReadError::Garbage(_))), "{garbage}");
        }
    }

    #[test]
    fn refusals_are_told_by_status() {
        for (status, wanted) in
            [(400, 400), (403, 401), (404, 404), (413, 413), (429, 429), (456, 402), (503, 503)]
        {
            let refused = refusal(&DeepL, status, r#"{"message":"no","detail":"why"}"#);
            assert_eq!((refused.status, refused.message.as_str()), (wanted, "no: why"), "{status}");
            assert_eq!(refusal(&DeepL, status, "").status, wanted, "{status}");
        }
        assert_eq!(refusal(&DeepL, 529, "<html>").status, 529);
    }
}
