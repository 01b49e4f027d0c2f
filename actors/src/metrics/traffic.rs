//! The Meter's state: totals of calls, tokens and money over windows, in all and by channel. Pure.

use std::{collections::BTreeMap, ops::AddAssign, time::Duration};

use super::Rolling;
use crate::domain::{Money, Outcome, Settlement};

/// What some calls come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls, by [`Outcome::index`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Prompt tokens.
    pub prompt: u64,
    /// Generated tokens.
    pub completion: u64,
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
    /// Settlements that were missed: the totals are too low by so many calls.
    pub missed: u64,
}

/// The windows.
#[derive(Debug)]
pub struct Traffic {
    ever: Totals,
    minute: Rolling<Totals>,
    hour: Rolling<Totals>,
    channels: BTreeMap<String, Rolling<Totals>>,
    missed: u64,
}

impl Traffic {
    /// Channels that have windows of their own; further ones share one named [`Traffic::OTHERS`].
    pub const CHANNELS: usize = 512;
    /// Stands for all channels beyond the first [`Traffic::CHANNELS`].
    pub const OTHERS: &str = "*";

    /// Counts a call that ended about now.
    pub fn count(&mut self, now: Duration, settlement: &Settlement) {
        let one = Totals::of(settlement);
        let has_room =
            self.channels.len() < Self::CHANNELS || self.channels.contains_key(&settlement.channel);
        let name = if has_room { settlement.channel.as_str() } else { Self::OTHERS };
        if !self.channels.contains_key(name) {
            self.channels.insert(name.to_owned(), Rolling::new(Duration::from_secs(5), 12));
        }
        if let Some(channel) = self.channels.get_mut(name) {
            channel.add(now, one.clone());
        }
        self.minute.add(now, one.clone());
        self.hour.add(now, one.clone());
        self.ever += one;
    }

    /// Counts settlements that were missed.
    pub fn miss(&mut self, settlements: u64) {
        self.missed += settlements;
    }

    /// What is to be seen now. Channels without a call in the last minute are forgotten.
    pub fn view(&mut self, now: Duration) -> TrafficView {
        let mut channels = BTreeMap::new();
        self.channels.retain(|name, rolling| {
            let sum = rolling.sum(now);
            let is_alive = sum.calls() > 0;
            if is_alive {
                channels.insert(name.clone(), sum);
            }
            is_alive
        });
        let (minute, hour) = (self.minute.sum(now), self.hour.sum(now));
        TrafficView { ever: self.ever.clone(), minute, hour, channels, missed: self.missed }
    }
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            ever: Totals::default(),
            minute: Rolling::new(Duration::from_secs(1), 60),
            hour: Rolling::new(Duration::from_secs(60), 60),
            channels: BTreeMap::new(),
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
    fn channels_beyond_the_bound_share_a_window() {
        let mut traffic = Traffic::default();
        for n in 0..2 * Traffic::CHANNELS {
            let channel = format!("c{n}");
            traffic.count(Duration::ZERO, &Settlement { channel, ..settlement(1, &[1], 1) });
        }
        let view = traffic.view(Duration::ZERO);
        assert_eq!(view.channels.len(), Traffic::CHANNELS + 1);
        assert_eq!(view.channels[Traffic::OTHERS].calls(), Traffic::CHANNELS as u64);
    }
}
