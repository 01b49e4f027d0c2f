//! The channels that a waiting call may be offered to, out of the table in force. Pure.

use std::{sync::Arc, time::Duration};

use super::{
    filter::{Breakers, admits, has_closed, is_allowed},
    table::{Route, RouteTable, Tier},
    ticket::Want,
};
use crate::channel::ChannelCell;

impl Want {
    fn may(&self, route: &Route) -> bool {
        is_allowed(route, self.pin) && !self.excluded.contains(&route.cell.slot)
    }
}

/// The channels for a call that has waited so long: those of the first tier that has any, and of one tier
/// more for each time it was to wait for one.
///
/// Channels whose breaker is open are left out, unless there is nothing else; those that are switched off, always.
pub fn candidates<'t>(table: &'t RouteTable, want: &Want, waited: Duration) -> Vec<&'t Arc<ChannelCell>> {
    let tiers = table.tiers(&want.model, &want.group);
    let found = among(tiers, want, waited, Breakers::Heeded);
    if found.is_empty() && !has_closed(tiers, want.pin) {
        return among(tiers, want, waited, Breakers::Ignored);
    }
    found
}

fn among<'t>(
    tiers: &'t [Tier],
    want: &Want,
    waited: Duration,
    breakers: Breakers,
) -> Vec<&'t Arc<ChannelCell>> {
    let may = |route: &&Route| want.may(route) && admits(route, breakers);
    let tiers = tiers.iter().filter(|tier| tier.routes.iter().any(|route| may(&route)));
    let open = match want.overflow_after.as_micros() {
        0 => usize::MAX,
        each => usize::try_from(waited.as_micros() / each).unwrap_or(usize::MAX).saturating_add(1),
    };
    let routes = tiers.take(open).flat_map(|tier| &tier.routes);
    routes.filter(may).map(|route| &route.cell).collect()
}

/// The route of a channel for a call, if it is still there.
pub fn route<'t>(table: &'t RouteTable, want: &Want, slot: u32) -> Option<&'t Route> {
    let mut routes = table.tiers(&want.model, &want.group).iter().flat_map(|tier| &tier.routes);
    routes.find(|route| route.cell.slot == slot && want.may(route))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        channel::{
            breaker::BreakerState,
            switch::{OffReason, Standing},
        },
        router::{
            plan::{
                Pinned,
                tests::{spec, table},
            },
            ticket::anything,
        },
    };

    fn four() -> RouteTable {
        let tiers = [(1, 5), (2, 5), (3, 0), (4, -5)];
        let specs = tiers.map(|(id, priority)| spec(&format!("c{id}"), id, priority, 1, "default"));
        table(specs.into())
    }

    fn slots_of(table: &RouteTable, waited: u64, want: &Want) -> Vec<u32> {
        candidates(table, want, Duration::from_secs(waited)).iter().map(|cell| cell.slot).collect()
    }

    fn slots(waited: u64, want: &Want) -> Vec<u32> {
        slots_of(&four(), waited, want)
    }

    #[test]
    fn open_breakers_are_left_out_where_there_is_another_and_what_is_off_always() {
        let table = four();
        let publish = |slot: usize, state| table.cells()[slot].lines.line(&"up".into()).publish(state);
        publish(0, BreakerState::Open);
        publish(1, BreakerState::HalfOpen);
        assert_eq!(slots_of(&table, 0, &anything()), [2, 3], "there are no probes");
        table.cells()[1].lines.line(&"up".into()).give_probes();
        assert_eq!(slots_of(&table, 0, &anything()), [1, 2, 3]);
        table.cells()[2].lines.publish(Standing::Off(OffReason::BadCredential));
        assert_eq!(slots_of(&table, 0, &anything()), [1, 3]);
        let tried = Want { excluded: vec![1, 3], ..anything() };
        assert_eq!(slots_of(&table, 0, &tried), [] as [u32; 0], "one of those that were tried is closed");
        publish(3, BreakerState::Open);
        assert_eq!(slots_of(&table, 0, &tried), [0], "nothing is closed");
        let patient = Want { overflow_after: Duration::from_secs(9), ..anything() };
        assert_eq!(slots_of(&table, 0, &patient), [1], "an open one makes no tier");
    }

    #[test]
    fn tiers_open_one_after_another_where_they_are_to_be_waited_for() {
        assert_eq!(slots(0, &anything()), [0, 1, 2, 3], "at once");
        let patient = Want { overflow_after: Duration::from_secs(2), ..anything() };
        for (waited, wanted) in [(0, &[0, 1][..]), (1, &[0, 1]), (2, &[0, 1, 2]), (4, &[0, 1, 2, 3])] {
            assert_eq!(slots(waited, &patient), wanted, "after {waited} s");
        }
    }

    #[test]
    fn a_tier_whose_channels_all_failed_is_not_waited_for() {
        let patient = Want { overflow_after: Duration::from_secs(9), excluded: vec![0, 1], ..anything() };
        assert_eq!(slots(0, &patient), [2]);
        assert_eq!(slots(0, &Want { excluded: vec![0, 1, 2, 3], ..anything() }), [] as [u32; 0]);
        assert_eq!(slots(0, &Want { pin: Some(Pinned(3)), ..patient }), [2]);
        assert_eq!(slots(0, &Want { model: "other".into(), ..anything() }), [] as [u32; 0]);
    }
}
