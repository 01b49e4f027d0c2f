//! The life of a call, a file a phase: admit, plan, attempt, forward, settle.
//!
//! It asks nobody: it loads published snapshots, takes permits, and sends. What a caller may do is
//! decided in `admit`; what a provider wants, by its adapter; what bytes travel, by the transport.

pub mod admit;
mod attempt;
pub mod books;
pub mod budget;
pub mod deadline;
mod evidence;
mod fault;
mod flow;
pub mod forward;
mod limits;
mod link;
pub mod models;
mod page;
pub mod settle;
pub mod spool;

use std::{cell::RefCell, rc::Rc, sync::Arc};

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue};
use penstock_actors::{
    billing::Foreseen,
    channel::SlotMap,
    domain::{CallId, ChannelName, Fault},
    limiter::Rates,
    router::{Pinned, Plan, Route, RouteTable, TableHandle, Unroutable},
};

use tokio_util::sync::CancellationToken;

use crate::{
    api_key::Caller,
    dialect::Dialect,
    dialect::openai::RequestFacts,
    provider::{Endpoint, Failure, Next, row::MOCK},
    relay::{
        books::Books,
        budget::ByteBudget,
        forward::AnswerBody,
        link::Link,
        models::{Backups, Models},
        page::{Free, Opening, Page},
        settle::CallRecord,
        spool::Spool,
    },
    telemetry::Metrics,
    transport::Transport,
    wire::json::TopLevel,
};

/// The header by which one gateway tells another that a call was tried elsewhere before: attempts must not
/// multiply.
pub const ATTEMPT: &str = "x-penstock-attempt";

/// What every worker's relay shares.
pub struct RelayShared {
    /// The route table in force.
    pub table: TableHandle,
    /// Where calls are counted.
    pub metrics: Arc<Metrics>,
    /// Bytes of request bodies held.
    pub bytes: Arc<ByteBudget>,
    /// Longest event of a stream, in bytes.
    pub max_event: usize,
    /// Longest body that is held whole, in bytes.
    pub max_whole_body: u64,
    /// Cancelled when answers must end because the gateway does.
    pub cut: CancellationToken,
    /// What the books are kept with.
    pub books: Arc<books::BooksShared>,
    /// Models that stand in for others.
    pub backups: ArcSwap<Backups>,
}

/// The relay of one worker.
pub struct Relay {
    shared: Arc<RelayShared>,
    transport: Rc<dyn Transport>,
    links: RefCell<SlotMap<Rc<Link>>>,
    books: Rc<Books>,
    /// The shared one's child, so that workers do not contend for its lock.
    cut: CancellationToken,
}

/// A call that was admitted.
pub struct Call {
    /// Our id: UUIDv7.
    pub id: Rc<str>,
    /// The same, as a number.
    pub number: CallId,
    /// What is called.
    pub endpoint: Endpoint,
    /// The client's dialect.
    pub face: Dialect,
    /// Who calls.
    pub caller: Arc<Caller>,
    /// A channel the caller insists on.
    pub pin: Option<Pinned>,
    /// What the request says at its top level.
    pub facts: RequestFacts,
    /// The models that may serve it.
    pub models: Models,
    /// Where its fields stand.
    pub top: TopLevel,
    /// The request body.
    pub body: Spool,
    /// Client headers that every provider gets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The id that the client gave the call.
    pub client_request_id: String,
    /// What can be told of its cost before it is sent.
    pub foreseen: Foreseen,
    /// Client headers that only mock channels get.
    pub mock_headers: Vec<(HeaderName, HeaderValue)>,
    /// Seconds since 1970 at admission.
    pub created: u64,
    /// Whose matter another attempt is.
    pub retries: Retries,
}

/// An answer that has begun.
pub struct Answer {
    /// The `content-type` for the client.
    pub content_type: HeaderValue,
    /// The bytes; settles the call when it ends or is dropped.
    pub body: AnswerBody,
    /// Which channel answers, after how many attempts.
    pub tried: Tried,
    /// How the limits stand that the call is under.
    pub rates: Rates,
}

