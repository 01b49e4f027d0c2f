//! The ledger's side of the journal: usage is entered in batches, each stretch of a stream exactly once.

use std::collections::{BTreeMap, HashMap};

use diesel::{ExpressionMethods as _, Insertable, QueryDsl as _, upsert::excluded};
use diesel_async::{AsyncConnection as _, RunQueryDsl as _};
use penstock_actors::domain::{AccountId, Money, StreamId};

use super::{
    BILLER, Store,
    error::{StoreError, Stored},
    keys::SPACE,
    lite, now_ms,
    pool::{self, Db, query},
    position,
    schema::{account, consumer_position as place, ledger_entry},
};

const USAGE: &str = "usage";
/// A server takes 65,535 values in a statement.
pub(super) const ROWS: usize = 500;

/// A stretch of one stream, from the end of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The stream.
    pub stream: StreamId,
    /// Where it begins: the consumer's position until now.
    pub from: u64,
    /// Where it ends: the consumer's position from now on.
    pub to: u64,
}

/// What one account pays for one stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// The account.
    pub account: AccountId,
    /// The stream; the batch has a stretch of it.
    pub stream: StreamId,
    /// The sum of the charges.
    pub charge: Money,
}

/// What the biller has summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageBatch {
    /// One a stream.
    pub stretches: Vec<Stretch>,
    /// One an account and stream.
    pub spent: Vec<Spent>,
}

#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = ledger_entry, treat_none_as_default_value = false)]
pub(super) struct Entry {
    account_id: i64,
    kind: &'static str,
    amount: i64,
    node: i64,
    boot: i64,
    worker: i64,
    from_offset: i64,
    to_offset: i64,
    note: &'static str,
    at_ms: i64,
}

#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = account, treat_none_as_default_value = false)]
pub(super) struct Delta {
    pub(super) id: i64,
    space_id: i64,
    kind: &'static str,
    pub(super) balance: i64,
    is_limited: bool,
    created_ms: i64,
    pub(super) updated_ms: i64,
}

#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = place, treat_none_as_default_value = false)]
pub(super) struct Place {
    consumer: String,
    node: i64,
    boot: i64,
    worker: i64,
    up_to: i64,
}

impl Place {
    pub(super) fn of(consumer: &str, stretch: &Stretch) -> Self {
        let StreamId { node, boot, worker } = stretch.stream;
        Self {
            consumer: consumer.to_owned(),
            node: node.into(),
            boot: boot.into(),
            worker: worker.into(),
            up_to: stretch.to as i64,
        }
    }
}

/// Streams as columns, for `eq_any` each: it may find more streams than asked, never fewer.
pub(super) fn columns(stretches: &[Stretch]) -> (Vec<i64>, Vec<i64>, Vec<i64>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for Stretch { stream, .. } in stretches {
        columns.0.push(stream.node.into());
        columns.1.push(stream.boot.into());
        columns.2.push(stream.worker.into());
    }
    columns
}

/// A consumer's positions in the streams of a batch. `for_update` is a lock, where the backend has one.
macro_rules! stored_positions {
    ($consumer:expr, $stretches:expr) => {{
        let (nodes, boots, workers) = $crate::store::books::columns($stretches);
        place::table
            .filter(place::consumer.eq($consumer.to_owned()))
            .filter(place::node.eq_any(nodes))
            .filter(place::boot.eq_any(boots))
            .filter(place::worker.eq_any(workers))
            .order((place::node, place::boot, place::worker))
            .select((place::node, place::boot, place::worker, place::up_to))
    }};
}

pub(super) use stored_positions;

/// Which stretches are not applied yet.
///
/// # Errors
/// `OutOfStep`, where a stretch begins elsewhere than the one before ended.
pub(super) fn unapplied(
    stretches: &[Stretch],
    stored: Vec<(i64, i64, i64, i64)>,
) -> Stored<HashMap<StreamId, Stretch>> {
    let stored: HashMap<StreamId, u64> = stored.into_iter().map(position).collect();
    let mut open = HashMap::new();
    for stretch in stretches {
        match stored.get(&stretch.stream) {
            Some(&at) if at >= stretch.to => {}
            Some(&at) if at != stretch.from => {
                return Err(StoreError::OutOfStep { stream: stretch.stream, stored: at });
            }
            _ => {
                open.insert(stretch.stream, *stretch);
            }
        }
    }
    Ok(open)
}

impl UsageBatch {
    /// What is written for the stretches that are open, accounts in the order of their numbers: two batches
    /// that lock them in one order cannot wait for each other.
    pub(super) fn rows(&self, open: &HashMap<StreamId, Stretch>) -> (Vec<Entry>, Vec<Delta>, Vec<Place>) {
        let at_ms = now_ms();
        let (mut entries, mut deltas) = (Vec::new(), BTreeMap::<i64, Money>::new());
        for spent in self.spent.iter().filter(|s| s.charge != Money::ZERO) {
            let Some(stretch) = open.get(&spent.stream) else { continue };
            *deltas.entry(spent.account.0).or_default() -= spent.charge;
            entries.push(Entry {
                account_id: spent.account.0,
                kind: USAGE,
                amount: (-spent.charge).nanos(),
                node: stretch.stream.node.into(),
                boot: stretch.stream.boot.into(),
                worker: stretch.stream.worker.into(),
                from_offset: stretch.from as i64,
                to_offset: stretch.to as i64,
                note: "",
                at_ms,
            });
        }
        // An account that is unknown here is made: money is never dropped.
        let delta = |(id, sum): (i64, Money)| Delta {
            id,
            space_id: SPACE,
            kind: "unknown",
            balance: sum.nanos(),
            is_limited: false,
            created_ms: at_ms,
            updated_ms: at_ms,
        };
        entries.sort_by_key(|e| e.account_id);
        let mut places: Vec<Place> = open.values().map(|s| Place::of(BILLER, s)).collect();
        places.sort_by_key(|p| (p.node, p.boot, p.worker));
        (entries, deltas.into_iter().map(delta).collect(), places)
    }
}

