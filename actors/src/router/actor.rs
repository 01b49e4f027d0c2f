//! The router actor: the only one that publishes route tables. Calls read them and ask nobody.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context, Handler, Message, Supervised};

use super::table::{RouteTable, TableHandle};
use crate::{
    channel::ChannelCell,
    domain::{Catalog, ChannelName},
    shell::guarded,
    testing::PanicDrill,
};

/// Builds and publishes the route table.
///
/// Mailbox: 16 messages; tables are asked for by the roster alone, which waits for each.
#[derive(Debug)]
pub struct Router {
    table: TableHandle,
    /// Old tables that calls may still read; freed here, not by a worker.
    retired: Vec<Arc<RouteTable>>,
}

impl Router {
    /// Makes a router that publishes through `table`.
    pub fn new(table: TableHandle) -> Self {
        Self { table, retired: Vec::new() }
    }
}

impl Actor for Router {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(Duration::from_secs(1), |me, ctx| {
            guarded(me, ctx, "router", |me, _| me.retired.retain(|t| Arc::strong_count(t) > 1));
        });
    }
}

impl Supervised for Router {
    fn restarting(&mut self, _: &mut Self::Context) {
        // The published table is the state; it outlives the panic.
        tracing::warn!(revision = self.table.load().revision, "router restarted");
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
        });
    }
}

impl Handler<PanicDrill> for Router {
    type Result = ();

    fn handle(&mut self, _: PanicDrill, ctx: &mut Self::Context) {
        guarded(self, ctx, "router", |_, _| panic!("drill"));
    }
}
