//! A call's page in the books: what is held for it, what was sent, and what it came to in the end.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use penstock_actors::{
    billing::{Foreseen, Reservation, charge, estimate, worst},
    channel::pacer::Paced,
    domain::{
        AttemptFact, CallId, ChannelName, ChannelSpec, Delivery, Dispatch, Endpoint, ModelName, Money,
        Outcome, Priced, Progress, Ratio, Settled, Settlement, Usage, UsageSource,
    },
    limiter::{Amounts, CellId, Held, Kind, Measure, OverLimit, Rates},
};

use super::{
    books::{self, Books, Kept},
    flow::Delivered,
    limits::{self, Limited},
};
use crate::{
    api_key::Caller,
    clock::Moment,
    journal::{Fact, JournalError},
    provider::{Failure, Next},
};

/// What is known of a call when its page is begun.
pub(super) struct Opening {
    pub(super) call: CallId,
    pub(super) caller: Arc<Caller>,
    pub(super) endpoint: Endpoint,
    pub(super) delivery: Delivery,
    pub(super) model: String,
    pub(super) client_request_id: String,
    pub(super) foreseen: Foreseen,
}

/// See the module's sentence. Dropped without [`Page::settle`], it gives the held money back.
pub(super) struct Page {
    books: Rc<Books>,
    opening: Opening,
    arrived: Moment,
    terms: Option<Terms>,
    dispatched: Option<Dispatched>,
    attempts: Vec<AttemptFact>,
    first_byte_ms: u32,
    noted: Noted,
    /// What was taken of the limits of key, group, model and space, and of the channel that is tried.
    limits: Held,
    of_channel: Held,
    /// What was taken of what the provider lets through.
    paced: [Option<Paced>; 2],
    /// The limit that refused, and how they stood then.
    refused: Option<(CellId, Rates)>,
}

/// The price pinned at admission, and the money held.
struct Terms {
    priced: Priced,
    ratio: Ratio,
    reservation: Option<Reservation>,
    held: Money,
}

/// The attempt that was sent last, as the journal has it.
struct Dispatched {
    fact: Dispatch,
    cost_ratio: Ratio,
    began: Instant,
}

/// When progress was last written, and how much there was of it.
struct Noted {
    at: Instant,
    completion: u64,
}

/// How a call ended, as its page must know.
pub(super) struct End<'a> {
    pub(super) outcome: Outcome,
    /// From its arrival on.
    pub(super) took: Duration,
    pub(super) failure: Option<&'a Failure>,
    pub(super) usage: Option<Usage>,
    pub(super) delivered: Delivered,
}

/// A stream's progress is written after so many seconds,
const PROGRESS_SECS: u64 = 5;
/// or so many tokens.
const PROGRESS_TOKENS: u64 = 500;

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

impl Page {
    pub(super) fn new(books: Rc<Books>, opening: Opening, arrived: Moment) -> Self {
        Self {
            books,
            opening,
            arrived,
            terms: None,
            dispatched: None,
            attempts: Vec::new(),
            first_byte_ms: 0,
            noted: Noted { at: arrived.at, completion: 0 },
            limits: Held::default(),
            of_channel: Held::default(),
            paced: [None, None],
            refused: None,
        }
    }

    /// Takes what the call is foreseen to need of its limits, but for money; `model` is the one it resolves to.
    ///
    /// # Errors
    /// 429 where a limit would be exceeded.
    pub(super) fn admit(&mut self, model: &str) -> Result<(), Failure> {
        let learned = self.books.learned(self.opening.caller.id, model);
        self.opening.foreseen.learned = learned;
        self.take(model, Money::ZERO, limits::AT_ONCE)
    }

    fn take(&mut self, model: &str, money: Money, measures: &[Measure]) -> Result<(), Failure> {
        match self.books.limits().hold(self.opening.caller.who(model), self.amounts(money), measures) {
            Ok(held) => {
                self.limits.join(held);
                Ok(())
            }
            Err(over) => Err(self.limited(*over)),
        }
    }