/// How far a call came.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The last channel that was tried.
    pub channel: ChannelName,
    /// How many attempts there were.
    pub attempts: u32,
}

/// A call that got no answer.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub failure: Failure,
    /// How far it came; `None` where no channel was tried.
    pub tried: Option<Tried>,
    /// How the limits stand that the call is under.
    pub rates: Rates,
    /// The channels that were considered, where the call wished to know.
    pub explained: Option<String>,
}

impl From<Failure> for Box<Refused> {
    /// A refusal before any channel was tried.
    fn from(failure: Failure) -> Self {
        Self::new(Refused { failure, tried: None, rates: Rates::default(), explained: None })
    }
}

impl Relay {
    /// Makes the relay of a worker.
    pub fn new(shared: Arc<RelayShared>, transport: Rc<dyn Transport>) -> Self {
        let cut = shared.cut.child_token();
        let books = Rc::new(Books::new(Arc::clone(&shared.books)));
        Self { shared, transport, links: RefCell::default(), books, cut }
    }

    /// The route table in force.
    pub fn table(&self) -> Arc<RouteTable> {
        self.shared.table.load_full()
    }

    /// Finds a channel that answers, trying candidates in the plan's order until a byte is due to the client.
    ///
    /// # Errors
    /// The refusal, or the last candidate's failure. The record says the outcome in every case.
    pub async fn call(&self, call: &Call, mut record: CallRecord) -> Result<Answer, Box<Refused>> {
        record.admit(|arrived| Page::new(Rc::clone(&self.books), opening(call), arrived));
        let tried = tokio::select! {
            biased;
            tried = self.try_candidates(call, &mut record) => tried,
            () = self.cut.cancelled() => Err(admit::shutting_down()),
        };
        let rates = record.page().map(|page| page.rates()).unwrap_or_default();
        match tried {
            Ok((begun, channel)) => {
                let tried = Tried { channel, attempts: record.attempts() };
                Ok(Answer {
                    content_type: begun.content_type.clone(),
                    body: AnswerBody::new(begun, call, record, self.cut.clone()),
                    tried,
                    rates,
                })
            }
            Err(failure) => {
                if let Some(limit) = record.page().and_then(|page| page.limited_by()) {
                    self.shared.metrics.limited(limit);
                }
                record.refused(&failure);
                Err(Box::new(Refused { failure, tried: record.tried(), rates, explained: None }))
            }
        }
    }

    /// Tries the call's models, one after another.
    async fn try_candidates(
        &self,
        call: &Call,
        record: &mut CallRecord,
    ) -> Result<(attempt::Begun, ChannelName), Failure> {
        loop {
            let failure = match self.try_model(call, record).await {
                Ok(begun) => return Ok(begun),
                Err(failure) => failure,
            };
            if !another_model_may_do_better(&failure) || !call.models.advance() {
                return Err(failure);
            }
            if let Some(page) = record.page() {
                page.change_model(call.models.current());
            }
        }
    }

