//! The router actor: publishes route tables, and keeps the registry of the calls that wait. Calls with a free
//! channel ask it nothing.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised, fut::wrap_future};

use super::{
    candidates::candidates,
    estimate::{Calibration, Estimate, Foreseen, foresee},
    registry::Registry,
    room::{Ended, WaitingRoom},
    table::{RouteTable, TableHandle},
    ticket::{Ejected, Ticket},
};
use crate::{
    channel::{ChannelCell, SlotMap},
    domain::{Catalog, ChannelName},
    shell::guarded,
    testing::PanicDrill,
};

/// Builds and publishes the route table; offers waiting calls to channels.
///
/// Mailbox: [`Router::MAILBOX`] messages. Tables are asked for by the roster alone, which waits for each; a
/// call whose ticket finds it full is refused.
#[derive(Debug)]
pub struct Router {
    table: TableHandle,
    /// Old tables that calls may still read; freed here, not by a worker.
    retired: Vec<Arc<RouteTable>>,
    room: Arc<WaitingRoom>,
    core: Core,
}

/// What is made afresh after a panic, out of the tickets that live.
#[derive(Debug, Default)]
struct Core {
    registry: Registry,
    /// Restarts of supervisors that were answered by offering anew.
    restarts: SlotMap<u64>,
    calibration: Calibration,
    /// Whether channels say that calls wait for them.
    has_told_backlogs: bool,
    ticks: u64,
}

impl Router {
    /// How many messages may be on their way to it.
    pub const MAILBOX: usize = 8_192;
    /// How often overflow, deadlines and restarts are looked at.
    const TICK: Duration = Duration::from_millis(50);
    /// Tickets that are told a new estimate in a tick.
    const TOLD: usize = 256;

    /// Makes a router that publishes through `table`.
    pub fn new(table: TableHandle, room: Arc<WaitingRoom>) -> Self {
        Self { table, retired: Vec::new(), room, core: Core::default() }
    }

    /// Takes in waits that ended.
    fn settle_ended(&mut self) {
        while let Some(Ended { id, waited, is_telling }) = self.room.take_ended() {
            let gone = self.core.registry.remove(id);
            if let Some(expected) = gone.and_then(|t| t.expected).filter(|_| is_telling) {
                self.core.calibration.learn(expected, waited);
            }
        }
    }

    fn arrived(&mut self, ticket: &Arc<Ticket>) {
        self.settle_ended();
        if !ticket.is_waiting() {
            return;
        }
        if self.core.registry.of_key(ticket.ask.key) >= self.room.bounds().calls_of_key {
            ticket.eject(Ejected::Crowded);
            return;
        }
        let table = self.table.load_full();
        let now = self.room.now();
        let cells = candidates(&table, &ticket.want, now.saturating_sub(ticket.ask.arrived));
        if cells.is_empty() {
            ticket.eject(Ejected::NoCandidate);
            return;
        }
        let foreseen = self.foresee(ticket, &cells);
        if let Some(told) = foreseen.wait.map(|model| self.core.calibration.correct(model)) {
            ticket.tell(told);
            if now + told.p50 > ticket.ask.deadline {
                ticket.eject(Ejected::TooLong(Some(told)));
                return;
            }
        }
        self.offer(ticket, &cells, &foreseen);
    }

    /// What the model says of a ticket's wait at these channels.
    fn foresee(&self, ticket: &Ticket, cells: &[&Arc<ChannelCell>]) -> Foreseen {
        let fairness = self.room.fairness();
        let stand = |cell: &&Arc<ChannelCell>| {
            let serving = cell.serving.load(Ordering::Relaxed);
            let ahead = self.core.registry.ahead(ticket.id, &ticket.ask, cell.slot, serving, &fairness);
            cell.stand(ahead, ticket.ask.cost, &self.room)
        };
        foresee(&cells.iter().map(stand).collect::<Vec<_>>())
    }

    /// Offers a ticket to these channels, and takes it away from others.
    fn offer(&mut self, ticket: &Arc<Ticket>, cells: &[&Arc<ChannelCell>], foreseen: &Foreseen) {
        let Foreseen { wait, parts } = foreseen;
        let (new, gone) = self.core.registry.offer(ticket.id, ticket.ask, *wait, parts);
        for slot in gone {
            ticket.withdraw(slot);
        }
        for cell in cells.iter().filter(|cell| new.binary_search(&cell.slot).is_ok()) {
            hand(cell, ticket);
        }
    }

    /// Every ticket whose call waits.
    fn live(&self) -> Vec<Arc<Ticket>> {
        self.room.live().values().cloned().collect()
    }

    /// Brings the tickets' channels to what the table in force says.
    fn replan(&mut self, live: &[Arc<Ticket>], wants: impl Fn(&Ticket) -> bool) {
        let table = self.table.load_full();
        let now = self.room.now();
        for ticket in live.iter().filter(|ticket| ticket.is_waiting() && wants(ticket)) {
            let cells = candidates(&table, &ticket.want, now.saturating_sub(ticket.ask.arrived));
            if cells.is_empty() {
                ticket.eject(Ejected::NoCandidate);
                continue;
            }
            let known = self.core.registry.get(ticket.id);
            if known.is_some_and(|known| known.is_offered_to(cells.iter().map(|cell| cell.slot))) {
                continue;
            }
            let wait = known.and_then(|known| known.expected);
            let foreseen = Foreseen { wait, ..self.foresee(ticket, &cells) };
            self.offer(ticket, &cells, &foreseen);
        }
    }

