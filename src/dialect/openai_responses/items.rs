//! Output items as they are written: `ResponseOutputItem` of the official SDKs.

use serde::Serialize;

use crate::{conversation::Citation, dialect::openai::Likely};

/// One item of a response's output.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item {
    Reasoning {
        id: String,
        summary: Vec<Summary>,
        #[serde(skip_serializing_if = "Option::is_none")]
        encrypted_content: Option<String>,
        status: &'static str,
    },
    Message {
        id: String,
        role: &'static str,
        status: &'static str,
        content: Vec<Content>,
    },
    FunctionCall {
        id: String,
        call_id: String,
        name: String,
        arguments: String,
        status: &'static str,
    },
    ImageGenerationCall {
        id: String,
        status: &'static str,
        result: String,
        output_format: String,
    },
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Summary {
    SummaryText { text: String },
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Content {
    OutputText { text: String, annotations: Vec<Annotation>, logprobs: Vec<Likely> },
    Refusal { refusal: String },
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Annotation {
    #[serde(rename = "type")]
    kind: &'static str,
    url: String,
    title: String,
    start_index: u64,
    end_index: u64,
}

impl From<&Citation> for Annotation {
    fn from(citation: &Citation) -> Self {
        let (start_index, end_index) = citation.place.unwrap_or_default();
        Self {
            kind: "url_citation",
            url: citation.url.clone(),
            title: citation.title.clone().unwrap_or_default(),
            start_index,
            end_index,
        }
    }
}

/// The id of an item: its kind's letters, the answer's id, its number.
pub(super) fn item_id(letters: &str, answer: &str, number: usize) -> String {
    format!("{letters}_{answer}_{number}")
}
