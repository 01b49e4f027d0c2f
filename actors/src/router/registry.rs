//! Who waits where: every ticket, the channels it is offered to, and how many calls go before it. Pure.

use std::collections::{BTreeMap, HashMap};

use super::{
    estimate::Estimate,
    fairness::{Ask, Fairness, Standing, scaled},
};
use crate::{channel::SlotMap, domain::KeyId};

/// See the module's sentence.
#[derive(Debug, Default)]
pub struct Registry {
    tickets: HashMap<u64, Registered>,
    crowds: SlotMap<Crowd>,
    by_key: HashMap<KeyId, Line>,
}

/// What is known of one ticket.
#[derive(Clone, Debug)]
pub struct Registered {
    /// What it asks for.
    pub ask: Ask,
    /// Slots of the channels it is offered to, in their order, and for which part it counts there; the parts make one.
    pub offered: Vec<(u32, f64)>,
    /// What the model alone said of its wait when it came.
    pub expected: Option<Estimate>,
}

/// One key's calls, that go in the order of their deadlines: how many there are by these, within [`Line::GRAIN`].
#[derive(Debug, Default)]
struct Line {
    calls: u64,
    by_deadline: BTreeMap<u64, u64>,
}

impl Line {
    /// In milliseconds: fine enough for waits, and coarse enough that a line of thousands is looked through at once.
    const GRAIN: u128 = 128;

    fn place(ask: &Ask) -> u64 {
        u64::try_from(ask.deadline.as_millis() / Self::GRAIN).unwrap_or(u64::MAX)
    }

    fn join(&mut self, ask: &Ask) {
        self.calls += 1;
        *self.by_deadline.entry(Self::place(ask)).or_default() += 1;
    }

    fn leave(&mut self, ask: &Ask) {
        self.calls = self.calls.saturating_sub(1);
        let place = Self::place(ask);
        if let Some(calls) = self.by_deadline.get_mut(&place) {
            *calls -= 1;
            if *calls == 0 {
                self.by_deadline.remove(&place);
            }
        }
    }

    /// Calls whose deadline is earlier, and those with about this one.
    fn before(&self, ask: &Ask) -> [u64; 2] {
        let place = Self::place(ask);
        let beside = self.by_deadline.get(&place).copied().unwrap_or(0);
        // Most calls of a key wait equally long at most: then the last to come is the last to go.
        if self.by_deadline.last_key_value().is_none_or(|(last, _)| *last <= place) {
            return [self.calls - beside, beside];
        }
        [self.by_deadline.range(..place).map(|(_, calls)| calls).sum(), beside]
    }
}

/// The calls that wait for one channel, by band and key.
#[derive(Debug, Default)]
struct Crowd([HashMap<KeyId, Heads>; 3]);

#[derive(Clone, Copy, Debug, Default)]
struct Heads {
    calls: u64,
    /// The parts of them that are this channel's.
    parts: f64,
    cost: u64,
    weight: u32,
}

fn has(channels: &[(u32, f64)], slot: u32) -> bool {
    channels.binary_search_by_key(&slot, |(known, _)| *known).is_ok()
}

/// Slots of these that are not among those; both in order.
fn beyond(these: &[(u32, f64)], those: &[(u32, f64)]) -> Vec<u32> {
    these.iter().map(|(slot, _)| *slot).filter(|slot| !has(those, *slot)).collect()
}

impl Registered {
    /// Whether it is offered to the channels with these slots, each named once, and to no other.
    pub fn is_offered_to(&self, mut slots: impl ExactSizeIterator<Item = u32>) -> bool {
        slots.len() == self.offered.len() && slots.all(|slot| has(&self.offered, slot))
    }
}

impl Registry {
    /// How many tickets there are.
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// How many of them are a key's.
    pub fn of_key(&self, key: KeyId) -> u64 {
        self.by_key.get(&key).map_or(0, |line| line.calls)
    }

    /// Every ticket's number.
    pub fn ids(&self) -> Vec<u64> {
        self.tickets.keys().copied().collect()
    }

    /// What is known of a ticket.
    pub fn get(&self, id: u64) -> Option<&Registered> {
        self.tickets.get(&id)
    }

