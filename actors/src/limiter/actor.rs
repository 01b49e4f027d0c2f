//! The Limiter: clears cells that are idle, and counts what this process did not admit itself. It never admits.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use actix::{Actor, AsyncContext, Context, Handler, Message, Supervised};
use arc_swap::ArcSwap;

use super::{
    cells::{Cells, Claim, Held, Now, OverLimit},
    rules::{Amounts, CellId, LimitSet, Measure, Owner, Rules, Who},
};
use crate::{
    ports::{JournalSource, OwnStreams},
    shell::guarded,
    testing::PanicDrill,
    usage_log::{ConsumerGauges, Read, UsageEvent, UsageLogView},
};

/// The monotonic clock of windows begins so long before the process does, so that they can hold what was
/// taken before it.
const BEFORE: Duration = Duration::from_secs(2 * 3600);

/// What the call path and the Limiter share: the rules, the cells, the clock.
#[derive(Debug)]
pub struct LimitHandle {
    rules: ArcSwap<Rules>,
    cells: Cells,
    started: Instant,
}

impl LimitHandle {
    /// Puts rules in force over cells that are empty.
    pub fn new(rules: Rules) -> Arc<Self> {
        Arc::new(Self {
            rules: ArcSwap::from_pointee(rules),
            cells: Cells::default(),
            started: Instant::now(),
        })
    }

    /// Puts other rules in force. What was taken stays taken.
    pub fn set_rules(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// The cells.
    pub fn cells(&self) -> &Cells {
        &self.cells
    }

    /// Milliseconds of the monotonic clock that windows go by.
    pub fn clock_ms(&self) -> u64 {
        (self.started.elapsed() + BEFORE).as_millis() as u64
    }

    /// What time it is, by the calendar of these rules.
    pub fn now<'z>(&self, rules: &'z Rules) -> Now<'z> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { ms: self.clock_ms(), wall_ms: wall.as_millis() as i64, zone: &rules.zone }
    }

    /// Takes what a call claims of its caller's limits, its model's and everyone's, of these measures.
    ///
    /// # Errors
    /// [`OverLimit`]; then nothing is taken.
    pub fn hold(&self, who: Who<'_>, amounts: Amounts, measures: &[Measure]) -> Result<Held, Box<OverLimit>> {
        let rules = self.rules.load();
        self.hold_claims(&rules, rules.of_call(who, amounts, measures))
    }

    /// Takes what an attempt claims of its channel's limits, of these measures; `None` where the channel has none.
    ///
    /// # Errors
    /// [`OverLimit`]; then nothing is taken.
    pub fn hold_channel(
        &self,
        channel: &str,
        amounts: Amounts,
        measures: &[Measure],
    ) -> Result<Option<Held>, Box<OverLimit>> {
        let rules = self.rules.load();
        let claims = rules.of_channel(channel, amounts, measures);
        claims.map(|claims| self.hold_claims(&rules, claims)).transpose()
    }

    /// When a channel's limits on requests and tokens let a call of so many tokens through; `None` where it has none.
    /// Takes nothing.
    pub fn opens(&self, channel: &str, tokens: u64, position: u64) -> Option<Opens> {
        let rules = self.rules.load();
        let amounts = Amounts { requests: 1, tokens, spend: 0 };
        let claims = rules.of_channel(channel, amounts, WAITED_FOR)?;
        let now = self.now(&rules);
        let of = |claim: &Claim| Opens {
            first: self.cells.fits_in(claim, 1, now),
            nth: self.cells.fits_in(claim, position.max(1), now),
            per_second: claim.limit as f64 / claim.amount.max(1) as f64 / claim.id.kind.span.seconds(),
        };
        claims.iter().map(of).reduce(|a, b| Opens {
            first: a.first.max(b.first),
            nth: a.nth.max(b.nth),
            per_second: a.per_second.min(b.per_second),
        })
    }

    /// Every limit that a call would be under: what it allows, and what is taken.
    pub fn standing(&self, who: Who<'_>) -> Vec<(CellId, u64, u64)> {
        let rules = self.rules.load();
        self.stand(&rules, rules.of_call(who, Amounts::default(), &Measure::ALL))
    }

    /// Every limit of a channel: what it allows, and what is taken.
    pub fn standing_of_channel(&self, channel: &str) -> Vec<(CellId, u64, u64)> {
        let rules = self.rules.load();
        let claims = rules.of_channel(channel, Amounts::default(), &Measure::ALL);
        self.stand(&rules, claims.unwrap_or_default())
    }

    fn stand(&self, rules: &Rules, claims: Vec<Claim>) -> Vec<(CellId, u64, u64)> {
        let now = self.now(rules);
        let used = |claim: Claim| (claim.id.clone(), claim.limit, self.cells.used(&claim.id, now));
        claims.into_iter().map(used).collect()
    }

    /// How the limits stand that a call is under.
    pub fn rates(&self, held: &Held) -> super::Rates {
        if held.is_empty() {
            return super::Rates::default();
        }
        let rules = self.rules.load();
        held.rates(self.now(&rules))
    }

    fn hold_claims(&self, rules: &Rules, claims: Vec<Claim>) -> Result<Held, Box<OverLimit>> {
        if claims.is_empty() {
            return Ok(Held::default());
        }
        self.cells.hold(claims, self.now(rules))
    }

    /// Counts what was consumed without being admitted here, so long ago, where it is wanted.
    pub fn add(&self, past: &Past, wants: impl Fn(&CellId) -> bool) {
        let rules = self.rules.load();
        let now = self.now(&rules);
        let Past { name, above, limits, group, model, .. } = past;
        let who = Who { key: past.key, name, own: limits.as_deref(), above, group, model };
        let claims = rules.of_call(who, past.amounts, &Measure::ALL).into_iter();
        let of_channel = rules.of_channel(&past.channel, past.amounts, &Measure::ALL);
        for claim in claims.chain(of_channel.into_iter().flatten()) {
            let span = claim.id.kind.span;
            if past.spans.contains(&span) && wants(&claim.id) {
                self.cells.add(&claim.id, claim.amount, past.ago, now);
            }
        }
    }
}

