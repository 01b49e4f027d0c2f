//! Gemini's `generateContent`, both ways: clients' requests into conversations and answers out of them, and the
//! same for providers.
//!
//! Source: the types of the official Python library (google-genai 3.x) and its converters for the Gemini API.
//! Fields are read in camel case, as the API documents them, and in snake case, which it takes too.

mod answer;
mod asking;
mod deltas;
pub mod embed;
mod error;
mod offsets;
mod parse;
mod passing;
mod schema;
mod writer;

use bytes::Bytes;

pub use error::error_body;
pub(in crate::dialect) use error::inside as failure_inside;
pub use passing::{Chunks, REQUEST, WHOLE, facts, foreseen};

use super::{
    AnswerHead, AnswerHeader, DeltaWriter, Face, Failure,
    fields::ParamError,
    media::Kind,
    upstream::{DeltaReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Reply, StopReason};

/// The name under which proofs travel.
const NAME: &str = "gemini";

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct Gemini;

impl Face for Gemini {
    fn parse(&self, body: &[u8]) -> Result<Conversation, ParamError> {
        parse::parse_request(body)
    }

    fn parse_counted(&self, body: &[u8]) -> Result<Conversation, ParamError> {
        parse::parse_counted(body)
    }

    fn count(&self, tokens: u64) -> Bytes {
        format!("{{\"totalTokens\":{tokens},\"promptTokensDetails\":[{{\"modality\":\"TEXT\",\"tokenCount\":{tokens}}}]}}")
            .into()
    }

    fn whole(&self, header: &AnswerHeader<'_>, reply: &Reply) -> Bytes {
        answer::write_answer(reply, header)
    }

    fn writer(&self, header: &AnswerHeader<'_>) -> Box<dyn DeltaWriter> {
        Box::new(writer::ChunkWriter::new(header))
    }
}

impl Upstream for Gemini {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        Ok(Written { headers: Vec::new(), body: asking::write_request(conversation, wanted)? })
    }

    /// Videos of YouTube, and files that were uploaded to the API, are named by address (ai.google.dev, "File input
    /// methods"); what else lies at one is sent.
    fn takes(&self, _kind: Kind, url: &str) -> bool {
        let host = url
            .split_once("://")
            .map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
        matches!(
            host.to_ascii_lowercase().as_str(),
            "youtube.com"
                | "www.youtube.com"
                | "m.youtube.com"
                | "youtu.be"
                | "generativelanguage.googleapis.com"
        )
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(SseReader::new(deltas::ChunkReader::default(), longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        deltas::read_reply(body)
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        error::of_status(head, body)
    }
}

/// Reads a `finishReason`.
fn stop_reason(word: &str, has_calls: bool) -> StopReason {
    match word {
        "STOP" if has_calls => StopReason::ToolCalls,
        "STOP" => StopReason::End,
        "MAX_TOKENS" => StopReason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => StopReason::Refused,
        other => StopReason::Other(other.to_owned()),
    }
}

/// The `finishReason`. A call of tools is no reason of its own here.
fn finish_reason(stop: &StopReason) -> &'static str {
    match stop {
        StopReason::End | StopReason::StopSequence | StopReason::ToolCalls => "STOP",
        StopReason::Length | StopReason::Paused => "MAX_TOKENS",
        StopReason::Refused => "SAFETY",
        StopReason::Other(_) => "OTHER",
    }
}