    /// Takes a ticket in, or brings the channels that it is offered to, to these: their slots, and the part that each
    /// is likely to have in serving it. Gives the slots that it was not offered to before, and those that it no longer
    /// is, in order.
    pub fn offer(
        &mut self,
        id: u64,
        ask: Ask,
        expected: Option<Estimate>,
        channels: &[(u32, f64)],
    ) -> (Vec<u32>, Vec<u32>) {
        let known = self.tickets.entry(id).or_insert_with(|| {
            self.by_key.entry(ask.key).or_default().join(&ask);
            Registered { ask, offered: Vec::new(), expected }
        });
        let mut channels = channels.to_vec();
        channels.sort_unstable_by_key(|(slot, _)| *slot);
        let (new, gone) = (beyond(&channels, &known.offered), beyond(&known.offered, &channels));
        if !new.is_empty() || !gone.is_empty() {
            let before = std::mem::replace(&mut known.offered, channels);
            for (slot, part) in known.offered.clone() {
                self.crowds.entry(slot).or_default().join(&ask, part);
            }
            for (slot, part) in before {
                self.leave(slot, &ask, part);
            }
        }
        (new, gone)
    }

    /// Takes a ticket out.
    pub fn remove(&mut self, id: u64) -> Option<Registered> {
        let gone = self.tickets.remove(&id)?;
        for (slot, part) in &gone.offered {
            self.leave(*slot, &gone.ask, *part);
        }
        if let Some(line) = self.by_key.get_mut(&gone.ask.key) {
            line.leave(&gone.ask);
            if line.calls == 0 {
                self.by_key.remove(&gone.ask.key);
            }
        }
        Some(gone)
    }

    fn leave(&mut self, slot: u32, ask: &Ask, part: f64) {
        let Some(crowd) = self.crowds.get_mut(&slot) else { return };
        crowd.leave(ask, part);
        if crowd.0.iter().all(HashMap::is_empty) {
            self.crowds.remove(&slot);
        }
    }

    /// Which part of its key's calls goes before this one.
    fn earlier(&self, id: u64, ask: &Ask) -> f64 {
        let Some(line) = self.by_key.get(&ask.key) else { return 0.0 };
        let [before, beside] = line.before(ask);
        // Of those with about its deadline all came before a new call, and half of them before a known one.
        let beside = if self.tickets.contains_key(&id) { beside.saturating_sub(1) / 2 } else { beside };
        (before + beside) as f64 / line.calls as f64
    }

    /// How many calls are a channel's to serve, of those that wait.
    pub fn backlog(&self, slot: u32) -> f64 {
        let crowd = self.crowds.get(&slot).into_iter().flat_map(|crowd| &crowd.0);
        crowd.flat_map(HashMap::values).map(|heads| heads.parts).sum()
    }

    /// How many calls go before this one, new or known, at a channel that serves keys at `serving` just now. Of a call
    /// that other channels may serve as well, only a part does.
    pub fn ahead(&self, id: u64, ask: &Ask, slot: u32, serving: u64, fairness: &Fairness) -> f64 {
        let Some(crowd) = self.crowds.get(&slot) else { return 0.0 };
        let bands = &crowd.0;
        let higher = bands[..ask.band as usize].iter().flat_map(HashMap::values);
        let higher: f64 = higher.map(|heads| heads.parts).sum();
        let band = &bands[ask.band as usize];
        let own = band.get(&ask.key).copied().unwrap_or_default();
        let earlier = self.earlier(id, ask);
        let Standing { counter, .. } = fairness.standing_of(ask.key);
        let own_cost = (own.cost as f64 * earlier) as u64;
        let turn =
            counter.max(serving).saturating_add(if own_cost > 0 { scaled(own_cost, ask.weight) } else { 0 });
        let others = band.iter().filter(|(key, _)| **key != ask.key).map(|(key, heads)| {
            let each = scaled(heads.cost / heads.calls.max(1), heads.weight).max(1);
            let lag = turn.saturating_sub(fairness.standing_of(*key).counter.max(serving));
            heads.parts * heads.calls.min(lag.div_ceil(each)) as f64 / heads.calls.max(1) as f64
        });
        higher + own.parts * earlier + others.sum::<f64>()
    }
}

impl Crowd {
    fn join(&mut self, ask: &Ask, part: f64) {
        let heads = self.0[ask.band as usize].entry(ask.key).or_default();
        heads.calls += 1;
        heads.parts += part;
        heads.cost = heads.cost.saturating_add(ask.cost);
        heads.weight = ask.weight;
    }

