//! The roster: desired channels against running supervisors. A reconciler that may run twice.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use actix::{
    Actor, ActorFutureExt, Addr, ArbiterHandle, Context, Handler, Message, ResponseActFuture, Supervised,
    Supervisor, WrapFuture,
};

use super::{
    cell::ChannelCell,
    supervisor::{Apply, ChannelSupervisor, Retire},
};
use crate::{
    domain::{Catalog, ChannelName},
    router::{Publish, Router, WaitingRoom},
    shell::guarded,
    testing::PanicDrill,
};

/// Starts and retires supervisors, has the router publish the table, then tunes the supervisors.
///
/// Mailbox: 16 messages; catalogs come from one place, which waits for each.
#[derive(Debug)]
pub struct Roster {
    router: Addr<Router>,
    arbiter: ArbiterHandle,
    room: Arc<WaitingRoom>,
    running: HashMap<ChannelName, Running>,
    /// Cells of removed channels that calls may still hold: a channel that returns finds its own again.
    removed: HashMap<ChannelName, Weak<ChannelCell>>,
    next_slot: u32,
}

#[derive(Debug)]
struct Running {
    cell: Arc<ChannelCell>,
    supervisor: Addr<ChannelSupervisor>,
}

impl Roster {
    /// Makes a roster that starts its supervisors on `arbiter`.
    pub fn new(router: Addr<Router>, arbiter: ArbiterHandle, room: Arc<WaitingRoom>) -> Self {
        Self { router, arbiter, room, running: HashMap::new(), removed: HashMap::new(), next_slot: 0 }
    }

    /// Brings the running supervisors to what the catalog wants; gives the messages still to be delivered.
    fn reconcile(&mut self, catalog: &Catalog) -> Vec<(Addr<ChannelSupervisor>, Apply)> {
        let gone: Vec<_> = self
            .running
            .keys()
            .filter(|name| !catalog.channels.iter().any(|c| c.name == **name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(old) = self.running.remove(&name) {
                if old.supervisor.try_send(Retire).is_err() {
                    tracing::warn!(channel = %name, "channel supervisor was gone before it was retired");
                }
                old.cell.retire_connections();
                self.removed.insert(name, Arc::downgrade(&old.cell));
            }
        }
        self.removed.retain(|_, cell| cell.strong_count() > 0);
        let mut changes = Vec::new();
        for spec in &catalog.channels {
            match self.running.get(&spec.name) {
                Some(running) if *running.cell.spec() == **spec => {}
                Some(running) => changes.push((running.supervisor.clone(), Apply(Arc::clone(spec)))),
                None => {
                    let returned = self.removed.remove(&spec.name).and_then(|cell| cell.upgrade());
                    let cell = match returned {
                        Some(cell) => cell,
                        None => {
                            self.next_slot += 1;
                            ChannelCell::new(self.next_slot, Arc::clone(spec))
                        }
                    };
                    let supervisor = Supervisor::start_in_arbiter(&self.arbiter, {
                        let (cell, room) = (Arc::clone(&cell), Arc::clone(&self.room));
                        move |_| ChannelSupervisor::new(cell, room)
                    });
                    changes.push((supervisor.clone(), Apply(Arc::clone(spec))));
                    self.running.insert(spec.name.clone(), Running { cell, supervisor });
                }
            }
        }
        changes
    }
}

impl Actor for Roster {
    type Context = Context<Self>;
}

impl Supervised for Roster {
    fn restarting(&mut self, _: &mut Self::Context) {
        // What runs, runs: the next catalog is reconciled against it.
        tracing::warn!("roster restarted");
    }
}

/// The catalog as it should be. Answers once all of it is in force.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Desired(pub Arc<Catalog>);

impl Handler<Desired> for Roster {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, Desired(catalog): Desired, ctx: &mut Self::Context) -> Self::Result {
        let changes = guarded(self, ctx, "roster", |me, _| me.reconcile(&catalog)).unwrap_or_default();
        let cells = self.running.iter().map(|(name, r)| (name.clone(), Arc::clone(&r.cell))).collect();
        let router = self.router.clone();
        let deliver = async move {
            // The table first: whom a changed channel lets through goes out with its new settings.
            if let Err(error) = router.send(Publish { catalog, cells }).await {
                tracing::error!(%error, "route table was not published");
            }
            for (supervisor, apply) in changes {
                if let Err(error) = supervisor.send(apply).await {
                    tracing::error!(%error, "channel settings were not applied");
                }
            }
        };
        Box::pin(deliver.into_actor(self).map(|(), _, _| ()))
    }
}

impl Handler<PanicDrill> for Roster {
    type Result = ();

    fn handle(&mut self, _: PanicDrill, ctx: &mut Self::Context) {
        guarded(self, ctx, "roster", |_, _| panic!("drill"));
    }
}

/// The supervisor of a channel, for drills.
#[derive(Debug, Message)]
#[rtype(result = "Option<Addr<ChannelSupervisor>>")]
pub struct SupervisorOf(pub ChannelName);

impl Handler<SupervisorOf> for Roster {
    type Result = Option<Addr<ChannelSupervisor>>;

    fn handle(&mut self, SupervisorOf(name): SupervisorOf, _: &mut Self::Context) -> Self::Result {
        self.running.get(&name).map(|r| r.supervisor.clone())
    }
}
