//! The client's side of a dialect: what a face must say, so that its clients reach any provider.
//!
//! To add one: implement [`Face`] beside the dialect's wire types, name it in `Dialect::face`, and give it
//! paths in `http/route.rs`. A face knows no provider: it reads a [`Conversation`] out of a request and writes
//! [`Delta`]s or a [`Reply`] as its clients want to read them.

use bytes::{Bytes, BytesMut};

use super::{Failure, fields::ParamError};
use crate::conversation::{Conversation, Delta, Reply};

/// A wire format that clients speak to us.
pub trait Face: Send + Sync {
    /// Parses a request. Model and delivery are the call's and were read at admission; what has no meaning in
    /// a [`Conversation`] is kept in its `extra`, under its name here.
    ///
    /// # Errors
    /// [`ParamError`] that names the first parameter that is wrong.
    fn parse(&self, body: &[u8]) -> Result<Conversation, ParamError>;

    /// What answers repeat of the request, as a JSON object; comes back in [`AnswerHeader::echo`].
    fn echo(&self, _body: &[u8]) -> Option<Bytes> {
        None
    }

    /// Writes a whole answer. What the dialect has no place for is left out.
    fn whole(&self, header: &AnswerHeader<'_>, reply: &Reply) -> Bytes;

    /// Makes the writer of one streamed answer.
    fn writer(&self, header: &AnswerHeader<'_>) -> Box<dyn DeltaWriter>;
}

/// Writes the deltas of one answer as the bytes of its stream.
pub trait DeltaWriter {
    /// Appends what a delta means to the client, maybe nothing.
    ///
    /// The first is [`Delta::Start`], the last [`Delta::Stop`], with which the stream is complete: nothing is
    /// to be written for an answer that says nothing, so that another channel may still be tried.
    fn write(&mut self, delta: &Delta, out: &mut BytesMut);

    /// Appends the last words of an answer that cannot go on. They must not look like a good end.
    fn break_off(&mut self, failure: &Failure, call_id: &str, out: &mut BytesMut);
}

/// What an answer carries that is the call's, not the provider's.
#[derive(Clone, Copy, Debug)]
pub struct AnswerHeader<'a> {
    /// The model the client asked for.
    pub model: &'a str,
    /// Seconds since 1970 at admission.
    pub created: u64,
    /// Our id of the call.
    pub call_id: &'a str,
    /// Whether the client asked for usage in a stream, where its dialect asks.
    pub usage_wanted: bool,
    /// How a stream is framed.
    pub form: StreamForm,
    /// What [`Face::echo`] kept of the request.
    pub echo: Option<&'a [u8]>,
}

/// How a streamed answer is framed for the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamForm {
    /// Server-sent events.
    #[default]
    Events,
    /// One JSON array that grows: Gemini's, where the client does not say `alt=sse`.
    Array,
}
