//! How answers are read: pushed chunks, a reader gives events whose bytes are in the client's dialect.

use std::time::Duration;

use bytes::Bytes;
use penstock_actors::domain::Usage;

use super::Failure;

/// What an [`AnswerReader`] found in the bytes it was pushed.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerEvent {
    /// Content for the client, in the client's dialect.
    Bytes(Bytes),
    /// What is no content: comments and events without data. Worth passing on only behind content.
    Aside(Bytes),
    /// What the answer says it consumed; a later one replaces it.
    Usage(Usage),
    /// The provider reports an error inside a good status; nothing follows.
    Failed(Failure),
    /// The answer is complete; what follows is padding.
    Done,
}

/// What tells the end of an answer's body (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A length or chunks: the transport knows a cut.
    Framed,
    /// The end of the connection, which may come too early unseen: the reader must look.
    UntilClose,
}

/// The head of a provider's answer.
#[derive(Clone, Copy, Debug)]
pub struct AnswerHead<'a> {
    /// HTTP status.
    pub status: u16,
    /// The `content-type` header; empty where there is none.
    pub content_type: &'a str,
    /// The `retry-after-ms` or `retry-after` header, resolved.
    pub retry_after: Option<Duration>,
    /// What tells the body's end.
    pub framing: Framing,
}

/// Reads one answer, chunk by chunk.
///
/// It holds at most one frame of the answer, whatever the answer's length.
pub trait AnswerReader {
    /// Takes the next bytes and appends what they mean.
    ///
    /// # Errors
    /// [`Garbage`] when the bytes are no answer of this dialect; nothing more may be pushed.
    fn push(&mut self, chunk: Bytes, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage>;

    /// Tells that the provider ended the body properly.
    ///
    /// # Errors
    /// [`Garbage`] when the answer is not complete at this point.
    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage>;

    /// Tokens of what was passed on so far, by rule of thumb; `None` where nobody looks at the text.
    fn tokens(&self) -> Option<u64> {
        None
    }

    /// The last words to the client of an answer that cannot go on, where they depend on what was said before;
    /// `None` where the dialect's error event will do.
    fn last_words(&mut self, _failure: &Failure, _call_id: &str) -> Option<Bytes> {
        None
    }
}

/// Bytes that are no answer: HTML, broken JSON, an end in the middle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Garbage(pub String);
