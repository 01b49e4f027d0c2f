//! The actor of one channel: the single writer of its cell. Decisions live in `health`, `gate` and `cell`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, Supervised,
    fut::wrap_future,
};

use super::{
    caretaker::{Caretaker, Moved},
    cell::{ChannelCell, Later},
    gate::UNLIMITED,
    health::{Health, Sample},
    learner::{Learner, Occasion},
    pace::{Pace, Served},
    queue::{Offered, Queue},
    shedding::{Advice, Shedding},
};
use crate::{
    domain::ChannelSpec,
    router::{
        WaitingRoom,
        ticket::{Ejected, NotGranted, Ticket},
    },
    shell::guarded,
    testing::PanicDrill,
};

/// Supervises one channel: applies its settings, publishes its health, and gives free slots to calls that wait.
///
/// Mailbox: 16 messages; settings come one at a time from the roster, which waits for each. Calls to wait come
/// by the cell, with a ring of the gate's bell.
#[derive(Debug)]
pub struct ChannelSupervisor {
    cell: Arc<ChannelCell>,
    room: Arc<WaitingRoom>,
    core: Core,
}

/// The supervisor's own state, made afresh after a panic.
#[derive(Debug)]
struct Core {
    health: Health,
    seen: Sample,
    started: Instant,
    queue: Queue<Arc<Ticket>>,
    pace: Pace,
    served: Served,
    shedding: Shedding,
    learner: Learner,
    /// When a call that waits can go, and the timer that is set for it.
    due: Option<(Duration, SpawnHandle)>,
    caretaker: Caretaker,
}

impl ChannelSupervisor {
    /// How often health is published.
    pub const TICK: Duration = Duration::from_millis(500);
    /// Timers this near to each other are one.
    const GRAIN: Duration = Duration::from_millis(1);

    /// Makes the supervisor of a cell.
    pub fn new(cell: Arc<ChannelCell>, room: Arc<WaitingRoom>) -> Self {
        let core = Core::fresh(&cell, room.now());
        Self { cell, room, core }
    }

    /// Takes in what was learned.
    fn learn(&mut self, occasion: Occasion) {
        let Self { cell, room, core } = self;
        let (spec, answered) = (cell.spec(), cell.totals().succeeded);
        let most = spec.concurrency.unwrap_or(UNLIMITED);
        let at = (occasion, room.now());
        let limit = core.learner.look(&cell.learning, &spec.learning, most, answered, at);
        if limit != cell.gate.limit() {
            cell.gate.set_limit(limit);
        }
    }

