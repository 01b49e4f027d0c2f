//! The ledger's side of the journal: usage is entered in batches, each part of a stream exactly once.

use std::collections::{BTreeMap, HashMap};

use diesel::{ExpressionMethods as _, Insertable, QueryDsl as _, upsert::excluded};
use diesel_async::{AsyncConnection as _, RunQueryDsl as _};
use penstock_actors::{
    domain::{AccountId, Money, StreamId},
    ports::{BalanceRows, BooksBatch},
    usage_log::{Positions, Range},
};

use super::{
    BILLER, Store,
    error::{StoreError, Stored},
    keys::SPACE,
    lite, now_ms,
    pool::{self, Db, query},
    position,
    schema::{account, consumer_position as place, ledger_entry},
};

pub(super) const USAGE: &str = "usage";
/// A part of the journal that is missing. It belongs to no account.
pub(super) const GAP: &str = "gap";
const NOBODY: i64 = 0;
/// A server takes 65,535 values in a statement.
pub(super) const ROWS: usize = 500;

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
    pub(super) fn of(consumer: &str, part: &Range) -> Self {
        let StreamId { node, boot, worker } = part.stream;
        Self {
            consumer: consumer.to_owned(),
            node: node.into(),
            boot: boot.into(),
            worker: worker.into(),
            up_to: part.to as i64,
        }
    }
}

/// Streams as columns, for `eq_any` each: it may find more streams than asked, never fewer.
pub(super) fn columns(parts: &[Range]) -> (Vec<i64>, Vec<i64>, Vec<i64>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for Range { stream, .. } in parts {
        columns.0.push(stream.node.into());
        columns.1.push(stream.boot.into());
        columns.2.push(stream.worker.into());
    }
    columns
}

/// A consumer's positions in the streams of a batch.
macro_rules! stored_positions {
    ($consumer:expr, $parts:expr) => {{
        let (nodes, boots, workers) = $crate::store::books::columns($parts);
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

/// Whether each part begins where the one before ended; a stream that is new begins at 0.
///
/// # Errors
/// `OutOfStep`, where one does not: it was applied before, or another has to be applied first.
pub(super) fn in_step(parts: &[Range], stored: Vec<(i64, i64, i64, i64)>) -> Stored<()> {
    let stored: HashMap<StreamId, u64> = stored.into_iter().map(position).collect();
    for part in parts {
        let at = stored.get(&part.stream).copied().unwrap_or(0);
        if at != part.from {
            return Err(StoreError::OutOfStep { stream: part.stream, stored: at });
        }
    }
    Ok(())
}

/// What a batch writes.
pub(super) struct Rows {
    pub(super) entries: Vec<Entry>,
    pub(super) deltas: Vec<Delta>,
    pub(super) places: Vec<Place>,
}

impl Rows {
    /// Accounts stand in the order of their numbers: two batches that lock them in one order cannot wait for
    /// each other.
    pub(super) fn of(batch: &BooksBatch) -> Self {
        let at_ms = now_ms();
        let entry = |account_id, kind, amount, part: &Range| Entry {
            account_id,
            kind,
            amount,
            node: part.stream.node.into(),
            boot: part.stream.boot.into(),
            worker: part.stream.worker.into(),
            from_offset: part.from as i64,
            to_offset: part.to as i64,
            note: "",
            at_ms,
        };
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
        let (mut entries, mut deltas) = (Vec::new(), BTreeMap::<i64, Money>::new());
        for spend in batch.spends.iter().filter(|s| s.amount != Money::ZERO) {
            *deltas.entry(spend.account.0).or_default() -= spend.amount;
            entries.push(entry(spend.account.0, USAGE, (-spend.amount).nanos(), &spend.part));
        }
        entries.extend(batch.lost.iter().map(|part| entry(NOBODY, GAP, 0, part)));
        entries.sort_by_key(|e| e.account_id);
        let mut places: Vec<Place> = batch.positions.iter().map(|p| Place::of(BILLER, p)).collect();
        places.sort_by_key(|p| (p.node, p.boot, p.worker));
        Self { entries, deltas: deltas.into_iter().map(delta).collect(), places }
    }

    /// The accounts concerned.
    pub(super) fn accounts(&self) -> Vec<i64> {
        self.deltas.iter().map(|d| d.id).collect()
    }
}

/// Balances as the port wants them.
pub(super) fn balance_rows(rows: Vec<(i64, i64)>) -> BalanceRows {
    rows.into_iter().map(|(id, nanos)| (AccountId(id), Money::from_nanos(nanos))).collect()
}

impl Store {
    /// Enters usage: entries, balances and positions in one transaction. Gives the balances of the accounts
    /// concerned as it leaves them.
    ///
    /// # Errors
    /// [`StoreError::OutOfStep`], with nothing changed, where a position is not what the batch says: it was
    /// committed before, perhaps by a commit whose answer was lost. After any other, whether it was committed
    /// is told by the positions.
    pub async fn commit_usage(&self, batch: &BooksBatch) -> Stored<BalanceRows> {
        if batch.positions.is_empty() {
            return Ok(BalanceRows::new());
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
                done => return done.map(balance_rows),
            }
        }
    }

    /// The balances of accounts; those that are not there are left out.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn balances_of(&self, accounts: &[AccountId]) -> Stored<BalanceRows> {
        let ids: Vec<i64> = accounts.iter().map(|a| a.0).collect();
        let mut found = BalanceRows::new();
        for ids in ids.chunks(ROWS) {
            let rows = query!(&self.main, c => account::table
                .filter(account::id.eq_any(ids.to_vec()))
                .select((account::id, account::balance))
                .load::<(i64, i64)>(c)
                .await)?;
            found.extend(balance_rows(rows));
        }
        Ok(found)
    }

    /// A consumer's positions: up to where it has come in each stream.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn positions_of(&self, consumer: &str) -> Stored<Positions> {
        let db = if consumer == super::log::LOG_WRITER { &self.log } else { &self.main };
        let rows = query!(db, c => place::table
            .filter(place::consumer.eq(consumer))
            .select((place::node, place::boot, place::worker, place::up_to))
            .load::<(i64, i64, i64, i64)>(c)
            .await)?;
        Ok(rows.into_iter().map(position).collect())
    }
}

