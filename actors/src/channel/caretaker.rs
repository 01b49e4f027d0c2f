//! The part of a supervisor that keeps breakers and the evidence switch: feeds the cores, publishes, and tells.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    ChannelCell,
    breaker::{Breaker, BreakerState, Probes, Tries},
    switch::{Evidence, Standing, Switch},
};
use crate::domain::{Credential, ModelName, SwitchRule};

/// See the module's sentence.
#[derive(Debug)]
pub(super) struct Caretaker {
    breakers: HashMap<ModelName, Watched>,
    switch: Switch,
    seen: Evidence,
    /// What the evidence is about.
    credential: Option<Credential>,
}

#[derive(Debug)]
struct Watched {
    breaker: Breaker,
    seen: Tries,
}

impl Caretaker {
    /// Begins with what was counted so far; what was published stays until the next look.
    pub(super) fn new(cell: &ChannelCell) -> Self {
        let credential = cell.spec().credential.clone();
        Self { breakers: HashMap::new(), switch: Switch::default(), seen: cell.lines.evidence(), credential }
    }

    /// Looks at what was counted since the last look. `now` is on a monotonic clock.
    pub(super) fn tick(&mut self, cell: &ChannelCell, now: Duration) {
        self.look_at_lines(cell, now);
        self.look_at_evidence(cell, now);
    }

    fn look_at_lines(&mut self, cell: &ChannelCell, now: Duration) {
        let rules = cell.spec().care.breaker;
        for (model, line) in cell.lines.all().iter() {
            let watched = self
                .breakers
                .entry(Arc::clone(model))
                .or_insert_with(|| Watched { breaker: Breaker::new(rules), seen: Tries::default() });
            if watched.breaker.rules() != rules {
                watched.breaker = Breaker::new(rules);
            }
            let all = line.tries();
            let since = Tries {
                succeeded: all.succeeded.saturating_sub(watched.seen.succeeded),
                failed: all.failed.saturating_sub(watched.seen.failed),
            };
            watched.seen = all;
            let (state, probes) = watched.breaker.observe(since, now);
            if probes == Probes::Anew {
                line.give_probes();
            }
            let before = line.state();
            line.publish(state);
            match state {
                _ if state == before => {}
                BreakerState::Open => tracing::warn!(channel = %cell.name, %model, "breaker opened"),
                _ => tracing::info!(channel = %cell.name, %model, state = state.as_str(), "breaker moved"),
            }
        }
    }

    fn look_at_evidence(&mut self, cell: &ChannelCell, now: Duration) {
        let spec = cell.spec();
        if self.credential != spec.credential || spec.care.switch == SwitchRule::Never {
            self.credential = spec.credential.clone();
            self.switch = Switch::default();
        }
        let all = cell.lines.evidence();
        let since = Evidence {
            answered: all.answered.saturating_sub(self.seen.answered),
            bad_credential: all.bad_credential.saturating_sub(self.seen.bad_credential),
            out_of_credit: all.out_of_credit.saturating_sub(self.seen.out_of_credit),
        };
        self.seen = all;
        let before = self.switch.standing();
        let standing = match spec.care.switch {
            SwitchRule::ByEvidence => self.switch.observe(since, now),
            SwitchRule::Never => Standing::On,
        };
        // Only what moved is published: a call may have taken the one try.
        if standing != before || matches!((standing, cell.lines.standing()), (Standing::On, Standing::Off(_)))
        {
            cell.lines.publish(standing);
        }
        match standing {
            _ if standing == before => {}
            Standing::On => tracing::info!(channel = %cell.name, "channel is used again"),
            Standing::Off(reason) => {
                tracing::warn!(channel = %cell.name, reason = reason.as_str(), "channel was switched off");
            }
            Standing::Trying(_) => tracing::info!(channel = %cell.name, "a call tries the channel again"),
        }
    }
}
