//! Why each channel would or would not be tried for a call that is not sent. Pure.

use std::sync::Arc;

use super::{
    filter::{Breakers, has_closed},
    plan::Pinned,
    table::RouteTable,
};
use crate::{
    channel::{
        ChannelCell,
        line::Admits,
        switch::{OffReason, Standing},
    },
    domain::{ChannelSpec, ModelName},
};

/// What would become of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be tried at once.
    MayBeTried,
    /// It may be tried once a slot is free.
    Full,
    /// The breaker of the model is open there, and another channel serves.
    BreakerOpen,
    /// The breaker of the model is open there, but there is nothing else.
    NothingElse,
    /// Some calls try the model there, or the channel.
    Probed,
    /// Evidence switched the channel off.
    SwitchedOff(OffReason),
    /// The operator did.
    Disabled,
    /// It serves other groups.
    OtherGroup,
    /// The caller insists on another channel.
    NotPinned,
    /// It serves other models.
    OtherModel,
}

impl Verdict {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MayBeTried => "may_be_tried",
            Self::Full => "full",
            Self::BreakerOpen => "breaker_open",
            Self::NothingElse => "nothing_else",
            Self::Probed => "probed",
            Self::SwitchedOff(reason) => reason.as_str(),
            Self::Disabled => "disabled",
            Self::OtherGroup => "other_group",
            Self::NotPinned => "not_pinned",
            Self::OtherModel => "other_model",
        }
    }
}

/// A channel, and what would become of it.
#[derive(Clone, Debug)]
pub struct Considered {
    /// Its live cell.
    pub cell: Arc<ChannelCell>,
    /// Its settings.
    pub spec: Arc<ChannelSpec>,
    /// The provider's name for the model; `None` where it serves others.
    pub upstream_model: Option<ModelName>,
    /// What would become of it.
    pub verdict: Verdict,
}

/// Considers every channel for a call of `group` for `model`, aliases resolved already: those that serve it
/// first, in the order of their tiers.
pub fn explain(table: &RouteTable, model: &str, group: &str, pin: Option<Pinned>) -> Vec<Considered> {
    let breakers = match has_closed(table.tiers(model, group), pin) {
        true => Breakers::Heeded,
        false => Breakers::Ignored,
    };
    let consider = |cell| consider(cell, model, group, pin, breakers);
    let mut considered: Vec<_> = table.cells().iter().map(consider).collect();
    let serves_not = |c: &Considered| matches!(c.verdict, Verdict::OtherModel);
    considered.sort_by_key(|c| (serves_not(c), std::cmp::Reverse(c.spec.priority)));
    considered
}

fn consider(
    cell: &Arc<ChannelCell>,
    model: &str,
    group: &str,
    pin: Option<Pinned>,
    breakers: Breakers,
) -> Considered {
    let spec = cell.spec();
    let served = spec.models.iter().find(|served| *served.model == *model);
    let upstream_model = served.map(|served| Arc::clone(&served.upstream));
    let verdict = match (&upstream_model, cell.lines.standing()) {
        (None, _) => Verdict::OtherModel,
        _ if pin.is_some_and(|Pinned(id)| spec.id != Some(id)) => Verdict::NotPinned,
        _ if !spec.enabled => Verdict::Disabled,
        _ if spec.groups.iter().all(|known| **known != *group) => Verdict::OtherGroup,
        (_, Standing::Off(reason)) => Verdict::SwitchedOff(reason),
        (Some(upstream), standing) => match cell.lines.line(upstream).admits() {
            Admits::No if breakers == Breakers::Heeded => Verdict::BreakerOpen,
            _ if cell.gate.in_flight() >= cell.gate.limit() => Verdict::Full,
            Admits::No => Verdict::NothingElse,
            Admits::Probe => Verdict::Probed,
            Admits::Yes if standing != Standing::On => Verdict::Probed,
            Admits::Yes => Verdict::MayBeTried,
        },
    };
    Considered { cell: Arc::clone(cell), spec, upstream_model, verdict }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        channel::breaker::BreakerState,
        router::plan::tests::{spec, table},
    };

    #[test]
    fn every_channel_gets_its_reason_and_those_that_serve_come_first() {
        let mut off = spec("off", 3, 9, 1, "default");
        off.enabled = false;
        let mut full = spec("full", 4, 2, 1, "default");
        full.concurrency = Some(0);
        let mut other = spec("other", 7, 99, 1, "default");
        other.models.clear();
        let specs = vec![
            other,
            spec("well", 1, 1, 1, "default"),
            spec("vip", 2, 0, 1, "vip"),
            off,
            full,
            spec("open", 5, 3, 1, "default"),
            spec("bad", 6, 4, 1, "default"),
        ];
        let table = table(specs);
        let cell = |name: &str| table.cells().iter().find(|c| c.name.as_str() == name).expect("there");
        cell("open").lines.line(&"up".into()).publish(BreakerState::Open);
        cell("bad").lines.publish(Standing::Off(OffReason::OutOfCredit));
        let said = |pin| {
            let considered = explain(&table, "m", "default", pin);
            considered.iter().map(|c| format!("{}={}", c.spec.name, c.verdict.as_str())).collect::<Vec<_>>()
        };
        assert_eq!(
            said(None),
            [
                "off=disabled",
                "bad=out_of_credit",
                "open=breaker_open",
                "full=full",
                "well=may_be_tried",
                "vip=other_group",
                "other=other_model"
            ]
        );
        assert_eq!(said(Some(Pinned(1)))[4..6], ["well=may_be_tried", "vip=not_pinned"]);
        assert_eq!(said(Some(Pinned(5)))[2], "open=nothing_else");
        cell("bad").lines.publish(Standing::Trying(OffReason::OutOfCredit));
        assert_eq!(said(None)[1], "bad=probed");
    }
}
