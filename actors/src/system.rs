//! Starts the actors on a control arbiter of their own, away from the HTTP workers.

use std::sync::Arc;

use actix::{Addr, Arbiter, MailboxError, Supervisor};
use arc_swap::ArcSwap;

use crate::{
    channel::roster::{Desired, Roster},
    domain::Catalog,
    router::{RouteTable, Router, TableHandle, WaitingRoom},
};

/// The running actors.
#[derive(Debug)]
pub struct Actors {
    /// What the call path reads.
    pub table: TableHandle,
    /// The router.
    pub router: Addr<Router>,
    /// The roster.
    pub roster: Addr<Roster>,
    /// Where calls wait.
    pub room: Arc<WaitingRoom>,
    arbiter: Arbiter,
}

impl Actors {
    /// Starts router and roster. Must run inside an `actix::System`.
    pub fn start() -> Self {
        let arbiter = Arbiter::new();
        // The name that `top` and `perf` show; where it cannot be given, the old one stays.
        arbiter.spawn_fn(|| drop(std::fs::write("/proc/thread-self/comm", "control")));
        let table: TableHandle = Arc::new(ArcSwap::from_pointee(RouteTable::default()));
        let room = WaitingRoom::new();
        let router = Supervisor::start_in_arbiter(&arbiter.handle(), {
            let (table, room) = (Arc::clone(&table), Arc::clone(&room));
            move |_| Router::new(table, room)
        });
        room.open(router.clone());
        let roster = Supervisor::start_in_arbiter(&arbiter.handle(), {
            let (router, handle, room) = (router.clone(), arbiter.handle(), Arc::clone(&room));
            move |_| Roster::new(router, handle, room)
        });
        Self { table, router, roster, room, arbiter }
    }

    /// Puts a catalog in force; returns once calls see it.
    ///
    /// # Errors
    /// [`MailboxError`] where the roster is gone.
    pub async fn apply(&self, catalog: Arc<Catalog>) -> Result<(), MailboxError> {
        self.applier().apply(catalog).await
    }

    /// What puts catalogs in force where the actors themselves are not held.
    pub fn applier(&self) -> Applier {
        Applier(self.roster.clone())
    }

    /// Stops the control arbiter, after everything that may still ask it.
    pub fn stop(self) {
        self.arbiter.stop();
        if self.arbiter.join().is_err() {
            tracing::error!("the control arbiter ended by a panic");
        }
    }
}

/// Puts catalogs in force.
#[derive(Clone, Debug)]
pub struct Applier(Addr<Roster>);

impl Applier {
    /// Puts a catalog in force; returns once calls see it.
    ///
    /// # Errors
    /// [`MailboxError`] where the roster is gone.
    pub async fn apply(&self, catalog: Arc<Catalog>) -> Result<(), MailboxError> {
        self.0.send(Desired(catalog)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        channel::roster::SupervisorOf,
        domain::{
            Attached, ChannelName, ChannelSpec, Credentials, LearningRules, PoolSettings, Served, Timeouts,
            TransportKind,
        },
        testing::PanicDrill,
    };

    fn catalog(revision: u64, concurrency: u32, names: &[&str]) -> Arc<Catalog> {
        let spec = |name: &&str| ChannelSpec {
            name: ChannelName((*name).into()),
            id: None,
            provider: "openai".into(),
            row: Attached::default(),
            base_url: "http://upstream".into(),
            params: Vec::new(),
            credentials: Credentials::default(),
            headers: Vec::new(),
            quirks: Vec::new(),
            models: vec![Served { model: "m".into(), upstream: "m".into() }],
            groups: vec!["default".into()],
            priority: 0,
            weight: 1,
            concurrency: Some(concurrency),
            learning: LearningRules::default(),
            enabled: true,
            timeouts: Timeouts::default(),
            pool: PoolSettings::default(),
            transport: TransportKind::default(),
            proxy: None,
            cost_ratio: Default::default(),
            care: Default::default(),
        };
        let channels = names.iter().map(spec).map(Arc::new).collect();
        Arc::new(Catalog { revision, channels, aliases: [].into() })
    }

    #[test]
    fn catalogs_are_applied_before_and_after_every_actor_panicked() {
        actix::System::new().block_on(async {
            let actors = Actors::start();
            actors.apply(catalog(1, 2, &["a"])).await.expect("roster runs");
            let cell = Arc::clone(&actors.table.load().cells()[0]);
            let held = cell.gate.try_enter().expect("room for two");

            let name = ChannelName("a".into());
            let supervisor =
                actors.roster.send(SupervisorOf(name)).await.expect("roster runs").expect("runs");
            supervisor.send(PanicDrill).await.expect("answered");
            actors.router.send(PanicDrill).await.expect("answered");
            actors.roster.send(PanicDrill).await.expect("answered");

            actors.apply(catalog(2, 5, &["a", "b"])).await.expect("roster runs");
            let table = actors.table.load_full();
            assert_eq!((table.revision, table.cells().len()), (2, 2));
            assert!(Arc::ptr_eq(&cell, &table.cells()[0]), "the live cell is carried across");
            assert_eq!((cell.gate.limit(), cell.gate.in_flight(), cell.restarts()), (5, 1, 1));
            drop(held);
            actors.stop();
        });
    }

    #[test]
    fn a_channel_that_returns_while_a_call_holds_it_keeps_its_count() {
        actix::System::new().block_on(async {
            let actors = Actors::start();
            actors.apply(catalog(1, 1, &["a"])).await.expect("roster runs");
            let held = actors.table.load().cells()[0].gate.try_enter().expect("room");
            let cell = Arc::clone(&actors.table.load().cells()[0]);
            actors.apply(catalog(2, 1, &[])).await.expect("roster runs");
            assert!(actors.table.load().cells().is_empty());
            actors.apply(catalog(3, 1, &["a"])).await.expect("roster runs");
            assert!(actors.table.load().cells()[0].gate.try_enter().is_none(), "the one permit is out");
            drop((held, cell));
            actors.stop();
        });
    }
}