    /// Keeps what an attempt took of its channel's limits, and takes what it is foreseen to need of those on money.
    ///
    /// # Errors
    /// 429 where one would be exceeded: another channel may take the call.
    pub(super) fn admit_on(&mut self, channel: &ChannelName, mut taken: Held) -> Result<(), Failure> {
        let money = self.terms.as_ref().map_or(Money::ZERO, |terms| terms.held);
        let amounts = self.amounts(money);
        match self.books.limits().hold_channel(channel.as_str(), amounts, limits::ONCE_PRICED) {
            Ok(held) => {
                taken.join(held.unwrap_or_default());
                self.of_channel = taken;
                Ok(())
            }
            Err(over) => Err(Limited::of(*over, &self.opening.caller).failure),
        }
    }

    /// Goes on with another model: what was held for the one before goes back, and prices are asked anew.
    pub(super) fn change_model(&mut self, model: &str) {
        self.opening.model = model.to_owned();
        self.terms = None;
        self.refused = None;
        drop(std::mem::take(&mut self.limits));
    }

    /// Gives back what was taken of a channel's limits for an attempt that is not made.
    pub(super) fn leave_channel(&mut self) {
        drop(std::mem::take(&mut self.of_channel));
    }

    fn amounts(&self, money: Money) -> Amounts {
        let foreseen = &self.opening.foreseen;
        let tokens = foreseen.prompt().saturating_add(foreseen.completion());
        Amounts { requests: 1, tokens, spend: Amounts::of_money(money) }
    }

    fn limited(&mut self, over: OverLimit) -> Failure {
        let Limited { failure, id, rates } = Limited::of(over, &self.opening.caller);
        self.refused = Some((id, rates));
        failure
    }

    /// How the limits stand that the call is under.
    pub(super) fn rates(&self) -> Rates {
        match &self.refused {
            Some((_, rates)) => *rates,
            None => self.books.limits().rates(&self.limits),
        }
    }

    /// The limit that refused the call: whose, and which.
    pub(super) fn limited_by(&self) -> Option<(&'static str, Kind)> {
        self.refused.as_ref().map(|(id, _)| (id.scope.as_seen_by(self.opening.caller.id), id.kind))
    }

    /// Pins the price and holds the estimate, once a call.
    ///
    /// # Errors
    /// 403 for a model without a price, 429 where an account cannot cover the estimate.
    pub(super) fn reserve(&mut self, model: &str, upstream_model: &str, free: Free) -> Result<(), Failure> {
        if self.terms.is_some() {
            return Ok(());
        }
        let Opening { caller, foreseen, .. } = &mut self.opening;
        let chain = self.books.chain(&caller.accounts)?;
        let (priced, ratio) = match (self.books.price(caller, &chain, [model, upstream_model]), free) {
            (Ok(terms), _) => terms,
            (Err(_), Free::Yes) => (Priced::Free, Ratio::ONE),
            (Err(_), Free::No) => return Err(books::no_price(model)),
        };
        let held = match &priced {
            Priced::At(price) => estimate(price, foreseen, ratio),
            Priced::Free => Money::ZERO,
        };
        self.take(model, held, limits::ONCE_PRICED)?;
        let reservation = chain.reserve(held).map_err(|short| books::insufficient(&short))?;
        self.terms = Some(Terms { priced, ratio, reservation: Some(reservation), held });
        Ok(())
    }

    /// Writes down that an attempt is about to be sent.
    ///
    /// # Errors
    /// [`JournalError`]: it must not be sent then.
    pub(super) fn dispatch(
        &mut self,
        channel: &ChannelSpec,
        upstream_model: &ModelName,
    ) -> Result<(), JournalError> {
        let Some(terms) = &self.terms else { return Ok(()) };
        let least = match &terms.priced {
            Priced::At(price) => worst(price, self.opening.foreseen.prompt(), 0, terms.ratio).min(terms.held),
            Priced::Free => Money::ZERO,
        };
        let began = Instant::now();
        let fact = Dispatch {
            call: self.opening.call,
            attempt: self.attempts.len() as u32 + 1,
            at_ms: self.arrived.wall_ms_at(began),
            key: self.opening.caller.id,
            accounts: self.opening.caller.accounts.clone(),
            reserved: terms.held,
            least,
            endpoint: self.opening.endpoint,
            model: self.opening.model.clone(),
            upstream_model: upstream_model.to_string(),
            channel: channel.name.to_string(),
            price: terms.priced.version(),
        };
        self.books.append(Fact::Dispatch(&fact))?;
        self.dispatched = Some(Dispatched { fact, cost_ratio: channel.cost_ratio, began });
        Ok(())
    }

