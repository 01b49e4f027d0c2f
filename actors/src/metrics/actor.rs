//! The Meter: follows the ring for what `/metrics` and the console show. What it misses, it counts and skips.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, AsyncContext, Context, Handler, Supervised};
use arc_swap::ArcSwap;

use super::{Traffic, TrafficView};
use crate::{
    domain::Settlement,
    ports::JournalSource,
    shell::guarded,
    testing::PanicDrill,
    usage_log::{ConsumerGauges, Read, UsageEvent, UsageLogView},
};

/// Where the Meter publishes.
pub type TrafficHandle = Arc<ArcSwap<TrafficView>>;

/// Counts what passes through the ring.
///
/// Mailbox: the default 16; it is sent nothing but drills.
pub struct Meter {
    log: UsageLogView,
    gauges: Arc<ConsumerGauges>,
    journal: Arc<dyn JournalSource>,
    published: TrafficHandle,
    traffic: Traffic,
    started: Instant,
    shown: Duration,
}

impl Meter {
    /// How often the ring is looked at.
    pub const TICK: Duration = Duration::from_millis(50);
    /// How often what was counted is published.
    pub const SHOW: Duration = Duration::from_millis(500);
    const BATCH: usize = 500;

    /// Makes the Meter, a consumer of `log` with the number that `gauges` tells. Of `journal` it needs the
    /// encoding only.
    pub fn new(
        log: UsageLogView,
        gauges: Arc<ConsumerGauges>,
        journal: Arc<dyn JournalSource>,
        published: TrafficHandle,
    ) -> Self {
        let (traffic, started, shown) = (Traffic::default(), Instant::now(), Duration::ZERO);
        Self { log, gauges, journal, published, traffic, started, shown }
    }

    fn tick(&mut self) {
        let now = self.started.elapsed();
        while self.read(now) {}
        if now.saturating_sub(self.shown) >= Self::SHOW {
            self.shown = now;
            self.published.store(Arc::new(self.traffic.view(now)));
        }
    }

    /// Counts a batch; gives whether there may be more.
    fn read(&mut self, now: Duration) -> bool {
        let mut reader = self.log.ring().reader(self.gauges.consumer);
        let (mut bytes, mut missed) = (Vec::new(), 0);
        let (journal, traffic, gauges) = (&self.journal, &mut self.traffic, &self.gauges);
        let read = reader.read(Self::BATCH, |words| {
            let event = UsageEvent::read(words, &mut bytes);
            let settlement: Option<Settlement> = event.and_then(|e| journal.decode(e.payload));
            match settlement {
                Some(settlement) => {
                    traffic.count(now, &settlement);
                    gauges.applied.add(1);
                }
                None => missed += 1,
            }
        });
        if let Read::Behind(events) = read {
            gauges.passed_over.add(events);
            missed += events;
        }
        traffic.miss(missed);
        read == Read::Events(Self::BATCH)
    }
}

impl Actor for Meter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(Self::TICK, |me, ctx| {
            guarded(me, ctx, "meter", |me, _| me.tick());
        });
    }
}

impl Supervised for Meter {
    fn restarting(&mut self, _: &mut Self::Context) {
        // The windows are kept; an event that made it panic is passed over.
        self.log.ring().reader(self.gauges.consumer).skip();
        self.gauges.restarts.add(1);
        tracing::warn!("meter restarted");
    }
}

impl Handler<PanicDrill> for Meter {
    type Result = ();

    fn handle(&mut self, _: PanicDrill, ctx: &mut Self::Context) {
        guarded(self, ctx, "meter", |_, _| panic!("drill"));
    }
}
