//! Anthropic's messages, both ways: clients' requests into conversations and answers out of them, and the same
//! for providers.
//!
//! It knows the format of `POST /v1/messages` as the official SDKs type it (anthropic 2.x), and
//! which models want reasoning asked for in the older way. Addresses, headers and what a failure
//! means for the call are the adapter's.
//!
//! What cannot be carried from another dialect, and what becomes of it:
//!
//! | field | what happens |
//! |---|---|
//! | more than one candidate, log probabilities, audio, file ids, JSON without a schema, stops of white space | refused, with the parameter's name |
//! | `functions`, `function_call`, `logit_bias`, `modalities`, `web_search_options`, custom tools | refused: without them the answer means something else |
//! | seed, penalties, `verbosity`, `prediction`, `store`, cache keys, participants' names | left out: hints and bookkeeping |
//! | temperature, `top_p`, `top_k` | left out for Claude since 4.7, which refuses them, and where we ask for reasoning |
//! | temperature or `top_p` of 1, temperature above 1 | left out: 1 is the default and the most there is |
//! | instructions in the middle | join the system prompt |
//! | user, or `metadata.user_id` | `metadata.user_id`; the rest of OpenAI's `metadata` is left out |
//! | `service_tier` | `auto` and `priority` are `auto`; `default` and `standard_only` are `standard_only`; others are left out |
//! | `thinking`, `output_config` | passed on, and win over the reasoning effort and the response format |
//! | any other unknown field | passed on as written; Anthropic understands it or names it in its error |

mod blocks;
mod error;
mod events;
mod extra;
mod failure;
mod message;
mod models;
mod parse;
mod passing;
mod reply;
mod request;
mod stream;
mod thinking;
mod tools;
mod turns;
mod usage;

use bytes::Bytes;

pub use error::{ErrorBody, error_body, read_error};
pub use passing::{Events, REQUEST, WHOLE, foreseen};
pub use reply::{ReplyError, read_reply};
pub use request::{Host, reasoning_fields, takes_tuning, write_request};
pub use stream::{EventReader, StreamError};

use super::{
    AnswerHead, AnswerHeader, DeltaWriter, Face, Failure,
    fields::ParamError,
    upstream::{DeltaReader, FrameReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Delta, Reply, StopReason};

/// The API version that these files describe.
pub const API_VERSION: &str = "2023-06-01";

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct AnthropicMessages;

impl Upstream for AnthropicMessages {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        let body = write_request(conversation, wanted.model, wanted.delivery, Host::Anthropic)?;
        Ok(Written { headers: vec![("anthropic-version", API_VERSION.to_owned())], body })
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(SseReader::new(EventReader::default(), longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        read_reply(body).map_err(|error| match error {
            ReplyError::Failed(error) => ReadError::Failed(failure::of_error(error)),
            ReplyError::Garbage(why) => ReadError::Garbage(why),
        })
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        failure::of_status(head, body)
    }
}

impl Face for AnthropicMessages {
    fn parse(&self, body: &[u8]) -> Result<Conversation, ParamError> {
        parse::parse_request(body)
    }

    fn whole(&self, header: &AnswerHeader<'_>, reply: &Reply) -> Bytes {
        message::write_message(reply, header)
    }

    fn writer(&self, header: &AnswerHeader<'_>) -> Box<dyn DeltaWriter> {
        Box::new(events::EventWriter::new(header))
    }
}

impl FrameReader for EventReader {
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        self.read(frame, out).map_err(|error| match error {
            StreamError::Failed(error) => ReadError::Failed(failure::of_error(error)),
            StreamError::Garbage(why) => ReadError::Garbage(why),
        })
    }

    fn end(&mut self, _tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("the stream ended before message_stop"))
    }
}

/// Reads a `stop_reason`.
fn stop_reason(word: &str) -> StopReason {
    match word {
        "end_turn" => StopReason::End,
        "stop_sequence" => StopReason::StopSequence,
        "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
        "tool_use" => StopReason::ToolCalls,
        "refusal" => StopReason::Refused,
        "pause_turn" => StopReason::Paused,
        other => StopReason::Other(other.to_owned()),
    }
}