    async fn try_model(
        &self,
        call: &Call,
        record: &mut CallRecord,
    ) -> Result<(attempt::Begun, ChannelName), Failure> {
        let table = self.table();
        let model = table.resolve(call.models.current());
        let mut plan = Plan::new(&table, model, &call.caller.group, call.pin)
            .map_err(|reason| unroutable(reason, call))?;
        if let Some(page) = record.page() {
            page.admit(model)?;
        }
        let mut telling = Telling::default();
        let mut roll = rand::random::<u64>;
        while let Some(route) = plan.next(&mut roll) {
            let link = match self.link(route) {
                Ok(link) => link,
                Err(failure) => {
                    telling.add(failure);
                    continue;
                }
            };
            let Some(at) = link.endpoint(call.endpoint, call.face) else {
                telling.add(not_spoken(call, &link));
                continue;
            };
            if !self.may_try(route, record.attempts(), call) {
                break;
            }
            if let Some(Err(failure)) = record.page().map(|page| page.admit_on(&route.spec.name)) {
                telling.add(failure);
                continue;
            }
            let Some(permit) = route.cell.gate.try_enter() else {
                telling.add(saturated(call));
                continue;
            };
            if let Some(page) = record.page() {
                // Money is held once the first candidate is known, and stays held for the others.
                let free = if *link.row.id == *MOCK { Free::Yes } else { Free::No };
                page.reserve(model, &route.upstream_model, free)?;
                if let Err(error) = page.dispatch(&route.spec.name, &route.upstream_model) {
                    return Err(books::not_journalled(&error));
                }
            }
            record.attempt(&route.spec.name);
            let attempted = self.attempt(call, route, &link, at, permit, record.attempts()).await;
            if let Some(page) = record.page() {
                page.tried(attempted.as_ref().err());
            }
            match attempted {
                Ok(begun) => return Ok((begun, route.spec.name.clone())),
                Err(failure) => {
                    // The provider's own words may quote the request, so they stay out of the log.
                    tracing::debug!(call = %call.id, channel = %route.spec.name, code = failure.code,
                        status = failure.status, "attempt failed");
                    if failure.next == Next::Tell {
                        return Err(failure);
                    }
                    telling.add(failure);
                }
            }
        }
        let failure = telling.0.unwrap_or_else(|| saturated(call));
        if failure.code == SATURATED {
            self.shared.metrics.saturated.inc();
        }
        Err(failure)
    }
}

impl Relay {
    /// Whether another attempt may follow: a channel takes over no more failed calls than its budget allows, and
    /// what a gateway above tries again is not tried again here.
    fn may_try(&self, route: &Route, attempts: u32, call: &Call) -> bool {
        let now = self.shared.books.limits.clock_ms();
        if attempts == 0 {
            route.cell.lines.first(now);
            return true;
        }
        call.retries == Retries::Ours && route.cell.lines.retry(route.spec.care.retry_percent, now)
    }
}

/// Whose matter it is to try a call again on another channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// This gateway's.
    Ours,
    /// That of a gateway above, whose later attempt this call is.
    TheirsAbove,
}

/// Whether a backup may be tried: not where the request itself is wrong, nor where its caller may not go on.
fn another_model_may_do_better(failure: &Failure) -> bool {
    failure.fault != Fault::Client || failure.code == "model_not_found" || failure.code.starts_with("model_")
}

fn opening(call: &Call) -> Opening {
    Opening {
        call: call.number,
        caller: Arc::clone(&call.caller),
        endpoint: call.endpoint,
        delivery: call.facts.delivery,
        model: call.models.current().to_owned(),
        client_request_id: call.client_request_id.clone(),
        foreseen: call.foreseen,
    }
}

/// The failure that says most of all that were met: a provider's own before a full gate, and both before
/// "this channel cannot", which tells nothing of those that can. Of equals, the last.
#[derive(Default)]
struct Telling(Option<Failure>);

impl Telling {
    fn add(&mut self, failure: Failure) {
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

/// The code of a call that found every gate full.
const SATURATED: &str = "channels_saturated";

fn unroutable(reason: Unroutable, call: &Call) -> Failure {
    let model = call.models.current();
    match reason {
        Unroutable::ModelUnknown => admit::model_not_found(model),
        Unroutable::NoneServes => {
            let message = format!("No channel serves the model '{model}' to you at the moment.");
            Failure::gateway(503, "no_channel", message)
        }
        Unroutable::SwitchedOff => {
            let message = format!("No channel can serve the model '{model}' at the moment.");
            let mut failure = Failure::gateway(503, "no_channel", message);
            failure.retry_after = Some(std::time::Duration::from_secs(60));
            failure
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

fn saturated(call: &Call) -> Failure {
    let message = format!("Every channel for the model '{}' is full at the moment.", call.models.current());
    let mut failure = Failure::gateway(429, SATURATED, message);
    failure.kind = "rate_limit_error".to_owned();
    failure.retry_after = Some(std::time::Duration::from_secs(1));
    failure
}
