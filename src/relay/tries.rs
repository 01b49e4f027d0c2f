//! Trying: the models of a call one after another, and of each the channels that have room, in the plan's order.

use std::{rc::Rc, time::Duration};

use penstock_actors::{
    channel::{NoEntry, Permit},
    domain::{Fault, Uncertain},
    router::{
        Plan, Route, Unroutable,
        filter::{has_closed, take_turn},
    },
};

use super::{
    Call, Relay, admit,
    attempt::Way,
    books,
    held::{self, HeldPermit},
    limits::Limited,
    link::Link,
    page::Free,
    refuse,
    settle::CallRecord,
    wait::{Blocked, Journey, Step},
};
use crate::provider::{Failure, Next, row::MOCK};

/// When to come back where every channel is switched off: one is tried again every minute at first.
const SWITCHED_OFF: Duration = Duration::from_secs(60);

impl Relay {
    /// Tries the call's models, one after another; one whose channels are full is waited for.
    pub(super) async fn try_free(&self, call: &Call, record: &mut CallRecord, journey: &mut Journey) -> Step {
        loop {
            match self.try_model(call, record, journey).await {
                Step::Failed(failure) => {
                    if let Err(failure) = self.next_model(call, record, journey, failure) {
                        return Step::Failed(failure);
                    }
                }
                step => return step,
            }
        }
    }

    /// Goes on with the call's next model.
    ///
    /// # Errors
    /// The failure that ends the call: there is no other model, or it would do no better.
    pub(super) fn next_model(
        &self,
        call: &Call,
        record: &mut CallRecord,
        journey: &mut Journey,
        failure: Failure,
    ) -> Result<(), Failure> {
        let has_time = call.left().is_none_or(|left| !left.is_zero());
        if !has_time || journey.is_over || !another_model_may_do_better(&failure) {
            return Err(failure);
        }
        let is_first = call.models.is_first();
        if !call.models.advance() {
            if is_first {
                return Err(failure);
            }
            journey.telling.add(failure.clone());
            return Err(journey.telling.take().unwrap_or(failure));
        }
        if let Some(page) = record.page() {
            page.change_model(call.model());
        }
        journey.telling.add(failure);
        journey.excluded.clear();
        journey.is_admitted = false;
        // Those of the model before are among them.
        journey.of_caller = None;
        Ok(())
    }

    /// Tries every channel of a model that has room now, in the plan's order.
    async fn try_model(&self, call: &Call, record: &mut CallRecord, journey: &mut Journey) -> Step {
        let table = self.table();
        let model = table.resolve(call.model());
        let plan = match Plan::new(&table, model, &call.caller.group, call.pin) {
            Ok(plan) => plan,
            Err(reason) => {
                let failure = unroutable(reason, call);
                journey.telling.add(failure.clone());
                return Step::Failed(journey.telling.take().unwrap_or(failure));
            }
        };
        if let (false, Some(page)) = (journey.is_admitted, record.page()) {
            if let Err(failure) = page.admit(model) {
                return Step::Failed(failure);
            }
            journey.is_admitted = true;
        }
        if let Some(step) = self.enter_caller(call, model, journey) {
            return step;
        }
        let mut plan = plan.without(&journey.excluded);
        let mut full: Option<&Route> = None;
        let mut roll = rand::random::<u64>;
        while let Some(route) = plan.next(&mut roll) {
            if full.is_some_and(|full| self.holds_back(route, full, model)) {
                break;
            }
            let Some(link) = self.usable(call, route, journey) else { continue };
            if let Err(failure) = self.gather(call, &link).await {
                return Step::Failed(failure);
            }
            let permit = match route.cell.try_enter(tokens(record), &self.shared.room) {
                Ok(permit) => permit,
                Err(NoEntry::Now) => {
                    full.get_or_insert(route);
                    continue;
                }
                Err(NoEntry::Never(over)) => {
                    journey.excluded.push(route.cell.slot);
                    journey.telling.add(Limited::of(*over, &call.caller).failure);
                    continue;
                }
            };
            if let Some(step) = self.try_route(call, record, journey, route, &link, permit).await {
                return step;
            }
        }
        let throttled = journey.readmit(table.tiers(model, &call.caller.group));
        match full.or(throttled) {
            Some(route) => Step::Blocked(Blocked::Channel(route.clone())),
            None => Step::Failed(journey.telling.take().unwrap_or_else(|| refuse::full(call, None))),
        }
    }

    /// Whether a tier is to be waited for before this route of a lower one is tried.
    fn holds_back(&self, route: &Route, full: &Route, model: &str) -> bool {
        route.spec.priority < full.spec.priority && !self.shared.policy.load().overflow_after(model).is_zero()
    }

