//! Batches on SQLite: one hop to the writer's thread, one immediate transaction, one prepared statement for
//! all rows of a kind. Many rows in one statement are slower here, for they are prepared anew each time.

use diesel::{ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection};

use super::{
    BILLER, LOG_WRITER,
    books::{Stretch, UsageBatch, stored_positions, unapplied},
    error::{StoreError, Stored},
    log::{self, Logged},
    pool::{Db, Statements},
    schema::{account, call_attempt, consumer_position as place, ledger_entry, request_log},
};

/// Does a batch in a transaction on the writer.
pub(super) async fn batch(
    db: &Db,
    work: impl FnOnce(&mut SqliteConnection) -> Stored<()> + Send + 'static,
) -> Stored<()> {
    let Db::Lite { writer, .. } = db else {
        return Err(StoreError::Failed("a batch of SQLite reached another backend".to_owned()));
    };
    let mut held = writer.get().await?;
    held.spawn_blocking(move |c| Ok(c.immediate_transaction(work))).await?
}

/// Enters usage.
pub(super) fn enter_usage(c: &mut SqliteConnection, batch: &UsageBatch, counted: &Statements) -> Stored<()> {
    let stored = stored_positions!(BILLER, &batch.stretches).load(c)?;
    let (entries, deltas, places) = batch.rows(&unapplied(&batch.stretches, stored)?);
    counted.one_batch(entries.len());
    counted.one_batch(deltas.len());
    counted.one_batch(places.len());
    for entry in entries {
        diesel::insert_into(ledger_entry::table).values(entry).execute(c)?;
    }
    for delta in deltas {
        let known = account::table.find(delta.id);
        let balance = account::balance.eq(account::balance + delta.balance);
        let updated = account::updated_ms.eq(delta.updated_ms);
        if diesel::update(known).set((balance, updated)).execute(c)? == 0 {
            diesel::insert_into(account::table).values(delta).execute(c)?;
        }
    }
    for at in places {
        diesel::replace_into(place::table).values(at).execute(c)?;
    }
    Ok(())
}

/// Writes rows of the request log.
pub(super) fn write_log(
    c: &mut SqliteConnection,
    batch: &[Logged],
    stretches: &[Stretch],
    counted: &Statements,
) -> Stored<()> {
    let stored = stored_positions!(LOG_WRITER, stretches).load(c)?;
    let (calls, attempts, places) = log::rows(batch, &unapplied(stretches, stored)?);
    counted.one_batch(calls.len());
    counted.one_batch(attempts.len());
    counted.one_batch(places.len());
    for call in calls {
        diesel::insert_or_ignore_into(request_log::table).values(call).execute(c)?;
    }
    for attempt in attempts {
        diesel::insert_or_ignore_into(call_attempt::table).values(attempt).execute(c)?;
    }
    for at in places {
        diesel::replace_into(place::table).values(at).execute(c)?;
    }
    Ok(())
}
