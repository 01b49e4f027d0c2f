//! The part of a supervisor that keeps breakers and the evidence switch: feeds the cores, publishes, and tells.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    ChannelCell,
    breaker::{Breaker, BreakerState, Probes, Tries},
    line::{Line, RETRY_WINDOW},
    switch::{Evidence, Standing, Switch},
};
use crate::{
    domain::{BreakerRules, ChannelSpec, ModelName, SwitchRule},
    metrics::Rolling,
};

/// See the module's sentence.
#[derive(Debug)]
pub(super) struct Caretaker {
    breakers: HashMap<ModelName, Watched>,
    switch: Switch,
    seen: Evidence,
    /// What all of it is about.
    spec: Arc<ChannelSpec>,
    /// Attempts that were no retries.
    others: Rolling<u64>,
    others_seen: u64,
}

#[derive(Debug)]
struct Watched {
    breaker: Breaker,
    seen: Tries,
}

/// Whether something was published that changes which calls a channel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    Nothing,
    Something,
}

const RETRY_SLOTS: u32 = 10;

impl Caretaker {
    /// Begins with what was counted so far; what was published stays until the next look.
    pub(super) fn new(cell: &ChannelCell) -> Self {
        let spec = cell.spec();
        Self {
            breakers: Watched::all(cell, spec.care.breaker),
            switch: Switch::default(),
            seen: cell.lines.evidence(cell.totals().succeeded),
            spec,
            others: Rolling::new(RETRY_WINDOW / RETRY_SLOTS, RETRY_SLOTS as usize),
            others_seen: others(cell),
        }
    }

    /// Looks at what was counted since the last look. `now` is on a monotonic clock.
    pub(super) fn tick(&mut self, cell: &ChannelCell, now: Duration) -> Moved {
        let others = others(cell);
        self.others.add(now, others.saturating_sub(self.others_seen));
        // Retries are counted as they begin, attempts as they end.
        self.others_seen = others.max(self.others_seen);
        cell.lines.publish_others(self.others.sum(now));
        let spec = cell.spec();
        if !spec.is_reached_alike(&self.spec) {
            self.breakers = Watched::all(cell, spec.care.breaker);
        }
        if !spec.is_same_account(&self.spec) || spec.care.switch == SwitchRule::Never {
            self.switch = Switch::default();
            self.seen = cell.lines.evidence(cell.totals().succeeded);
        }
        self.spec = spec;
        let lines = self.look_at_lines(cell, now);
        let evidence = self.look_at_evidence(cell, now);
        if lines == Moved::Nothing { evidence } else { lines }
    }

    fn look_at_lines(&mut self, cell: &ChannelCell, now: Duration) -> Moved {
        let rules = self.spec.care.breaker;
        let mut moved = Moved::Nothing;
        let lines = cell.lines.all();
        self.breakers.retain(|model, _| lines.contains_key(model));
        for (model, line) in lines.iter() {
            let all = line.tries();
            if !self.breakers.contains_key(model) {
                if all == Tries::default() && line.state() == BreakerState::Closed {
                    continue;
                }
                let fresh = Watched { breaker: Breaker::new(rules), seen: Tries::default() };
                self.breakers.insert(Arc::clone(model), fresh);
            }
            let Some(watched) = self.breakers.get_mut(model) else { continue };
            if watched.look(cell, model, line, (all, rules, now)) == Moved::Something {
                moved = Moved::Something;
            }
        }
        moved
    }

    fn look_at_evidence(&mut self, cell: &ChannelCell, now: Duration) -> Moved {
        let all = cell.lines.evidence(cell.totals().succeeded);
        let since = Evidence {
            answered: all.answered.saturating_sub(self.seen.answered),
            bad_credential: all.bad_credential.saturating_sub(self.seen.bad_credential),
            out_of_credit: all.out_of_credit.saturating_sub(self.seen.out_of_credit),
        };
        self.seen = all;
        let before = self.switch.standing();
        let standing = match self.spec.care.switch {
            SwitchRule::ByEvidence => self.switch.observe(since, now),
            SwitchRule::Never => Standing::On,
        };
        // Only what moved is published: a call may have taken the one try.
        if standing == before
            && !matches!(
                (standing, cell.lines.standing()),
                (Standing::On, Standing::Off(_) | Standing::Trying(_))
            )
        {
            return Moved::Nothing;
        }
        cell.lines.publish(standing);
        match standing {
            Standing::On => tracing::info!(channel = %cell.name, "channel is used again"),
            Standing::Off(reason) => {
                tracing::warn!(channel = %cell.name, reason = reason.as_str(), "channel was switched off");
            }
            Standing::Trying(_) => tracing::info!(channel = %cell.name, "a call tries the channel again"),
        }
        Moved::Something
    }
}

impl Watched {
    /// Begins anew with every model of the channel.
    fn all(cell: &ChannelCell, rules: BreakerRules) -> HashMap<ModelName, Self> {
        let fresh = |line: &Line| Self { breaker: Breaker::new(rules), seen: line.tries() };
        cell.lines.all().iter().map(|(model, line)| (Arc::clone(model), fresh(line))).collect()
    }

