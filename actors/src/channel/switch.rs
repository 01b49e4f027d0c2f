//! The decision that a channel's credential or account does not work, on evidence, and when to try again. Pure.

use std::time::Duration;

/// Why a channel is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffReason {
    /// The provider refuses its credential.
    BadCredential,
    /// Its account with the provider is empty.
    OutOfCredit,
}

impl OffReason {
    /// The word in logs, metrics and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadCredential => "bad_credential",
            Self::OutOfCredit => "out_of_credit",
        }
    }
}

/// Whether a channel is used, as far as evidence goes. The operator's own switch is another matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    #[default]
    On,
    /// It is not.
    Off(OffReason),
    /// One call may try whether it works again.
    Trying(OffReason),
}

/// Attempts since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// That brought an answer.
    pub answered: u64,
    /// Whose credential was refused.
    pub bad_credential: u64,
    /// That were refused for want of credit.
    pub out_of_credit: u64,
}

/// Refusals, with no answer between them, that are evidence enough: providers refuse good credentials, too.
const ENOUGH: u64 = 3;
/// How long it is off before it is tried; twice as long each time.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);
/// A try that came to no end is given up after this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The switch of one channel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Switch {
    standing: Standing,
    refused: u64,
    /// When it is tried next, or when the try is given up.
    due: Duration,
    wait: Duration,
}

impl Switch {
    /// Where it stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Takes what happened since the last look. `now` is on a monotonic clock.
    pub fn observe(&mut self, seen: Evidence, now: Duration) -> Standing {
        let reason = match (seen.out_of_credit, seen.bad_credential) {
            (1.., _) => Some(OffReason::OutOfCredit),
            (0, 1..) => Some(OffReason::BadCredential),
            (0, 0) => None,
        };
        self.standing = match (self.standing, reason) {
            // A credential that works at all is not bad: what was refused has another reason.
            (_, _) if seen.answered > 0 => {
                *self = Self::default();
                Standing::On
            }
            (Standing::On, None) => Standing::On,
            (Standing::On, Some(reason)) => {
                self.refused += seen.out_of_credit + seen.bad_credential;
                if self.refused >= ENOUGH { self.off(reason, FIRST, now) } else { Standing::On }
            }
            (Standing::Trying(_), Some(reason)) => self.off(reason, (self.wait * 2).min(LONGEST), now),
            (Standing::Trying(reason), None) if now >= self.due => self.off(reason, self.wait, now),
            (Standing::Off(reason), _) if now >= self.due => {
                self.due = now + PATIENCE;
                Standing::Trying(reason)
            }
            (standing, _) => standing,
        };
        self.standing
    }

    fn off(&mut self, reason: OffReason, wait: Duration, now: Duration) -> Standing {
        (self.wait, self.due, self.refused) = (wait, now + wait, 0);
        Standing::Off(reason)
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use OffReason::*;
    use Standing::*;

    fn check(steps: &[(u64, (u64, u64, u64), Standing)]) {
        let mut switch = Switch::default();
        for (at, (answered, bad_credential, out_of_credit), wanted) in steps {
            let seen = Evidence {
                answered: *answered,
                bad_credential: *bad_credential,
                out_of_credit: *out_of_credit,
            };
            assert_eq!(switch.observe(seen, Duration::from_secs(*at)), *wanted, "at {at}");
        }
    }

    #[test]
    fn three_refusals_without_an_answer_between_switch_off() {
        check(&[
            (1, (0, 2, 0), On),
            (2, (1, 0, 0), On),
            (3, (0, 2, 0), On),
            (4, (0, 1, 0), Off(BadCredential)),
        ]);
        check(&[(1, (5, 9, 9), On), (2, (0, 0, 3), Off(OutOfCredit))]);
    }

    #[test]
    fn it_is_tried_ever_more_seldom_and_comes_back_with_the_first_answer() {
        check(&[
            (0, (0, 3, 0), Off(BadCredential)),
            (59, (0, 0, 0), Off(BadCredential)),
            (60, (0, 0, 0), Trying(BadCredential)),
            (61, (0, 1, 0), Off(BadCredential)),
            (180, (0, 0, 0), Off(BadCredential)),
            (181, (0, 0, 0), Trying(BadCredential)),
            (182, (1, 0, 0), On),
            (183, (0, 2, 0), On),
        ]);
    }

    #[test]
    fn a_try_that_never_ends_is_made_again() {
        check(&[
            (0, (0, 0, 3), Off(OutOfCredit)),
            (60, (0, 0, 0), Trying(OutOfCredit)),
            (119, (0, 0, 0), Trying(OutOfCredit)),
            (120, (0, 0, 0), Off(OutOfCredit)),
            (180, (0, 0, 0), Trying(OutOfCredit)),
        ]);
    }
}
