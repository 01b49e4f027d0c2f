//! Embeddings for OpenAI's clients: `.../wenxinworkshop/embeddings/{endpoint}`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::trouble;
use crate::dialect::{
    count::Count,
    fields::ParamError,
    said,
    tree::{object, texts},
    upstream::ReadError,
};

/// How the client wants its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As numbers.
    Floats,
    /// As base64 of floats of 32 bits, the least byte first.
    Base64,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    input: Input,
    encoding_format: Option<String>,
    dimensions: Option<serde::de::IgnoredAny>,
    user: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
    /// Tokens.
    #[default]
    Other,
}

/// Reads a request of OpenAI's, and writes it.
///
/// # Errors
/// [`ParamError`] that names what this API cannot do.
pub fn request(body: &[u8]) -> Result<(Bytes, Encoding), ParamError> {
    let asked: Asked = serde_json::from_slice(body)
        .map_err(|_| ParamError::unsupported("input", "must be a text or texts for this model's provider"))?;
    if asked.dimensions.is_some() {
        return Err(ParamError::unsupported("dimensions", "is not supported by this model's provider"));
    }
    let encoding = match asked.encoding_format.as_deref() {
        None | Some("float") => Encoding::Floats,
        Some("base64") => Encoding::Base64,
        Some(_) => return Err(ParamError::value("encoding_format", "must be 'float' or 'base64'")),
    };
    let input = match asked.input {
        Input::One(text) => vec![text],
        Input::Many(all) => all,
        Input::Other => {
            let why = "must be a text or texts for this model's provider";
            return Err(ParamError::unsupported("input", why));
        }
    };
    let body = object([("input", texts(&input)), ("user_id", asked.user.into())]);
    Ok((body.to_bytes(), encoding))
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Option<Vec<Item<'a>>>,
    usage: Option<Counted>,
    error_code: Option<i64>,
    error_msg: Option<String>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    embedding: &'a RawValue,
    #[serde(default)]
    index: u64,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Counted {
    prompt_tokens: Count,
}

#[derive(Serialize)]
struct Told<'a> {
    object: &'static str,
    data: Vec<ToldItem<'a>>,
    model: &'a str,
    usage: ToldUsage,
}

#[derive(Serialize)]
struct ToldItem<'a> {
    object: &'static str,
    index: u64,
    embedding: Numbers<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Numbers<'a> {
    Floats(&'a RawValue),
    Base64(String),
}

#[derive(Serialize)]
struct ToldUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// Reads an answer, and writes it as OpenAI's for a client that asked for `model`; what it consumed, where that is
/// told.
///
/// # Errors
/// [`ReadError`] where it is an error, or none.
pub fn answer(body: &[u8], encoding: Encoding, model: &str) -> Result<(Bytes, Option<Usage>), ReadError> {
    let garbage = |why: &dyn std::fmt::Display| {
        ReadError::garbage(format!("the answer is not one of Wenxin's embeddings: {why}"))
    };
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|error| garbage(&error))?;
    if let Some(code) = answer.error_code.filter(|code| *code != 0) {
        return Err(said::failed(trouble(code), code.to_string(), answer.error_msg.unwrap_or_default()));
    }
    let mut data = Vec::new();
    for Item { embedding, index } in answer.data.ok_or_else(|| garbage(&"it has no data"))? {
        let embedding = match encoding {
            Encoding::Floats => Numbers::Floats(embedding),
            Encoding::Base64 => {
                let all: Vec<f32> = serde_json::from_str(embedding.get()).map_err(|error| garbage(&error))?;
                Numbers::Base64(
                    STANDARD.encode(all.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<_>>()),
                )
            }
        };
        data.push(ToldItem { object: "embedding", index, embedding });
    }
    let input = answer.usage.map(|usage| usage.prompt_tokens.get());
    let tokens = input.unwrap_or(0);
    let usage = ToldUsage { prompt_tokens: tokens, total_tokens: tokens };
    let told = Told { object: "list", data, model, usage };
    let written = serde_json::to_vec(&told).map_err(|error| garbage(&error))?;
    Ok((written.into(), input.map(|input| Usage { input, ..Usage::default() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_asked_for_and_answered_as_openai_does() {
        let (body, encoding) = request(br#"{"model":"m","input":"a","user":"u"}"#).expect("it can be said");
        assert_eq!((&body[..], encoding), (&br#"{"input":["a"],"user_id":"u"}"#[..], Encoding::Floats));
        let body = br#"{"id":"as","object":"embedding_list","created":1,"data":[{"object":"embedding",
            "embedding":[0.50,-1],"index":0}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#;
        for (encoding, numbers) in [(Encoding::Floats, "[0.50,-1]"), (Encoding::Base64, "\"AAAAPwAAgL8=\"")] {
            let (written, usage) = answer(body, encoding, "ours").expect("an answer");
            let wanted = format!(
                r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":{numbers}}}],"model":"ours","usage":{{"prompt_tokens":4,"total_tokens":4}}}}"#
            );
            assert_eq!(String::from_utf8_lossy(&written), wanted);
            assert_eq!(usage, Some(Usage { input: 4, ..Usage::default() }));
        }
    }

    #[test]
    fn what_cannot_be_done_is_named_and_errors_are_told() {
        for (body, param) in [
            (r#"{"input":[1,2]}"#, "input"),
            (r#"{"input":["a"],"dimensions":9}"#, "dimensions"),
            (r#"{"input":["a"],"encoding_format":"int8"}"#, "encoding_format"),
            ("{}", "input"),
        ] {
            assert_eq!(request(body.as_bytes()).expect_err(body).param, param);
        }
        let refused = answer(br#"{"error_code":18,"error_msg":"slow"}"#, Encoding::Floats, "m");
        assert!(matches!(refused, Err(ReadError::Failed(f)) if f.status == 429));
        for garbage in ["", "{}", r#"{"data":[{}]}"#] {
            assert!(matches!(answer(garbage.as_bytes(), Encoding::Floats, "m"), Err(ReadError::Garbage(_))));
        }
        let broken = br#"{"data":[{"embedding":["x"]}]}"#;
        assert!(answer(broken, Encoding::Base64, "m").is_err());
    }
}
