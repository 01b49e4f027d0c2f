//! The actor of one channel: the single writer of its cell. Decisions live in `health`, `gate` and `cell`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};

use super::{
    caretaker::Caretaker,
    cell::ChannelCell,
    health::{Health, Sample},
};
use crate::{domain::ChannelSpec, shell::guarded, testing::PanicDrill};

/// Supervises one channel: applies its settings and publishes its health.
///
/// Mailbox: 16 messages; settings come one at a time from the roster, which waits for each.
#[derive(Debug)]
pub struct ChannelSupervisor {
    cell: Arc<ChannelCell>,
    core: Core,
}

/// The supervisor's own state, made afresh after a panic.
#[derive(Debug)]
struct Core {
    health: Health,
    seen: Sample,
    started: Instant,
    caretaker: Caretaker,
}

impl ChannelSupervisor {
    /// How often health is published.
    pub const TICK: Duration = Duration::from_millis(500);

    /// Makes the supervisor of a cell.
    pub fn new(cell: Arc<ChannelCell>) -> Self {
        let core = Core::fresh(&cell);
        Self { cell, core }
    }

    fn tick(&mut self) {
        let totals = self.cell.totals();
        let since = Sample {
            succeeded: totals.succeeded - self.core.seen.succeeded,
            failed: totals.failed - self.core.seen.failed,
            first_byte: totals.first_byte.saturating_sub(self.core.seen.first_byte),
        };
        self.core.seen = totals;
        let report = self.core.health.observe(since, self.core.started.elapsed());
        self.cell.publish_health(report);
        self.core.caretaker.tick(&self.cell, self.core.started.elapsed());
    }
}

impl Core {
    fn fresh(cell: &ChannelCell) -> Self {
        Self {
            health: Health::new(Duration::ZERO),
            seen: cell.totals(),
            started: Instant::now(),
            caretaker: Caretaker::new(cell),
        }
    }
}

impl Actor for ChannelSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(16);
        ctx.run_interval(Self::TICK, |me, ctx| {
            guarded(me, ctx, "channel", |me, _| me.tick());
        });
    }
}

impl Supervised for ChannelSupervisor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.core = Core::fresh(&self.cell);
        self.cell.count_restart();
        tracing::warn!(channel = %self.cell.name, "channel supervisor restarted");
    }
}

/// Puts new settings of the channel in force.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Apply(pub Arc<ChannelSpec>);

impl Handler<Apply> for ChannelSupervisor {
    type Result = ();

    fn handle(&mut self, Apply(spec): Apply, ctx: &mut Self::Context) {
        guarded(self, ctx, "channel", |me, _| me.cell.apply(spec));
    }
}

/// Ends the supervisor of a channel that was removed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Retire;

impl Handler<Retire> for ChannelSupervisor {
    type Result = ();

    fn handle(&mut self, _: Retire, ctx: &mut Self::Context) {
        ctx.terminate();
    }
}

impl Handler<PanicDrill> for ChannelSupervisor {
    type Result = ();

    fn handle(&mut self, _: PanicDrill, ctx: &mut Self::Context) {
        guarded(self, ctx, "channel", |_, _| panic!("drill"));
    }
}
