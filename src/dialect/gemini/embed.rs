//! Gemini's `embedContent` and `batchEmbedContents` as OpenAI's embeddings, and the answer back.

use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::parse;
use crate::dialect::{
    ReadError,
    fields::{Fields, ParamError},
    openai,
};

/// Whether several texts were sent, each of which has an embedding of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    /// One.
    One,
    /// Several.
    Several,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    input: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u64>,
}

/// Writes OpenAI's request for one of Gemini's. What an embedding is for (`taskType`, `title`) is a hint there.
///
/// # Errors
/// [`ParamError`] that names the first parameter that is wrong, or that is no text.
pub fn openai_request(body: &[u8], model: &str) -> Result<(Bytes, Texts), ParamError> {
    let mut top = Fields::of_body(body)?;
    let requests = parse::list(&mut top, "requests")?;
    let (mut input, mut dimensions) = (Vec::new(), None);
    let texts = if requests.is_empty() { Texts::One } else { Texts::Several };
    if texts == Texts::One {
        one(&mut top, &mut input, &mut dimensions)?;
    }
    for (path, raw) in requests {
        one(&mut Fields::of(path, raw)?, &mut input, &mut dimensions)?;
    }
    let request = Request { model, input, dimensions };
    Ok((serde_json::to_vec(&request).expect("plain texts and numbers").into(), texts))
}

fn one(
    fields: &mut Fields<'_>,
    input: &mut Vec<String>,
    dimensions: &mut Option<u64>,
) -> Result<(), ParamError> {
    let path = fields.path("content");
    let mut content = parse::object(fields, "content")?.ok_or_else(|| ParamError::missing(&path))?;
    let mut text = String::new();
    for (path, raw) in parse::list(&mut content, "parts")? {
        let mut part = Fields::of(path.clone(), raw)?;
        let why = "must hold a text: this model's provider embeds nothing else";
        text.push_str(&part.text("text")?.ok_or_else(|| ParamError::unsupported(path, why))?);
    }
    input.push(text);
    *dimensions = parse::take(fields, "outputDimensionality", "a whole number")?.or(*dimensions);
    Ok(())
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Vec<Embedding<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Embedding<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
}

#[derive(Serialize)]
struct Values<'a> {
    values: &'a RawValue,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Embedded<'a> {
    One { embedding: Values<'a> },
    Several { embeddings: Vec<Values<'a>> },
}

/// Writes Gemini's answer for one of OpenAI's, and what it consumed; the numbers stay as they were written.
///
/// # Errors
/// [`ReadError`] where it is no such answer.
pub fn gemini_answer(body: &[u8], texts: Texts) -> Result<(Bytes, Usage), ReadError> {
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|error| ReadError::garbage(format!("the answer holds no embeddings: {error}")))?;
    let usage = answer.usage.and_then(|raw| openai::usage(raw.get().as_bytes())).unwrap_or_default();
    let mut all = answer.data.iter().map(|one| Values { values: one.embedding });
    let embedded = match texts {
        Texts::Several => Embedded::Several { embeddings: all.collect() },
        Texts::One => {
            let embedding = all.next().ok_or_else(|| ReadError::garbage("the answer holds no embedding"))?;
            Embedded::One { embedding }
        }
    };
    Ok((serde_json::to_vec(&embedded).expect("plain JSON").into(), usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_and_several_are_asked_for_and_answered() {
        let (asked, texts) = openai_request(
            br#"{"model":"models/x","content":{"parts":[{"text":"a"},{"text":"b"}]},"outputDimensionality":3,"taskType":"RETRIEVAL_QUERY"}"#,
            "up",
        )
        .expect("valid");
        assert_eq!(asked, &br#"{"model":"up","input":["ab"],"dimensions":3}"#[..]);
        let body = br#"{"data":[{"embedding":[0.10,1e-3]},{"embedding":[2]}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#;
        let (answer, usage) = gemini_answer(body, texts).expect("an answer");
        assert_eq!(answer, &br#"{"embedding":{"values":[0.10,1e-3]}}"#[..]);
        assert_eq!(usage.input, 4);
        let (asked, texts) = openai_request(
            br#"{"requests":[{"content":{"parts":[{"text":"a"}]}},{"content":{"parts":[{"text":"b"}]}}]}"#,
            "up",
        )
        .expect("valid");
        assert_eq!(asked, &br#"{"model":"up","input":["a","b"]}"#[..]);
        let (answer, _) = gemini_answer(body, texts).expect("an answer");
        assert_eq!(answer, &br#"{"embeddings":[{"values":[0.10,1e-3]},{"values":[2]}]}"#[..]);
    }

    #[test]
    fn what_is_no_text_is_refused_by_its_place() {
        for (body, param) in [
            ("{}", "content"),
            (r#"{"content":{"parts":[{"inlineData":{}}]}}"#, "content.parts[0]"),
            (r#"{"requests":[{}]}"#, "requests[0].content"),
        ] {
            assert_eq!(openai_request(body.as_bytes(), "m").expect_err(body).param, param, "{body}");
        }
        assert!(gemini_answer(b"{}", Texts::One).is_err());
        assert!(gemini_answer(br#"{"data":[]}"#, Texts::One).is_err());
    }
}