/// Two that commit the first part of a stream at once both insert it: the second tries again, and then finds
/// it.
pub(super) fn or_conflict(error: diesel::result::Error) -> StoreError {
    use diesel::result::{DatabaseErrorKind::UniqueViolation, Error::DatabaseError};
    match error {
        DatabaseError(UniqueViolation, info) => StoreError::Busy(info.message().to_owned()),
        other => other.into(),
    }
}

async fn commit_usage_pg(
    pool: &diesel_async::pooled_connection::bb8::Pool<diesel_async::AsyncPgConnection>,
    batch: &BooksBatch,
) -> Stored<Vec<(i64, i64)>> {
    let mut held = pool.get().await?;
    let connection: &mut diesel_async::AsyncPgConnection = &mut held;
    let work = connection.transaction(async |c: &mut diesel_async::AsyncPgConnection| {
        in_step(&batch.positions, stored_positions!(BILLER, &batch.positions).for_update().load(c).await?)?;
        let rows = Rows::of(batch);
        for entries in rows.entries.chunks(ROWS) {
            let insert = diesel::insert_into(ledger_entry::table).values(entries.to_vec());
            insert.execute(c).await.map_err(or_conflict)?;
        }
        let mut balances = Vec::new();
        for deltas in rows.deltas.chunks(ROWS) {
            let upsert = diesel::insert_into(account::table)
                .values(deltas.to_vec())
                .on_conflict(account::id)
                .do_update()
                .set((
                    account::balance.eq(account::balance + excluded(account::balance)),
                    account::updated_ms.eq(excluded(account::updated_ms)),
                ))
                .returning((account::id, account::balance));
            balances.extend(upsert.get_results::<(i64, i64)>(c).await?);
        }
        for places in rows.places.chunks(ROWS) {
            diesel::insert_into(place::table)
                .values(places.to_vec())
                .on_conflict((place::consumer, place::node, place::boot, place::worker))
                .do_update()
                .set(place::up_to.eq(excluded(place::up_to)))
                .execute(c)
                .await?;
        }
        Stored::Ok(balances)
    });
    let done = pool::in_time(work).await;
    pool::forget_if_late(&mut *held, done)
}

async fn commit_usage_my(
    pool: &diesel_async::pooled_connection::bb8::Pool<diesel_async::AsyncMysqlConnection>,
    batch: &BooksBatch,
) -> Stored<Vec<(i64, i64)>> {
    use diesel::dsl::{DuplicatedKeys, sql};
    let mut held = pool.get().await?;
    let connection: &mut diesel_async::AsyncMysqlConnection = &mut held;
    let work = connection.transaction(async |c: &mut diesel_async::AsyncMysqlConnection| {
        in_step(&batch.positions, stored_positions!(BILLER, &batch.positions).for_update().load(c).await?)?;
        let rows = Rows::of(batch);
        for entries in rows.entries.chunks(ROWS) {
            let insert = diesel::insert_into(ledger_entry::table).values(entries.to_vec());
            insert.execute(c).await.map_err(or_conflict)?;
        }
        for deltas in rows.deltas.chunks(ROWS) {
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
        for places in rows.places.chunks(ROWS) {
            diesel::insert_into(place::table)
                .values(places.to_vec())
                .on_conflict(DuplicatedKeys)
                .do_update()
                .set(place::up_to.eq(sql("VALUES(up_to)")))
                .execute(c)
                .await?;
        }
        let mut balances = Vec::new();
        for ids in rows.accounts().chunks(ROWS) {
            let concerned = account::table.filter(account::id.eq_any(ids.to_vec()));
            balances.extend(concerned.select((account::id, account::balance)).load::<(i64, i64)>(c).await?);
        }
        Stored::Ok(balances)
    });
    let done = pool::in_time(work).await;
    pool::forget_if_late(&mut *held, done)
}
