//! Waiting: a call that finds every channel full takes a place in the queue, until it is granted a permit, told
//! why not, or its client leaves.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use penstock_actors::{
    channel::{
        Gate, Permit,
        gate::{Entered, Place},
    },
    domain::{ChannelName, ModelName},
    router::{
        Pinned, Route, Tier, WaitingRoom,
        candidates::route,
        fairness::Ask,
        room::NoRoom,
        ticket::{Ejected, Grant, OF_CALLER, Ticket, Verdict, Want},
    },
};

use super::{
    Call, Relay,
    admit::shutting_down,
    attempt::Begun,
    page::Free,
    policy::{OnLimit, Terms},
    refuse,
    settle::CallRecord,
    tries::{Telling, tokens},
};
use crate::provider::{Failure, row::MOCK};

/// What a call has behind it on its way to a channel.
#[derive(Default)]
pub(super) struct Journey {
    /// Channels that were tried, or cannot serve it.
    pub(super) excluded: Vec<u32>,
    /// Channels that took no more when it was tried there, and how often it came back to them.
    throttled: Vec<(u32, u32)>,
    /// What its failures come to.
    pub(super) telling: Telling,
    /// Permits of its caller's own gates.
    pub(super) of_caller: Option<Vec<Permit>>,
    /// Whether its limits took it in.
    pub(super) is_admitted: bool,
    /// Whether it may not be tried again: its provider may have worked on it, and its operator would rather lose it.
    pub(super) is_over: bool,
    /// How long it has waited so far.
    pub(super) waited: Duration,
    /// Its ticket while it waits, for who tells of it.
    pub(super) news: News,
}

/// How often a call comes back to a channel that took no more.
const COMES_BACK: u32 = 16;

impl Journey {
    /// Notes how an attempt failed on a channel: one that took no more may be come back to.
    pub(super) fn failed_on(&mut self, slot: u32, failure: Failed) {
        let is_known = self.comes_back_to(slot);
        match failure {
            Failed::Throttled if is_known => {}
            Failed::Throttled => self.throttled.push((slot, 0)),
            Failed::Otherwise => self.throttled.retain(|(known, _)| *known != slot),
        }
    }

    /// Whether the call was at this channel, which took no more then.
    pub(super) fn comes_back_to(&self, slot: u32) -> bool {
        self.throttled.iter().any(|(known, _)| *known == slot)
    }

    /// What tells most of a wait that was in vain: what the provider said for which it was.
    fn in_vain(&mut self, failure: Failure) -> Failure {
        if failure.code != refuse::SATURATED || self.throttled.is_empty() {
            return failure;
        }
        let retry_after = failure.retry_after;
        match self.telling.take() {
            Some(told) => Failure { retry_after: told.retry_after.max(retry_after), ..told },
            None => failure,
        }
    }

    /// Lets the call come back to channels that took no more, where it has not too often; gives one of them.
    pub(super) fn readmit<'t>(&mut self, tiers: &'t [Tier]) -> Option<&'t Route> {
        let excluded = &mut self.excluded;
        let mut readmitted = None;
        for (slot, times) in self.throttled.iter_mut().filter(|(_, times)| *times < COMES_BACK) {
            let Some(at) = excluded.iter().position(|known| known == slot) else { continue };
            let mut routes = tiers.iter().flat_map(|tier| &tier.routes);
            if let Some(route) = routes.find(|route| route.cell.slot == *slot) {
                excluded.swap_remove(at);
                *times += 1;
                readmitted = readmitted.or(Some(route));
            }
        }
        readmitted
    }
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The provider takes no more just now.
    Throttled,
    Otherwise,
}

/// Where the ticket of a waiting call is found.
#[derive(Clone, Default)]
pub(super) struct News(Rc<RefCell<Option<Arc<Ticket>>>>);

impl News {
    /// The ticket, while the call waits.
    pub(super) fn ticket(&self) -> Option<Arc<Ticket>> {
        self.0.borrow().clone()
    }
}

