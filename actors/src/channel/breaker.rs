//! The decision whether a model of a channel is passed over: a ratio of failures over a sliding window. Pure.

use std::{ops::AddAssign, time::Duration};

use crate::{domain::BreakerRules, metrics::Rolling};

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// It serves.
    #[default]
    Closed,
    /// It is passed over.
    Open,
    /// Some calls try whether it serves again.
    HalfOpen,
}

impl BreakerState {
    /// The word in logs and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Attempts since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// That brought an answer.
    pub succeeded: u64,
    /// That failed by the provider's doing.
    pub failed: u64,
}

impl AddAssign for Tries {
    fn add_assign(&mut self, more: Self) {
        self.succeeded += more.succeeded;
        self.failed += more.failed;
    }
}

/// Calls that may try a half-open breaker at a time.
pub const PROBES: u32 = 3;
/// Answers in a row that close it.
const CLOSES: u64 = 2;
/// The longest that it stays open.
const LONGEST: Duration = Duration::from_secs(300);
/// Probes that came to no end are given up after this long.
const PROBE_PATIENCE: Duration = Duration::from_secs(30);
const SLOTS: u32 = 10;

/// The breaker of one model of one channel.
#[derive(Clone, Debug)]
pub struct Breaker {
    rules: BreakerRules,
    tries: Rolling<Tries>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    /// Until when, and how long that is in all.
    Open {
        until: Duration,
        lasts: Duration,
    },
    /// Since when probes are out, how many answered, and how long it was open.
    HalfOpen {
        since: Duration,
        answered: u64,
        lasted: Duration,
    },
}

impl Breaker {
    /// A closed breaker.
    pub fn new(rules: BreakerRules) -> Self {
        Self { rules, tries: Rolling::new(rules.window / SLOTS, SLOTS as usize), phase: Phase::Closed }
    }

    /// The rules it goes by.
    pub fn rules(&self) -> BreakerRules {
        self.rules
    }

    /// Takes what happened since the last look, and says where the breaker stands now; and whether probes are to
    /// be given out anew. `now` is on a monotonic clock.
    pub fn observe(&mut self, tries: Tries, now: Duration) -> (BreakerState, Probes) {
        self.tries.add(now, tries);
        let mut probes = Probes::AsTheyAre;
        let is_failing = self.is_failing(now);
        self.phase = match self.phase {
            Phase::Closed if is_failing => {
                Phase::Open { until: now + self.rules.open, lasts: self.rules.open }
            }
            Phase::Closed => Phase::Closed,
            // Calls that were on their way when it opened, or that had nowhere else to go.
            Phase::Open { lasts, .. } if tries.succeeded > 0 && tries.failed == 0 => {
                probes = Probes::Anew;
                Phase::HalfOpen { since: now, answered: tries.succeeded, lasted: lasts }
            }
            Phase::Open { until, lasts } if now >= until => {
                probes = Probes::Anew;
                Phase::HalfOpen { since: now, answered: 0, lasted: lasts }
            }
            open @ Phase::Open { .. } => open,
            Phase::HalfOpen { lasted, .. } if tries.failed > 0 => {
                let lasts = (lasted * 2).min(LONGEST.max(self.rules.open));
                Phase::Open { until: now + lasts, lasts }
            }
            Phase::HalfOpen { since, answered, lasted } => {
                let answered = answered + tries.succeeded;
                let is_late = now.saturating_sub(since) >= PROBE_PATIENCE;
                if is_late || tries.succeeded > 0 {
                    probes = Probes::Anew;
                }
                Phase::HalfOpen { since: if is_late { now } else { since }, answered, lasted }
            }
        };
        if matches!(self.phase, Phase::HalfOpen { answered: CLOSES.., .. }) {
            (self.phase, probes) = (Phase::Closed, Probes::AsTheyAre);
            // What was bad before it opened is not held against it twice.
            self.tries = Rolling::new(self.rules.window / SLOTS, SLOTS as usize);
        }
        (self.state(), probes)
    }

