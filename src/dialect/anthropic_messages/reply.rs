//! Reads a whole answer: `Message` of the official SDKs.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    ErrorBody, read_error, stop_reason,
    usage::{Tally, WireUsage},
};
use crate::conversation::{Part, Reply, ToolCall};

/// Why a body is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// It is an error in spite of its status.
    #[error("the answer is an error: {}", .0.message)]
    Failed(ErrorBody),
    /// It is no message; why, and where.
    #[error("the answer is not a message: {0}")]
    Garbage(String),
}

#[derive(Deserialize)]
struct Message<'a> {
    id: String,
    #[serde(borrow)]
    content: Vec<ReplyBlock<'a>>,
    stop_reason: Option<String>,
    stop_details: Option<StopDetails>,
    usage: Option<WireUsage>,
}

/// Why the model refused.
#[derive(Deserialize)]
pub(super) struct StopDetails {
    pub(super) explanation: Option<String>,
}

/// A content block of any type. Its fields are raw until the type says what they are.
#[derive(Deserialize)]
pub(super) struct ReplyBlock<'a> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(borrow)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) signature: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
}

/// The text that a field holds, if it does.
pub(super) fn text_of(field: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(field?.get()).ok()
}

/// Reads a whole answer. Blocks of unknown types are left out.
///
/// # Errors
/// [`ReplyError`] when the body is an error or no message.
pub fn read_reply(body: &[u8]) -> Result<Reply, ReplyError> {
    let message: Message<'_> = match serde_json::from_slice(body) {
        Ok(message) => message,
        Err(garbage) => {
            return Err(read_error(body).map_or(ReplyError::Garbage(garbage.to_string()), ReplyError::Failed));
        }
    };
    let stop = message.stop_reason.ok_or(ReplyError::Garbage("it has no stop reason".into()))?;
    let mut parts = Vec::new();
    for block in message.content {
        parts.extend(part(block)?);
    }
    if let Some(explanation) = message.stop_details.and_then(|details| details.explanation) {
        parts.push(Part::Refusal(explanation));
    }
    let mut tally = Tally::default();
    tally.report(&message.usage.unwrap_or_default());
    Ok(Reply { id: message.id, parts, logprobs: Vec::new(), stop: stop_reason(&stop), usage: tally.usage() })
}

fn part(block: ReplyBlock<'_>) -> Result<Option<Part>, ReplyError> {
    let garbage = |what: &str| ReplyError::Garbage(format!("a {what} without its fields"));
    Ok(Some(match block.kind.as_str() {
        "text" => Part::text(text_of(block.text).ok_or(garbage("text block"))?),
        "thinking" => Part::Thinking {
            text: text_of(block.thinking).ok_or(garbage("thinking block"))?,
            signature: text_of(block.signature).filter(|s| !s.is_empty()),
        },
        "redacted_thinking" => {
            Part::RedactedThinking { data: text_of(block.data).ok_or(garbage("redacted thinking block"))? }
        }
        "tool_use" => match (text_of(block.id), text_of(block.name)) {
            (Some(id), Some(name)) => {
                let arguments = block.input.map_or("{}", RawValue::get).to_owned();
                Part::ToolCall(ToolCall { id, name, arguments })
            }
            _ => return Err(garbage("tool use")),
        },
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::StopReason;

    #[test]
    fn every_block_we_know_is_read_and_others_are_left_out() {
        let reply = read_reply(
            br#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[
            {"type":"thinking","thinking":"hm","signature":"sig"},{"type":"redacted_thinking","data":"enc"},
            {"type":"server_tool_use","id":"s","name":"web_search","input":{},"data":{}},
            {"type":"text","text":"a","citations":null},
            {"type":"tool_use","id":"t","name":"f","input":{"z":1.50,"a":2}}],
            "stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":4}}"#,
        )
        .expect("a message");
        let call = ToolCall { id: "t".into(), name: "f".into(), arguments: r#"{"z":1.50,"a":2}"#.into() };
        assert_eq!(
            reply.parts,
            [
                Part::Thinking { text: "hm".into(), signature: Some("sig".into()) },
                Part::RedactedThinking { data: "enc".into() },
                Part::text("a"),
                Part::ToolCall(call),
            ]
        );
        assert_eq!(reply.stop, StopReason::ToolCalls);
        assert_eq!((reply.usage.input, reply.usage.output), (3, 4));
    }

    #[test]
    fn errors_and_garbage_are_told_apart() {
        let failed = br#"{"type":"error","error":{"type":"api_error","message":"x"}}"#;
        assert!(matches!(read_reply(failed), Err(ReplyError::Failed(error)) if error.kind == "api_error"));
        for garbage in ["", "<html>", "{}", r#"{"id":"x","content":[],"stop_reason":null}"#] {
            assert!(matches!(read_reply(garbage.as_bytes()), Err(ReplyError::Garbage(_))), "{garbage}");
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let reply = read_reply(
            br#"{"id":"m","content":[],"stop_reason":"refusal","stop_details":{"type":"refusal","category":null,"explanation":"no"}}"#,
        )
        .expect("a message");
        assert_eq!(reply.parts, [Part::Refusal("no".into())]);
        assert_eq!(reply.stop, StopReason::Refused);
    }
}
