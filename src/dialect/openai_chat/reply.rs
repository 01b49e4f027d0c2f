//! Reads a provider's whole answer: `ChatCompletion` of the official SDKs.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{messages::source, stop_reason};
use crate::{
    conversation::{Alternative, Citation, Logprob, Part, Reply, Source, ToolCall},
    dialect::{ReadError, openai},
};

#[derive(Deserialize)]
struct Completion<'a> {
    id: Option<String>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Said<'a>,
    finish_reason: Option<String>,
    #[serde(borrow)]
    logprobs: Option<&'a RawValue>,
}

/// What a message, or a stream's delta, says. Everything is raw until it is known to be what it should.
#[derive(Default, Deserialize)]
pub(super) struct Said<'a> {
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) reasoning_content: Option<&'a RawValue>,
    /// Another name for the same.
    #[serde(borrow)]
    pub(super) reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) reasoning_content_signature: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) redacted_reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) annotations: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) images: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<Vec<CallSaid<'a>>>,
}

/// A tool call, or a piece of one.
#[derive(Deserialize)]
pub(super) struct CallSaid<'a> {
    pub(super) index: Option<u64>,
    pub(super) id: Option<String>,
    #[serde(borrow)]
    pub(super) function: Option<FunctionSaid<'a>>,
}

#[derive(Deserialize)]
pub(super) struct FunctionSaid<'a> {
    pub(super) name: Option<String>,
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
}

impl Said<'_> {
    /// The texts of the content: plain, or of its parts; some providers mix thoughts in.
    pub(super) fn content(&self) -> Vec<Part> {
        let Some(raw) = self.content else { return Vec::new() };
        if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
            return vec![Part::text(text)];
        }
        let Ok(parts) = serde_json::from_str::<Vec<ContentPart>>(raw.get()) else { return Vec::new() };
        parts
            .into_iter()
            .filter_map(|part| match part.kind.as_deref() {
                Some("thinking") => {
                    let text = part.thinking.into_iter().flatten().filter_map(|inner| inner.text).collect();
                    Some(Part::Thinking { text, signature: None })
                }
                _ => part.text.map(Part::text),
            })
            .collect()
    }

    pub(super) fn thinking(&self) -> Option<String> {
        text_of(self.reasoning_content).or_else(|| text_of(self.reasoning))
    }

    pub(super) fn citations(&self) -> Vec<Citation> {
        #[derive(Deserialize)]
        struct Annotation {
            url_citation: Option<UrlCitation>,
        }
        #[derive(Deserialize)]
        struct UrlCitation {
            url: String,
            title: Option<String>,
            start_index: Option<u64>,
            end_index: Option<u64>,
        }
        let all = self.annotations.and_then(|raw| serde_json::from_str::<Vec<Annotation>>(raw.get()).ok());
        let cited = all.unwrap_or_default().into_iter().filter_map(|annotation| annotation.url_citation);
        cited
            .map(|c| Citation {
                url: c.url,
                title: c.title,
                quote: None,
                place: c.start_index.zip(c.end_index),
            })
            .collect()
    }

    /// The pictures, by media type and base64: of `images`, as gateways give them. One by its address is left out.
    pub(super) fn pictures(&self) -> Vec<(String, String)> {
        #[derive(Deserialize)]
        struct Picture {
            image_url: Option<ImageUrl>,
        }
        #[derive(Deserialize)]
        struct ImageUrl {
            url: String,
        }
        let all = self.images.and_then(|raw| serde_json::from_str::<Vec<Picture>>(raw.get()).ok());
        let urls = all.unwrap_or_default().into_iter().filter_map(|picture| picture.image_url);
        urls.filter_map(|image| match source(image.url) {
            Ok(Source::Base64 { media_type, data }) => Some((media_type, data)),
            _ => None,
        })
        .collect()
    }
}

#[derive(Deserialize)]
struct ContentPart {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
    thinking: Option<Vec<InnerPart>>,
}

