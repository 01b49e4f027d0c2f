//! The plan of a call: candidates tier by tier, each at most once. Draws lazily; most calls draw once.

use super::{
    filter::{Breakers, admits, has_closed, is_allowed, is_on},
    rank::{Load, prefers_second},
    table::{Route, RouteTable, Tier},
};
use crate::channel::{ChannelCell, gate::UNLIMITED};

/// Why a call has no candidate at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unroutable {
    /// No channel serves the model, enabled or not.
    ModelUnknown,
    /// Channels serve it, but none that is enabled to the caller's group.
    NoneServes,
    /// The pinned channel does not exist.
    PinUnknown,
    /// The pinned channel is switched off.
    PinDisabled,
    /// The pinned channel does not serve the model to the caller's group.
    PinDoesNotServe,
    /// Every channel that would serve it was switched off on evidence.
    SwitchedOff,
}

/// A channel a caller insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned(pub u64);

/// Hands out candidates. Every channel handed out counts as tried.
#[derive(Debug)]
pub struct Plan<'t> {
    tiers: &'t [Tier],
    pin: Option<Pinned>,
    tried: Vec<u32>,
    breakers: Breakers,
}

impl<'t> Plan<'t> {
    /// Plans a call of `group` for `model`, aliases resolved already.
    ///
    /// # Errors
    /// [`Unroutable`] where no candidate can ever be handed out.
    pub fn new(
        table: &'t RouteTable,
        model: &str,
        group: &str,
        pin: Option<Pinned>,
    ) -> Result<Self, Unroutable> {
        let tiers = table.tiers(model, group);
        if let Some(Pinned(id)) = pin {
            let spec = table.pinned(id).ok_or(Unroutable::PinUnknown)?;
            if !spec.enabled {
                return Err(Unroutable::PinDisabled);
            }
            if !table.knows(model) {
                return Err(Unroutable::ModelUnknown);
            }
            if !tiers.iter().flat_map(|t| &t.routes).any(|r| r.spec.id == Some(id)) {
                return Err(Unroutable::PinDoesNotServe);
            }
        } else if tiers.is_empty() {
            return Err(if table.knows(model) { Unroutable::NoneServes } else { Unroutable::ModelUnknown });
        }
        let plan = Self { tiers, pin, tried: Vec::new(), breakers: Breakers::Heeded };
        let is_served = plan.allowed().any(is_on);
        if is_served { Ok(plan) } else { Err(Unroutable::SwitchedOff) }
    }

