//! The one internal model between unlike dialects.
//!
//! A dialect parses into it and writes from it, so that `n` dialects need `n` translations and not
//! `n * n`. It owns no wire format and no names of one; like dialects bypass it. The model asked for
//! and whether a stream is wanted are the call's, not the conversation's.

mod answer;
mod reasoning;
mod verbatim;

use std::collections::BTreeMap;

pub use answer::{Alternative, Citation, Delta, Logprob, Reply, StopReason};
pub use reasoning::{Effort, Reasoning};
pub use verbatim::Verbatim;

/// A request for the next message of a conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// Instructions that stand before the first message; texts only.
    pub system: Vec<Part>,
    /// What was said so far, in the client's order.
    pub messages: Vec<Message>,
    /// Tools the model may call.
    pub tools: Vec<Tool>,
    /// Which of them it may or must call.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once.
    pub parallel_tool_calls: Option<bool>,
    /// How tokens are drawn and when to stop.
    pub sampling: Sampling,
    /// The shape the answer must have.
    pub format: Option<Format>,
    /// How much to reason, and what of it to show.
    pub reasoning: Reasoning,
    /// How wordy the answer should be: `low`, `medium`, `high`.
    pub verbosity: Option<String>,
    /// How fast and dear the call should be, in OpenAI's words: `auto`, `default`, `flex`, `priority`.
    pub service_tier: Option<String>,
    /// An opaque name of the end user.
    pub user: Option<String>,
    /// Fields the client's dialect gave no meaning here, by their names there.
    pub extra: BTreeMap<String, Verbatim>,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// The participant's name, where the client gave one.
    pub name: Option<String>,
    /// Where the client wrote it, for errors: `messages[2]`, `input[2]`, `contents[2]`.
    pub path: String,
}

/// Who speaks. Tool results are spoken by the user: they are parts, not a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions in the middle of a conversation.
    System,
    /// The client.
    User,
    /// The model.
    Assistant,
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Plain text.
    Text {
        /// The text.
        text: String,
        /// What it rests on, where a model wrote it.
        citations: Vec<Citation>,
        /// Whether the prompt may be cached up to here.
        cache: Option<CacheHint>,
    },
    /// A picture.
    Image {
        /// Where its bytes are.
        source: Source,
        /// How closely to look, in the client's words.
        detail: Option<String>,
        /// Whether the prompt may be cached up to here.
        cache: Option<CacheHint>,
    },
    /// A document.
    File {
        /// Where its bytes are.
        source: Source,
        /// Its name.
        name: Option<String>,
        /// Whether the prompt may be cached up to here.
        cache: Option<CacheHint>,
    },
    /// A recording.
    Audio {
        /// `wav`, `mp3` and the like.
        format: String,
        /// Base64.
        data: String,
    },
    /// Reasoning the model showed.
    Thinking {
        /// The text, maybe a summary, maybe empty.
        text: String,
        /// The provider's proof that the text is its own; without it the text cannot go back. A proof
        /// without text belongs to the part that follows.
        signature: Option<String>,
    },
    /// Reasoning the provider encrypted.
    RedactedThinking {
        /// The provider's opaque bytes.
        data: String,
    },
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// The client answers a tool call.
    ToolResult {
        /// The call's id.
        call_id: String,
        /// The result: texts, images, files.
        content: Vec<Part>,
        /// Whether the tool failed.
        failed: bool,
        /// Whether the prompt may be cached up to here.
        cache: Option<CacheHint>,
    },
    /// The model said that it would not answer.
    Refusal(String),
}

impl Part {
    /// Makes a text without a cache hint.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), citations: Vec::new(), cache: None }
    }
}

/// A call of a tool by the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The provider's id of the call.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments as JSON text; a model may have written them wrong. Empty means none.
    pub arguments: String,
}

/// Where the bytes of an image or file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Here.
    Base64 {
        /// Their media type.
        media_type: String,
        /// The bytes in base64.
        data: String,
    },
    /// At an address that the provider fetches; Penstock does not.
    Url(String),
    /// At a provider, under its id.
    Id(String),
}

/// How long a prompt prefix should stay cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheHint {
    /// The provider's default, minutes.
    Brief,
    /// An hour or more, where the provider can.
    Long,
}

/// A tool the model may call.
#[derive(Clone, Debug, PartialEq)]
pub enum Tool {
    /// A function of the client.
    Function(Function),
    /// A tool by a dialect's own definition, kept as written.
    Other {
        /// Its `type`.
        kind: String,
        /// All of it.
        definition: Verbatim,
        /// Where the client wrote it, for errors.
        path: String,
    },
}

/// A function of the client.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// The JSON schema of its arguments; `None` for a function without any.
    pub parameters: Option<Verbatim>,
    /// Whether the arguments must follow the schema exactly.
    pub strict: Option<bool>,
    /// Whether the prompt may be cached up to here.
    pub cache: Option<CacheHint>,
}

/// Which tools the model may or must call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Tool(String),
    /// Only these, as it likes.
    AutoAmong(Vec<String>),
    /// At least one of these.
    RequiredAmong(Vec<String>),
}

impl ToolChoice {
    /// Whether the model is not free to answer without a tool call.
    pub fn forces(&self) -> bool {
        matches!(self, Self::Required | Self::Tool(_) | Self::RequiredAmong(_))
    }
}

/// How tokens are drawn and when to stop. `None` is the provider's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0 to 2; 1 leaves the model's distribution as it is.
    pub temperature: Option<f64>,
    /// Probability mass considered, 0 to 1.
    pub top_p: Option<f64>,
    /// Tokens considered.
    pub top_k: Option<u64>,
    /// Tokens generated at most, reasoning included.
    pub max_tokens: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// For repeatable answers, where the provider tries.
    pub seed: Option<i64>,
    /// -2 to 2.
    pub presence_penalty: Option<f64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// Answers wanted.
    pub candidates: Option<u64>,
    /// Log probabilities wanted: for how many alternatives of each token.
    pub logprobs: Option<u64>,
}

/// The shape the answer must have.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Any text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON by a schema.
    JsonSchema {
        /// The schema's name.
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Verbatim,
        /// Whether it must be followed exactly.
        strict: Option<bool>,
    },
}
