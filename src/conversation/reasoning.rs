//! How much a model should reason before it answers.

/// What the client wants of the model's reasoning. Nothing said is the provider's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// How much, in words.
    pub effort: Option<Effort>,
    /// How much, in tokens at most.
    pub budget: Option<u64>,
    /// Whether the reasoning, or a summary of it, is shown.
    pub shown: Option<bool>,
}

/// How much to reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// Hardly.
    Minimal,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// Very much.
    ExtraHigh,
    /// As much as the model can.
    Max,
}

impl Effort {
    /// Every effort.
    const ALL: [Self; 7] =
        [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::ExtraHigh, Self::Max];

    /// The words, as a clause for errors.
    pub const WORDS: &str = "must be 'none', 'minimal', 'low', 'medium', 'high', 'xhigh' or 'max'";

    /// The word that clients and providers use.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::ExtraHigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The effort of a word, in any case.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.word().eq_ignore_ascii_case(word))
    }
}

impl Reasoning {
    /// The effort, read from the budget where only that is given: the bounds are those between the shares that
    /// providers themselves give their words.
    pub fn effort_or_budget(&self) -> Option<Effort> {
        self.effort.or_else(|| {
            Some(match self.budget? {
                0 => Effort::None,
                1..=1_024 => Effort::Minimal,
                1_025..=4_096 => Effort::Low,
                4_097..=16_384 => Effort::Medium,
                _ => Effort::High,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_an_effort_where_no_word_is_given() {
        let of = |effort, budget| Reasoning { effort, budget, shown: None }.effort_or_budget();
        assert_eq!(of(Some(Effort::Low), Some(90_000)), Some(Effort::Low));
        for (budget, wanted) in
            [(0, Effort::None), (1024, Effort::Minimal), (8_000, Effort::Medium), (32_000, Effort::High)]
        {
            assert_eq!(of(None, Some(budget)), Some(wanted), "{budget}");
        }
        assert_eq!(of(None, None), None);
        assert_eq!(Effort::of_word("XHIGH"), Some(Effort::ExtraHigh));
        assert_eq!(Effort::of_word("huge"), None);
    }
}
