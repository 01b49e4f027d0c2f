//! OpenAI's chat completions, both ways: clients' requests into conversations and answers out of them, and the
//! same for providers.
//!
//! Beyond the published fields it speaks the extensions that gateways have agreed on for reasoning:
//! `reasoning_content`, `reasoning_content_signature` and `redacted_reasoning_content`, in answers
//! and in assistant messages that come back; `images` for pictures that a model made; and `cache_control` on parts
//! and tools as well as OpenAI's own `prompt_cache_breakpoint`. Who sends and who receives is not its business.

mod asking;
mod attached;
mod chunks;
mod completion;
mod deltas;
mod messages;
mod reply;
mod request;
mod tools;

use penstock_actors::domain::Usage;
use serde::Serialize;

pub use chunks::ChunkWriter;
pub use completion::write_completion;
pub(in crate::dialect) use messages::{picture, recording, source};
pub use request::parse_request;

use bytes::Bytes;

use super::{
    AnswerHead, Failure,
    face::{AnswerHeader, DeltaWriter, Face},
    fields::ParamError,
    media::Kind,
    openai,
    upstream::{DeltaReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Reply, StopReason};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiChat;

impl Face for OpenAiChat {
    fn parse(&self, body: &[u8]) -> Result<Conversation, ParamError> {
        parse_request(body)
    }

    fn whole(&self, header: &AnswerHeader<'_>, reply: &Reply) -> Bytes {
        write_completion(reply, header)
    }

    fn writer(&self, header: &AnswerHeader<'_>) -> Box<dyn DeltaWriter> {
        Box::new(ChunkWriter::new(header))
    }
}

impl Upstream for OpenAiChat {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        // Usage in streams is asked for by a quirk of the row.
        Ok(Written { headers: Vec::new(), body: asking::write_request(conversation, wanted)? })
    }

    /// A file has no place for an address.
    fn takes(&self, kind: Kind, _url: &str) -> bool {
        kind == Kind::Image
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(SseReader::new(deltas::ChunkReader::default(), longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        reply::read_reply(body)
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        Failure { retry_after: head.retry_after, ..openai::failure(head.status, body) }
    }
}

/// Reads a `finish_reason`; some providers say `stop` behind tool calls too.
fn stop_reason(word: &str, has_calls: bool) -> StopReason {
    match word {
        "stop" | "end_turn" | "eos" if has_calls => StopReason::ToolCalls,
        "stop" | "end_turn" | "eos" => StopReason::End,
        "length" | "max_tokens" | "model_length" => StopReason::Length,
        "tool_calls" | "function_call" => StopReason::ToolCalls,
        "content_filter" | "sensitive" | "safety" => StopReason::Refused,
        other => StopReason::Other(other.to_owned()),
    }
}

/// The id of an answer that the provider calls `id`.
fn answer_id(id: &str) -> String {
    format!("chatcmpl-{}", id.strip_prefix("chatcmpl-").unwrap_or(id))
}

/// The `finish_reason`. A paused turn is `length`: the answer is well formed, but not complete.
fn finish_reason(stop: &StopReason) -> &'static str {
    match stop {
        StopReason::End | StopReason::StopSequence | StopReason::Other(_) => "stop",
        StopReason::Length | StopReason::Paused => "length",
        StopReason::ToolCalls => "tool_calls",
        StopReason::Refused => "content_filter",
    }
}

/// The `usage` object: `CompletionUsage` of the official SDKs.
#[derive(Serialize)]
struct CompletionUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
    #[serde(skip_serializing_if = "is_none")]
    audio_tokens: u64,
    #[serde(skip_serializing_if = "is_none")]
    image_tokens: u64,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
    #[serde(skip_serializing_if = "is_none")]
    audio_tokens: u64,
    #[serde(skip_serializing_if = "is_none")]
    image_tokens: u64,
}

/// Few answers are counted so; the others do not mention it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_none(tokens: &u64) -> bool {
    *tokens == 0
}

impl From<&Usage> for CompletionUsage {
    fn from(usage: &Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt(),
            completion_tokens: usage.completion(),
            total_tokens: usage.prompt().saturating_add(usage.completion()),
            prompt_tokens_details: PromptDetails {
                cached_tokens: usage.cached_read,
                cache_write_tokens: usage.cache_write_5m.saturating_add(usage.cache_write_1h),
                audio_tokens: usage.audio_in,
                image_tokens: usage.image_in,
            },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: usage.reasoning,
                audio_tokens: usage.audio_out,
                image_tokens: usage.image_out,
            },
        }
    }
}