    /// The link of a route that can serve the call; one that cannot is not tried again.
    pub(super) fn usable(&self, call: &Call, route: &Route, journey: &mut Journey) -> Option<Rc<Link>> {
        let failure = match self.link(route) {
            Ok(link) if link.endpoint(call.endpoint, call.face).is_some() => return Some(link),
            Ok(link) => not_spoken(call, &link),
            Err(failure) => failure,
        };
        journey.excluded.push(route.cell.slot);
        journey.telling.add(failure);
        None
    }

    /// Tries a route; `None` where another one may be tried.
    pub(super) async fn try_route(
        &self,
        call: &Call,
        record: &mut CallRecord,
        journey: &mut Journey,
        route: &Route,
        link: &Rc<Link>,
        mut permit: Permit,
    ) -> Option<Step> {
        let at = link.endpoint(call.endpoint, call.face)?;
        // There is something left only where the table changed while the call waited.
        if let Err(failure) = self.gather(call, link).await {
            return Some(Step::Failed(failure));
        }
        journey.excluded.push(route.cell.slot);
        if let Some(page) = record.page() {
            if let Some(held) = permit.take_limits()
                && let Err(failure) = page.admit_on(&route.spec.name, held)
            {
                journey.telling.add(failure);
                return None;
            }
            // Money is held once the first candidate is known, and stays held for the others.
            let free = if *link.row.id == *MOCK { Free::Yes } else { Free::No };
            let table = self.shared.table.load();
            if let Err(failure) = page.reserve(table.resolve(call.model()), &route.upstream_model, free) {
                return Some(Step::Failed(failure));
            }
        }
        match self.turn(call, route, journey, record.attempts()) {
            Turn::Taken => {}
            refused => {
                if let Some(page) = record.page() {
                    page.leave_channel();
                }
                if refused == Turn::Lost {
                    // It may be the call's another time; others that wait for it have no turn either.
                    self.shared.room.plan_anew();
                    journey.excluded.retain(|slot| *slot != route.cell.slot);
                }
                let ends = refused == Turn::TheirsAbove;
                return ends.then(|| {
                    Step::Failed(journey.telling.take().unwrap_or_else(|| refuse::full(call, None)))
                });
            }
        }
        if let Some(page) = record.page()
            && let Err(error) = page.dispatch(&route.spec, &route.upstream_model)
        {
            return Some(Step::Failed(books::not_journalled(&error)));
        }
        let held = HeldPermit::new(permit, route, tokens(record));
        record.attempt(&route.spec.name);
        let way = Way { route, link, at, number: record.attempts() };
        let attempted = self.attempt(call, &way, held).await;
        if let Some(page) = record.page() {
            page.tried(attempted.as_ref().err());
        }
        match attempted {
            Ok(mut begun) => {
                begun.permit.of_caller = journey.of_caller.take().unwrap_or_default();
                if let Some(page) = record.page() {
                    page.paced(begun.permit.take_paced());
                }
                Some(Step::Begun(Box::new(begun), route.spec.name.clone()))
            }
            Err(failure) => {
                // The provider's own words may quote the request, so they stay out of the log.
                tracing::debug!(call = %call.id, channel = %route.spec.name, code = failure.code,
                    status = failure.status, "attempt failed");
                if failure.next == Next::FailoverUncertain && self.uncertain(call, route) == Uncertain::IsTold
                {
                    journey.is_over = true;
                    return Some(Step::Failed(Failure { next: Next::Tell, ..failure }));
                }
                if failure.next == Next::Tell {
                    return Some(Step::Failed(failure));
                }
                journey.failed_on(route.cell.slot, held::of(&failure, &route.spec.learning));
                journey.telling.add(failure);
                None
            }
        }
    }

    /// What becomes of a call whose failed attempt the provider may have worked on.
    fn uncertain(&self, call: &Call, route: &Route) -> Uncertain {
        let (table, backups) = (self.shared.table.load(), self.shared.backups.load());
        let of_model = backups.uncertain.get(table.resolve(call.model()));
        of_model.copied().unwrap_or(route.spec.care.uncertain)
    }

    /// Takes the right to an attempt: a channel takes over no more failed calls than its budget allows (those that
    /// come back to it, at the pace that the provider allows, are its own), what a
    /// gateway above tries again is not tried again here, and of what is only probed few calls have a turn.
    fn turn(&self, call: &Call, route: &Route, journey: &Journey, attempts: u32) -> Turn {
        if attempts > 0 {
            if call.retries == Retries::TheirsAbove {
                return Turn::TheirsAbove;
            }
            let now = self.shared.books.limits.clock_ms();
            if !journey.comes_back_to(route.cell.slot)
                && !route.cell.lines.retry(route.spec.care.retry_percent, now)
            {
                return Turn::OverBudget;
            }
        }
        let has_closed = || {
            let table = self.shared.table.load();
            has_closed(table.tiers(table.resolve(call.model()), &call.caller.group), call.pin)
        };
        if take_turn(route, has_closed) { Turn::Taken } else { Turn::Lost }
    }
}

