//! The channels that a waiting call may be offered to, out of the table in force. Pure.

use std::{sync::Arc, time::Duration};

use super::{
    plan::Pinned,
    table::{Route, RouteTable},
    ticket::Want,
};
use crate::channel::ChannelCell;

impl Want {
    fn may(&self, route: &Route) -> bool {
        let is_pinned = self.pin.is_none_or(|Pinned(id)| route.spec.id == Some(id));
        is_pinned && !self.excluded.contains(&route.cell.slot)
    }
}

/// The channels for a call that has waited so long: those of the first tier that has any, and of one tier
/// more for each time it was to wait for one.
pub fn candidates<'t>(table: &'t RouteTable, want: &Want, waited: Duration) -> Vec<&'t Arc<ChannelCell>> {
    let tiers = table.tiers(&want.model, &want.group).iter();
    let tiers = tiers.filter(|tier| tier.routes.iter().any(|route| want.may(route)));
    let open = match want.overflow_after.as_micros() {
        0 => usize::MAX,
        each => usize::try_from(waited.as_micros() / each).unwrap_or(usize::MAX).saturating_add(1),
    };
    let routes = tiers.take(open).flat_map(|tier| &tier.routes);
    routes.filter(|route| want.may(route)).map(|route| &route.cell).collect()
}

/// The route of a channel for a call, if it is still there.
pub fn route<'t>(table: &'t RouteTable, want: &Want, slot: u32) -> Option<&'t Route> {
    let mut routes = table.tiers(&want.model, &want.group).iter().flat_map(|tier| &tier.routes);
    routes.find(|route| route.cell.slot == slot && want.may(route))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::{
        plan::tests::{spec, table},
        ticket::anything,
    };

    fn slots(waited: u64, want: &Want) -> Vec<u32> {
        let tiers = [(1, 5), (2, 5), (3, 0), (4, -5)];
        let specs = tiers.map(|(id, priority)| spec(&format!("c{id}"), id, priority, 1, "default"));
        let table = table(specs.into());
        candidates(&table, want, Duration::from_secs(waited)).iter().map(|cell| cell.slot).collect()
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
