//! Providers: what an upstream wants to be asked, and what its answers mean.
//!
//! Pure: a call in, bytes out; bytes in, events out. No I/O, no clock, no environment.

pub mod anthropic;
pub mod openai;
pub mod quirk;
pub mod row;

use std::time::Duration;

use bytes::Bytes;
use penstock_actors::domain::{Fault, Usage, catalog::Delivery};

use crate::dialect::Dialect;

pub use quirk::Quirk;

/// A capability that clients call, by its public path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    ChatCompletions,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/moderations`
    Moderations,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 4] =
        [Self::ChatCompletions, Self::Completions, Self::Embeddings, Self::Moderations];

    /// The word used in logs, metrics and errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
        }
    }
}

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
    /// Longest event of a stream, in bytes.
    pub max_event: usize,
    /// Seconds since 1970 at admission, for answers that must carry a time.
    pub created: u64,
}

/// What goes to the provider, before addresses and credentials are added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamRequest {
    /// Path below the channel's base URL, with a leading slash.
    pub path: &'static str,
    /// Headers beyond content type and credential.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: UpstreamBody,
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

/// The head of a provider's answer.
#[derive(Clone, Copy, Debug)]
pub struct AnswerHead<'a> {
    /// HTTP status.
    pub status: u16,
    /// The `content-type` header; empty where there is none.
    pub content_type: &'a str,
    /// The `retry-after-ms` or `retry-after` header, resolved.
    pub retry_after: Option<Duration>,
}

/// What an [`AnswerReader`] found in the bytes it was pushed.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerEvent {
    /// Bytes for the client, in the client's dialect.
    Bytes(Bytes),
    /// What the answer says it consumed; a later one replaces it.
    Usage(Usage),
    /// The provider reports an error inside a good status; nothing follows.
    Failed(Failure),
    /// The answer is complete; what follows is padding.
    Done,
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
}

/// Bytes that are no answer: HTML, broken JSON, an end in the middle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Garbage(pub String);

/// What a provider that cannot be described by its row alone must say.
pub trait Adapter: Send + Sync {
    /// How much of the client's body [`Adapter::request`] must see.
    fn body_need(&self) -> BodyNeed;

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

    /// Explains a bad status.
    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure;
}

/// The client's body, as far as the adapter asked for it.
#[derive(Clone, Copy, Debug)]
pub enum AskBody<'a> {
    /// The scan of its top level.
    Scan(&'a crate::wire::json::TopLevel),
    /// All bytes.
    Whole(&'a [u8]),
}

/// What may be done after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same request would fail anywhere: tell the client.
    Tell,
    /// Another candidate may do better, and the provider did no work that it may bill.
    Failover,
    /// Another candidate may do better, but this attempt may have been worked on and billed.
    FailoverUncertain,
}

/// Why an attempt failed, decided where the facts are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status for the client.
    pub status: u16,
    /// Whose doing it was.
    pub fault: Fault,
    /// What may be done next.
    pub next: Next,
    /// OpenAI's `type`, or the provider's own.
    pub kind: String,
    /// A stable English code, or the provider's own.
    pub code: String,
    /// The parameter at fault, where one is.
    pub param: Option<String>,
    /// A sentence for the client.
    pub message: String,
    /// When to come back, where the provider said so.
    pub retry_after: Option<Duration>,
}

/// The longest message that is passed on, in bytes.
const LONGEST_MESSAGE: usize = 2048;
/// The longest code, type or parameter that is passed on, in bytes.
const LONGEST_WORD: usize = 128;

impl Failure {
    /// A request that is wrong whoever serves it: 400, the client's fault.
    pub fn invalid_request(code: &str, param: Option<&str>, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            fault: Fault::Client,
            next: Next::Tell,
            kind: "invalid_request_error".to_owned(),
            code: code.to_owned(),
            param: param.map(str::to_owned),
            message: message.into(),
            retry_after: None,
        }
    }

    /// An attempt that the provider spoilt without a status of its own: 502, or 504 for a deadline.
    pub fn upstream(status: u16, code: &str, next: Next, message: impl Into<String>) -> Self {
        Self {
            status,
            fault: Fault::Upstream,
            next,
            kind: "upstream_error".to_owned(),
            code: code.to_owned(),
            param: None,
            message: message.into(),
            retry_after: None,
        }
    }

    /// What a provider's bad status means, before its body is read.
    ///
    /// 400, 413, 415, 416 and 422 say that the request is wrong; everything else that another
    /// channel could do better.
    pub fn upstream_status(status: u16, message: String) -> Self {
        let wrong_request = matches!(status, 400 | 413 | 415 | 416 | 422);
        Self {
            // What is no error status cannot be passed on as one.
            status: if (400..600).contains(&status) { status } else { 502 },
            fault: if wrong_request { Fault::Client } else { Fault::Upstream },
            next: if wrong_request { Next::Tell } else { Next::Failover },
            kind: if wrong_request { "invalid_request_error" } else { "upstream_error" }.to_owned(),
            code: "bad_response_status_code".to_owned(),
            param: None,
            message,
            retry_after: None,
        }
    }

    /// Makes a failure fit to leave the building: the secret hidden wherever it stands, then no text too long.
    pub fn cleanse(&mut self, secret: Option<&str>) {
        let words = [Some(&mut self.kind), Some(&mut self.code), self.param.as_mut()].into_iter().flatten();
        let words = words.map(|word| (word, LONGEST_WORD));
        for (text, longest) in words.chain([(&mut self.message, LONGEST_MESSAGE)]) {
            if let Some(secret) = secret.filter(|s| text.contains(s)) {
                *text = text.replace(secret, "***");
            }
            if text.len() > longest {
                let end = (0..=longest).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
                text.truncate(end);
                text.push_str(" ...");
            }
        }
    }

    /// A refusal or a failure of Penstock itself.
    pub fn gateway(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            fault: Fault::Gateway,
            next: Next::Tell,
            kind: "gateway_error".to_owned(),
            code: code.to_owned(),
            param: None,
            message: message.into(),
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_before_a_text_is_cut() {
        for before in LONGEST_MESSAGE - 10..LONGEST_MESSAGE + 10 {
            let message = format!("{}sk-secret{}", "\u{e9}".repeat(before / 2), "y".repeat(100));
            let mut failure = Failure::upstream_status(500, message);
            failure.code = "code sk-secret".to_owned();
            failure.kind = "k".repeat(LONGEST_WORD + 1);
            failure.param = Some("sk-secret".to_owned());
            failure.cleanse(Some("sk-secret"));
            assert!(!failure.message.contains('s'), "{before}: {}", failure.message);
            assert!(failure.message.len() <= LONGEST_MESSAGE + 4);
            assert_eq!((failure.code.as_str(), failure.param.as_deref()), ("code ***", Some("***")));
            assert_eq!(failure.kind.len(), LONGEST_WORD + 4);
        }
    }
}