impl Store {
    /// Enters usage: entries, balances and positions in one transaction. A stretch that was entered before,
    /// by a commit whose answer was lost for example, is not entered again.
    ///
    /// # Errors
    /// Transient ones, after which the same batch is committed again; [`StoreError::OutOfStep`], after which
    /// it is summed up anew from the stored position.
    pub async fn commit_usage(&self, batch: &UsageBatch) -> Stored<()> {
        if batch.stretches.is_empty() {
            return Ok(());
        }
        let mut tries = pool::Tries::default();
        loop {
            let done = match &self.main {
                Db::Lite { .. } => {
                    let (batch, counted) = (batch.clone(), self.statements.clone());
                    lite::batch(&self.main, move |c| lite::enter_usage(c, &batch, &counted)).await
                }
                Db::Pg(pool) => commit_usage_pg(pool, batch).await,
                Db::My(pool) => commit_usage_my(pool, batch).await,
            };
            match done {
                Err(error) if tries.worth_another(&error) => tries.step_aside().await,
                done => return done,
            }
        }
    }

    /// A consumer's positions: up to where it has come in each stream.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn positions(&self, consumer: &str) -> Stored<HashMap<StreamId, u64>> {
        let db = if consumer == super::log::LOG_WRITER { &self.log } else { &self.main };
        let rows = query!(db, c => place::table
            .filter(place::consumer.eq(consumer))
            .select((place::node, place::boot, place::worker, place::up_to))
            .load::<(i64, i64, i64, i64)>(c)
            .await)?;
        Ok(rows.into_iter().map(position).collect())
    }
}

/// Two that commit the first stretch of a stream at once both insert its position: the second tries again,
/// and then finds it.
pub(super) fn or_conflict(error: diesel::result::Error) -> StoreError {
    use diesel::result::{DatabaseErrorKind::UniqueViolation, Error::DatabaseError};
    match error {
        DatabaseError(UniqueViolation, info) => StoreError::Busy(info.message().to_owned()),
        other => other.into(),
    }
}

async fn commit_usage_pg(
    pool: &diesel_async::pooled_connection::bb8::Pool<diesel_async::AsyncPgConnection>,
    batch: &UsageBatch,
) -> Stored<()> {
    let mut held = pool.get().await?;
    let connection: &mut diesel_async::AsyncPgConnection = &mut held;
    let work = connection.transaction(async |c: &mut diesel_async::AsyncPgConnection| {
        let stored = stored_positions!(BILLER, &batch.stretches).for_update().load(c).await?;
        let (entries, deltas, places) = batch.rows(&unapplied(&batch.stretches, stored)?);
        for entries in entries.chunks(ROWS) {
            let insert = diesel::insert_into(ledger_entry::table).values(entries.to_vec());
            insert.execute(c).await.map_err(or_conflict)?;
        }
        for deltas in deltas.chunks(ROWS) {
            diesel::insert_into(account::table)
                .values(deltas.to_vec())
                .on_conflict(account::id)
                .do_update()
                .set((
                    account::balance.eq(account::balance + excluded(account::balance)),
                    account::updated_ms.eq(excluded(account::updated_ms)),
                ))
                .execute(c)
                .await?;
        }
        for places in places.chunks(ROWS) {
            diesel::insert_into(place::table)
                .values(places.to_vec())
                .on_conflict((place::consumer, place::node, place::boot, place::worker))
                .do_update()
                .set(place::up_to.eq(excluded(place::up_to)))
                .execute(c)
                .await?;
        }
        Stored::Ok(())
    });
    let done = pool::in_time(work).await;
    pool::forget_if_late(&mut *held, done)
}

async fn commit_usage_my(
    pool: &diesel_async::pooled_connection::bb8::Pool<diesel_async::AsyncMysqlConnection>,
    batch: &UsageBatch,
) -> Stored<()> {
    use diesel::dsl::{DuplicatedKeys, sql};
    let mut held = pool.get().await?;
    let connection: &mut diesel_async::AsyncMysqlConnection = &mut held;
    let work = connection.transaction(async |c: &mut diesel_async::AsyncMysqlConnection| {
        let stored = stored_positions!(BILLER, &batch.stretches).for_update().load(c).await?;
        let (entries, deltas, places) = batch.rows(&unapplied(&batch.stretches, stored)?);
        for entries in entries.chunks(ROWS) {
            let insert = diesel::insert_into(ledger_entry::table).values(entries.to_vec());
            insert.execute(c).await.map_err(or_conflict)?;
        }
        for deltas in deltas.chunks(ROWS) {
            diesel::insert_into(account::table)
                .values(deltas.to_vec())
                .on_conflict(DuplicatedKeys)
                .do_update()
                .set((
                    account::balance.eq(sql("balance + VALUES(balance)")),
                    account::updated_ms.eq(sql("VALUES(updated_ms)")),
                ))
                .execute(c)
                .await?;
        }
        for places in places.chunks(ROWS) {
            diesel::insert_into(place::table)
                .values(places.to_vec())
                .on_conflict(DuplicatedKeys)
                .do_update()
                .set(place::up_to.eq(sql("VALUES(up_to)")))
                .execute(c)
                .await?;
        }
        Stored::Ok(())
    });
    let done = pool::in_time(work).await;
    pool::forget_if_late(&mut *held, done)
}