    fn leave(&mut self, ask: &Ask, part: f64) {
        let band = &mut self.0[ask.band as usize];
        let Some(heads) = band.get_mut(&ask.key) else { return };
        heads.calls = heads.calls.saturating_sub(1);
        heads.parts -= part;
        heads.cost = heads.cost.saturating_sub(ask.cost);
        if heads.calls == 0 {
            band.remove(&ask.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::router::fairness::{Band, tests::ask};

    #[test]
    fn what_is_offered_anew_and_no_more_is_told_apart() {
        let mut registry = Registry::default();
        assert_eq!(registry.offer(1, ask(1, 5), None, &[(7, 0.25), (8, 0.75)]), (vec![7, 8], vec![]));
        let ahead = |registry: &Registry, slot| registry.ahead(9, &ask(1, 5), slot, 0, &Fairness::default());
        assert_eq!([7, 8, 9].map(|slot| ahead(&registry, slot)), [0.25, 0.75, 0.0]);
        assert_eq!(registry.offer(1, ask(1, 5), None, &[(8, 0.5), (9, 0.5)]), (vec![9], vec![7]));
        assert_eq!([7, 8, 9].map(|slot| ahead(&registry, slot)), [0.0, 0.5, 0.5]);
        let known = registry.get(1).expect("known");
        let is_offered_to = |slots: &[u32]| known.is_offered_to(slots.iter().copied());
        assert!(is_offered_to(&[9, 8]) && !is_offered_to(&[8]) && !is_offered_to(&[8, 7]));
        assert_eq!((registry.len(), registry.of_key(KeyId(1))), (1, 1));
        assert_eq!(registry.remove(1).map(|t| t.offered), Some(vec![(8, 0.5), (9, 0.5)]));
        assert!(registry.remove(1).is_none() && registry.is_empty() && registry.crowds.is_empty());
    }

    #[test]
    fn a_light_key_goes_before_a_heavy_ones_backlog_and_a_heavy_one_behind_its_own() {
        let (mut registry, mut fairness) = (Registry::default(), Fairness::default());
        let seat = fairness.sit(KeyId(1), 1, Duration::ZERO);
        let serving = fairness.charge(seat, 100, Duration::ZERO);
        for id in 0..50 {
            registry.offer(id, ask(1, 100), None, &[(7, 1.0)]);
        }
        assert_eq!(registry.ahead(99, &ask(2, 10), 7, serving, &fairness), 0.0);
        assert_eq!(registry.ahead(99, &ask(1, 100), 7, serving, &fairness), 50.0);
        let high = Ask { band: Band::High, ..ask(3, 1) };
        registry.offer(99, high, None, &[(7, 1.0)]);
        assert_eq!(registry.ahead(99, &ask(2, 10), 7, serving, &fairness), 1.0);
        assert_eq!(registry.ahead(100, &Ask { key: KeyId(4), ..high }, 7, serving, &fairness), 0.0);
        assert_eq!(registry.ahead(99, &ask(2, 10), 8, serving, &fairness), 0.0, "nobody waits there");
    }

    #[test]
    fn of_its_keys_calls_those_with_an_earlier_deadline_go_before() {
        let (mut registry, fairness) = (Registry::default(), Fairness::default());
        let until = |secs| Ask { deadline: Duration::from_secs(secs), ..ask(1, 100) };
        for id in 0..40 {
            registry.offer(id, until(id + 1), None, &[(7, 1.0)]);
        }
        let ahead = |registry: &Registry, id, secs| registry.ahead(id, &until(secs), 7, 0, &fairness).round();
        assert_eq!([0, 10, 40, 99].map(|secs| ahead(&registry, 50, secs)), [0.0, 10.0, 40.0, 40.0]);
        let known = [1, 10, 40].map(|secs| ahead(&registry, secs - 1, secs));
        assert_eq!(known, [0.0, 9.0, 39.0], "those that wait already");
        // Another key's turn comes sooner than that of a call behind all of these.
        for id in 100..110 {
            registry.offer(id, ask(2, 100), None, &[(7, 1.0)]);
        }
        let [last, first] = [99, 0].map(|secs| ahead(&registry, 50, secs));
        assert!(last >= 50.0 && first <= 1.0, "{last} {first}");
    }

    proptest! {
        #[test]
        fn counts_return_to_nothing(
            tickets in proptest::collection::vec((0u64..20, 0i64..4, proptest::collection::vec(0u32..5, 0..4)), 0..60)
        ) {
            let mut registry = Registry::default();
            for (id, key, mut slots) in tickets {
                slots.sort_unstable();
                slots.dedup();
                let known = registry.get(id).map(|t| t.ask);
                let channels: Vec<_> = slots.iter().map(|slot| (*slot, f64::from(*slot))).collect();
                registry.offer(id, known.unwrap_or(ask(key, id)), None, &channels);
            }
            for id in registry.ids() {
                registry.remove(id);
            }
            prop_assert!(registry.crowds.is_empty() && registry.by_key.is_empty());
        }
    }
}
