//! What a call consumed, in disjoint buckets: no token is counted in two of them.

/// Tokens of one answer. A dialect's own totals are split so that the buckets never overlap: OpenAI's
/// `prompt_tokens` is `input + cached_read + cache_write_5m + cache_write_1h`, its
/// `completion_tokens` is `output + reasoning`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens that were neither read from nor written to a provider's cache.
    pub input: u64,
    /// Prompt tokens served from the provider's cache.
    pub cached_read: u64,
    /// Prompt tokens written to a cache that lives five minutes.
    pub cache_write_5m: u64,
    /// Prompt tokens written to a cache that lives an hour.
    pub cache_write_1h: u64,
    /// Generated tokens that the client sees.
    pub output: u64,
    /// Generated tokens spent on reasoning.
    pub reasoning: u64,
}

impl Usage {
    /// All prompt tokens, however they were served.
    pub fn prompt(&self) -> u64 {
        self.input
            .saturating_add(self.cached_read)
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
    }

    /// All generated tokens, seen or not.
    pub fn completion(&self) -> u64 {
        self.output.saturating_add(self.reasoning)
    }
}