    /// Notes how the attempt that was sent last came out: an answer, or a failure.
    pub(super) fn tried(&mut self, failure: Option<&Failure>) {
        let Some(Dispatched { fact, began, .. }) = &self.dispatched else { return };
        if failure.is_some() {
            // It was sent, and counts as that.
            let sent = Amounts { requests: 1, ..Amounts::default() };
            std::mem::take(&mut self.of_channel).settle(sent);
        }
        self.attempts.push(AttemptFact {
            channel: fact.channel.clone(),
            after_ms: millis(self.arrived.until(*began)),
            took_ms: millis(began.elapsed()),
            status: failure.map_or(200, |f| f.status),
            code: failure.map_or_else(String::new, |f| f.code.clone()),
            fault: failure.map(|f| f.fault),
            may_be_billed: failure.is_some_and(|f| f.next == Next::FailoverUncertain),
        });
    }

    /// Keeps what the answer's request took of what the provider lets through, until it is settled.
    pub(super) fn paced(&mut self, paced: [Option<Paced>; 2]) {
        self.paced = paced;
    }

    /// Notes that the first byte goes out.
    pub(super) fn first_byte(&mut self, after: Duration) {
        self.first_byte_ms = millis(after).max(1);
    }

    /// Writes a stream's progress now and then, and holds more money where what is held is used up.
    ///
    /// # Errors
    /// Where an account cannot cover what the stream goes on to cost: it must end.
    pub(super) fn progress(
        &mut self,
        told: Option<Usage>,
        delivered: Delivered,
        now: Instant,
    ) -> Result<(), Failure> {
        let completion = delivered.tokens();
        let is_due = completion >= self.noted.completion + PROGRESS_TOKENS
            || completion > self.noted.completion
                && now.saturating_duration_since(self.noted.at).as_secs() >= PROGRESS_SECS;
        if !is_due {
            return Ok(());
        }
        self.noted = Noted { at: now, completion };
        let (usage, _) = self.so_far(told, delivered);
        let Some(Terms { priced: Priced::At(price), ratio, reservation: Some(reservation), held, .. }) =
            &mut self.terms
        else {
            return Ok(());
        };
        let so_far = charge(price, &usage, *ratio);
        if so_far > *held {
            // As much again as was used, so that a long stream asks seldom.
            let more = so_far - *held + Money::from_nanos(so_far.nanos() / 4);
            reservation.extend(more).map_err(|short| books::insufficient(&short))?;
            *held = reservation.held();
        }
        let at_ms = self.arrived.wall_ms_at(now);
        let fact = Progress { call: self.opening.call, at_ms, usage, charge: so_far };
        if let Err(error) = self.books.append(Fact::Progress(&fact)) {
            tracing::warn!(%error, "a stream's progress was not journalled");
        }
        Ok(())
    }

    /// Tokens that the call will take, as far as can be foreseen.
    pub(super) fn expected_tokens(&self) -> u64 {
        self.opening.foreseen.prompt().saturating_add(self.opening.foreseen.completion())
    }

    /// What was consumed by what was delivered: as the provider told, some of which tell of the prompt at the start and
    /// of the answer at its end only; what it has not told is counted here.
    fn so_far(&self, told: Option<Usage>, delivered: Delivered) -> (Usage, UsageSource) {
        let output = if self.opening.endpoint.generates() { delivered.tokens() } else { 0 };
        match told {
            Some(told) if told.completion() >= output => (told, UsageSource::Upstream),
            Some(told) => {
                let output = told.output + (output - told.completion());
                (Usage { output, ..told }, UsageSource::Estimated)
            }
            None => {
                let input = self.opening.foreseen.prompt();
                (Usage { input, output, ..Usage::default() }, UsageSource::Estimated)
            }
        }
    }

    /// What the caller pays for an answer that is all there, as its provider counted it.
    pub(super) fn price_of(&self, usage: &Usage) -> Option<Money> {
        let terms = self.terms.as_ref()?;
        Some(match &terms.priced {
            Priced::At(price) => charge(price, usage, terms.ratio),
            Priced::Free => Money::ZERO,
        })
    }

