//! What an answer says, whole or piece by piece, in one form: for dialects that tell everything in objects of one shape.
//!
//! Such a dialect reads its object into [`Said`]; how that becomes a reply or the deltas of a stream is the
//! same for all of them.

use bytes::Bytes;
use penstock_actors::domain::Usage;

use super::{
    failure::Failure,
    pieces::{CallPiece, CallPieces},
    trouble::Trouble,
    upstream::{FrameReader, ReadError},
};
use crate::{
    conversation::{Citation, Delta, Part, Reply, StopReason, ToolCall},
    wire::sse,
};

/// What one object says: all of an answer, or what came since the last.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The provider's id of the answer.
    pub id: Option<String>,
    /// Reasoning.
    pub thinking: Option<String>,
    /// Text.
    pub text: Option<String>,
    /// What the text rests on.
    pub citations: Vec<Citation>,
    /// Tool calls; whole ones have no index in a whole answer.
    pub calls: Vec<CallPiece>,
    /// What was consumed so far.
    pub usage: Option<Usage>,
    /// Why it stopped, once it did.
    pub stop: Option<StopReason>,
}

/// Reads an object.
///
/// # Errors
/// [`ReadError`] where it is an error in spite of its status, or none of the dialect's.
pub type ReadSaid = fn(&[u8]) -> Result<Said, ReadError>;

/// The text, unless it is empty.
pub fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The failure that an answer with a good status reports by a code.
pub fn failed(trouble: Option<Trouble>, code: String, message: String) -> ReadError {
    let trouble = trouble.unwrap_or(Trouble::Failed);
    ReadError::Failed(trouble.failure(Some(code), Some(message)))
}

/// The failure of a bad status that reports a code; where the code is unknown, the status counts.
pub fn refused(
    head: &super::AnswerHead<'_>,
    trouble: Option<Trouble>,
    code: String,
    message: String,
) -> Failure {
    let trouble = trouble.unwrap_or_else(|| Trouble::of_status(head.status));
    trouble.of_answer(head, Some(code), Some(message))
}

/// Providers that stop for a tool call without saying so are put right.
fn of_calls(stop: StopReason, has_calls: bool) -> StopReason {
    if has_calls && stop == StopReason::End { StopReason::ToolCalls } else { stop }
}

impl From<Said> for Reply {
    /// Takes what is said for all of the answer.
    fn from(said: Said) -> Self {
        let mut parts = Vec::new();
        parts.extend(filled(said.thinking).map(|text| Part::Thinking { text, signature: None }));
        let citations = said.citations;
        parts.extend(filled(said.text).map(|text| Part::Text { text, citations, cache: None }));
        let stop = of_calls(said.stop.unwrap_or(StopReason::End), !said.calls.is_empty());
        for (n, call) in said.calls.into_iter().enumerate() {
            parts.push(Part::ToolCall(ToolCall {
                id: filled(call.id).unwrap_or_else(|| format!("call_{n}")),
                name: call.name.unwrap_or_default(),
                arguments: call.arguments.unwrap_or_default(),
            }));
        }
        let usage = said.usage.unwrap_or_default();
        Self { id: said.id.unwrap_or_default(), parts, logprobs: Vec::new(), stop, usage }
    }
}

/// How far a streamed answer has come.
#[derive(Debug, Default)]
pub struct Progress {
    begun: bool,
    over: bool,
    calls: CallPieces,
}

impl Progress {
    /// Whether the answer is complete; what follows is padding.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Appends the deltas of the next piece.
    ///
    /// # Errors
    /// [`ReadError::Garbage`] where tool calls do not fit together.
    pub fn tell(&mut self, said: Said, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        if !std::mem::replace(&mut self.begun, true) {
            out.push(Delta::Start { id: said.id.unwrap_or_default() });
        }
        out.extend(filled(said.thinking).map(Delta::Thinking));
        out.extend(filled(said.text).map(Delta::Text));
        out.extend(said.citations.into_iter().map(Delta::Citation));
        for piece in said.calls {
            self.calls.add(piece, out)?;
        }
        out.extend(said.usage.map(Delta::Usage));
        if let Some(stop) = said.stop {
            self.over = true;
            out.push(Delta::Stop(of_calls(stop, self.calls.any())));
        }
        Ok(())
    }
}

/// Reads events that hold an object each, the last of which says why the answer stopped.
#[derive(Debug)]
pub struct SaidEvents {
    progress: Progress,
    read: ReadSaid,
}

impl SaidEvents {
    /// Makes a reader of one answer.
    pub fn new(read: ReadSaid) -> Self {
        Self { progress: Progress::default(), read }
    }
}

impl FrameReader for SaidEvents {
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        match sse::parse(frame).data {
            Some(data) if !self.progress.is_over() && &data[..] != b"[DONE]" => {
                self.progress.tell((self.read)(&data)?, out)
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, _tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("the stream ended before the event that says why the answer stopped"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, stop: Option<StopReason>) -> Said {
        Said { text: Some(text.to_owned()), stop, ..Said::default() }
    }

    fn call(index: Option<u64>) -> CallPiece {
        CallPiece { index, name: Some("f".into()), arguments: Some("{}".into()), ..CallPiece::default() }
    }

    #[test]
    fn a_stop_behind_a_call_is_one_for_tools() {
        let whole = Said { calls: vec![call(None), call(None)], ..said("", Some(StopReason::End)) };
        let reply = Reply::from(whole);
        assert_eq!(reply.stop, StopReason::ToolCalls);
        let ids = reply.parts.iter().map(|part| match part {
            Part::ToolCall(call) => call.id.as_str(),
            other => panic!("{other:?}"),
        });
        assert_eq!(ids.collect::<Vec<_>>(), ["call_0", "call_1"]);
        let cut = Said { calls: vec![call(None)], ..said("", Some(StopReason::Length)) };
        assert_eq!(Reply::from(cut).stop, StopReason::Length);
    }

    #[test]
    fn a_stream_begins_once_and_ends_once() {
        let (mut progress, mut out) = (Progress::default(), Vec::new());
        let last = Said { calls: vec![call(Some(4))], ..said("b", Some(StopReason::End)) };
        for piece in [said("a", None), last] {
            progress.tell(piece, &mut out).expect("it fits");
        }
        assert!(progress.is_over());
        assert_eq!(out.iter().filter(|delta| matches!(delta, Delta::Start { .. })).count(), 1);
        assert_eq!(out.last(), Some(&Delta::Stop(StopReason::ToolCalls)));
    }
}
