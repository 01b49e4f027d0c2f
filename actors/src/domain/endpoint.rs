//! What can be called.

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
    /// `/v1/messages`
    Messages,
    /// `/v1/messages/count_tokens` and Gemini's `countTokens`
    CountTokens,
    /// `/v1/responses`
    Responses,
    /// Gemini's `generateContent` and `streamGenerateContent`
    GenerateContent,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 8] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Embeddings,
        Self::Moderations,
        Self::Messages,
        Self::CountTokens,
        Self::Responses,
        Self::GenerateContent,
    ];

    /// The word used in logs, metrics and errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Responses => "responses",
            Self::GenerateContent => "generate_content",
        }
    }

    /// Whether a conversation is continued: what any chat channel can serve, whatever its dialect.
    pub fn is_chat(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Messages | Self::Responses | Self::GenerateContent)
    }

    /// Whether answers are tokens that a model generated.
    pub fn generates(self) -> bool {
        self.is_chat() || self == Self::Completions
    }
}
