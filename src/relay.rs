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
mod held;
mod limits;
mod link;
pub mod media;
pub mod models;
mod page;
pub mod policy;
pub mod queued;
mod refuse;
pub mod settle;
mod showing;
pub mod spool;
mod steps;
mod tries;
mod wait;

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use http::{HeaderName, HeaderValue};
use penstock_actors::{
    billing::Foreseen,
    channel::SlotMap,
    domain::{CallId, ChannelName, Delivery, Money},
    limiter::Rates,
    router::{Pinned, RouteTable, TableHandle, WaitingRoom, estimate::Estimate},
};

use tokio_util::sync::CancellationToken;

use crate::{
    api_key::Caller,
    credential::Vault,
    dialect::{Dialect, RequestFacts, StreamForm},
    provider::{Endpoint, Failure},
    relay::{
        books::Books,
        budget::ByteBudget,
        forward::AnswerBody,
        link::Link,
        media::{Gathered, MediaPolicy},
        models::{Backups, Models},
        page::{Opening, Page},
        policy::WaitPolicy,
        queued::{Body, QueuedBody},
        refuse::SATURATED,
        settle::CallRecord,
        spool::Spool,
        wait::{Blocked, Journey, Step},
    },
    telemetry::Metrics,
    transport::{MediaFetcher, Transport},
    wire::json::TopLevel,
};

pub use tries::Retries;

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
    /// Cancelled when calls that wait are refused because the gateway ends.
    pub drained: CancellationToken,
    /// Where calls wait.
    pub room: Arc<WaitingRoom>,
    /// How they may.
    pub policy: ArcSwap<WaitPolicy>,
    /// What is fetched for them.
    pub media: ArcSwap<MediaPolicy>,
    /// Who fetches it.
    pub fetcher: MediaFetcher,
    /// What the books are kept with.
    pub books: Arc<books::BooksShared>,
    /// Models that stand in for others.
    pub backups: ArcSwap<Backups>,
    /// Tokens, and channels with several credentials.
    pub vault: Arc<Vault>,
}

/// The relay of one worker.
pub struct Relay {
    shared: Arc<RelayShared>,
    transport: Rc<dyn Transport>,
    links: RefCell<SlotMap<Rc<Link>>>,
    books: Rc<Books>,
    /// The shared one's child, so that workers do not contend for its lock.
    cut: CancellationToken,
    drained: CancellationToken,
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
    /// How long the client would wait for an answer to begin, where it says so.
    pub max_wait: Option<Duration>,
    /// When it arrived.
    pub arrived: Instant,
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
    /// What it names by address, as far as it was fetched.
    pub media: Gathered,
}

impl Call {
    /// The model that is tried now, as the client or the operator names it.
    pub fn model(&self) -> &str {
        self.models.current(&self.facts.model)
    }

    /// How much is left of the time that the client gave for an answer to begin.
    fn left(&self) -> Option<Duration> {
        Some(self.max_wait?.saturating_sub(self.arrived.elapsed()))
    }
}

/// An answer that has begun.
pub struct Answer {
    /// The `content-type` for the client.
    pub content_type: HeaderValue,
    /// The bytes; settles the call when it ends or is dropped.
    pub body: Body,
    /// Which channel answers, after how many attempts; `None` while the call waits.
    pub tried: Option<Tried>,
    /// How long the call has waited in the queue; `None` where it did not, or still does.
    pub waited: Option<Duration>,
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
    /// What the caller pays, where the whole answer is there.
    pub cost: Option<Money>,
}

/// A call that got no answer.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub failure: Failure,
    /// How far it came; `None` where no channel was tried.
    pub tried: Option<Tried>,
    /// How long it has waited in the queue; `None` where it did not.
    pub waited: Option<Duration>,
    /// How it stood in the queue that refused it.
    pub queue: Option<Estimate>,
    /// How the limits stand that the call is under.
    pub rates: Rates,
    /// The channels that were considered, where the call wished to know.
    pub explained: Option<String>,
}

impl From<Failure> for Box<Refused> {
    /// A refusal before any channel was tried.
    fn from(failure: Failure) -> Self {
        let rates = Rates::default();
        Self::new(Refused { failure, tried: None, waited: None, queue: None, rates, explained: None })
    }
}

impl Relay {
    /// Makes the relay of a worker.
    pub fn new(shared: Arc<RelayShared>, transport: Rc<dyn Transport>) -> Self {
        let (cut, drained) = (shared.cut.child_token(), shared.drained.child_token());
        let books = Rc::new(Books::new(Arc::clone(&shared.books)));
        Self { shared, transport, links: RefCell::default(), books, cut, drained }
    }

    /// The route table in force.
    pub fn table(&self) -> Arc<RouteTable> {
        self.shared.table.load_full()
    }