    /// Draws what the call came to and writes its settlement. It never waits, and never fails the call. Gives what
    /// the last byte of its answer waits for.
    pub(super) fn settle(mut self: Box<Self>, end: &End<'_>) -> Option<Kept> {
        let (usage, usage_source) = self.consumed(end);
        let (mut paid, mut cost, mut reserved, mut version) =
            (Money::ZERO, Money::ZERO, Money::ZERO, Default::default());
        if let Some(mut terms) = self.terms.take() {
            if let Priced::At(price) = &terms.priced {
                paid = charge(price, &usage, terms.ratio);
                let ratio = self.dispatched.as_ref().map_or(Ratio::ONE, |d| d.cost_ratio);
                cost = charge(price, &usage, ratio);
                if usage_source == UsageSource::None {
                    (paid, cost) = (Money::ZERO, Money::ZERO);
                }
            }
            reserved = terms.held;
            version = terms.priced.version();
            if let Some(reservation) = terms.reservation.take() {
                reservation.settle(paid);
            }
        }
        if end.outcome == Outcome::Completed {
            self.books.learn(self.opening.caller.id, &self.opening.model, usage.completion());
        }
        let is_dispatched = self.dispatched.is_some();
        if is_dispatched {
            let tokens = usage.prompt().saturating_add(usage.completion());
            let actual = Amounts { requests: 1, tokens, spend: Amounts::of_money(paid) };
            self.limits.settle(actual);
            self.of_channel.settle(Amounts { spend: Amounts::of_money(cost), ..actual });
            self.paced.into_iter().flatten().for_each(|paced| paced.settle(tokens));
        }
        let Opening { call, caller, endpoint, delivery, model, client_request_id, .. } = self.opening;
        let (accounts, upstream_model, channel) = match self.dispatched {
            Some(Dispatched { fact, .. }) => (fact.accounts, fact.upstream_model, fact.channel),
            None => (caller.accounts.clone(), String::new(), String::new()),
        };
        let status = match end {
            End { outcome: Outcome::Abandoned, .. } if self.first_byte_ms == 0 => 499,
            End { failure: Some(failure), .. } if self.first_byte_ms == 0 => failure.status,
            _ => 200,
        };
        let settlement = Settlement {
            call,
            settled: Settled::Settled,
            arrived_ms: self.arrived.wall_ms,
            first_byte_ms: self.first_byte_ms,
            took_ms: millis(end.took),
            key: caller.id,
            accounts,
            reserved,
            charge: paid,
            cost,
            price: version,
            endpoint,
            is_stream: delivery == Delivery::Stream,
            outcome: end.outcome,
            status,
            code: end.failure.map_or_else(String::new, |f| f.code.clone()),
            model,
            upstream_model,
            channel,
            client_request_id,
            usage,
            usage_source,
            attempts: self.attempts,
        };
        match self.books.append(Fact::Settlement(&settlement)) {
            // Without a dispatch nothing could be found abandoned.
            Ok(appended) => self.books.kept(&appended).filter(|_| is_dispatched),
            Err(error) => {
                tracing::error!(%error, call = %uuid::Uuid::from_u128(call.0), "a settlement was not journalled");
                None
            }
        }
    }

    /// What is owed for: the provider's figure where there is one, else what reached the client, counted
    /// here; that of an answer that came to its end is final. Nothing where nothing reached the client.
    pub(super) fn consumed(&self, end: &End<'_>) -> (Usage, UsageSource) {
        let is_delivered = self.first_byte_ms > 0 || end.outcome == Outcome::Completed;
        match (end.usage, is_delivered) {
            _ if self.dispatched.is_none() => (Usage::default(), UsageSource::None),
            (_, false) if !matches!(end.outcome, Outcome::Completed) => (Usage::default(), UsageSource::None),
            (Some(usage), _) if end.outcome == Outcome::Completed => (usage, UsageSource::Upstream),
            (told, _) => self.so_far(told, end.delivered),
        }
    }
}

/// Whether a channel's calls cost nothing where the model has no price: a mock's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Free {
    Yes,
    No,
}
