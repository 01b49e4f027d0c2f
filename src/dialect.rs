//! Wire formats. A dialect's file parses it, writes it, and recognises its usage, end and errors.

pub mod answer;
pub mod anthropic_messages;
pub mod face;
pub mod failure;
pub mod fields;
pub mod openai;
pub mod openai_chat;
pub mod upstream;

use bytes::Bytes;

pub use answer::{AnswerEvent, AnswerHead, AnswerReader, Framing, Garbage};
pub use face::{AnswerHeader, DeltaWriter, Face, StreamForm};
pub use failure::{Failure, Next};
pub use upstream::{DeltaReader, ReadError, Upstream, Wanted, Written};

/// A client-facing or upstream wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's chat completions, completions, embeddings and moderations.
    OpenAi,
    /// Anthropic's messages.
    AnthropicMessages,
}

impl Dialect {
    /// The dialects that a provider may speak.
    pub const ALL: [Self; 2] = [Self::OpenAi, Self::AnthropicMessages];

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::AnthropicMessages => "anthropic",
        }
    }

    /// How its clients are spoken to; `None` for one that only providers speak.
    pub fn face(self) -> Option<&'static dyn Face> {
        match self {
            Self::OpenAi => Some(&openai_chat::OpenAiChat),
            Self::AnthropicMessages => None,
        }
    }

    /// How providers are asked for a conversation; `None` where bodies only pass through so far.
    pub fn upstream(self) -> Option<&'static dyn Upstream> {
        match self {
            Self::OpenAi => None,
            Self::AnthropicMessages => Some(&anthropic_messages::AnthropicMessages),
        }
    }

    /// The body of a refusal; `call_id` ends its message. Every client face so far speaks OpenAI's dialect.
    pub fn error_body(self, failure: &Failure, call_id: &str) -> Bytes {
        match self {
            Self::OpenAi | Self::AnthropicMessages => openai::error_body(failure, call_id),
        }
    }

    /// The event that ends a stream which cannot go on.
    pub fn error_event(self, failure: &Failure, call_id: &str) -> Bytes {
        let body = self.error_body(failure, call_id);
        [b"data: ".as_slice(), &body, b"\n\n"].concat().into()
    }
}
