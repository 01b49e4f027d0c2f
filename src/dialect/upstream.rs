//! The provider's side of a dialect: what must be said of one, so that every client face can use it.
//!
//! To add one: a folder `dialect/NAME/` with the wire types, an implementation of [`Upstream`] in
//! `dialect/NAME.rs`, a variant of `Dialect` that `Dialect::upstream` leads to it, and its usual paths in
//! `provider/row.rs`. Rows then say `dialect = "NAME"`. The converting adapter (`provider/convert.rs`) does
//! the rest: it checks the content type, frames, counts usage, caps what is held, tells an answer that was cut
//! from one that ended, and has the client's face write. Nothing here knows which face that is.
//!
//! What an implementation owes:
//!
//! - **It refuses by name what it cannot say** and what would change the answer's meaning
//!   ([`ParamError::unsupported`], so that another channel is tried), and leaves out what is a hint.
//! - **It passes on what it does not know** of `Conversation::extra` where the field may be meant for it.
//! - **Usage is split into disjoint buckets** (`Usage`): cached tokens are not in `input`, reasoning is not in
//!   `output`.
//! - **[`Delta::Stop`] is given only where the provider said that the answer is complete**; a stream that ends
//!   without is taken for cut.

use std::sync::Arc;

use bytes::Bytes;
use penstock_actors::domain::Delivery;

use super::{AnswerHead, Failure, Garbage, fields::ParamError};
use crate::{
    conversation::{Conversation, Delta, Reply},
    wire::sse::SseFramer,
};

/// A wire format that providers speak.
pub trait Upstream: Send + Sync {
    /// Writes a request.
    ///
    /// # Errors
    /// [`ParamError`] that names what this dialect cannot say.
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError>;

    /// How the provider answers where an answer is wanted so: some always stream, or never.
    fn delivers(&self, wanted: Delivery) -> Delivery {
        wanted
    }

    /// The media type of a stream.
    fn stream_type(&self) -> &'static str {
        "text/event-stream"
    }

    /// Makes the reader of one stream; it holds no more than `longest` bytes of a frame.
    fn reader(&self, longest: usize) -> Box<dyn DeltaReader>;

    /// Reads a whole answer.
    ///
    /// # Errors
    /// [`ReadError`] where it is an error in spite of its status, or no answer.
    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError>;

    /// Explains a bad status: whose fault, and whether another channel may do better.
    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure;
}

/// Who is asked, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The name the provider knows the model by.
    pub model: &'a str,
    /// Whether a stream is wanted.
    pub delivery: Delivery,
    /// What the channel says of its place at the provider: the row's parameters, by name.
    pub params: &'a [(Arc<str>, Arc<str>)],
}

impl<'a> Wanted<'a> {
    /// The value of a parameter.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }
}

/// A request as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Headers beyond content type and credential.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

/// Reads one streamed answer, chunk by chunk, whatever its framing.
pub trait DeltaReader {
    /// Takes the next bytes, cut anywhere, and appends the deltas that they complete.
    ///
    /// # Errors
    /// [`ReadError`]; nothing more is pushed then. Deltas already appended count.
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError>;

    /// Tells that the body ended properly; asked only where no [`Delta::Stop`] came yet.
    ///
    /// # Errors
    /// [`ReadError`] where the answer is not complete at this point.
    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), ReadError>;
}

/// Why an answer cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The provider reports an error inside a good status.
    #[error("the provider failed: {}", .0.message)]
    Failed(Failure),
    /// It is no answer of this dialect.
    #[error("{0}")]
    Garbage(String),
}

impl ReadError {
    /// Bytes that are no answer; why.
    pub fn garbage(why: impl Into<String>) -> Self {
        Self::Garbage(why.into())
    }
}

impl From<Garbage> for ReadError {
    fn from(garbage: Garbage) -> Self {
        Self::Garbage(garbage.0)
    }
}

/// Reads server-sent events one frame at a time: what most dialects have to say instead of [`DeltaReader`].
pub trait FrameReader {
    /// Reads one frame and appends its deltas.
    ///
    /// # Errors
    /// As [`DeltaReader::push`].
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError>;

    /// As [`DeltaReader::finish`]. `tail` is what came behind the last blank line: a reader of events must
    /// ignore it (WHATWG HTML, section 9.2.6), but some providers leave the last blank line out.
    ///
    /// # Errors
    /// As there.
    fn end(&mut self, tail: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError>;
}

/// A reader of server-sent events.
#[derive(Debug)]
pub struct SseReader<F> {
    framer: SseFramer,
    frames: F,
}

impl<F: FrameReader> SseReader<F> {
    /// Makes a reader whose frames hold at most `longest` bytes.
    pub fn new(frames: F, longest: usize) -> Self {
        Self { framer: SseFramer::new(longest), frames }
    }
}

impl<F: FrameReader> DeltaReader for SseReader<F> {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let mut read = Ok(());
        let frames = &mut self.frames;
        let framed = self.framer.push(chunk, |frame| {
            if read.is_ok() {
                read = frames.frame(&frame, out);
            }
        });
        read?;
        framed.map_err(|error| ReadError::garbage(error.to_string()))
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let tail = self.framer.finish();
        self.frames.end(&tail, out)
    }
}
