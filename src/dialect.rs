//! Wire formats. A dialect's file parses it, writes it, and recognises its usage, end and errors.

pub mod answer;
pub mod anthropic_messages;
pub mod bedrock_claude;
pub mod bedrock_converse;
#[cfg(test)]
mod checks;
pub mod cohere;
pub mod face;
pub mod failure;
pub mod fields;
mod json_lines;
mod leftover;
pub mod ollama;
pub mod openai;
pub mod openai_chat;
mod tree;
mod trouble;
pub mod upstream;
pub mod vertex_claude;

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
    /// Claude on Bedrock, invoked.
    BedrockClaude,
    /// Bedrock's Converse.
    BedrockConverse,
    /// Cohere's chat, version 2.
    Cohere,
    /// Ollama's chat.
    Ollama,
    /// Claude on Vertex AI.
    VertexClaude,
}

impl Dialect {
    /// The dialects that a provider may speak.
    pub const ALL: [Self; 7] = [
        Self::OpenAi,
        Self::AnthropicMessages,
        Self::BedrockClaude,
        Self::BedrockConverse,
        Self::Cohere,
        Self::Ollama,
        Self::VertexClaude,
    ];

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::AnthropicMessages => "anthropic",
            Self::BedrockClaude => "bedrock-claude",
            Self::BedrockConverse => "bedrock-converse",
            Self::Cohere => "cohere",
            Self::Ollama => "ollama",
            Self::VertexClaude => "vertex-claude",
        }
    }

    /// How its clients are spoken to; `None` for one that only providers speak.
    pub fn face(self) -> Option<&'static dyn Face> {
        match self {
            Self::OpenAi => Some(&openai_chat::OpenAiChat),
            _ => None,
        }
    }

    /// How providers are asked for a conversation; `None` where bodies only pass through so far.
    pub fn upstream(self) -> Option<&'static dyn Upstream> {
        match self {
            Self::OpenAi => None,
            Self::AnthropicMessages => Some(&anthropic_messages::AnthropicMessages),
            Self::BedrockClaude => Some(&bedrock_claude::BedrockClaude),
            Self::BedrockConverse => Some(&bedrock_converse::BedrockConverse),
            Self::Cohere => Some(&cohere::Cohere),
            Self::Ollama => Some(&ollama::Ollama),
            Self::VertexClaude => Some(&vertex_claude::VertexClaude),
        }
    }

    /// The body of a refusal; `call_id` ends its message. Every client face so far speaks OpenAI's dialect.
    pub fn error_body(self, failure: &Failure, call_id: &str) -> Bytes {
        match self {
            _ => openai::error_body(failure, call_id),
        }
    }

    /// The event that ends a stream which cannot go on.
    pub fn error_event(self, failure: &Failure, call_id: &str) -> Bytes {
        let body = self.error_body(failure, call_id);
        [b"data: ".as_slice(), &body, b"\n\n"].concat().into()
    }
}
