//! How failing channels are treated: when a breaker opens, when a channel is switched off, how much is retried.

use std::time::Duration;

/// How attempts on a channel are guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Care {
    /// When a model of the channel is passed over.
    pub breaker: BreakerRules,
    /// Whether a channel is switched off whose credential the provider refuses, or whose account is empty.
    pub switch: SwitchRule,
    /// Attempts that follow a failed one on another channel, in percent of the channel's others.
    pub retry_percent: u32,
    /// What becomes of a call whose failed attempt the provider may have worked on.
    pub uncertain: Uncertain,
}

/// What becomes of a call whose failed attempt the provider may have worked on, and may bill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Uncertain {
    /// It is tried elsewhere: rather paid twice than lost.
    #[default]
    FailsOver,
    /// Its client is told: rather lost than paid twice.
    IsTold,
}

impl Default for Care {
    fn default() -> Self {
        Self {
            breaker: BreakerRules::default(),
            switch: SwitchRule::default(),
            retry_percent: 20,
            uncertain: Uncertain::default(),
        }
    }
}

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// It opens where so many percent of attempts failed; 0 for never.
    pub percent: u32,
    /// Out of at least so many attempts,
    pub least: u32,
    /// in so long a time.
    pub window: Duration,
    /// How long it stays open at first; twice as long each time that probes fail.
    pub open: Duration,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self { percent: 50, least: 20, window: Duration::from_secs(30), open: Duration::from_secs(10) }
    }
}

/// Whether evidence against a channel's credential or account switches it off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SwitchRule {
    /// It does; a call now and then tries whether it works again.
    #[default]
    ByEvidence,
    /// It does not.
    Never,
}

/// What a failed attempt told of its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It failed by the provider's doing.
    Failed,
    /// The provider cannot take more now: 503, 529, no connection, no first byte in time.
    Overloaded,
    /// The provider takes no more in this time: 429.
    Throttled,
    /// The provider refused the channel's credential.
    BadCredential,
    /// The channel's account with the provider is empty.
    OutOfCredit,
    /// It tells nothing: the client's doing, or the gateway's.
    Nothing,
}
