//! How calls may wait: for how long, in which band, with which share; and the gates of keys and groups.
//!
//! A value that the composition root makes of the settings. Live gates are carried across, never copied.

use std::{collections::HashMap, sync::Arc, time::Duration};

use penstock_actors::{
    channel::{Gate, Permit},
    router::fairness::Band,
};

use crate::api_key::Caller;

/// See the module's sentences.
#[derive(Debug, Default)]
pub struct WaitPolicy {
    /// How long a call may wait where nothing else is said.
    pub max_wait: Duration,
    /// The longest that a client may ask for.
    pub longest_wait: Duration,
    /// How long a tier is waited for before the next one is, too.
    pub overflow_after: Duration,
    /// A stream that waits longer gets comments; never where it is `None`.
    pub comments_after: Option<Duration>,
    /// The gate of everyone's calls together.
    pub space: Ceiling,
    /// What holds for models, by the name that channels serve.
    pub models: HashMap<String, OfModel>,
    /// What holds for groups.
    pub groups: HashMap<String, OfCaller>,
    /// What holds for keys, by name.
    pub keys: HashMap<String, OfCaller>,
}

/// A gate that calls pass whichever channel serves them.
#[derive(Clone, Debug, Default)]
pub struct Ceiling {
    /// Their calls in flight; `None` for no limit.
    pub gate: Option<Arc<Gate>>,
    /// What a call does that finds it full.
    pub on_limit: OnLimit,
}

/// What is said of a model.
#[derive(Clone, Debug, Default)]
pub struct OfModel {
    /// How long its calls may wait.
    pub max_wait: Option<Duration>,
    /// How long a tier is waited for before the next one is, too.
    pub overflow_after: Option<Duration>,
    /// Its calls in flight.
    pub ceiling: Ceiling,
}

/// What is said of a key or a group.
#[derive(Clone, Debug, Default)]
pub struct OfCaller {
    /// How long its calls may wait.
    pub max_wait: Option<Duration>,
    /// Its band.
    pub band: Option<Band>,
    /// Its keys' share against other keys'.
    pub weight: Option<u32>,
    /// Its calls in flight, those of keys below it among them.
    pub ceiling: Ceiling,
}

/// What a call does that finds a gate of its caller's full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLimit {
    /// It waits with the others.
    #[default]
    Wait,
    /// It is refused.
    Refuse,
}

/// What holds for one call.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) max_wait: Duration,
    pub(super) overflow_after: Duration,
    pub(super) band: Band,
    pub(super) weight: u32,
}

/// A gate of the caller's that is full.
pub(super) struct FullGate<'a> {
    pub(super) gate: Arc<Gate>,
    pub(super) on_limit: OnLimit,
    pub(super) whose: Whose<'a>,
}

/// Whose gate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    Key,
    /// A key above it, by its name.
    Above(&'a str),
    Group,
    Model,
    Space,
}

impl WaitPolicy {
    fn of(&self, caller: &Caller) -> [Option<&OfCaller>; 2] {
        let key = if self.keys.is_empty() { None } else { self.keys.get(&caller.key) };
        let group = if self.groups.is_empty() { None } else { self.groups.get(&*caller.group) };
        [key, group]
    }

    /// What holds for a call: the key's word before the group's, the model's and that for all.
    pub(super) fn terms(&self, caller: &Caller, model: &str, asked: Option<Duration>) -> Terms {
        let [key, group] = self.of(caller);
        let of_model = self.models.get(model);
        let said = |get: fn(&OfCaller) -> Option<Duration>| key.and_then(get).or(group.and_then(get));
        let max_wait = match asked {
            Some(asked) => asked.min(self.longest_wait),
            None => said(|c| c.max_wait).or(of_model.and_then(|m| m.max_wait)).unwrap_or(self.max_wait),
        };
        Terms {
            max_wait,
            overflow_after: self.overflow_after(model),
            band: key.and_then(|c| c.band).or(group.and_then(|c| c.band)).unwrap_or_default(),
            weight: key.and_then(|c| c.weight).or(group.and_then(|c| c.weight)).unwrap_or(1),
        }
    }

    /// How long a tier is waited for before the next one is, too.
    pub(super) fn overflow_after(&self, model: &str) -> Duration {
        let of_model = if self.models.is_empty() { None } else { self.models.get(model) };
        of_model.and_then(|m| m.overflow_after).unwrap_or(self.overflow_after)
    }

    /// The gates that a caller's calls for a model pass, its own first.
    fn ceilings<'a>(
        &'a self,
        caller: &'a Caller,
        model: &str,
    ) -> impl Iterator<Item = (&'a Ceiling, &'a Arc<Gate>, Whose<'a>)> {
        let [key, group] = self.of(caller);
        let keys = if self.keys.is_empty() { &[][..] } else { &caller.above[..] };
        let above = keys
            .iter()
            .filter_map(|above| Some((&self.keys.get(&above.name)?.ceiling, Whose::Above(&above.name))));
        let of_model = if self.models.is_empty() { None } else { self.models.get(model) };
        let key = key.map(|of| (&of.ceiling, Whose::Key));
        let others = [
            group.map(|of| (&of.ceiling, Whose::Group)),
            of_model.map(|of| (&of.ceiling, Whose::Model)),
            Some((&self.space, Whose::Space)),
        ];
        let all = key.into_iter().chain(above).chain(others.into_iter().flatten());
        all.filter_map(|(ceiling, whose)| Some((ceiling, ceiling.gate.as_ref()?, whose)))
    }

    /// The gates that a caller's calls for a model pass.
    pub(super) fn gates(&self, caller: &Caller, model: &str) -> Vec<Arc<Gate>> {
        self.ceilings(caller, model).map(|(_, gate, ..)| Arc::clone(gate)).collect()
    }

    /// Enters all of a caller's gates, or none.
    pub(super) fn enter<'a>(&'a self, caller: &'a Caller, model: &str) -> Result<Vec<Permit>, FullGate<'a>> {
        let mut permits = Vec::new();
        for (ceiling, gate, whose) in self.ceilings(caller, model) {
            match gate.try_enter() {
                Some(permit) => permits.push(permit),
                None => {
                    return Err(FullGate { gate: Arc::clone(gate), on_limit: ceiling.on_limit, whose });
                }
            }
        }
        Ok(permits)
    }
}