    fn is_failing(&mut self, now: Duration) -> bool {
        let Tries { succeeded, failed } = self.tries.sum(now);
        let all = succeeded + failed;
        self.rules.percent > 0
            && all >= u64::from(self.rules.least.max(1))
            && failed * 100 >= all * u64::from(self.rules.percent)
    }

    /// Where it stands.
    pub fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

/// Whether calls may try a half-open breaker once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probes {
    /// As many as are left.
    AsTheyAre,
    /// As many as at first.
    Anew,
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn tries(succeeded: u64, failed: u64) -> Tries {
        Tries { succeeded, failed }
    }

    #[test]
    fn it_opens_by_ratio_over_a_least_sample_and_closes_after_probes() {
        use BreakerState::*;
        let mut breaker = Breaker::new(BreakerRules::default());
        for (at, succeeded, failed, state, probes) in [
            (1, 0, 19, Closed, Probes::AsTheyAre),
            (2, 0, 1, Open, Probes::AsTheyAre),
            (5, 0, 3, Open, Probes::AsTheyAre),
            (12, 0, 0, HalfOpen, Probes::Anew),
            (13, 0, 1, Open, Probes::AsTheyAre),
            (32, 0, 0, Open, Probes::AsTheyAre),
            (33, 0, 0, HalfOpen, Probes::Anew),
            (34, 1, 0, HalfOpen, Probes::Anew),
            (35, 1, 0, Closed, Probes::AsTheyAre),
            (36, 0, 5, Closed, Probes::AsTheyAre),
        ] {
            assert_eq!(breaker.observe(tries(succeeded, failed), secs(at)), (state, probes), "at {at}");
        }
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten_and_a_good_share_keeps_it_closed() {
        let mut breaker = Breaker::new(BreakerRules::default());
        breaker.observe(tries(0, 19), secs(1));
        assert_eq!(breaker.observe(tries(0, 19), secs(40)).0, BreakerState::Closed);
        assert_eq!(breaker.observe(tries(30, 0), secs(41)).0, BreakerState::Closed);
        assert_eq!(breaker.observe(tries(0, 11), secs(42)).0, BreakerState::Open);
    }

    #[test]
    fn probes_that_never_end_are_given_out_anew_and_no_percent_means_never() {
        let mut breaker = Breaker::new(BreakerRules::default());
        breaker.observe(tries(0, 20), secs(1));
        assert_eq!(breaker.observe(tries(0, 0), secs(11)), (BreakerState::HalfOpen, Probes::Anew));
        assert_eq!(breaker.observe(tries(0, 0), secs(40)).1, Probes::AsTheyAre);
        assert_eq!(breaker.observe(tries(0, 0), secs(41)).1, Probes::Anew);
        let mut never = Breaker::new(BreakerRules { percent: 0, ..BreakerRules::default() });
        assert_eq!(never.observe(tries(0, 1_000), secs(1)).0, BreakerState::Closed);
    }

    proptest! {
        #[test]
        fn it_opens_only_where_enough_failed_and_never_for_longer_than_the_longest(
            steps in proptest::collection::vec((1u64..20, 0u64..30, 0u64..30), 1..60)
        ) {
            let mut breaker = Breaker::new(BreakerRules::default());
            let (mut now, mut opened) = (0, None);
            for (wait, succeeded, failed) in steps {
                now += wait;
                let before = breaker.state();
                let (state, _) = breaker.observe(tries(succeeded, failed), secs(now));
                if before == BreakerState::Closed && succeeded > 0 && failed == 0 {
                    prop_assert!(state != BreakerState::HalfOpen);
                }
                match (before, state) {
                    (BreakerState::Closed, BreakerState::Open) => opened = Some(now),
                    (_, BreakerState::Open) if before != BreakerState::Open => opened = Some(now),
                    _ => {}
                }
                if state == BreakerState::Open {
                    prop_assert!(now - opened.expect("it opened") <= 300 + wait);
                }
            }
        }
    }
}