    /// Offers anew what a supervisor lost when it panicked.
    fn answer_restarts(&mut self) {
        let table = self.table.load_full();
        for cell in table.cells() {
            let restarts = cell.restarts();
            let known = self.core.restarts.insert(cell.slot, restarts);
            if known.unwrap_or(0) == restarts {
                continue;
            }
            let offered = |ticket: &&Arc<Ticket>| ticket.is_offered(cell.slot);
            let lost: Vec<_> = self.room.live().values().filter(offered).cloned().collect();
            for ticket in &lost {
                hand(cell, ticket);
            }
        }
    }

    fn tick(&mut self) {
        self.core.ticks += 1;
        self.settle_ended();
        if self.core.ticks.is_multiple_of(20) {
            self.retired.retain(|t| Arc::strong_count(t) > 1);
            self.room.fairness().forget(self.room.now());
            self.room.publish_calibration(&self.core.calibration);
        }
        self.answer_restarts();
        if !self.core.registry.is_empty() || self.core.has_told_backlogs {
            self.tell_backlogs();
        }
        if self.core.registry.is_empty() {
            return;
        }
        let (live, now) = (self.live(), self.room.now());
        let has_moved = self.room.take_moved();
        self.replan(&live, |ticket| has_moved || !ticket.want.overflow_after.is_zero());
        for ticket in live.iter().filter(|ticket| ticket.ask.deadline <= now) {
            ticket.eject(Ejected::Expired);
        }
        self.tell_again(&live);
    }

    /// Publishes how many calls are each channel's to serve.
    fn tell_backlogs(&mut self) {
        for cell in self.table.load().cells() {
            cell.publish_backlog(self.core.registry.backlog(cell.slot));
        }
        self.core.has_told_backlogs = !self.core.registry.is_empty();
    }

    /// Tells the tickets that wait for news where they stand now; a part of them at a time.
    fn tell_again(&self, live: &[Arc<Ticket>]) {
        let table = self.table.load_full();
        let curious = live.iter().filter(|ticket| ticket.is_waiting() && ticket.is_asked_after());
        for ticket in curious.take(Self::TOLD) {
            let waited = self.room.now().saturating_sub(ticket.ask.arrived);
            let cells = candidates(&table, &ticket.want, waited);
            if let Some(told) = self.foresee(ticket, &cells).wait.filter(|_| !cells.is_empty()) {
                let told = self.core.calibration.correct(told);
                let before = ticket.estimate().map_or(u64::MAX, |e| e.position);
                ticket.tell(Estimate { position: told.position.min(before), ..told });
            }
        }
    }

    /// Has every channel that someone waits for look again: a caller's own gate has room.
    fn caller_gate_freed(&self) {
        for cell in self.table.load().cells().iter().filter(|cell| cell.gate.waiting() > 0) {
            cell.gate.ring();
        }
    }

    fn listen(ctx: &mut Context<Self>, room: Arc<WaitingRoom>) {
        let rung = wrap_future::<_, Self>(async move { room.caller_gate_freed().await });
        ctx.spawn(rung.map(|(), me, ctx| {
            guarded(me, ctx, "router", |me, _| me.caller_gate_freed());
            Self::listen(ctx, Arc::clone(&me.room));
        }));
    }
}

/// Gives a ticket to a channel's supervisor.
fn hand(cell: &ChannelCell, ticket: &Arc<Ticket>) {
    if ticket.offer(cell.slot, &cell.gate) {
        cell.offers.push(Arc::clone(ticket));
        cell.gate.ring();
    }
}

impl Actor for Router {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(Self::MAILBOX);
        Self::listen(ctx, Arc::clone(&self.room));
        ctx.run_interval(Self::TICK, |me, ctx| {
            guarded(me, ctx, "router", |me, _| me.tick());
        });
    }
}

impl Supervised for Router {
    fn restarting(&mut self, _: &mut Self::Context) {
        // The published table outlives the panic, and so do the tickets: they are all there is to know.
        self.core = Core::default();
        tracing::warn!(
            revision = self.table.load().revision,
            waiting = self.room.calls(),
            "router restarted"
        );
        self.replan(&self.live(), |_| true);
    }
}

/// Asks for the table of a catalog to be published. Answers when it is in force.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Publish {
    /// Channels and aliases.
    pub catalog: Arc<Catalog>,
    /// Their live cells.
    pub cells: HashMap<ChannelName, Arc<ChannelCell>>,
}

impl Handler<Publish> for Router {
    type Result = ();

    fn handle(&mut self, msg: Publish, ctx: &mut Self::Context) {
        guarded(self, ctx, "router", |me, _| {
            let old = me.table.swap(Arc::new(RouteTable::build(&msg.catalog, &msg.cells)));
            tracing::debug!(revision = msg.catalog.revision, "route table published");
            me.retired.push(old);
            me.settle_ended();
            me.replan(&me.live(), |_| true);
        });
    }
}

/// A call begins to wait.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Arrived(pub Arc<Ticket>);

impl Handler<Arrived> for Router {
    type Result = ();

    fn handle(&mut self, Arrived(ticket): Arrived, ctx: &mut Self::Context) {
        guarded(self, ctx, "router", |me, _| me.arrived(&ticket));
    }
}

impl Handler<PanicDrill> for Router {
    type Result = ();

    fn handle(&mut self, _: PanicDrill, ctx: &mut Self::Context) {
        guarded(self, ctx, "router", |_, _| panic!("drill"));
    }
}
