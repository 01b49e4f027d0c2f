//! Reads frames, a line each: a header with a code, pieces of the answer, counts in the last.

use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::Deserialize;

use super::trouble;
use crate::{
    conversation::{Delta, StopReason},
    dialect::{
        count::Count,
        pieces::{CallPiece, CallPieces},
        upstream::{FrameReader, ReadError},
    },
};

#[derive(Deserialize)]
struct Frame {
    header: Header,
    #[serde(default)]
    payload: Payload,
}

#[derive(Deserialize)]
struct Header {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    sid: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Payload {
    choices: Option<Choices>,
    usage: Option<Counts>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choices {
    /// 0 for the first, 1 for those between, 2 for the last.
    status: i64,
    text: Vec<Piece>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Piece {
    content: Option<String>,
    reasoning_content: Option<String>,
    function_call: Option<Call>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Call {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    text: WireUsage,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
}

impl From<WireUsage> for Usage {
    fn from(wire: WireUsage) -> Self {
        Self { input: wire.prompt_tokens.get(), output: wire.completion_tokens.get(), ..Self::default() }
    }
}

/// The last frame's status.
const LAST: i64 = 2;

/// Turns the frames of one answer into deltas.
#[derive(Debug, Default)]
pub(super) struct Frames {
    begun: bool,
    over: bool,
    calls: CallPieces,
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl FrameReader for Frames {
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        if self.over || frame.trim_ascii().is_empty() {
            return Ok(());
        }
        let Frame { header, payload } = serde_json::from_slice(frame)
            .map_err(|error| ReadError::garbage(format!("a frame is malformed: {error}")))?;
        if header.code != 0 {
            let failure = trouble(header.code).failure(Some(header.code.to_string()), Some(header.message));
            return Err(ReadError::Failed(failure));
        }
        if !std::mem::replace(&mut self.begun, true) {
            out.push(Delta::Start { id: header.sid });
        }
        let Choices { status, text } = payload.choices.unwrap_or_default();
        for piece in text {
            out.extend(filled(piece.reasoning_content).map(Delta::Thinking));
            out.extend(filled(piece.content).map(Delta::Text));
            if let Some(Call { name, arguments }) = piece.function_call {
                self.calls.add(CallPiece { index: None, id: None, name, arguments }, out)?;
            }
        }
        let usage = payload.usage.map(|counts| Usage::from(counts.text));
        out.extend(usage.filter(|usage| *usage != Usage::default()).map(Delta::Usage));
        if status == LAST {
            self.over = true;
            out.push(Delta::Stop(if self.calls.any() { StopReason::ToolCalls } else { StopReason::End }));
        }
        Ok(())
    }

    fn end(&mut self, _tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("the websocket was closed before the last frame"))
    }
}
