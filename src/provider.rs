//! Providers: what an upstream wants to be asked, and what its answers mean.
//!
//! Pure: a call in, bytes out; bytes in, events out. No I/O, no clock, no environment.

pub mod convert;
pub mod discovery;
pub mod grant;
pub mod openai;
pub mod passing;
pub mod quirk;
mod registry;
pub mod row;
pub mod signing;

use std::sync::Arc;

use bytes::Bytes;
use penstock_actors::domain::Delivery;

use crate::{
    dialect::{Dialect, StreamForm, media::Fetched, steps::Steps},
    wire::json::TopLevel,
};

pub use crate::dialect::{AnswerEvent, AnswerHead, AnswerReader, Failure, Framing, Garbage, Next};
pub use penstock_actors::domain::Endpoint;
pub use quirk::Quirk;
pub use registry::{OwnRowsError, Registry};

/// A client's call as an adapter sees it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What is called.
    pub endpoint: Endpoint,
    /// The dialect the client speaks and wants to be answered in.
    pub face: Dialect,
    /// The model the client asked for; answers carry this name.
    pub model: &'a str,
    /// The name the provider knows the model by.
    pub upstream_model: &'a str,
    /// Whether the client asked for a stream.
    pub delivery: Delivery,
    /// Whether the client asked for usage in the stream (`stream_options.include_usage`).
    pub usage_wanted: bool,
    /// The channel's quirks.
    pub quirks: &'a [Quirk],
    /// The values of its row's parameters.
    pub params: &'a [(Arc<str>, Arc<str>)],
    /// Longest event of a stream, in bytes.
    pub max_event: usize,
    /// Seconds since 1970 at admission, for answers that must carry a time.
    pub created: u64,
    /// Our id of the call.
    pub call_id: &'a str,
    /// How a stream is framed for the client.
    pub form: StreamForm,
    /// What the client's dialect repeats of the request in its answers; known once the request is written.
    pub echo: Option<&'a [u8]>,
    /// The tools that were told in text and may be called in it; known once the request is written.
    pub tools: &'a [String],
    /// Media that the request names by address and the provider wants as bytes.
    pub media: &'a Fetched,
}

/// What goes to the provider, before the row's path and the credential are added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamRequest {
    /// Headers beyond content type and credential.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: UpstreamBody,
    /// What comes back in [`Ask::echo`] when the answer is read.
    pub echo: Option<Bytes>,
    /// What comes back in [`Ask::tools`] then.
    pub tools: Vec<String>,
}

/// A request body for a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamBody {
    /// The client's body with these places rewritten, in ascending order and disjoint.
    Edited(Vec<Edit>),
    /// A body of its own.
    Whole(Bytes),
}

/// One rewritten place of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// First byte replaced.
    pub start: u64,
    /// Byte after the last replaced; equal to `start` for an insertion.
    pub end: u64,
    /// What stands there instead.
    pub with: Bytes,
}

/// How an adapter wants to see the client's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyNeed {
    /// Only the scan of its top level: the bytes pass through, edited.
    Scan,
    /// All of it in memory, under a lower cap.
    Whole,
}

/// What a provider that cannot be described by its row alone must say.
pub trait Adapter: Send + Sync {
    /// How much of the client's body [`Adapter::request`] must see.
    fn body_need(&self, ask: &Ask<'_>) -> BodyNeed;

    /// Builds the provider's request.
    ///
    /// # Errors
    /// A [`Failure`] with [`Fault::Client`] where the request cannot be said in the provider's dialect.
    fn request(&self, ask: &Ask<'_>, body: AskBody<'_>) -> Result<UpstreamRequest, Failure>;

    /// Makes the reader of a good answer, whose events are in the client's dialect.
    ///
    /// # Errors
    /// A [`Failure`] where the head cannot belong to an answer: HTML, JSON instead of a stream.
    fn reader(&self, ask: &Ask<'_>, head: &AnswerHead<'_>) -> Result<Box<dyn AnswerReader>, Failure>;

    /// How an answer is had in steps, where the first one only says where it is.
    fn steps(&self) -> Option<&'static dyn Steps> {
        None
    }

    /// Explains a bad status.
    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure;
}

/// The client's body, as far as the adapter asked for it.
#[derive(Clone, Copy, Debug)]
pub enum AskBody<'a> {
    /// The scan of its top level.
    Scan(&'a TopLevel),
    /// All bytes.
    Whole(&'a [u8]),
}

/// Puts the provider's name for the model where the client's stands.
fn model_edit(ask: &Ask<'_>, top: &TopLevel) -> Option<Edit> {
    let with: Bytes = serde_json::to_vec(ask.upstream_model).unwrap_or_default().into();
    match top.field("model") {
        Some(field) if field.raw == with => None,
        Some(field) => Some(Edit { start: field.start, end: field.end, with }),
        None => {
            let comma = if top.has_members { "," } else { "" };
            let member = [b"\"model\":".as_slice(), &with, comma.as_bytes()].concat();
            Some(Edit { start: top.first_member, end: top.first_member, with: member.into() })
        }
    }
}