/// What calls wait for at a channel whose limit is reached. Money is not among it: what a call will cost there is known
/// once the channel is.
pub const WAITED_FOR: &[Measure] = &[Measure::Requests, Measure::Tokens];

/// When a channel's limits let calls through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Opens {
    /// After how long the next one can go; zero where it could now.
    pub first: Duration,
    /// After how long one can that so many others go before.
    pub nth: Duration,
    /// Calls a second in the long run.
    pub per_second: f64,
}

/// What was consumed before a limit came into force, or elsewhere.
#[derive(Clone, Debug)]
pub struct Past {
    /// By which key.
    pub key: crate::domain::KeyId,
    /// Its name.
    pub name: String,
    /// Its own limits.
    pub limits: Option<Box<LimitSet>>,
    /// The keys above it.
    pub above: Arc<[Owner]>,
    /// Its group.
    pub group: Arc<str>,
    /// Which model, aliases resolved.
    pub model: String,
    /// On which channel.
    pub channel: String,
    /// How much.
    pub amounts: Amounts,
    /// How long ago.
    pub ago: Duration,
    /// In which times it is to count; the others know of it already.
    pub spans: &'static [super::Span],
}

/// Clears idle cells, and follows the ring for calls that other processes' streams tell of.
///
/// Mailbox: 16 messages; it is told of the past at the start, and when limits are set.
pub struct Limiter {
    log: UsageLogView,
    gauges: Arc<ConsumerGauges>,
    journal: Arc<dyn JournalSource>,
    own: OwnStreams,
    limits: Arc<LimitHandle>,
    ticks: u64,
}

impl Limiter {
    /// How often the ring is looked at.
    pub const TICK: Duration = Duration::from_millis(100);
    /// After so many looks, idle cells are cleared.
    const CLEAR: u64 = 100;
    const BATCH: usize = 500;

    /// Makes the Limiter, a consumer of `log` with the number that `gauges` tells.
    pub fn new(
        log: UsageLogView,
        gauges: Arc<ConsumerGauges>,
        journal: Arc<dyn JournalSource>,
        own: OwnStreams,
        limits: Arc<LimitHandle>,
    ) -> Self {
        Self { log, gauges, journal, own, limits, ticks: 0 }
    }

    fn tick(&mut self) {
        while self.read() {}
        self.ticks += 1;
        if self.ticks.is_multiple_of(Self::CLEAR) {
            let rules = self.limits.rules();
            let evicted = self.limits.cells.evict(self.limits.now(&rules));
            tracing::trace!(evicted, "idle cells were cleared");
        }
    }

    /// Reads a batch; gives whether there may be more. What it misses it skips: its own calls are in the
    /// cells already.
    fn read(&mut self) -> bool {
        let mut reader = self.log.ring().reader(self.gauges.consumer);
        let (journal, limits, own, gauges) = (&self.journal, &self.limits, self.own, &self.gauges);
        let mut bytes = Vec::new();
        let read = reader.read(Self::BATCH, |words| {
            let Some(event) = UsageEvent::read(words, &mut bytes) else { return };
            gauges.applied.add(1);
            if own.has(event.stream) {
                return;
            }
            if let Some(settlement) = journal.decode(event.payload) {
                limits.add(&Past::of(&settlement), |_| true);
            }
        });
        if let Read::Behind(events) = read {
            gauges.passed_over.add(events);
        }
        read == Read::Events(Self::BATCH)
    }
}

impl Past {
    /// A call that another stream settled just now. Its key's name and group, and the keys above it, are not in its
    /// record, so it counts against the limits of model, channel and space, and of the key where that has the
    /// default ones.
    fn of(settlement: &crate::domain::Settlement) -> Self {
        let usage = &settlement.usage;
        Self {
            key: settlement.key,
            name: String::new(),
            limits: None,
            above: Arc::default(),
            group: "".into(),
            model: settlement.model.clone(),
            channel: settlement.channel.clone(),
            amounts: Amounts {
                requests: 1,
                tokens: usage.prompt().saturating_add(usage.completion()),
                spend: Amounts::of_money(settlement.charge),
            },
            ago: Duration::ZERO,
            spans: &[super::Span::Minute, super::Span::Hour, super::Span::Day, super::Span::Month],
        }
    }
}

impl Actor for Limiter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(Self::TICK, |me, ctx| {
            guarded(me, ctx, "limiter", |me, _| me.tick());
        });
    }
}

impl Supervised for Limiter {
    fn restarting(&mut self, _: &mut Self::Context) {
        // The cells outlive it; an event that made it panic is passed over.
        self.log.ring().reader(self.gauges.consumer).skip();
        self.gauges.restarts.add(1);
        tracing::warn!("limiter restarted");
    }
}

/// What the request log knows of the time before these limits came into force.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Restore(pub Vec<Past>, pub HashSet<CellId>);

impl Handler<Restore> for Limiter {
    type Result = ();

    fn handle(&mut self, Restore(past, of): Restore, ctx: &mut Self::Context) {
        guarded(self, ctx, "limiter", |me, _| {
            past.iter().for_each(|past| me.limits.add(past, |id| of.contains(id)));
        });
    }
}

impl Handler<PanicDrill> for Limiter {
    type Result = ();

    fn handle(&mut self, _: PanicDrill, ctx: &mut Self::Context) {
        guarded(self, ctx, "limiter", |_, _| panic!("drill"));
    }
}
