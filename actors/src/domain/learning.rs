//! What a channel learns of its provider's limits: by which rules, and the provider's own words. Plain values.

use std::time::Duration;

/// By which rules a channel learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearningRules {
    /// How the limit on requests in flight follows what the provider bears.
    pub adaptive: Adaptive,
    /// Whether requests are paced to what the provider says, or shows by its refusals.
    pub pacing: Pacing,
    /// The longest that one word of the provider's keeps the channel from sending.
    pub longest_pause: Duration,
}

impl Default for LearningRules {
    fn default() -> Self {
        Self {
            adaptive: Adaptive::default(),
            pacing: Pacing::default(),
            longest_pause: Duration::from_secs(60),
        }
    }
}

/// How the limit on requests in flight follows what the provider bears; never above the configured one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Adaptive {
    /// It does not: the configured one is in force.
    #[default]
    Fixed,
    /// It grows one by one while all is well, and shrinks where the provider takes no more.
    Aimd,
    /// The same, and it follows the time to the first byte as well.
    Gradient,
}

impl Adaptive {
    /// The word in settings and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Aimd => "aimd",
            Self::Gradient => "gradient",
        }
    }
}

/// Whether requests are paced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pacing {
    /// They are.
    #[default]
    On,
    /// They are not.
    Off,
}

/// A provider's word on one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// What it lets through in a time, and at once.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// After how long it will be whole again.
    pub reset: Option<Duration>,
}

/// What a provider said of its limits in one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// Of requests.
    pub requests: Option<Told>,
    /// Of tokens.
    pub tokens: Option<Told>,
}

impl Hint {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
