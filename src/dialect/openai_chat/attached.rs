//! What stands beside an answer's text: sources it rests on (`message.annotations` of the official SDKs), how likely
//! its tokens were, and pictures, which gateways have agreed to give as `message.images`.

use serde::Serialize;

use crate::{
    conversation::{Citation, Logprob},
    dialect::openai::Likely,
};

/// A source.
#[derive(Serialize)]
pub(super) struct Annotation<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    url_citation: UrlCitation<'a>,
}

#[derive(Serialize)]
struct UrlCitation<'a> {
    end_index: u64,
    start_index: u64,
    title: &'a str,
    url: &'a str,
}

impl<'a> Annotation<'a> {
    /// The source of a text that stands behind so many characters of the answer and has so many; where the citation
    /// names no place in it, all of it rests on the source.
    pub(super) fn of(citation: &'a Citation, behind: u64, length: u64) -> Self {
        let (start, end) = citation.place.unwrap_or((0, length));
        Self {
            kind: "url_citation",
            url_citation: UrlCitation {
                end_index: behind + end,
                start_index: behind + start,
                title: citation.title.as_deref().unwrap_or_default(),
                url: &citation.url,
            },
        }
    }
}

/// A picture that the model made.
#[derive(Serialize)]
pub(super) struct Picture {
    #[serde(rename = "type")]
    kind: &'static str,
    index: u32,
    image_url: ImageUrl,
}

#[derive(Serialize)]
struct ImageUrl {
    url: String,
}

impl Picture {
    /// The answer's picture of this number, from 0.
    pub(super) fn of(index: u32, media_type: &str, data: &str) -> Self {
        let url = format!("data:{media_type};base64,{data}");
        Self { kind: "image_url", index, image_url: ImageUrl { url } }
    }
}

/// `Choice.logprobs`.
#[derive(Serialize)]
pub(super) struct Likelihoods {
    content: Vec<Likely>,
    refusal: Option<()>,
}

impl Likelihoods {
    /// `None` where nobody asked for them.
    pub(super) fn of(likely: &[Logprob]) -> Option<Self> {
        let content: Vec<_> = likely.iter().map(Likely::from).collect();
        (!content.is_empty()).then_some(Self { content, refusal: None })
    }
}