/// What keeps a call waiting.
pub(super) enum Blocked {
    /// Every channel is full; the first of them.
    Channel(Route),
    /// A gate of its caller's.
    Caller(Arc<Gate>),
}

/// How far a call got without waiting.
pub(super) enum Step {
    Begun(Box<Begun>, ChannelName),
    Blocked(Blocked),
    Failed(Failure),
}

/// An answer that has begun, or why there is none; with the call's record in either case.
pub(super) type Ended = (Result<(Box<Begun>, ChannelName), Failure>, CallRecord);

impl Relay {
    /// Waits for channels and tries those that are granted, until an answer begins.
    pub(super) async fn queued(
        self: Rc<Self>,
        call: Rc<Call>,
        mut record: CallRecord,
        mut journey: Journey,
        mut blocked: Blocked,
    ) -> Ended {
        loop {
            let granted = self.wait(&call, &mut record, &mut journey, blocked).await;
            let step = match granted {
                Ok(Some((route, permit))) => {
                    self.try_granted(&call, &mut record, &mut journey, route, permit).await
                }
                Ok(None) => None,
                Err(failure) => {
                    let failure = self.honest(&call, &journey, tokens(&mut record), failure);
                    Some(Step::Failed(journey.in_vain(failure)))
                }
            };
            let step = match step {
                Some(Step::Failed(failure)) => {
                    match self.next_model(&call, &mut record, &mut journey, failure) {
                        Ok(()) => self.try_free(&call, &mut record, &mut journey).await,
                        Err(failure) => Step::Failed(failure),
                    }
                }
                Some(step) => step,
                None => self.try_free(&call, &mut record, &mut journey).await,
            };
            match step {
                Step::Begun(begun, channel) => return (Ok((begun, channel)), record),
                Step::Failed(failure) => return (Err(failure), record),
                Step::Blocked(by) => blocked = by,
            }
        }
    }

    /// Tries the channel that was waited for; `None` where another one must be found.
    async fn try_granted(
        &self,
        call: &Call,
        record: &mut CallRecord,
        journey: &mut Journey,
        route: Route,
        permit: Permit,
    ) -> Option<Step> {
        let link = self.usable(call, &route, journey)?;
        self.try_route(call, record, journey, &route, &link, permit).await
    }

    /// Waits once. `None` where there is room all of a sudden, or the table changed under the grant.
    async fn wait(
        &self,
        call: &Call,
        record: &mut CallRecord,
        journey: &mut Journey,
        blocked: Blocked,
    ) -> Result<Option<(Route, Permit)>, Failure> {
        let (policy, table) = (self.shared.policy.load_full(), self.table());
        let model: ModelName = table.resolve(call.model()).into();
        let terms = policy.terms(&call.caller, &model, call.max_wait);
        if let (Some(page), Blocked::Channel(route)) = (record.page(), &blocked) {
            // Who cannot pay need not wait.
            let free = if *route.spec.provider == *MOCK { Free::Yes } else { Free::No };
            page.reserve(&model, &route.upstream_model, free)?;
        }
        drop(table);
        let left = self.wait_left(call, journey, &terms);
        if left.is_zero() {
            return Err(refuse::full(call, None));
        }
        // Held by no call that does not go on: whoever claims the slot takes them with it.
        journey.of_caller = None;
        let room = &self.shared.room;
        let now = room.now();
        let tokens = tokens(record);
        let Some(place) = place(blocked, tokens, room) else { return Ok(None) };
        let ask = Ask {
            key: call.caller.id,
            band: terms.band,
            cost: tokens,
            weight: terms.weight,
            arrived: now,
            deadline: now + left,
        };
        let want = Want {
            model,
            group: Arc::clone(&call.caller.group),
            pin: call.pin,
            excluded: journey.excluded.clone(),
            overflow_after: terms.overflow_after,
        };
        let gates = policy.gates(&call.caller, &want.model);
        let began = Instant::now();
        let mut waiting = room
            .wait(ask, want.clone(), gates, place, call.body.len())
            .map_err(|full: NoRoom| refuse::no_room(call, full))?;
        *journey.news.0.borrow_mut() = Some(Arc::clone(waiting.ticket()));
        let verdict = tokio::select! {
            biased;
            () = self.drained.cancelled() => Err(shutting_down()),
            verdict = waiting.verdict() => Ok(Some(verdict)),
            () = tokio::time::sleep(left) => Ok(None),
        };
        *journey.news.0.borrow_mut() = None;
        let waited = began.elapsed();
        journey.waited += waited;
        record.waited(waited);
        let told = waiting.ticket().estimate();
        match verdict? {
            Some(Verdict::Granted(Grant { slot, permit, of_caller, .. })) => {
                record.charged(waiting.charge());
                journey.of_caller = Some(of_caller);
                let table = self.table();
                Ok(route(&table, &want, slot).map(|route| (route.clone(), permit)))
            }
            Some(Verdict::Ejected(Ejected::NoCandidate)) => Ok(None),
            Some(Verdict::Ejected(why)) => {
                record.stood(told.filter(refuse::is_telling));
                Err(refuse::ejected(call, why, waited, told))
            }
            None => {
                waiting.expired();
                record.stood(told.filter(refuse::is_telling));
                Err(refuse::ejected(call, Ejected::Expired, waited, told))
            }
        }
    }