    /// Finds a channel that answers, trying candidates in the plan's order until a byte is due to the client;
    /// where all are full, the call waits.
    ///
    /// # Errors
    /// The refusal, or the last candidate's failure. The record says the outcome in every case.
    pub async fn call(self: &Rc<Self>, call: Call, mut record: CallRecord) -> Result<Answer, Box<Refused>> {
        record.admit(|arrived| Page::new(Rc::clone(&self.books), opening(&call), arrived));
        let mut journey = Journey::default();
        let step = tokio::select! {
            biased;
            step = self.try_free(&call, &mut record, &mut journey) => step,
            () = self.cut.cancelled() => Step::Failed(admit::shutting_down()),
        };
        match step {
            Step::Begun(begun, _) => Ok(self.begun(*begun, &call, record)),
            Step::Failed(failure) => Err(self.refused(failure, record).await),
            Step::Blocked(by) => self.wait_for(Rc::new(call), record, journey, by).await,
        }
    }

    /// Whether a channel that the call may use has the endpoint in the client's own dialect.
    pub fn has_native(&self, call: &Call) -> bool {
        let table = self.table();
        let tiers = table.tiers(table.resolve(call.model()), &call.caller.group);
        tiers.iter().flat_map(|tier| &tier.routes).any(|route| {
            let at = self.link(route).ok();
            at.is_some_and(|link| {
                link.endpoint(call.endpoint, call.face).is_some_and(|at| at.speaks(call.face))
            })
        })
    }

    /// Has a call wait; a stream that waits long gets its head, and comments.
    async fn wait_for(
        self: &Rc<Self>,
        call: Rc<Call>,
        record: CallRecord,
        journey: Journey,
        by: Blocked,
    ) -> Result<Answer, Box<Refused>> {
        let news = journey.news.clone();
        let mut queued = Box::pin(Rc::clone(self).queued(Rc::clone(&call), record, journey, by));
        let comments_after = self.shared.policy.load().comments_after;
        let ended = match comments_after.filter(|_| can_carry_comments(&call.facts)) {
            None => queued.await,
            Some(after) => tokio::select! {
                biased;
                ended = &mut queued => ended,
                () = tokio::time::sleep(after) => {
                    let (relay, id, face) = (Rc::clone(self), Rc::clone(&call.id), call.face);
                    let coming = Box::pin(async move {
                        match queued.await {
                            (Ok((begun, _)), record) => Ok(relay.body(*begun, &call, record)),
                            (Err(failure), record) => Err(relay.refused(failure, record).await.failure),
                        }
                    });
                    let content_type = HeaderValue::from_static(attempt::EVENT_STREAM);
                    let body = QueuedBody::new(coming, news, id, face, after);
                    let (body, rates) = (Body::Queued(Box::new(body)), Rates::default());
                    return Ok(Answer { content_type, body, tried: None, waited: None, rates });
                }
            },
        };
        match ended {
            (Ok((begun, _)), record) => Ok(self.begun(*begun, &call, record)),
            (Err(failure), record) => Err(self.refused(failure, record).await),
        }
    }

    fn begun(&self, begun: attempt::Begun, call: &Call, mut record: CallRecord) -> Answer {
        let mut tried = record.tried();
        // In a stream the headers are gone before it is known.
        if let (Some(tried), Some(usage), true) = (&mut tried, &begun.flow.usage, call.caller.may_see_routing)
            && begun.flow.is_ended()
        {
            tried.cost = record.page().and_then(|page| page.price_of(usage));
        }
        Answer {
            content_type: begun.content_type.clone(),
            tried,
            waited: record.has_waited(),
            rates: record.page().map(|page| page.rates()).unwrap_or_default(),
            body: Body::Answer(self.body(begun, call, record)),
        }
    }

    fn body(&self, begun: attempt::Begun, call: &Call, record: CallRecord) -> AnswerBody {
        AnswerBody::new(begun, call, record, self.cut.clone())
    }

    async fn refused(&self, failure: Failure, mut record: CallRecord) -> Box<Refused> {
        if failure.code == SATURATED {
            self.shared.metrics.saturated.inc();
        }
        let rates = record.page().map(|page| page.rates()).unwrap_or_default();
        if let Some((whose, limit)) = record.page().and_then(|page| page.limited_by()) {
            self.shared.metrics.limited(whose, limit);
        }
        if let Some(kept) = record.refused(&failure) {
            kept.await;
        }
        let (tried, waited, queue) = (record.tried(), record.has_waited(), record.has_stood());
        Box::new(Refused { failure, tried, waited, queue, rates, explained: None })
    }
}

fn opening(call: &Call) -> Opening {
    Opening {
        call: call.number,
        caller: Arc::clone(&call.caller),
        endpoint: call.endpoint,
        delivery: call.facts.delivery,
        model: call.model().to_owned(),
        client_request_id: call.client_request_id.clone(),
        foreseen: call.foreseen,
    }
}

/// Comments are for streams of events; Gemini's array of objects has no room for any.
fn can_carry_comments(facts: &RequestFacts) -> bool {
    facts.delivery == Delivery::Stream && facts.form == StreamForm::Events
}
