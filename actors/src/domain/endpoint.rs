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
