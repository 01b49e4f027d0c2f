//! The Meter's state: totals of calls, tokens and money over windows, in all and by channel. Pure.

use std::{collections::BTreeMap, ops::AddAssign, time::Duration};

use super::Rolling;
use crate::domain::{Fault, Money, Outcome, Settlement};

/// What some calls come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls, by [`Outcome::index`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Prompt tokens.
    pub prompt: u64,
    /// Generated tokens.
    pub completion: u64,
    /// What was held before they were sent.
    pub reserved: Money,
    /// What callers pay.
    pub charge: Money,
    /// What channels cost.
    pub cost: Money,
    /// Milliseconds from arrival to end, summed up.
    pub took_ms: u64,
}

impl Totals {
    /// Calls.
    pub fn calls(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    fn of(settlement: &Settlement) -> Self {
        let mut outcomes = [0; Outcome::ALL.len()];
        outcomes[settlement.outcome.index()] = 1;
        Self {
            outcomes,
            prompt: settlement.usage.prompt(),
            completion: settlement.usage.completion(),
            reserved: settlement.reserved,
            charge: settlement.charge,
            cost: settlement.cost,
            took_ms: settlement.took_ms.into(),
        }
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.outcomes.iter_mut().zip(other.outcomes).for_each(|(sum, n)| *sum += n);
        self.prompt = self.prompt.saturating_add(other.prompt);
        self.completion = self.completion.saturating_add(other.completion);
        self.reserved += other.reserved;
        self.charge += other.charge;
        self.cost += other.cost;
        self.took_ms = self.took_ms.saturating_add(other.took_ms);
    }
}

/// What the Meter publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficView {
    /// Since the start.
    pub ever: Totals,
    /// The last minute.
    pub minute: Totals,
    /// The last hour.
    pub hour: Totals,
    /// The last minute by channel; calls that no channel was tried for stand under the empty name.
    pub channels: BTreeMap<String, Totals>,
    /// The last minute by the model that was asked for, of calls that a channel was tried for.
    pub models: BTreeMap<String, Totals>,
    /// Since the start, the codes of calls that were refused by the client's fault or ours.
    pub refused: BTreeMap<String, u64>,
    /// Settlements that were missed: the totals are too low by so many calls.
    pub missed: u64,
}

/// The windows.
#[derive(Debug)]
pub struct Traffic {
    ever: Totals,
    minute: Rolling<Totals>,
    hour: Rolling<Totals>,
    channels: Named,
    models: Named,
    refused: BTreeMap<String, u64>,
    missed: u64,
}

/// Windows of a minute by name.
#[derive(Debug, Default)]
struct Named(BTreeMap<String, Rolling<Totals>>);

impl Named {
    fn add(&mut self, now: Duration, name: &str, one: Totals) {
        let name = bounded(&self.0, name, Traffic::NAMES);
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), Rolling::new(Duration::from_secs(5), 12));
        }
        if let Some(window) = self.0.get_mut(name) {
            window.add(now, one);
        }
    }

    /// The sums. Names without a call in the last minute are forgotten.
    fn view(&mut self, now: Duration) -> BTreeMap<String, Totals> {
        let mut sums = BTreeMap::new();
        self.0.retain(|name, window| {
            let sum = window.sum(now);
            let is_alive = sum.calls() > 0;
            if is_alive {
                sums.insert(name.clone(), sum);
            }
            is_alive
        });
        sums
    }
}

/// The name, if it is known or there is room for it; else the one that stands for all others.
fn bounded<'a, T>(known: &BTreeMap<String, T>, name: &'a str, most: usize) -> &'a str {
    if known.len() < most || known.contains_key(name) { name } else { Traffic::OTHERS }
}

impl Traffic {
    /// Channels, and models, that have windows of their own; further ones share one named [`Traffic::OTHERS`].
    pub const NAMES: usize = 512;
    /// Codes of refusals that are counted apart.
    pub const CODES: usize = 64;
    /// Stands for all beyond a bound.
    pub const OTHERS: &str = "*";