    /// Tells a call that waits no longer when to come back, where limits in a time say when there will be room at all.
    fn honest(&self, call: &Call, journey: &Journey, tokens: u64, failure: Failure) -> Failure {
        if failure.code != refuse::SATURATED {
            return failure;
        }
        let (table, room) = (self.table(), &self.shared.room);
        let tiers = table.tiers(table.resolve(call.model()), &call.caller.group);
        let routes = tiers.iter().flat_map(|tier| &tier.routes);
        let mine = routes.filter(|route| {
            call.pin.is_none_or(|Pinned(id)| route.spec.id == Some(id))
                && !journey.excluded.contains(&route.cell.slot)
        });
        let opens = mine.map(|route| route.cell.opens_in(tokens, room)).min().unwrap_or_default();
        let retry_after = failure.retry_after.max(Some(opens).filter(|wait| !wait.is_zero()));
        Failure { retry_after, ..failure }
    }

    /// How much longer the call may wait.
    fn wait_left(&self, call: &Call, journey: &Journey, terms: &Terms) -> Duration {
        let left = terms.max_wait.saturating_sub(journey.waited);
        call.left().map_or(left, |deadline| deadline.min(left))
    }

    /// Enters the caller's own gates, once; gives what keeps it from that.
    pub(super) fn enter_caller(&self, call: &Call, model: &str, journey: &mut Journey) -> Option<Step> {
        if journey.of_caller.is_some() {
            return None;
        }
        let policy = self.shared.policy.load();
        match policy.enter(&call.caller, model) {
            Ok(permits) => {
                journey.of_caller = Some(permits);
                None
            }
            Err(full) if full.on_limit == OnLimit::Refuse => {
                Some(Step::Failed(refuse::of_concurrency(full.gate.limit(), full.whose)))
            }
            Err(full) => Some(Step::Blocked(Blocked::Caller(full.gate))),
        }
    }
}

/// Registers as one who waits; `None` where there is room by now.
fn place(blocked: Blocked, tokens: u64, room: &WaitingRoom) -> Option<(u32, Place)> {
    match blocked {
        Blocked::Channel(route) => Some((route.cell.slot, route.cell.enter_or_wait(tokens, room)?)),
        Blocked::Caller(gate) => match gate.enter_or_wait() {
            Entered::Permit(_) => None,
            Entered::Place(place) => Some((OF_CALLER, place)),
        },
    }
}