    /// Routes that the caller may have, whatever their state.
    fn allowed(&self) -> impl Iterator<Item = &'t Route> {
        let pin = self.pin;
        let routes = self.tiers.iter().flat_map(|t| &t.routes);
        routes.filter(move |route| is_allowed(route, pin))
    }

    /// The same without channels that were tried already.
    #[must_use]
    pub fn without(mut self, tried: &[u32]) -> Self {
        self.tried.extend_from_slice(tried);
        self
    }

    /// The next candidate: the best tier that has an untried one; in it by weight and load.
    ///
    /// `roll` gives numbers uniform over all of `u64`. Models whose breaker is open are passed over, unless
    /// there is nothing else; channels that were switched off, always.
    pub fn next(&mut self, roll: &mut impl FnMut() -> u64) -> Option<&'t Route> {
        loop {
            let chosen = match self.pin {
                Some(_) => self.allowed().find(|route| self.is_fresh(route)),
                None => self.tiers.iter().find_map(|tier| self.choose(tier, roll)),
            };
            let Some(chosen) = chosen else {
                if self.breakers == Breakers::Ignored || has_closed(self.tiers, self.pin) {
                    return None;
                }
                self.breakers = Breakers::Ignored;
                continue;
            };
            self.tried.push(chosen.cell.slot);
            return Some(chosen);
        }
    }

    fn is_fresh(&self, route: &Route) -> bool {
        !self.tried.contains(&route.cell.slot) && admits(route, self.breakers)
    }

    fn choose(&self, tier: &'t Tier, roll: &mut impl FnMut() -> u64) -> Option<&'t Route> {
        let first = self.draw(tier, roll)?;
        if self.tried.is_empty() {
            if tier.routes.len() == 1 {
                return Some(first);
            }
        } else if tier.routes.iter().filter(|route| self.is_fresh(route)).count() == 1 {
            return Some(first);
        }
        let second = self.draw(tier, roll)?;
        Some(if prefers_second(load(first), load(second)) { second } else { first })
    }

    /// Draws an untried route by weight; after a few misses takes the next one in order.
    fn draw(&self, tier: &'t Tier, roll: &mut impl FnMut() -> u64) -> Option<&'t Route> {
        let fresh = |route: &&'t Route| self.is_fresh(route);
        let mut at = 0;
        for _ in 0..=self.tried.len().min(4) {
            at = tier.draw(roll());
            if let Some(route) = tier.routes.get(at).filter(fresh) {
                return Some(route);
            }
        }
        let (before, after) = tier.routes.split_at(at);
        after.iter().chain(before).find(fresh)
    }
}

fn load(route: &Route) -> Load {
    let cell: &ChannelCell = &route.cell;
    let health = cell.health();
    let limit = cell.gate.limit();
    Load {
        in_flight: cell.gate.in_flight(),
        capacity: if limit == UNLIMITED { route.spec.weight.max(1) } else { limit },
        success_rate: health.success_rate,
        first_byte: health.first_byte,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{collections::HashMap, sync::Arc};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        channel::{breaker::BreakerState, switch::Standing},
        domain::{
            Attached, Catalog, ChannelName, ChannelSpec, Credentials, LearningRules, PoolSettings, Served,
            Timeouts, TransportKind,
        },
    };

    pub(crate) fn spec(name: &str, id: u64, priority: i32, weight: u32, group: &str) -> ChannelSpec {
        ChannelSpec {
            name: ChannelName(name.into()),
            id: Some(id),
            provider: "openai".into(),
            row: Attached::default(),
            base_url: "http://upstream".into(),
            params: Vec::new(),
            credentials: Credentials::default(),
            headers: Vec::new(),
            quirks: Vec::new(),
            models: vec![Served { model: "m".into(), upstream: "up".into() }],
            groups: vec![group.into()],
            priority,
            weight,
            concurrency: Some(100),
            learning: LearningRules::default(),
            enabled: true,
            timeouts: Timeouts::default(),
            pool: PoolSettings::default(),
            transport: TransportKind::default(),
            proxy: None,
            cost_ratio: Default::default(),
            care: Default::default(),
        }
    }

    pub(crate) fn table(specs: Vec<ChannelSpec>) -> RouteTable {
        let channels: Vec<_> = specs.into_iter().map(Arc::new).collect();
        let cells: HashMap<_, _> = channels
            .iter()
            .enumerate()
            .map(|(i, s)| (s.name.clone(), ChannelCell::new(i as u32, Arc::clone(s))))
            .collect();
        RouteTable::build(&Catalog { revision: 1, channels, aliases: [].into() }, &cells)
    }

    /// A small generator (splitmix64), so that a failing case can be run again.
    fn rolls(mut seed: u64) -> impl FnMut() -> u64 {
        move || {
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }
    }

    fn order(table: &RouteTable, seed: u64) -> Vec<String> {
        let mut plan = Plan::new(table, "m", "default", None).expect("routable");
        let mut roll = rolls(seed);
        std::iter::from_fn(|| plan.next(&mut roll).map(|r| r.spec.name.to_string())).collect()
    }

    #[test]
    fn tiers_come_in_order_of_priority() {
        let table = table(vec![spec("low", 1, -1, 1, "default"), spec("high", 2, 5, 1, "default")]);
        assert_eq!(order(&table, 7), ["high", "low"]);
    }

    #[test]
    fn idle_channels_get_calls_by_weight() {
        let table = table(vec![spec("a", 1, 0, 3, "default"), spec("b", 2, 0, 1, "default")]);
        let to_a = (0..4000).filter(|seed| order(&table, *seed)[0] == "a").count();
        assert!((2850..3150).contains(&to_a), "{to_a} of 4000");
    }

    #[test]
    fn a_fuller_channel_is_passed_over() {
        let table = table(vec![spec("a", 1, 0, 1, "default"), spec("b", 2, 0, 1, "default")]);
        let held: Vec<_> = (0..90).map(|_| table.cells()[0].gate.try_enter().expect("room")).collect();
        let to_b = (0..1000).filter(|seed| order(&table, *seed)[0] == "b").count();
        assert!(to_b > 700, "{to_b} of 1000");
        drop(held);
    }

    #[test]
    fn weight_zero_is_used_only_when_nothing_else_is_left() {
        let table = table(vec![spec("a", 1, 0, 0, "default"), spec("b", 2, 0, 1, "default")]);
        for seed in 0..200 {
            assert_eq!(order(&table, seed), ["b", "a"]);
        }
    }

    #[test]
    fn what_cannot_be_routed_has_a_reason() {
        let mut off = spec("off", 9, 0, 1, "default");
        off.enabled = false;
        let table = table(vec![spec("vip", 1, 0, 1, "vip"), off]);
        let refused = |model, group, pin| Plan::new(&table, model, group, pin).err();
        assert_eq!(refused("x", "default", None), Some(Unroutable::ModelUnknown));
        assert_eq!(refused("m", "default", None), Some(Unroutable::NoneServes));
        assert_eq!(refused("m", "vip", None), None);
        assert_eq!(refused("m", "vip", Some(Pinned(7))), Some(Unroutable::PinUnknown));
        assert_eq!(refused("m", "vip", Some(Pinned(9))), Some(Unroutable::PinDisabled));
        assert_eq!(refused("m", "default", Some(Pinned(1))), Some(Unroutable::PinDoesNotServe));
    }

    #[test]
    fn a_pinned_call_has_one_candidate() {
        let table = table(vec![spec("a", 1, 0, 1, "default"), spec("b", 2, 0, 1, "default")]);
        let mut plan = Plan::new(&table, "m", "default", Some(Pinned(2))).expect("served");
        let mut roll = rolls(1);
        assert_eq!(plan.next(&mut roll).map(|r| r.spec.name.to_string()), Some("b".into()));
        assert!(plan.next(&mut roll).is_none());
    }

    fn line(table: &RouteTable, channel: usize) -> Arc<crate::channel::Line> {
        table.cells()[channel].lines.line(&"up".into())
    }

    #[test]
    fn open_breakers_are_passed_over_unless_there_is_nothing_else() {
        let table = table(vec![spec("a", 1, 5, 1, "default"), spec("b", 2, 0, 1, "default")]);
        line(&table, 0).publish(BreakerState::Open);
        assert_eq!(order(&table, 3), ["b"]);
        line(&table, 1).publish(BreakerState::Open);
        assert_eq!(order(&table, 3), ["a", "b"], "all are open");
        line(&table, 0).publish(BreakerState::HalfOpen);
        line(&table, 0).give_probes();
        assert_eq!(order(&table, 3), ["a", "b"], "it may be probed");
        while line(&table, 0).take_probe() {}
        line(&table, 1).publish(BreakerState::Closed);
        assert_eq!(order(&table, 3), ["b"], "the probes are out");
    }

    #[test]
    fn a_channel_that_was_switched_off_is_never_handed_out_but_for_a_try() {
        use crate::channel::switch::OffReason::BadCredential;
        let table = table(vec![spec("a", 1, 5, 1, "default"), spec("b", 2, 0, 1, "default")]);
        table.cells()[0].lines.publish(Standing::Off(BadCredential));
        line(&table, 1).publish(BreakerState::Open);
        assert_eq!(order(&table, 3), ["b"], "an open breaker is better than a bad credential");
        let pinned = Plan::new(&table, "m", "default", Some(Pinned(1))).err();
        assert_eq!(pinned, Some(Unroutable::SwitchedOff));
        table.cells()[0].lines.publish(Standing::Trying(BadCredential));
        assert_eq!(order(&table, 3)[0], "a");
        assert!(table.cells()[0].lines.take_try());
        assert_eq!(order(&table, 3), ["b"], "one call tries");
        table.cells()[1].lines.publish(Standing::Off(BadCredential));
        assert_eq!(Plan::new(&table, "m", "default", None).err(), Some(Unroutable::SwitchedOff));
    }

    proptest! {
        #[test]
        fn a_plan_holds_every_allowed_channel_once_and_never_climbs(
            channels in proptest::collection::vec((0i32..3, 0u32..4, any::<bool>()), 1..12), seed: u64
        ) {
            let specs = channels.iter().enumerate().map(|(i, (priority, weight, ours))| {
                spec(&format!("c{i}"), i as u64, *priority, *weight, if *ours { "default" } else { "other" })
            }).collect();
            let table = table(specs);
            let allowed = channels.iter().filter(|c| c.2).count();
            let Ok(mut plan) = Plan::new(&table, "m", "default", None) else {
                prop_assert_eq!(allowed, 0);
                return Ok(());
            };
            let mut roll = rolls(seed);
            let mut seen = Vec::new();
            let mut last = i32::MAX;
            while let Some(route) = plan.next(&mut roll) {
                prop_assert!(route.spec.priority <= last);
                prop_assert_eq!(&*route.spec.groups[0], "default");
                prop_assert!(!seen.contains(&route.cell.slot));
                last = route.spec.priority;
                seen.push(route.cell.slot);
            }
            prop_assert_eq!(seen.len(), allowed);
        }
    }
}