    /// Counts a call that ended about now.
    pub fn count(&mut self, now: Duration, settlement: &Settlement) {
        let one = Totals::of(settlement);
        self.channels.add(now, &settlement.channel, one.clone());
        // A name that no channel was tried for may be anything.
        if !settlement.channel.is_empty() {
            self.models.add(now, &settlement.model, one.clone());
        }
        if let Outcome::Refused(Fault::Client | Fault::Gateway) = settlement.outcome {
            let code = bounded(&self.refused, &settlement.code, Self::CODES);
            *self.refused.entry(code.to_owned()).or_default() += 1;
        }
        self.minute.add(now, one.clone());
        self.hour.add(now, one.clone());
        self.ever += one;
    }

    /// Counts settlements that were missed.
    pub fn miss(&mut self, settlements: u64) {
        self.missed += settlements;
    }

    /// What is to be seen now. Channels and models without a call in the last minute are forgotten.
    pub fn view(&mut self, now: Duration) -> TrafficView {
        let (channels, models) = (self.channels.view(now), self.models.view(now));
        let (minute, hour) = (self.minute.sum(now), self.hour.sum(now));
        let (ever, refused, missed) = (self.ever.clone(), self.refused.clone(), self.missed);
        TrafficView { ever, minute, hour, channels, models, refused, missed }
    }
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            ever: Totals::default(),
            minute: Rolling::new(Duration::from_secs(1), 60),
            hour: Rolling::new(Duration::from_secs(60), 60),
            channels: Named::default(),
            models: Named::default(),
            refused: BTreeMap::new(),
            missed: 0,
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::testing::fakes::settlement;

    #[test]
    fn calls_tokens_and_money_are_summed_up_over_each_window() {
        let mut traffic = Traffic::default();
        let at = Duration::from_secs;
        traffic.count(at(0), &settlement(1, &[1], 70));
        traffic.count(at(90), &settlement(2, &[1], 5));
        traffic.count(at(91), &Settlement { outcome: Outcome::Abandoned, ..settlement(3, &[1], 1) });
        traffic.miss(4);
        let view = traffic.view(at(91));
        assert_eq!((view.ever.calls(), view.hour.calls(), view.minute.calls(), view.missed), (3, 3, 2, 4));
        assert_eq!(view.minute.outcomes[Outcome::Abandoned.index()], 1);
        assert_eq!((view.minute.prompt, view.minute.completion), (6, 4));
        assert_eq!((view.minute.charge.nanos(), view.ever.charge.nanos()), (6, 76));
        let later = traffic.view(at(4_000));
        assert_eq!((later.ever.calls(), later.hour.calls(), later.channels.len()), (3, 0, 0));
    }

    #[test]
    fn names_beyond_the_bound_share_a_window() {
        let mut traffic = Traffic::default();
        for n in 0..2 * Traffic::NAMES {
            let (channel, model) = (format!("c{n}"), format!("m{n}"));
            traffic.count(Duration::ZERO, &Settlement { channel, model, ..settlement(1, &[1], 1) });
        }
        let view = traffic.view(Duration::ZERO);
        for names in [view.channels, view.models] {
            assert_eq!(names.len(), Traffic::NAMES + 1);
            assert_eq!(names[Traffic::OTHERS].calls(), Traffic::NAMES as u64);
        }
    }

    #[test]
    fn refusals_are_counted_by_a_bounded_number_of_codes_and_no_made_up_model_is_listed() {
        let mut traffic = Traffic::default();
        let refused = |fault, code: String| Settlement {
            outcome: Outcome::Refused(fault),
            code,
            channel: String::new(),
            ..settlement(1, &[1], 0)
        };
        traffic.count(Duration::ZERO, &refused(Fault::Upstream, "theirs".to_owned()));
        for n in 0..2 * Traffic::CODES {
            traffic.count(Duration::ZERO, &refused(Fault::Client, format!("code {n}")));
        }
        let view = traffic.view(Duration::ZERO);
        assert_eq!(view.refused.len(), Traffic::CODES + 1);
        assert_eq!(view.refused[Traffic::OTHERS], Traffic::CODES as u64);
        assert_eq!((view.refused.get("theirs"), view.models.len()), (None, 0));
    }
}