    fn look(
        &mut self,
        cell: &ChannelCell,
        model: &ModelName,
        line: &Line,
        (all, rules, now): (Tries, BreakerRules, Duration),
    ) -> Moved {
        if self.breaker.rules() != rules {
            self.breaker = Breaker::new(rules);
        }
        let since = Tries {
            succeeded: all.succeeded.saturating_sub(self.seen.succeeded),
            failed: all.failed.saturating_sub(self.seen.failed),
        };
        let before = line.state();
        let is_quiet = since == Tries::default() && before == BreakerState::Closed;
        if is_quiet && self.breaker.state() == BreakerState::Closed {
            return Moved::Nothing;
        }
        self.seen = all;
        let (state, probes) = self.breaker.observe(since, now);
        if probes == Probes::Anew {
            line.give_probes();
        }
        line.publish(state);
        match state {
            _ if state == before => {}
            BreakerState::Open => tracing::warn!(channel = %cell.name, %model, "breaker opened"),
            _ => tracing::info!(channel = %cell.name, %model, state = state.as_str(), "breaker moved"),
        }
        if state == before && probes == Probes::AsTheyAre { Moved::Nothing } else { Moved::Something }
    }
}

/// Attempts so far that were no retries.
fn others(cell: &ChannelCell) -> u64 {
    let totals = cell.totals();
    (totals.succeeded + totals.failed).saturating_sub(cell.lines.retried())
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::{
        channel::switch::OffReason,
        domain::{Credential, Credentials, Sign},
        router::plan::tests::spec,
    };

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn failures_open_the_breaker_of_their_model_alone_and_are_not_held_against_it_after_a_restart() {
        let cell = ChannelCell::new(1, Arc::new(spec("a", 1, 0, 1, "default")));
        let [bad, good] = ["bad", "good"].map(|model| cell.lines.line(&model.into()));
        let mut caretaker = Caretaker::new(&cell);
        for _ in 0..20 {
            cell.lines.observe(&bad, Sign::Failed);
            cell.lines.began(&good);
        }
        assert_eq!(caretaker.tick(&cell, at(1)), Moved::Something);
        assert_eq!((bad.state(), good.state()), (BreakerState::Open, BreakerState::Closed));
        assert_eq!(caretaker.tick(&cell, at(2)), Moved::Nothing);
        let mut restarted = Caretaker::new(&cell);
        assert_eq!(restarted.tick(&cell, at(0)), Moved::Something);
        assert_eq!(bad.state(), BreakerState::Closed);
    }

    #[test]
    fn evidence_switches_off_and_another_credential_on_at_once() {
        let mut settings = spec("a", 1, 0, 1, "default");
        settings.credentials = Credentials::one(Credential::new("old"));
        let cell = ChannelCell::new(1, Arc::new(settings.clone()));
        let (mut caretaker, line) = (Caretaker::new(&cell), cell.lines.line(&"up".into()));
        for _ in 0..3 {
            cell.lines.observe(&line, Sign::BadCredential);
        }
        assert_eq!(caretaker.tick(&cell, at(1)), Moved::Something);
        assert_eq!(cell.lines.standing(), Standing::Off(OffReason::BadCredential));
        settings.credentials = Credentials::one(Credential::new("new"));
        // What nobody has looked at yet is the old one's, too.
        for _ in 0..3 {
            cell.lines.observe(&line, Sign::BadCredential);
        }
        cell.apply(Arc::new(settings));
        assert_eq!(caretaker.tick(&cell, at(1)), Moved::Something);
        assert_eq!(cell.lines.standing(), Standing::On);
        assert_eq!(caretaker.tick(&cell, at(2)), Moved::Nothing);
    }

    #[test]
    fn a_breaker_closes_when_the_channel_leads_elsewhere_and_stays_open_where_it_does_not() {
        let mut settings = spec("a", 1, 0, 1, "default");
        let cell = ChannelCell::new(1, Arc::new(settings.clone()));
        let (mut caretaker, line) = (Caretaker::new(&cell), cell.lines.line(&"up".into()));
        (0..20).for_each(|_| cell.lines.observe(&line, Sign::Failed));
        caretaker.tick(&cell, at(1));
        settings.weight = 7;
        cell.apply(Arc::new(settings.clone()));
        caretaker.tick(&cell, at(1));
        assert_eq!(line.state(), BreakerState::Open);
        settings.base_url = "http://another".into();
        cell.apply(Arc::new(settings));
        assert_eq!(caretaker.tick(&cell, at(1)), Moved::Something);
        assert_eq!(line.state(), BreakerState::Closed);
        assert_eq!(caretaker.tick(&cell, at(2)), Moved::Nothing);
    }

    #[test]
    fn attempts_of_the_last_half_minute_make_the_budget_for_retries() {
        let cell = ChannelCell::new(1, Arc::new(spec("a", 1, 0, 1, "default")));
        let mut caretaker = Caretaker::new(&cell);
        (0..1_000).for_each(|_| cell.succeeded(Duration::ZERO));
        caretaker.tick(&cell, at(1));
        assert_eq!(cell.lines.budget(20, 1_000).allowed, 200);
        caretaker.tick(&cell, at(40));
        assert_eq!(cell.lines.budget(20, 40_000).allowed, 90, "the least");
    }
}
