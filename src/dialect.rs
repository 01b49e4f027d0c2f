//! Wire formats. A dialect's file parses it, writes it, and recognises its usage, end and errors.

pub mod anthropic_messages;
pub mod fields;
pub mod openai_chat;

/// A client-facing or upstream wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's chat completions, completions, embeddings and moderations.
    OpenAi,
    /// Anthropic's messages.
    AnthropicMessages,
}
