//! Writes a whole answer: `Message` of the official SDKs.

use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::Serialize;
use serde_json::value::RawValue;

use super::events::{StopDetails, WebCitation};
use crate::{
    conversation::{Part, Reply, StopReason},
    dialect::AnswerHeader,
};

#[derive(Serialize)]
struct Message<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    stop_reason: &'static str,
    stop_sequence: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_details: Option<StopDetails<'a>>,
    usage: WireUsage,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text { text: &'a str, citations: Option<Vec<WebCitation<'a>>> },
    Thinking { thinking: &'a str, signature: &'a str },
    RedactedThinking { data: &'a str },
    ToolUse { id: &'a str, name: &'a str, input: Input<'a> },
}

/// A call's arguments: an object, or the text of one that the model wrote wrong.
#[derive(Serialize)]
#[serde(untagged)]
enum Input<'a> {
    Object(&'a RawValue),
    Empty {},
    Broken { arguments: &'a str },
}

/// `Usage`; tokens read from a cache or written to it are not in `input_tokens`.
#[derive(Serialize)]
pub(super) struct WireUsage {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation: CacheCreation,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Serialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Serialize)]
struct OutputDetails {
    thinking_tokens: u64,
}

impl From<&Usage> for WireUsage {
    fn from(usage: &Usage) -> Self {
        let thinking = usage.reasoning;
        Self {
            input_tokens: usage.input.saturating_add(usage.audio_in).saturating_add(usage.image_in),
            cache_creation_input_tokens: usage.cache_write_5m.saturating_add(usage.cache_write_1h),
            cache_read_input_tokens: usage.cached_read,
            cache_creation: CacheCreation {
                ephemeral_5m_input_tokens: usage.cache_write_5m,
                ephemeral_1h_input_tokens: usage.cache_write_1h,
            },
            output_tokens: usage.completion(),
            output_tokens_details: (thinking > 0).then_some(OutputDetails { thinking_tokens: thinking }),
        }
    }
}

/// Writes a whole answer; pictures and likelihoods, which this dialect has no place for, are left out.
pub(super) fn write_message(reply: &Reply, header: &AnswerHeader<'_>) -> Bytes {
    let mut refusal = None;
    let mut content = Vec::with_capacity(reply.parts.len());
    for part in &reply.parts {
        content.extend(match part {
            Part::Text { text, .. } if text.is_empty() => None,
            Part::Text { text, citations, .. } => {
                let citations: Vec<_> = citations.iter().map(WebCitation::from).collect();
                Some(Block::Text { text, citations: Some(citations).filter(|all| !all.is_empty()) })
            }
            Part::Refusal(text) => {
                refusal = Some(text);
                Some(Block::Text { text, citations: None })
            }
            Part::Thinking { text, signature } => {
                let signature = signature.as_deref().unwrap_or_default();
                Some(Block::Thinking { thinking: text, signature })
            }
            Part::RedactedThinking { data } => Some(Block::RedactedThinking { data }),
            Part::ToolCall(call) => {
                Some(Block::ToolUse { id: &call.id, name: &call.name, input: input(&call.arguments) })
            }
            Part::Image { .. } | Part::File { .. } | Part::Audio { .. } | Part::ToolResult { .. } => None,
        });
    }
    let message = Message {
        id: message_id(&reply.id),
        kind: "message",
        role: "assistant",
        model: header.model,
        content,
        stop_reason: if refusal.is_some() { "refusal" } else { stop_word(&reply.stop) },
        stop_sequence: None,
        stop_details: refusal.map(|text| StopDetails::of(text)),
        usage: WireUsage::from(&reply.usage),
    };
    serde_json::to_vec(&message).expect("plain structs of text, numbers and JSON").into()
}

fn input(arguments: &str) -> Input<'_> {
    match serde_json::from_str::<&RawValue>(arguments) {
        Ok(raw) if raw.get().starts_with('{') => Input::Object(raw),
        _ if arguments.trim().is_empty() => Input::Empty {},
        _ => Input::Broken { arguments },
    }
}

/// The id of an answer that the provider calls `id`.
pub(super) fn message_id(id: &str) -> String {
    format!("msg_{}", bare_id(id))
}

/// An answer's id without the prefix of the dialect that it came in.
fn bare_id(id: &str) -> &str {
    ["chatcmpl-", "msg_", "resp_"].into_iter().find_map(|prefix| id.strip_prefix(prefix)).unwrap_or(id)
}

/// The `stop_reason`.
pub(super) fn stop_word(stop: &StopReason) -> &'static str {
    match stop {
        StopReason::End | StopReason::Other(_) => "end_turn",
        StopReason::StopSequence => "stop_sequence",
        StopReason::Length => "max_tokens",
        StopReason::ToolCalls => "tool_use",
        StopReason::Refused => "refusal",
        StopReason::Paused => "pause_turn",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conversation::{Citation, ToolCall},
        dialect::{StreamForm, anthropic_messages::read_reply},
    };

    #[test]
    fn what_is_written_is_read_back_as_it_was() {
        let call = ToolCall { id: "t".into(), name: "f".into(), arguments: r#"{"z":1.50}"#.into() };
        let parts = vec![
            Part::Thinking { text: "hm".into(), signature: Some("s".into()) },
            Part::RedactedThinking { data: "r".into() },
            Part::text("a"),
            Part::ToolCall(call),
        ];
        let usage = Usage::of([1, 2, 3, 4, 5, 6, 0, 0, 0, 0]);
        let reply = Reply { id: "msg_9".into(), parts, logprobs: vec![], stop: StopReason::ToolCalls, usage };
        assert_eq!(read_reply(&write(&reply)), Ok(reply));
    }

    fn write(reply: &Reply) -> Bytes {
        let header = AnswerHeader {
            model: "m",
            created: 7,
            call_id: "c",
            usage_wanted: false,
            form: StreamForm::Events,
            echo: None,
        };
        write_message(reply, &header)
    }

    #[test]
    fn arguments_that_are_no_object_reach_the_client_as_text() {
        let call = ToolCall { id: "t".into(), name: "f".into(), arguments: "{\"x\":".into() };
        let cited = Part::Text {
            text: "a".into(),
            citations: vec![Citation { url: "https://x".into(), ..Citation::default() }],
            cache: None,
        };
        let reply = Reply {
            id: "1".into(),
            parts: vec![cited, Part::ToolCall(call)],
            logprobs: vec![],
            stop: StopReason::End,
            usage: Usage::default(),
        };
        let written: serde_json::Value = serde_json::from_slice(&write(&reply)).expect("JSON");
        assert_eq!(written["content"][1]["input"]["arguments"], "{\"x\":");
        assert_eq!(written["content"][0]["citations"][0]["url"], "https://x");
    }
}
