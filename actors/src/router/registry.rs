//! Who waits where: every ticket, the channels it is offered to, and how many calls go before it. Pure.

use std::collections::HashMap;

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
    by_key: HashMap<KeyId, u64>,
}

/// What is known of one ticket.
#[derive(Clone, Debug)]
pub struct Registered {
    /// What it asks for.
    pub ask: Ask,
    /// Slots of the channels it is offered to.
    pub offered: Vec<u32>,
    /// What the model alone said of its wait when it came.
    pub expected: Option<Estimate>,
}

/// The calls that wait for one channel, by band and key.
#[derive(Debug, Default)]
struct Crowd([HashMap<KeyId, Heads>; 3]);

#[derive(Clone, Copy, Debug, Default)]
struct Heads {
    calls: u64,
    cost: u64,
    weight: u32,
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
        self.by_key.get(&key).copied().unwrap_or(0)
    }

    /// Every ticket's number.
    pub fn ids(&self) -> Vec<u64> {
        self.tickets.keys().copied().collect()
    }

    /// What is known of a ticket.
    pub fn get(&self, id: u64) -> Option<&Registered> {
        self.tickets.get(&id)
    }

    /// Takes a ticket in, or brings the channels that it is offered to, to these. Gives the slots that it was
    /// not offered to before, and those that it no longer is.
    pub fn offer(
        &mut self,
        id: u64,
        ask: Ask,
        expected: Option<Estimate>,
        slots: &[u32],
    ) -> (Vec<u32>, Vec<u32>) {
        let known = self.tickets.entry(id).or_insert_with(|| {
            *self.by_key.entry(ask.key).or_default() += 1;
            Registered { ask, offered: Vec::new(), expected }
        });
        let new: Vec<_> = slots.iter().copied().filter(|slot| !known.offered.contains(slot)).collect();
        let gone: Vec<_> = known.offered.iter().copied().filter(|slot| !slots.contains(slot)).collect();
        known.offered = slots.to_vec();
        for slot in &new {
            self.crowds.entry(*slot).or_default().join(&ask);
        }
        for slot in &gone {
            self.leave(*slot, &ask);
        }
        (new, gone)
    }

    /// Takes a ticket out.
    pub fn remove(&mut self, id: u64) -> Option<Registered> {
        let gone = self.tickets.remove(&id)?;
        for slot in &gone.offered {
            self.leave(*slot, &gone.ask);
        }
        if let Some(calls) = self.by_key.get_mut(&gone.ask.key) {
            *calls -= 1;
            if *calls == 0 {
                self.by_key.remove(&gone.ask.key);
            }
        }
        Some(gone)
    }

    fn leave(&mut self, slot: u32, ask: &Ask) {
        let Some(crowd) = self.crowds.get_mut(&slot) else { return };
        crowd.leave(ask);
        if crowd.0.iter().all(HashMap::is_empty) {
            self.crowds.remove(&slot);
        }
    }

    /// How many calls go before a new one at a channel that serves keys at `serving` just now.
    pub fn ahead(&self, ask: &Ask, slot: u32, serving: u64, fairness: &Fairness) -> u64 {
        let Some(crowd) = self.crowds.get(&slot) else { return 0 };
        let bands = &crowd.0;
        let higher = bands[..ask.band as usize].iter().flat_map(HashMap::values);
        let higher: u64 = higher.map(|heads| heads.calls).sum();
        let band = &bands[ask.band as usize];
        let own = band.get(&ask.key).copied().unwrap_or_default();
        let Standing { counter, .. } = fairness.standing_of(ask.key);
        let turn =
            counter.max(serving).saturating_add(if own.calls > 0 { scaled(own.cost, ask.weight) } else { 0 });
        let others = band.iter().filter(|(key, _)| **key != ask.key).map(|(key, heads)| {
            let each = scaled(heads.cost / heads.calls.max(1), heads.weight).max(1);
            let lag = turn.saturating_sub(fairness.standing_of(*key).counter.max(serving));
            heads.calls.min(lag.div_ceil(each))
        });
        higher + own.calls + others.sum::<u64>()
    }
}

impl Crowd {
    fn join(&mut self, ask: &Ask) {
        let heads = self.0[ask.band as usize].entry(ask.key).or_default();
        heads.calls += 1;
        heads.cost = heads.cost.saturating_add(ask.cost);
        heads.weight = ask.weight;
    }

    fn leave(&mut self, ask: &Ask) {
        let band = &mut self.0[ask.band as usize];
        let Some(heads) = band.get_mut(&ask.key) else { return };
        heads.calls = heads.calls.saturating_sub(1);
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
        assert_eq!(registry.offer(1, ask(1, 5), None, &[7, 8]), (vec![7, 8], vec![]));
        assert_eq!(registry.offer(1, ask(1, 5), None, &[8, 9]), (vec![9], vec![7]));
        assert_eq!((registry.len(), registry.of_key(KeyId(1))), (1, 1));
        assert_eq!(registry.remove(1).map(|t| t.offered), Some(vec![8, 9]));
        assert!(registry.remove(1).is_none() && registry.is_empty() && registry.crowds.is_empty());
    }

    #[test]
    fn a_light_key_goes_before_a_heavy_ones_backlog_and_a_heavy_one_behind_its_own() {
        let (mut registry, mut fairness) = (Registry::default(), Fairness::default());
        let seat = fairness.sit(KeyId(1), 1, Duration::ZERO);
        let serving = fairness.charge(seat, 100, Duration::ZERO);
        for id in 0..50 {
            registry.offer(id, ask(1, 100), None, &[7]);
        }
        assert_eq!(registry.ahead(&ask(2, 10), 7, serving, &fairness), 0);
        assert_eq!(registry.ahead(&ask(1, 100), 7, serving, &fairness), 50);
        let high = Ask { band: Band::High, ..ask(3, 1) };
        registry.offer(99, high, None, &[7]);
        assert_eq!(registry.ahead(&ask(2, 10), 7, serving, &fairness), 1);
        assert_eq!(registry.ahead(&Ask { key: KeyId(4), ..high }, 7, serving, &fairness), 0);
        assert_eq!(registry.ahead(&ask(2, 10), 8, serving, &fairness), 0, "nobody waits there");
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
                registry.offer(id, known.unwrap_or(ask(key, id)), None, &slots);
            }
            for id in registry.ids() {
                registry.remove(id);
            }
            prop_assert!(registry.crowds.is_empty() && registry.by_key.is_empty());
        }
    }
}
