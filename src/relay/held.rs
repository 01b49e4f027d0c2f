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
        rotation::{Chosen, Rotation, Showing},
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
    /// Which credential is shown, where there are several; its account is paced apart.
    showing: Option<Box<Showing>>,
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
        let (paced, showing) = (permit.take_paced(), permit.take_showing());
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
            showing,
            tokens,
        }
    }

    /// What the request took of what the provider lets through, by all and by its credential, for who settles it.
    pub(super) fn take_paced(&mut self) -> [Option<Paced>; 2] {
        [self.paced.take(), self.showing.as_mut().and_then(|showing| showing.paced.take())]
    }

    /// Which of these credentials the request shows.
    pub(super) fn credential_of(&mut self, rotation: &Arc<Rotation>, now: Duration) -> usize {
        match &self.showing {
            Some(showing) if Arc::ptr_eq(&showing.rotation, rotation) => showing.which,
            // Settings have changed since there was a permit.
            _ => match rotation.choose(&[], self.tokens, now) {
                Chosen::Shown(showing) => self.show(showing),
                Chosen::Later(_) | Chosen::Nothing => 0,
            },
        }
    }

    /// Has the request show another credential than these; whether there is one that can be shown now.
    pub(super) fn shows_another(&mut self, tried: &[usize], now: Duration) -> bool {
        let Some(showing) = &mut self.showing else { return false };
        if let Some(paced) = showing.paced.take() {
            paced.settle(0);
        }
        match Arc::clone(&showing.rotation).choose(tried, self.tokens, now) {
            Chosen::Shown(showing) => {
                self.show(showing);
                true
            }
            Chosen::Later(_) | Chosen::Nothing => false,
        }
    }

    fn show(&mut self, mut showing: Showing) -> usize {
        showing.paced.iter_mut().for_each(Paced::sent);
        let which = showing.which;
        self.showing = Some(Box::new(showing));
        which
    }

    /// The request goes out.
    pub(super) fn sent(&mut self) {
        let of_credential = self.showing.as_mut().and_then(|showing| showing.paced.as_mut());
        self.paced.iter_mut().chain(of_credential).for_each(Paced::sent);
    }

    /// The provider answers, with these headers about its limits.
    pub(super) fn heard(&mut self, limits: &str, room: &WaitingRoom) {
        let of_credential = self.showing.as_mut().and_then(|showing| showing.paced.as_mut());
        self.paced.iter_mut().chain(of_credential).for_each(Paced::heard);
        if limits.is_empty() || self.rules.pacing == Pacing::Off {
            return;
        }
        let hint = hints::limits(limits, SystemTime::now);
        if hint.is_empty() {
            return;
        }
        self.cause = Cause::of(&hint, self.tokens);
        // Several credentials are several accounts: what one of them has left says nothing of the others.
        let (pacer, paced) = match &self.showing {
            Some(showing) => (showing.pacer(), &showing.paced),
            None => (&self.cell.learning.pacer, &self.paced),
        };
        let now = room.now();
        let of = match paced {
            Some(paced) => Heard::Paced(paced),
            // Shown though it was set aside: what is on its way by it is not known.
            None if self.showing.is_some() => return,
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
        self.take_paced().into_iter().flatten().for_each(|paced| paced.settle(0));
        let learns = self.rules.pacing == Pacing::On || self.rules.adaptive != Adaptive::Fixed;
        let current = self.generation == self.cell.learning.pacer.generation();
        let Some(refuses) = Refuses::of(failure).filter(|_| learns && current) else { return };
        if refuses == Refuses::More
            && self.rules.pacing == Pacing::On
            && self.showing.as_ref().is_some_and(|showing| !showing.rotation.is_spent(room.now()))
        {
            // It is passed over; others serve.
            return;
        }
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
