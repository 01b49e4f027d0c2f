//! Which routes a call may use just now: breakers and switches over what the table says. Pure, but for taking a turn.

use super::{
    plan::Pinned,
    table::{Route, Tier},
};
use crate::channel::{breaker::BreakerState, line::Admits, switch::Standing};

/// Whether open breakers are heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breakers {
    Heeded,
    /// There is nothing but open ones.
    Ignored,
}

/// Whether the caller insists on no other channel.
pub(super) fn is_allowed(route: &Route, pin: Option<Pinned>) -> bool {
    pin.is_none_or(|Pinned(id)| route.spec.id == Some(id))
}

/// Whether evidence leaves the channel in use, for a try at least.
pub(super) fn is_on(route: &Route) -> bool {
    !matches!(route.cell.lines.standing(), Standing::Off(_))
}

/// Whether a call may be sent there.
pub(super) fn admits(route: &Route, breakers: Breakers) -> bool {
    is_on(route) && (breakers == Breakers::Ignored || route.line.admits() != Admits::No)
}

/// Whether there is anything but open breakers, tried already or not: then they are heeded to the end.
pub fn has_closed(tiers: &[Tier], pin: Option<Pinned>) -> bool {
    let routes = tiers.iter().flat_map(|tier| &tier.routes);
    routes
        .filter(|route| is_allowed(route, pin))
        .any(|route| is_on(route) && route.line.state() == BreakerState::Closed)
}

/// Takes the right to an attempt, once there is a permit for it: of half-open breakers and of channels that are
/// only tried, few calls have it. What moved meanwhile counts. `has_closed` is asked where it matters:
/// see [`has_closed`].
pub fn take_turn(route: &Route, has_closed: impl FnOnce() -> bool) -> bool {
    let is_on = match route.cell.lines.standing() {
        Standing::On => true,
        Standing::Trying(_) => route.cell.lines.take_try(),
        Standing::Off(_) => false,
    };
    is_on
        && match route.line.state() {
            BreakerState::Closed => true,
            BreakerState::HalfOpen if route.line.take_probe() => true,
            BreakerState::HalfOpen | BreakerState::Open => !has_closed(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        channel::{breaker::PROBES, switch::OffReason},
        router::plan::tests::{spec, table},
    };

    #[test]
    fn turns_of_what_is_only_tried_are_few_and_there_are_none_of_what_is_off() {
        let table = table(vec![spec("a", 1, 0, 1, "default"), spec("b", 2, 0, 1, "default")]);
        let tiers = table.tiers("m", "default");
        let [a, b] = [0, 1].map(|at| &tiers[0].routes[at]);
        let turns = |route| (0..9).filter(|_| take_turn(route, || has_closed(tiers, None))).count();
        assert_eq!(turns(a), 9);
        a.line.publish(BreakerState::HalfOpen);
        a.line.give_probes();
        assert_eq!(turns(a), PROBES as usize);
        a.line.publish(BreakerState::Open);
        assert_eq!(turns(a), 0, "it opened since it was planned");
        b.line.publish(BreakerState::Open);
        assert_eq!((turns(a), turns(b)), (9, 9), "there is nothing else");
        b.cell.lines.publish(Standing::Trying(OffReason::BadCredential));
        assert_eq!(turns(b), 1);
        assert_eq!(turns(b), 0, "the one try is out");
        b.line.publish(BreakerState::Closed);
        assert_eq!((turns(a), turns(b)), (9, 0), "what is off is nothing else");
    }
}
