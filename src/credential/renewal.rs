//! When a token is asked for: ahead of its end, and after failures again and again. Told the time.

use std::time::{Duration, Instant};

use super::TokenError;

/// Where the renewal of one token stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Renewal {
    phase: Phase,
    /// When the token in force can no longer be shown.
    ends: Option<Instant>,
    /// In a row.
    failures: u32,
    asked: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// To be asked for at this time.
    Due(Instant),
    /// A question is on its way.
    Asking,
}

/// The longest time before a token's end that it is renewed.
const LONGEST_MARGIN: Duration = Duration::from_secs(3600);
/// The shortest, unless the token lives less than twice that.
const SHORTEST_MARGIN: Duration = Duration::from_secs(60);
/// What is taken off a token's life, for the way and for clocks.
const SLACK: Duration = Duration::from_secs(30);
/// No token is believed to live longer.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// A credential that was refused may become good, but hardly soon.
const REFUSED_RETRY: Duration = Duration::from_secs(60);
const LAST_REFUSED_RETRY: Duration = Duration::from_secs(600);

impl Renewal {
    /// A token that is to be asked for now.
    pub(super) fn new(now: Instant) -> Self {
        Self { phase: Phase::Due(now), ends: None, failures: 0, asked: now }
    }

    /// Whether it is to be asked for; it is taken to be asked for then.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        match self.phase {
            Phase::Due(at) if at <= now => {
                (self.phase, self.asked) = (Phase::Asking, now);
                true
            }
            Phase::Due(_) | Phase::Asking => false,
        }
    }

    /// What was asked is not waited for any longer.
    pub(super) fn forget(&mut self, now: Instant) {
        if self.phase == Phase::Asking {
            self.phase = Phase::Due(now);
        }
    }

    /// A token came, good for so long since it was asked for.
    pub(super) fn granted(&mut self, life: Duration, now: Instant) {
        let life = life.min(LONGEST_LIFE);
        let margin = (life / 5).clamp(SHORTEST_MARGIN, LONGEST_MARGIN).min(life / 2);
        self.ends = Some(self.asked + (life - SLACK.min(life / 10)));
        self.phase = Phase::Due((self.asked + (life - margin)).max(now + FIRST_RETRY));
        self.failures = 0;
    }

    /// None came; says after how long it is asked for again.
    pub(super) fn failed(&mut self, error: &TokenError, now: Instant) -> Duration {
        let (first, last) = match error {
            TokenError::Refused(_) => (REFUSED_RETRY, LAST_REFUSED_RETRY),
            TokenError::Unavailable(_) => (FIRST_RETRY, LAST_RETRY),
        };
        let wait = first.saturating_mul(1 << self.failures.min(10)).min(last);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Due(now + wait);
        wait
    }

    /// The provider refused the token in force: another is asked for at once, unless this one is new.
    pub(super) fn refused(&mut self, now: Instant) {
        if let Phase::Due(at) = self.phase {
            self.phase = Phase::Due(at.min(now.max(self.asked + SHORTEST_MARGIN)));
        }
    }

    /// Whether a token in force has ended; said once.
    pub(super) fn end(&mut self, now: Instant) -> bool {
        let ended = self.ends.is_some_and(|at| at <= now);
        if ended {
            self.ends = None;
        }
        ended
    }

    /// Whether a token is in force.
    pub(super) fn has_token(&self) -> bool {
        self.ends.is_some()
    }

    /// When to look again.
    pub(super) fn wake(&self) -> Option<Instant> {
        let due = match self.phase {
            Phase::Due(at) => Some(at),
            Phase::Asking => None,
        };
        [due, self.ends].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        for (life, renewed, ends) in [
            (3600, 2880, 3570),
            (30 * 24 * 3600, 30 * 24 * 3600 - 3600, 30 * 24 * 3600 - 30),
            (100, 50, 90),
            (u64::MAX / 4, 30 * 24 * 3600 - 3600, 30 * 24 * 3600 - 30),
        ] {
            let start = Instant::now();
            let mut renewal = Renewal::new(start);
            assert!(renewal.ask(start) && !renewal.ask(start));
            assert_eq!(renewal.wake(), None, "an answer is waited for");
            renewal.granted(seconds(life), start + seconds(2));
            assert_eq!(renewal.wake(), Some(start + seconds(renewed)), "{life}");
            assert!(!renewal.ask(start + seconds(renewed - 1)) && renewal.ask(start + seconds(renewed)));
            assert!(!renewal.end(start + seconds(ends - 1)) && renewal.end(start + seconds(ends)));
            assert!(!renewal.end(start + seconds(ends)), "said once");
        }
    }

    #[test]
    fn failures_are_followed_by_longer_pauses() {
        let start = Instant::now();
        let mut renewal = Renewal::new(start);
        let away = TokenError::Unavailable("away".into());
        let waits: Vec<_> = (0..8)
            .map(|_| {
                assert!(renewal.ask(start + LONGEST_LIFE));
                renewal.failed(&away, start).as_secs()
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        let mut renewal = Renewal::new(start);
        let refused = TokenError::Refused("no".into());
        let waits: Vec<_> = (0..5).map(|_| renewal.failed(&refused, start).as_secs()).collect();
        assert_eq!(waits, [60, 120, 240, 480, 600]);
    }

    #[test]
    fn a_token_that_is_refused_is_renewed_at_once_but_not_again_and_again() {
        let start = Instant::now();
        let mut renewal = Renewal::new(start);
        assert!(renewal.ask(start));
        renewal.granted(seconds(3600), start);
        renewal.refused(start + seconds(5));
        assert_eq!(renewal.wake(), Some(start + seconds(60)));
        renewal.refused(start + seconds(500));
        assert_eq!(renewal.wake(), Some(start + seconds(60)), "that is due already");
        assert!(renewal.ask(start + seconds(500)));
        renewal.refused(start + seconds(501));
        assert!(!renewal.ask(start + seconds(501)), "one question at a time");
        renewal.forget(start + seconds(502));
        assert!(renewal.ask(start + seconds(502)));
    }
}
