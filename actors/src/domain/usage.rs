//! What a call consumed, in disjoint buckets: no token is counted in two of them.

/// Tokens of one answer. A dialect's own totals are split so that the buckets never overlap: OpenAI's
/// `prompt_tokens` is [`Self::prompt`], its `completion_tokens` is [`Self::completion`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens that were neither read from nor written to a provider's cache, and are of no bucket below.
    pub input: u64,
    /// Prompt tokens served from the provider's cache.
    pub cached_read: u64,
    /// Prompt tokens written to a cache that lives five minutes.
    pub cache_write_5m: u64,
    /// Prompt tokens written to a cache that lives an hour.
    pub cache_write_1h: u64,
    /// Generated tokens that the client sees, but for those of recordings and pictures.
    pub output: u64,
    /// Generated tokens spent on reasoning.
    pub reasoning: u64,
    /// Prompt tokens of recordings that met no cache.
    pub audio_in: u64,
    /// Prompt tokens of pictures that met no cache, where the provider tells them apart.
    pub image_in: u64,
    /// Generated tokens of recordings.
    pub audio_out: u64,
    /// Generated tokens of pictures.
    pub image_out: u64,
}

impl Usage {
    /// The buckets' names, in the order of [`Self::buckets`].
    pub const NAMES: [&'static str; 10] = [
        "input",
        "cached_read",
        "cache_write_5m",
        "cache_write_1h",
        "output",
        "reasoning",
        "audio_in",
        "image_in",
        "audio_out",
        "image_out",
    ];

    /// Every bucket.
    pub fn buckets(&self) -> [u64; 10] {
        [
            self.input,
            self.cached_read,
            self.cache_write_5m,
            self.cache_write_1h,
            self.output,
            self.reasoning,
            self.audio_in,
            self.image_in,
            self.audio_out,
            self.image_out,
        ]
    }

    /// The usage that has these buckets.
    pub fn of(buckets: [u64; 10]) -> Self {
        let [input, cached_read, cache_write_5m, cache_write_1h, output, reasoning, media @ ..] = buckets;
        let [audio_in, image_in, audio_out, image_out] = media;
        Self {
            input,
            cached_read,
            cache_write_5m,
            cache_write_1h,
            output,
            reasoning,
            audio_in,
            image_in,
            audio_out,
            image_out,
        }
    }

    /// Takes a part out of a dialect's total, as far as that reaches; gives what was taken.
    pub fn take(total: &mut u64, part: u64) -> u64 {
        let part = part.min(*total);
        *total -= part;
        part
    }

    /// All prompt tokens, however they were served.
    pub fn prompt(&self) -> u64 {
        self.input
            .saturating_add(self.cached_read)
            .saturating_add(self.cache_write_5m)
            .saturating_add(self.cache_write_1h)
            .saturating_add(self.audio_in)
            .saturating_add(self.image_in)
    }

    /// All generated tokens, seen or not.
    pub fn completion(&self) -> u64 {
        let seen = self.output.saturating_add(self.audio_out).saturating_add(self.image_out);
        seen.saturating_add(self.reasoning)
    }
}