#[cfg(test)]
mod tests {
    use penstock_actors::{
        domain::{AccountChain, KeyId},
        limiter::Owner,
    };

    use super::*;

    fn caller(key: &str, group: &str) -> Caller {
        Caller {
            id: KeyId(1),
            key: key.to_owned(),
            accounts: AccountChain(Vec::new()),
            group: group.into(),
            models: None,
            may_pin: false,
            may_see_routing: false,
            expires_ms: None,
            limits: None,
            above: Arc::default(),
        }
    }

    fn ceiling(gate: &Arc<Gate>, on_limit: OnLimit) -> Ceiling {
        Ceiling { gate: Some(Arc::clone(gate)), on_limit }
    }

    fn secs(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn the_client_is_heard_first_then_key_group_and_model() {
        let of = |max_wait| OfCaller { max_wait, ..OfCaller::default() };
        let policy = WaitPolicy {
            max_wait: Duration::from_secs(30),
            longest_wait: Duration::from_secs(100),
            models: [("m".to_owned(), OfModel { max_wait: secs(20), ..OfModel::default() })].into(),
            groups: [("vip".to_owned(), OfCaller { band: Some(Band::High), ..of(secs(40)) })].into(),
            keys: [("k".to_owned(), OfCaller { weight: Some(3), ..of(secs(50)) })].into(),
            ..WaitPolicy::default()
        };
        for (key, group, model, asked, wanted) in [
            ("x", "x", "x", None, 30),
            ("x", "x", "m", None, 20),
            ("x", "vip", "m", None, 40),
            ("k", "vip", "m", None, 50),
            ("k", "vip", "m", secs(7), 7),
            ("x", "x", "x", secs(1_000_000), 100),
        ] {
            let terms = policy.terms(&caller(key, group), model, asked);
            assert_eq!(terms.max_wait.as_secs(), wanted, "{key} {group} {model} {asked:?}");
        }
        let terms = policy.terms(&caller("k", "vip"), "m", None);
        assert_eq!((terms.band, terms.weight), (Band::High, 3));
    }

    #[test]
    fn all_gates_of_a_caller_are_entered_or_none() {
        let [key, group] = [Gate::new(2), Gate::new(1)];
        let of =
            |gate: &Arc<Gate>, on_limit| OfCaller { ceiling: ceiling(gate, on_limit), ..OfCaller::default() };
        let policy = WaitPolicy {
            keys: [("k".to_owned(), of(&key, OnLimit::Wait))].into(),
            groups: [("g".to_owned(), of(&group, OnLimit::Refuse))].into(),
            ..WaitPolicy::default()
        };
        let who = caller("k", "g");
        let held = policy.enter(&who, "m").map_err(|_| ()).expect("room");
        let full = policy.enter(&who, "m").map(|_| ()).expect_err("the group's is full");
        assert_eq!((full.on_limit, full.whose, key.in_flight()), (OnLimit::Refuse, Whose::Group, 1));
        drop(held);
        assert_eq!((key.in_flight(), group.in_flight()), (0, 0));
        assert!(policy.enter(&caller("other", "none"), "m").map_err(|_| ()).expect("no gates").is_empty());
    }

    #[test]
    fn a_child_passes_the_gates_of_keys_above_it_of_the_model_and_of_all() {
        let [parent, model, space] = [Gate::new(1), Gate::new(2), Gate::new(3)];
        let policy = WaitPolicy {
            keys: [(
                "team".to_owned(),
                OfCaller { ceiling: ceiling(&parent, OnLimit::Wait), ..OfCaller::default() },
            )]
            .into(),
            models: [(
                "m".to_owned(),
                OfModel { ceiling: ceiling(&model, OnLimit::Refuse), ..OfModel::default() },
            )]
            .into(),
            space: ceiling(&space, OnLimit::Refuse),
            ..WaitPolicy::default()
        };
        let team = Owner { id: KeyId(2), name: "team".to_owned(), limits: None };
        let child = Caller { above: [team].into(), ..caller("child", "g") };
        let stranger = caller("stranger", "g");
        let entered = |who, model| policy.enter(who, model).map_err(|full| full.whose);
        let _of_team = entered(&child, "m").expect("room");
        assert_eq!(entered(&child, "m").map(|_| ()), Err(Whose::Above("team")));
        assert_eq!((model.in_flight(), space.in_flight()), (1, 1), "given back");
        let _of_model = entered(&stranger, "m").expect("room");
        assert_eq!(entered(&stranger, "m").map(|_| ()), Err(Whose::Model));
        let _of_space = entered(&stranger, "other").expect("room");
        assert_eq!(entered(&stranger, "other").map(|_| ()), Err(Whose::Space));
        assert_eq!(policy.gates(&child, "m").len(), 3);
    }
}