    /// Takes in the calls that were offered and gives them the slots that are free, as the provider lets them
    /// through.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        self.learn(Occasion::Rung);
        let Self { cell, room, core } = self;
        let served = cell.service();
        core.pace.observe(served.since(std::mem::replace(&mut core.served, served)));
        cell.publish_pace(&core.pace);
        let (mut fairness, now) = (room.fairness(), room.now());
        while let Some(ticket) = cell.offers.pop() {
            core.queue.push(ticket.id, ticket.ask, ticket, &mut fairness, now);
        }
        let shed_above = room.bounds().shed_above;
        let mut wait = None;
        while !core.queue.is_empty() {
            let Some(permit) = cell.gate.claim() else { break };
            let (mut slot, mut waited) = (Some(permit), Duration::ZERO);
            let is_served = core.queue.serve(&mut fairness, now, |ask, ticket| {
                let Some(permit) = slot.take() else { return Offered::Held };
                let permit = match cell.admitted(permit, ask.cost, room) {
                    Ok(permit) => permit,
                    Err((permit, later)) => {
                        slot = Some(permit);
                        return match later {
                            Later::In(later) if ticket.is_offered(cell.slot) => {
                                wait = Some(later);
                                Offered::Later
                            }
                            // Its limit was lowered since the call came: another channel serves it, or none does.
                            Later::In(_) | Later::Never(_) => Offered::Gone,
                        };
                    }
                };
                match ticket.grant(cell.slot, permit, now) {
                    Ok(()) => {
                        waited = now.saturating_sub(ask.arrived);
                        Offered::Taken
                    }
                    Err((permit, why)) => {
                        slot = Some(permit.bare());
                        match why {
                            NotGranted::Gone => Offered::Gone,
                            NotGranted::Held => Offered::Held,
                        }
                    }
                }
            });
            if let Some(unused) = slot {
                unused.withdraw();
            }
            if !is_served {
                break;
            }
            cell.serving.store(core.queue.serving(), std::sync::atomic::Ordering::Relaxed);
            if core.shedding.served(waited, shed_above, now) == Advice::ShedOne
                && let Some(last) = core.queue.last_of_low()
            {
                last.eject(Ejected::Shed(last.estimate()));
            }
        }
        drop(fairness);
        if let Some(wait) = wait {
            core.learner.paced();
            self.wake(now + wait, ctx);
        }
    }

    /// Pumps again at a time: somebody can go then whom the provider would not take now.
    fn wake(&mut self, at: Duration, ctx: &mut Context<Self>) {
        if let Some((due, timer)) = self.core.due {
            if due <= at + Self::GRAIN {
                return;
            }
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(at.saturating_sub(self.room.now()), |me, ctx| {
            me.core.due = None;
            guarded(me, ctx, "channel", Self::pump);
        });
        self.core.due = Some((at, timer));
    }

    fn listen(ctx: &mut Context<Self>, cell: Arc<ChannelCell>) {
        let rung = wrap_future::<_, Self>(async move { cell.rung().await });
        ctx.spawn(rung.map(|(), me, ctx| {
            guarded(me, ctx, "channel", Self::pump);
            Self::listen(ctx, Arc::clone(&me.cell));
        }));
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.learn(Occasion::Tick);
        self.pump(ctx);
        let now = self.room.now();
        let cell = &self.cell;
        self.core.queue.sweep(&mut self.room.fairness(), now, |ticket| ticket.is_offered(cell.slot));
        let totals = self.cell.totals();
        let since = Sample {
            succeeded: totals.succeeded - self.core.seen.succeeded,
            failed: totals.failed - self.core.seen.failed,
            first_byte: totals.first_byte.saturating_sub(self.core.seen.first_byte),
        };
        self.core.seen = totals;
        let report = self.core.health.observe(since, self.core.started.elapsed());
        self.cell.publish_health(report);
        self.take_care();
    }

    /// Has breakers and the evidence switch follow what was counted; calls that wait are planned anew where that
    /// changes which channels may serve them.
    fn take_care(&mut self) {
        if self.core.caretaker.tick(&self.cell, self.core.started.elapsed()) == Moved::Something {
            self.room.plan_anew();
        }
    }
}

impl Core {
    fn fresh(cell: &ChannelCell, now: Duration) -> Self {
        let (spec, answered) = (cell.spec(), cell.totals().succeeded);
        let most = spec.concurrency.unwrap_or(UNLIMITED);
        Self {
            learner: Learner::new(&cell.learning, &spec.learning, most, answered, now),
            due: None,
            health: Health::new(Duration::ZERO),
            seen: cell.totals(),
            started: Instant::now(),
            queue: Queue::default(),
            pace: Pace::default(),
            served: Served::default(),
            shedding: Shedding::default(),
            caretaker: Caretaker::new(cell),
        }
    }
}

impl Actor for ChannelSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(16);
        Self::listen(ctx, Arc::clone(&self.cell));
        ctx.run_interval(Self::TICK, |me, ctx| {
            guarded(me, ctx, "channel", Self::tick);
        });
    }
}

impl Supervised for ChannelSupervisor {
    fn restarting(&mut self, _: &mut Self::Context) {
        // The router offers the calls anew when it sees the restart.
        self.core.queue.clear(&mut self.room.fairness(), self.room.now());
        self.core = Core::fresh(&self.cell, self.room.now());
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
        guarded(self, ctx, "channel", |me, ctx| {
            me.cell.apply(spec);
            // A new credential is no longer known bad.
            me.take_care();
            me.pump(ctx);
        });
    }
}

/// Ends the supervisor of a channel that was removed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Retire;

impl Handler<Retire> for ChannelSupervisor {
    type Result = ();

    fn handle(&mut self, _: Retire, ctx: &mut Self::Context) {
        self.core.queue.clear(&mut self.room.fairness(), self.room.now());
        while self.cell.offers.pop().is_some() {}
        ctx.terminate();
    }
}

impl Handler<PanicDrill> for ChannelSupervisor {
    type Result = ();

    fn handle(&mut self, _: PanicDrill, ctx: &mut Self::Context) {
        guarded(self, ctx, "channel", |_, _| panic!("drill"));
    }
}
