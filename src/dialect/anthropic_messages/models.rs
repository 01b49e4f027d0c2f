//! What is known of models by their names: how to ask them to reason, and whether sampling can be tuned.
//!
//! The lists hold old models only. No new ones of their kind are made, so the lists are complete,
//! and a model they do not know is a recent one.

/// A model's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generation {
    /// Claude before 4.6, and the models of others that speak this dialect: `thinking.type` is
    /// `enabled`, with a budget of tokens.
    Budget,
    /// Claude 4.6: `thinking.type` is `adaptive`, with `output_config.effort`.
    Effort,
    /// Claude since 4.7: as 4.6, but temperature, `top_p` and `top_k` are refused.
    Untuned,
}

const BUDGET: [&str; 11] = [
    "claude-instant",
    "claude-2",
    "claude-3",
    "claude-sonnet-4-0",
    "claude-sonnet-4-2025",
    "claude-sonnet-4-5",
    "claude-opus-4-0",
    "claude-opus-4-1",
    "claude-opus-4-2025",
    "claude-opus-4-5",
    "claude-haiku-4-5",
];

const EFFORT: [&str; 2] = ["claude-opus-4-6", "claude-sonnet-4-6"];

impl Generation {
    /// The generation of a model, by its name at Anthropic or with a cloud's prefix and suffix.
    pub(super) fn of(model: &str) -> Self {
        let is_one_of = |names: &[&str]| names.iter().any(|name| model.contains(name));
        if !model.contains("claude") || is_one_of(&BUDGET) {
            Self::Budget
        } else if is_one_of(&EFFORT) {
            Self::Effort
        } else {
            Self::Untuned
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_known_by_their_names() {
        for (model, generation) in [
            ("claude-haiku-4-5-20251001", Generation::Budget),
            ("claude-opus-4-20250514", Generation::Budget),
            ("claude-3-7-sonnet-latest", Generation::Budget),
            ("us.anthropic.claude-opus-4-5-20251101-v1:0", Generation::Budget),
            ("glm-5", Generation::Budget),
            ("claude-sonnet-4-6", Generation::Effort),
            ("claude-opus-4-6@20260205", Generation::Effort),
            ("anthropic.claude-opus-4-8-v1:0", Generation::Untuned),
            ("claude-haiku-5-5", Generation::Untuned),
            ("claude-mythos-preview", Generation::Untuned),
        ] {
            assert_eq!(Generation::of(model), generation, "{model}");
        }
    }
}
