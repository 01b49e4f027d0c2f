//! OpenAI's responses, both ways: clients' requests into conversations and answers out of them, and the same
//! for providers.
//!
//! Source: the types of the official Python library (openai 3.x). What was stored of earlier responses is put
//! in front of a request's input by whoever keeps it; here a `previous_response_id` has no meaning.

mod asking;
mod deltas;
mod echo;
mod items;
mod parse;
mod passing;
mod response;
mod writer;

use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::{Deserialize, Serialize};

pub use passing::{Events, REQUEST, WHOLE, facts, foreseen};

use super::{
    AnswerHead, AnswerHeader, DeltaWriter, Face, Failure,
    count::{self, Count},
    fields::ParamError,
    openai,
    upstream::{DeltaReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Reply};

/// The name under which proofs travel.
const NAME: &str = "openai";

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiResponses;

impl Face for OpenAiResponses {
    fn parse(&self, body: &[u8]) -> Result<Conversation, ParamError> {
        parse::parse_request(body)
    }

    fn echo(&self, body: &[u8]) -> Option<Bytes> {
        echo::echo(body)
    }

    fn whole(&self, header: &AnswerHeader<'_>, reply: &Reply) -> Bytes {
        response::write_response(reply, header)
    }

    fn writer(&self, header: &AnswerHeader<'_>) -> Box<dyn DeltaWriter> {
        Box::new(writer::EventWriter::new(header))
    }
}

impl Upstream for OpenAiResponses {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        Ok(Written { headers: Vec::new(), body: asking::write_request(conversation, wanted)? })
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(SseReader::new(deltas::EventReader::default(), longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        response::read_response(body)
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        Failure { retry_after: head.retry_after, ..openai::failure(head.status, body) }
    }
}

/// `ResponseUsage`. Anything may be absent.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct WireUsage {
    #[serde(default, deserialize_with = "Count::read")]
    input_tokens: u64,
    #[serde(default, deserialize_with = "count::or_default")]
    input_tokens_details: InputDetails,
    #[serde(default, deserialize_with = "Count::read")]
    output_tokens: u64,
    #[serde(default, deserialize_with = "count::or_default")]
    output_tokens_details: OutputDetails,
    #[serde(default, deserialize_with = "Count::read")]
    total_tokens: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct InputDetails {
    #[serde(default, deserialize_with = "Count::read")]
    cached_tokens: u64,
    #[serde(default, deserialize_with = "Count::read")]
    cache_write_tokens: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct OutputDetails {
    #[serde(default, deserialize_with = "Count::read")]
    reasoning_tokens: u64,
}

impl From<WireUsage> for Usage {
    /// Tokens read from a cache or written to it are part of the input's, reasoning is part of the output's.
    fn from(wire: WireUsage) -> Self {
        let (input, output) = (wire.input_tokens, wire.output_tokens);
        let cached = wire.input_tokens_details.cached_tokens.min(input);
        let written = wire.input_tokens_details.cache_write_tokens.min(input - cached);
        let reasoning = wire.output_tokens_details.reasoning_tokens.min(output);
        Self {
            input: input - cached - written,
            cached_read: cached,
            cache_write_5m: written,
            output: output - reasoning,
            reasoning,
            ..Self::default()
        }
    }
}

impl From<&Usage> for WireUsage {
    fn from(usage: &Usage) -> Self {
        Self {
            input_tokens: usage.prompt(),
            input_tokens_details: InputDetails {
                cached_tokens: usage.cached_read,
                cache_write_tokens: usage.cache_write_5m.saturating_add(usage.cache_write_1h),
            },
            output_tokens: usage.completion(),
            output_tokens_details: OutputDetails { reasoning_tokens: usage.reasoning },
            total_tokens: usage.prompt().saturating_add(usage.completion()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_disjoint_whatever_is_claimed() {
        let read = |json: &str| Usage::from(serde_json::from_str::<WireUsage>(json).expect("usage"));
        let usage = read(
            r#"{"input_tokens":10,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":1},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":5},"total_tokens":17}"#,
        );
        assert_eq!((usage.input, usage.cached_read, usage.cache_write_5m), (5, 4, 1));
        assert_eq!((usage.output, usage.reasoning), (2, 5));
        let lie =
            read(r#"{"input_tokens":1,"input_tokens_details":{"cached_tokens":9,"cache_write_tokens":9}}"#);
        assert_eq!((lie.input, lie.cached_read, lie.cache_write_5m), (0, 1, 0));
    }
}
