//! A slot that a call holds at a channel, with what it takes of what the provider lets through, and those at its
//! caller's own gates. Dropping it gives them back. What comes of the attempt teaches the channel.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use penstock_actors::{
    channel::{
        ChannelCell, Permit,
        adaptive::class_of,
        learning::{Cause, Refusal},
        pacer::{Heard, Paced},
    },
    domain::{Adaptive, LearningRules, Pacing, Sign},
    router::{Route, WaitingRoom},
};

use super::{evidence, wait::Failed};
use crate::{dialect::hints, provider::Failure};

/// See the module's sentences.
pub(super) struct HeldPermit {
    _permit: Permit,
    cell: Arc<ChannelCell>,
    since: Instant,
    /// The caller's, from when the answer has begun.
    pub(super) of_caller: Vec<Permit>,
    rules: LearningRules,
    paced: Option<Paced>,
    /// Tokens that the call is estimated to take.
    tokens: u64,
    /// Requests in flight with it, where the limit on them is learned.
    level: u32,
    /// Of what was learned, when it was sent.
    generation: u64,
    /// Why the provider takes no more, should it say so.
    cause: Cause,
}

impl HeldPermit {
    pub(super) fn new(mut permit: Permit, route: &Route, tokens: u64) -> Self {
        let (cell, rules) = (&route.cell, route.spec.learning);
        let paced = permit.take_paced();
        Self {
            _permit: permit,
            cell: Arc::clone(cell),
            since: Instant::now(),
            of_caller: Vec::new(),
            level: if rules.adaptive == Adaptive::Fixed { 0 } else { cell.gate.in_flight() },
            generation: cell.learning.pacer.generation(),
            cause: Cause::Unsaid,
            rules,
            paced,
            tokens,
        }
    }

    /// What the request took of what the provider lets through, for who settles it.
    pub(super) fn take_paced(&mut self) -> Option<Paced> {
        self.paced.take()
    }

    /// The request goes out.
    pub(super) fn sent(&mut self) {
        if let Some(paced) = &mut self.paced {
            paced.sent();
        }
    }

    /// The provider answers, with these headers about its limits.
    pub(super) fn heard(&mut self, limits: &str, room: &WaitingRoom) {
        if let Some(paced) = &mut self.paced {
            paced.heard();
        }
        if limits.is_empty() || self.rules.pacing == Pacing::Off {
            return;
        }
        let hint = hints::limits(limits, SystemTime::now);
        if hint.is_empty() {
            return;
        }
        self.cause = Cause::of(&hint, self.tokens);
        let (pacer, now) = (&self.cell.learning.pacer, room.now());
        let of = match &self.paced {
            Some(paced) => Heard::Paced(paced),
            None => Heard::Unpaced {
                generation: self.generation,
                in_flight: u64::from(self.cell.gate.in_flight().saturating_sub(1)),
                tokens: self.tokens,
            },
        };
        if let Some(pause) = pacer.learn(&hint, of, now) {
            pacer.pause(pause.min(self.rules.longest_pause), now);
        }
    }

    /// The answer begins, to a prompt of so many bytes.
    pub(super) fn answered(&self, prompt_bytes: u64, first_byte: Duration, room: &WaitingRoom) {
        let learning = &self.cell.learning;
        if self.rules.adaptive == Adaptive::Fixed && !learning.pacer.is_on() {
            return;
        }
        learning.answered(self.level, room.at(self.since));
        if self.rules.adaptive == Adaptive::Gradient {
            learning.first_byte(class_of(prompt_bytes), first_byte);
        }
    }

    /// The attempt failed.
    pub(super) fn failed(&mut self, failure: &Failure, room: &WaitingRoom) {
        if let Some(paced) = self.paced.take() {
            paced.settle(0);
        }
        let learns = self.rules.pacing == Pacing::On || self.rules.adaptive != Adaptive::Fixed;
        let current = self.generation == self.cell.learning.pacer.generation();
        let Some(refuses) = Refuses::of(failure).filter(|_| learns && current) else { return };
        let cause = match refuses {
            Refuses::More => self.cause.with_hint(failure.retry_after.filter(|after| !after.is_zero())),
            Refuses::Everyone => Cause::Overloaded,
        };
        if self.rules.pacing == Pacing::On && matches!(failure.status, 429 | 529) {
            let told = failure.retry_after.filter(|after| !after.is_zero());
            let pause = told.unwrap_or(CONCLUDES).min(self.rules.longest_pause);
            self.cell.learning.pacer.pause(pause, room.now());
        }
        self.cell.learning.refused(Refusal {
            cause,
            sent: room.at(self.since),
            level: self.level,
            others: self.cell.gate.in_flight().saturating_sub(1),
        });
        self.cell.gate.ring();
    }
}

impl Drop for HeldPermit {
    fn drop(&mut self) {
        self.cell.served(self.since.elapsed());
    }
}

/// The time that the channel's supervisor has to draw its conclusion from a refusal that says nothing more.
const CONCLUDES: Duration = Duration::from_millis(20);

/// Whom a provider refuses that takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refuses {
    /// Who asks too much of it.
    More,
    /// Everyone.
    Everyone,
}

impl Refuses {
    fn of(failure: &Failure) -> Option<Self> {
        match evidence::sign(failure) {
            Sign::Throttled => Some(Self::More),
            Sign::Overloaded => Some(Self::Everyone),
            _ => None,
        }
    }
}

/// Whether a failed call may be sent to the same channel again, later: the provider takes no more just now.
pub(super) fn of(failure: &Failure, rules: &LearningRules) -> Failed {
    match Refuses::of(failure) {
        Some(Refuses::More) if rules.pacing == Pacing::On => Failed::Throttled,
        _ => Failed::Otherwise,
    }
}

#[cfg(test)]
mod tests {
    use penstock_actors::domain::Fault;

    use super::*;
    use crate::provider::Next;

    #[test]
    fn what_tells_of_limits_is_told_apart_from_what_does_not() {
        for (status, kind, code, wanted) in [
            (429, "requests", "rate_limit_exceeded", Some(Refuses::More)),
            (429, "insufficient_quota", "insufficient_quota", None),
            (529, "overloaded_error", "overloaded_error", Some(Refuses::Everyone)),
            (503, "x", "x", Some(Refuses::Everyone)),
            (504, "upstream_error", "upstream_first_byte_timeout", Some(Refuses::Everyone)),
            (500, "x", "x", None),
            (401, "x", "x", None),
        ] {
            let mut failure = Failure::upstream(status, code, Next::Failover, "");
            failure.kind = kind.to_owned();
            assert_eq!(Refuses::of(&failure), wanted, "{status} {kind} {code}");
            failure.fault = Fault::Gateway;
            assert_eq!(Refuses::of(&failure), None);
        }
    }
}
