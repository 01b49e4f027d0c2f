//! Recognises what must be known of requests and answers that pass through.

use bytes::Bytes;
use penstock_actors::{
    billing::Foreseen,
    domain::{Delivery, Endpoint, Usage},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    deltas::WireUsage,
    error::{error_body, inside},
};
use crate::{
    dialect::{
        Failure, Next, RequestFacts, Told,
        passing::{End, Recognise, Seen, Shape, place_in},
    },
    wire::json::{TopLevel, Watch},
};

/// The request fields the gateway must know.
pub const REQUEST: &[Watch] = &[
    Watch::kept("model", 1024),
    Watch::place("contents"),
    Watch::place("content"),
    Watch::place("requests"),
    Watch::place("systemInstruction"),
    Watch::place("system_instruction"),
    Watch::place("tools"),
    Watch::kept("generationConfig", 256 << 10),
    Watch::kept("generation_config", 256 << 10),
    Watch::place("generateContentRequest"),
];

/// Reads the facts of a request: they stand in its path.
///
/// # Errors
/// A [`Failure`] where nothing is asked.
pub fn facts(endpoint: Endpoint, told: &Told, top: &TopLevel) -> Result<RequestFacts, Failure> {
    let needed: &[&str] = match endpoint {
        Endpoint::CountTokens => &["contents", "generateContentRequest"],
        Endpoint::Embeddings => &["content", "requests"],
        _ => &["contents"],
    };
    if needed.iter().all(|name| top.field(name).is_none()) {
        let message = format!("Missing required parameter: '{}'.", needed[0]);
        return Err(Failure::invalid_request("missing_required_parameter", Some(needed[0]), message));
    }
    Ok(RequestFacts {
        model: told.model.clone().unwrap_or_default(),
        delivery: told.delivery.unwrap_or(Delivery::Whole),
        usage_wanted: true,
        form: told.form,
    })
}

/// What the request tells of its cost.
pub fn foreseen(top: &TopLevel) -> Foreseen {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Config {
        #[serde(alias = "max_output_tokens")]
        max_output_tokens: Option<u64>,
        #[serde(alias = "candidate_count")]
        candidate_count: Option<u64>,
    }
    let length = |name: &str| top.field(name).map_or(0, |field| field.end - field.start);
    let config = top.field("generationConfig").or_else(|| top.field("generation_config"));
    let config: Option<Config> = config.and_then(|field| serde_json::from_slice(&field.raw).ok());
    Foreseen {
        prompt_bytes: ["contents", "content", "requests", "systemInstruction", "system_instruction", "tools"]
            .map(length)
            .iter()
            .sum(),
        max_input: None,
        max_output: config.as_ref().and_then(|config| config.max_output_tokens),
        learned: None,
        choices: config.and_then(|config| config.candidate_count).unwrap_or(1),
    }
}

/// Where whole answers say what must be known.
pub static WHOLE: Shape = Shape {
    watches: &[Watch::kept("modelVersion", 1024), Watch::kept("error", 16384)],
    model: "modelVersion",
    prefix: "",
    usage_key: "\"usageMetadata\"",
    usage,
    failure: inside,
};

/// Reads a usage object, which bytes may follow.
fn usage(raw: &[u8]) -> Option<Usage> {
    let read: WireUsage = serde_json::Deserializer::from_slice(raw).into_iter().next()?.ok()?;
    Some(read.into())
}

/// Recognises the chunks of a stream.
#[derive(Debug, Default)]
pub struct Chunks {
    begun: bool,
    finished: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    model_version: Option<&'a RawValue>,
    usage_metadata: Option<WireUsage>,
    candidates: Option<Vec<Candidate>>,
    prompt_feedback: Option<Blocked>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blocked {
    block_reason: Option<String>,
}

impl Recognise for Chunks {
    const TEXTS: &'static [&'static str] = &["\"text\":"];

    fn event(&mut self, _name: &[u8], data: &[u8]) -> Seen {
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else { return Seen::default() };
        if let Some(error) = chunk.error {
            let mut failure = inside(error.get().as_bytes());
            // Once the answer has begun the provider may bill for it.
            if self.begun && failure.next == Next::Failover {
                failure.next = Next::FailoverUncertain;
            }
            return Seen { end: Some(End::Failed(failure)), ..Seen::default() };
        }
        self.begun = true;
        let blocked = chunk.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some());
        let mut candidates = chunk.candidates.into_iter().flatten();
        self.finished |= blocked || candidates.any(|candidate| candidate.finish_reason.is_some());
        Seen {
            model: chunk.model_version.and_then(|raw| place_in(data, raw)),
            usage: chunk.usage_metadata.map(Usage::from),
            end: None,
        }
    }

    fn may_end(&self) -> bool {
        self.finished
    }

    fn last_words(&mut self, failure: &Failure, call_id: &str) -> Bytes {
        [b"data: ".as_slice(), &error_body(failure, call_id), b"\r\n\r\n"].concat().into()
    }
}