/// Tokens that a call is estimated to take.
pub(super) fn tokens(record: &mut CallRecord) -> u64 {
    record.page().map_or(0, |page| page.expected_tokens())
}

/// Whether an attempt may be made now that there is a permit for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Taken,
    /// Others have it, or the channel was switched off meanwhile.
    Lost,
    /// The channel has taken over as many failed calls as it may.
    OverBudget,
    /// No further attempt is ours to make.
    TheirsAbove,
}

/// Whose matter it is to try a call again on another channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// This gateway's.
    Ours,
    /// That of a gateway above, whose later attempt this call is.
    TheirsAbove,
}

/// Failures of the gateway's own that no other model escapes.
const FINAL: [&str; 3] = ["gateway_shutting_down", "deadline_exceeded", "journal_unavailable"];
/// Words about a request that another model may not have to say, beside those that begin with `model_`.
const OF_MODEL: [&str; 3] = ["context_length_exceeded", "channel_does_not_serve", "endpoint_not_supported"];

/// Whether a backup may be tried: not where the request itself is wrong, nor where its caller may not go on.
fn another_model_may_do_better(failure: &Failure) -> bool {
    let code = failure.code.as_str();
    match failure.fault {
        Fault::Client => code.starts_with("model_") || OF_MODEL.contains(&code),
        Fault::Upstream | Fault::Gateway => !FINAL.contains(&code),
    }
}

/// The failure that says most of all that were met: a provider's own before a full gate, and both before
/// "this channel cannot", which tells nothing of those that can. Of equals, the last.
#[derive(Default)]
pub(super) struct Telling(Option<Failure>);

impl Telling {
    pub(super) fn take(&mut self) -> Option<Failure> {
        self.0.take()
    }

    pub(super) fn add(&mut self, failure: Failure) {
        let weight = |f: &Failure| match f.fault {
            Fault::Upstream => 2,
            Fault::Gateway => 1,
            Fault::Client => 0,
        };
        if self.0.as_ref().is_none_or(|known| weight(&failure) >= weight(known)) {
            self.0 = Some(failure);
        }
    }
}

fn not_spoken(call: &Call, link: &Link) -> Failure {
    let message = format!("The provider {} has no endpoint {}.", link.row.id, call.endpoint.as_str());
    Failure { next: Next::Failover, ..Failure::invalid_request("endpoint_not_supported", None, message) }
}

fn unroutable(reason: Unroutable, call: &Call) -> Failure {
    let model = call.model();
    match reason {
        Unroutable::ModelUnknown => admit::model_not_found(model),
        Unroutable::NoneServes => {
            let message = format!("No channel serves the model '{model}' to you at the moment.");
            Failure::gateway(503, "no_channel", message)
        }
        Unroutable::SwitchedOff => {
            let message = format!(
                "No channel can serve the model '{model}' at the moment: providers refuse their credentials, or \
                 their accounts are empty."
            );
            Failure { retry_after: Some(SWITCHED_OFF), ..Failure::gateway(503, "no_channel", message) }
        }
        Unroutable::PinUnknown => Failure::invalid_request(
            "invalid_channel_id",
            None,
            "The channel named in the key does not exist.",
        ),
        Unroutable::PinDisabled => {
            admit::forbidden("channel_disabled", "The channel named in the key is disabled.")
        }
        Unroutable::PinDoesNotServe => {
            let message = format!("The channel named in the key does not serve the model '{model}' to you.");
            admit::forbidden("channel_does_not_serve", &message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_tried_where_it_may_do_better_and_only_there() {
        let client = |code: &str| Failure::invalid_request(code, None, "no");
        for code in ["model_not_found", "model_without_price", "context_length_exceeded"] {
            assert!(another_model_may_do_better(&client(code)), "{code}");
        }
        for code in ["invalid_value", "key_requests_per_minute_exceeded", "insufficient_quota"] {
            assert!(!another_model_may_do_better(&client(code)), "{code}");
        }
        assert!(another_model_may_do_better(&Failure::upstream(500, "x", Next::Failover, "no")));
        assert!(another_model_may_do_better(&Failure::gateway(429, refuse::SATURATED, "full")));
        assert!(!another_model_may_do_better(&admit::shutting_down()));
        assert!(!another_model_may_do_better(&refuse::of_own_deadline(Duration::from_secs(1))));
    }

    #[test]
    fn a_providers_word_tells_more_than_a_full_gate_and_both_more_than_what_a_channel_cannot() {
        let upstream = Failure::upstream(500, "first", Next::Failover, "no");
        let mut telling = Telling::default();
        telling.add(Failure::invalid_request("endpoint_not_supported", None, "no"));
        telling.add(upstream.clone());
        telling.add(Failure::gateway(429, refuse::SATURATED, "full"));
        assert_eq!(telling.take(), Some(upstream));
        assert_eq!(telling.take(), None);
    }
}
