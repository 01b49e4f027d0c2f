//! The actor of the usage log: owns the ring and keeps an eye on its consumers.

use std::{sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context, Handler, Supervised};

use super::{ConsumerGauges, Positions, UsageRing, gauges::Frozen};
use crate::{domain::StreamId, shell::guarded, testing::PanicDrill};

/// What everybody may see of the usage log.
#[derive(Clone, Debug)]
pub struct UsageLogView {
    ring: Arc<UsageRing>,
    consumers: Arc<[Arc<ConsumerGauges>]>,
}

/// How a consumer stands to the ring.
#[derive(Clone, Debug)]
pub struct Depth {
    /// The consumer.
    pub consumer: Arc<ConsumerGauges>,
    /// Events it has yet to read.
    pub lag: u64,
}

impl UsageLogView {
    /// A ring of so many slots, and the gauges of its consumers in the order of their names.
    pub fn new(slots: usize, consumers: &[&'static str]) -> Self {
        let ring = UsageRing::new(slots, consumers.len());
        let consumers = consumers.iter().enumerate().map(|(i, name)| ConsumerGauges::new(name, i));
        Self { ring, consumers: consumers.collect() }
    }

    /// The ring, for producers.
    pub fn ring(&self) -> &Arc<UsageRing> {
        &self.ring
    }

    /// The consumers.
    pub fn consumers(&self) -> &[Arc<ConsumerGauges>] {
        &self.consumers
    }

    /// How each consumer stands.
    pub fn depths(&self) -> Vec<Depth> {
        let lag = |consumer: &Arc<ConsumerGauges>| self.ring.lag(consumer.consumer);
        self.consumers.iter().map(|c| Depth { consumer: Arc::clone(c), lag: lag(c) }).collect()
    }

    /// How far a stream is durable with all of `consumers`: what of it may be deleted.
    pub fn durable(&self, consumers: &[&str], stream: StreamId) -> u64 {
        let counted = self.consumers.iter().filter(|c| consumers.contains(&c.name));
        let position = |positions: Arc<Positions>| positions.get(&stream).copied().unwrap_or_default();
        counted.map(|c| position(c.durable())).min().unwrap_or_default()
    }
}

/// Watches the consumers: one that leaves events unread for [`UsageLog::FROZEN`] is told of, once.
///
/// Mailbox: the default 16; it is sent nothing but drills.
#[derive(Debug)]
pub struct UsageLog {
    view: UsageLogView,
    seen: Vec<Seen>,
}

/// A consumer at the last tick.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    position: u64,
    still: u32,
}

impl UsageLog {
    /// How often the consumers are looked at.
    pub const TICK: Duration = Duration::from_secs(1);
    /// Ticks without a move, with events waiting, until a consumer counts as frozen.
    pub const FROZEN: u32 = 5;

    /// Makes the actor of a usage log.
    pub fn new(view: UsageLogView) -> Self {
        let seen = vec![Seen::default(); view.consumers.len()];
        Self { view, seen }
    }

    fn tick(&mut self) {
        let head = self.view.ring.head();
        for (consumer, seen) in self.view.consumers.iter().zip(&mut self.seen) {
            let lag = self.view.ring.lag(consumer.consumer);
            let position = head.saturating_sub(lag);
            seen.still = if lag > 0 && position <= seen.position { seen.still + 1 } else { 0 };
            seen.position = position;
            let is_frozen = Frozen(seen.still >= Self::FROZEN);
            let was_frozen = consumer.publish_frozen(is_frozen);
            match (was_frozen.0, is_frozen.0) {
                (false, true) => {
                    tracing::error!(consumer = consumer.name, lag, "consumer of the usage log stands still")
                }
                (true, false) => {
                    tracing::info!(consumer = consumer.name, "consumer of the usage log goes on")
                }
                _ => {}
            }
        }
    }
}

impl Actor for UsageLog {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(Self::TICK, |me, ctx| {
            guarded(me, ctx, "usage_log", |me, _| me.tick());
        });
    }
}

impl Supervised for UsageLog {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.seen.fill(Seen::default());
        tracing::warn!("usage log restarted");
    }
}

impl Handler<PanicDrill> for UsageLog {
    type Result = ();

    fn handle(&mut self, _: PanicDrill, ctx: &mut Self::Context) {
        guarded(self, ctx, "usage_log", |_, _| panic!("drill"));
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::usage_log::UsageEvent;

    #[test]
    fn a_consumer_that_leaves_events_unread_for_seconds_is_shown_as_frozen_until_it_moves() {
        let view = UsageLogView::new(64, &["quick", "frozen"]);
        let mut log = UsageLog::new(view.clone());
        let mut quick = view.ring().reader(0);
        let stream = StreamId { node: 1, boot: 1, worker: 0 };
        let frozen = |log: &mut UsageLog| {
            log.tick();
            view.consumers().iter().map(|c| c.is_frozen()).collect::<Vec<_>>()
        };
        for tick in 0..=UsageLog::FROZEN {
            UsageEvent { stream, from: 0, to: 1, payload: &[] }.push(view.ring());
            quick.read(8, |_| {});
            assert_eq!(frozen(&mut log), [false, tick >= UsageLog::FROZEN - 1], "tick {tick}");
        }
        assert_eq!(view.depths().iter().map(|d| d.lag).collect::<Vec<_>>(), [0, 6]);
        view.ring().reader(1).read(1, |_| {});
        assert_eq!(frozen(&mut log), [false, false]);
    }

    #[test]
    fn a_stream_may_be_deleted_as_far_as_all_who_count_have_it() {
        let view = UsageLogView::new(64, &["biller", "request_log", "meter"]);
        let stream = StreamId { node: 1, boot: 1, worker: 0 };
        let durable = || view.durable(&["biller", "request_log"], stream);
        view.consumers()[0].publish_durable([(stream, 90)].into());
        assert_eq!(durable(), 0);
        view.consumers()[1].publish_durable([(stream, 70)].into());
        assert_eq!(durable(), 70);
    }
}
