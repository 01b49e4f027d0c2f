//! Writes a whole answer: `GenerateContentResponse`. The pieces are a stream's too.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{finish_reason, offsets::Offsets};
use crate::{
    conversation::{Citation, Logprob, Part, Reply, Source, StopReason},
    dialect::AnswerHeader,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response<'a> {
    pub(super) candidates: [Candidate<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage_metadata: Option<WireUsage>,
    pub(super) model_version: &'a str,
    pub(super) response_id: &'a str,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    pub(super) content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finish_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grounding_metadata: Option<Grounding<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprobs_result: Option<Logprobs<'a>>,
    pub(super) index: u32,
}

#[derive(Serialize)]
pub(super) struct Content<'a> {
    pub(super) parts: Vec<WirePart<'a>>,
    role: &'static str,
}

impl Default for Content<'_> {
    fn default() -> Self {
        Self { parts: Vec::new(), role: "model" }
    }
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WirePart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thought: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inline_data: Option<Inline<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_call: Option<Call<'a>>,
    /// In base64, as the SDKs expect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thought_signature: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Inline<'a> {
    pub(super) mime_type: &'a str,
    pub(super) data: &'a str,
}

#[derive(Serialize)]
pub(super) struct Call<'a> {
    id: &'a str,
    name: &'a str,
    args: Args<'a>,
}

/// Arguments: an object, or the text of one that the model wrote wrong.
#[derive(Serialize)]
#[serde(untagged)]
enum Args<'a> {
    Object(&'a RawValue),
    Empty {},
    Broken { arguments: &'a str },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Grounding<'a> {
    grounding_chunks: Vec<GroundingChunk<'a>>,
    grounding_supports: Vec<Support<'a>>,
}

#[derive(Serialize)]
struct GroundingChunk<'a> {
    web: Web<'a>,
}

#[derive(Serialize)]
struct Web<'a> {
    uri: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Support<'a> {
    segment: Segment<'a>,
    grounding_chunk_indices: [usize; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Segment<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    start_index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Logprobs<'a> {
    chosen_candidates: Vec<Token<'a>>,
    top_candidates: Vec<Top<'a>>,
}

#[derive(Serialize)]
struct Top<'a> {
    candidates: Vec<Token<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Token<'a> {
    token: &'a str,
    log_probability: f64,
}

/// `UsageMetadata`: cached tokens are part of the prompt's, thoughts are not part of the candidates'.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireUsage {
    prompt_token_count: u64,
    candidates_token_count: u64,
    total_token_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_content_token_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thoughts_token_count: Option<u64>,
}

impl From<&Usage> for WireUsage {
    fn from(usage: &Usage) -> Self {
        Self {
            prompt_token_count: usage.prompt(),
            candidates_token_count: usage.completion().saturating_sub(usage.reasoning),
            total_token_count: usage.prompt().saturating_add(usage.completion()),
            cached_content_token_count: Some(usage.cached_read).filter(|count| *count > 0),
            thoughts_token_count: Some(usage.reasoning).filter(|count| *count > 0),
        }
    }
}

impl<'a> WirePart<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Self { text: Some(text), ..Self::default() }
    }

    pub(super) fn thought(text: &'a str) -> Self {
        Self { text: Some(text), thought: Some(true), ..Self::default() }
    }

    pub(super) fn call(id: &'a str, name: &'a str, arguments: &'a str) -> Self {
        let args = match serde_json::from_str::<&RawValue>(arguments) {
            Ok(raw) if raw.get().starts_with('{') => Args::Object(raw),
            _ if arguments.trim().is_empty() => Args::Empty {},
            _ => Args::Broken { arguments },
        };
        Self { function_call: Some(Call { id, name, args }), ..Self::default() }
    }

    pub(super) fn proven(self, proof: Option<&str>) -> Self {
        Self { thought_signature: proof.map(|proof| STANDARD.encode(proof)), ..self }
    }
}

/// What a text rests on, whose characters lie as `offsets` say.
pub(super) fn grounding<'a>(citations: &'a [Citation], offsets: &Offsets) -> Option<Grounding<'a>> {
    (!citations.is_empty()).then(|| Grounding {
        grounding_chunks: citations
            .iter()
            .map(|c| GroundingChunk { web: Web { uri: &c.url, title: c.title.as_deref() } })
            .collect(),
        grounding_supports: citations
            .iter()
            .enumerate()
            .map(|(n, c)| Support {
                segment: Segment {
                    start_index: c.place.map(|place| offsets.byte_at(place.0)),
                    end_index: c.place.map(|place| offsets.byte_at(place.1)),
                    text: c.quote.as_deref(),
                },
                grounding_chunk_indices: [n],
            })
            .collect(),
    })
}

pub(super) fn logprobs(likely: &[Logprob]) -> Option<Logprobs<'_>> {
    (!likely.is_empty()).then(|| Logprobs {
        chosen_candidates: likely
            .iter()
            .map(|l| Token { token: &l.chosen.token, log_probability: l.chosen.logprob })
            .collect(),
        top_candidates: likely
            .iter()
            .map(|l| Top {
                candidates: l
                    .top
                    .iter()
                    .map(|a| Token { token: &a.token, log_probability: a.logprob })
                    .collect(),
            })
            .collect(),
    })
}

/// Writes a whole answer.
pub(super) fn write_answer(reply: &Reply, header: &AnswerHeader<'_>) -> Bytes {
    let mut candidate = Candidate { finish_reason: Some(finish_reason(&reply.stop)), ..Candidate::default() };
    let mut pending: Option<&str> = None;
    for part in &reply.parts {
        let made = match part {
            Part::Text { text, .. } if text.is_empty() => continue,
            Part::Text { text, citations, .. } => {
                let mut offsets = Offsets::default();
                offsets.push(text);
                candidate.grounding_metadata =
                    grounding(citations, &offsets).or(candidate.grounding_metadata);
                WirePart::text(text)
            }
            Part::Thinking { text, signature } => {
                if !text.is_empty() {
                    candidate.content.parts.push(WirePart::thought(text));
                }
                pending = signature.as_deref().or(pending);
                continue;
            }
            Part::ToolCall(call) => WirePart::call(&call.id, &call.name, &call.arguments),
            Part::Refusal(text) => {
                candidate.finish_message = Some(text.clone());
                candidate.finish_reason = Some(finish_reason(&StopReason::Refused));
                continue;
            }
            Part::Image { source: Source::Base64 { media_type, data }, .. } => {
                WirePart { inline_data: Some(Inline { mime_type: media_type, data }), ..WirePart::default() }
            }
            Part::Image { .. } | Part::File { .. } | Part::Audio { .. } | Part::ToolResult { .. } => continue,
            // Another provider's secret has no place here.
            Part::RedactedThinking { .. } => continue,
        };
        candidate.content.parts.push(made.proven(pending.take()));
    }
    if pending.is_some() || candidate.content.parts.is_empty() {
        candidate.content.parts.push(WirePart::text("").proven(pending));
    }
    candidate.logprobs_result = logprobs(&reply.logprobs);
    let response = Response {
        candidates: [candidate],
        usage_metadata: Some(WireUsage::from(&reply.usage)),
        model_version: header.model,
        response_id: &reply.id,
    };
    serde_json::to_vec(&response).expect("plain structs of text, numbers and JSON").into()
}