#[derive(Deserialize)]
struct InnerPart {
    text: Option<String>,
}

/// The text that a field holds, if it is one and says something.
pub(super) fn text_of(field: Option<&RawValue>) -> Option<String> {
    serde_json::from_str::<String>(field?.get()).ok().filter(|text| !text.is_empty())
}

/// Arguments as text: a string, or what careless providers give, the object itself.
pub(super) fn arguments_of(field: Option<&RawValue>) -> String {
    match field {
        Some(raw) if raw.get().starts_with('{') => raw.get().to_owned(),
        field => text_of(field).unwrap_or_default(),
    }
}

/// The likelihoods of a choice.
pub(super) fn logprobs_of(field: Option<&RawValue>) -> Vec<Logprob> {
    #[derive(Deserialize)]
    struct Logprobs {
        content: Option<Vec<Token>>,
    }
    #[derive(Deserialize)]
    struct Token {
        token: String,
        logprob: f64,
        #[serde(default)]
        top_logprobs: Vec<Top>,
    }
    #[derive(Deserialize)]
    struct Top {
        token: String,
        logprob: f64,
    }
    let all = field.and_then(|raw| serde_json::from_str::<Logprobs>(raw.get()).ok()?.content);
    all.unwrap_or_default()
        .into_iter()
        .map(|t| Logprob {
            chosen: Alternative { token: t.token, logprob: t.logprob },
            top: t
                .top_logprobs
                .into_iter()
                .map(|t| Alternative { token: t.token, logprob: t.logprob })
                .collect(),
        })
        .collect()
}

/// Reads a whole answer.
///
/// # Errors
/// [`ReadError`] when the body is an error or no completion.
pub(super) fn read_reply(body: &[u8]) -> Result<Reply, ReadError> {
    let completion: Completion<'_> = serde_json::from_slice(body)
        .map_err(|error| ReadError::garbage(format!("the answer is not a completion: {error}")))?;
    if let Some(error) = completion.error.filter(|raw| raw.get() != "null") {
        return Err(ReadError::Failed(openai::failure_inside(error.get().as_bytes())));
    }
    let choice = completion.choices.and_then(|choices| choices.into_iter().next());
    let choice = choice.ok_or_else(|| ReadError::garbage("the answer has no choice"))?;
    let said = &choice.message;
    let mut parts = Vec::new();
    let signature = text_of(said.reasoning_content_signature);
    if let Some(text) = said.thinking().or(signature.is_some().then(String::new)) {
        parts.push(Part::Thinking { text, signature });
    }
    parts.extend(text_of(said.redacted_reasoning_content).map(|data| Part::RedactedThinking { data }));
    parts.extend(said.content());
    if let Some(Part::Text { citations, .. }) = parts.last_mut() {
        *citations = said.citations();
    }
    parts.extend(said.pictures().into_iter().map(|(media_type, data)| Part::Image {
        source: Source::Base64 { media_type, data },
        detail: None,
        cache: None,
    }));
    parts.extend(text_of(said.refusal).map(Part::Refusal));
    for (n, call) in said.tool_calls.iter().flatten().enumerate() {
        let Some(function) = &call.function else { continue };
        parts.push(Part::ToolCall(ToolCall {
            id: call.id.clone().filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{n}")),
            name: function.name.clone().unwrap_or_default(),
            arguments: arguments_of(function.arguments),
        }));
    }
    let stop = choice.finish_reason.ok_or_else(|| ReadError::garbage("the answer has no finish reason"))?;
    let has_calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    Ok(Reply {
        id: completion.id.unwrap_or_default(),
        parts,
        logprobs: logprobs_of(choice.logprobs),
        stop: stop_reason(&stop, has_calls),
        usage: completion.usage.and_then(|raw| openai::usage(raw.get().as_bytes())).unwrap_or_default(),
    })
}
