//! Batches on SQLite: one hop to the writer's thread, one immediate transaction, one prepared statement for
//! all rows of a kind. Many rows in one statement are slower here, for they are prepared anew each time.

use diesel::{ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection};
use penstock_actors::{ports::BooksBatch, usage_log::Range};

use super::{
    BILLER, LOG_WRITER,
    books::{ROWS, Rows, in_step, stored_positions},
    error::{StoreError, Stored},
    log::{self, Logged},
    nodes::PriceRow,
    pool::{Db, Statements},
    schema::{
        account, call_attempt, call_media, consumer_position as place, ledger_entry, price_version,
        request_log,
    },
};

/// Does a batch in a transaction on the writer.
pub(super) async fn batch<T: Send + 'static>(
    db: &Db,
    work: impl FnOnce(&mut SqliteConnection) -> Stored<T> + Send + 'static,
) -> Stored<T> {
    let Db::Lite { writer, .. } = db else {
        return Err(StoreError::Failed("a batch of SQLite reached another backend".to_owned()));
    };
    let mut held = writer.get().await?;
    held.spawn_blocking(move |c| Ok(c.immediate_transaction(work))).await?
}

/// Enters usage, and gives the balances that it leaves.
pub(super) fn enter_usage(
    c: &mut SqliteConnection,
    batch: &BooksBatch,
    counted: &Statements,
) -> Stored<Vec<(i64, i64)>> {
    in_step(&batch.positions, stored_positions!(BILLER, &batch.positions).load(c)?)?;
    let rows = Rows::of(batch);
    let concerned = rows.accounts();
    let written = [rows.entries.len(), rows.deltas.len(), rows.places.len()];
    for entry in rows.entries {
        diesel::insert_into(ledger_entry::table).values(entry).execute(c)?;
    }
    for delta in rows.deltas {
        let known = account::table.find(delta.id);
        let balance = account::balance.eq(account::balance + delta.balance);
        let updated = account::updated_ms.eq(delta.updated_ms);
        if diesel::update(known).set((balance, updated)).execute(c)? == 0 {
            diesel::insert_into(account::table).values(delta).execute(c)?;
        }
    }
    for at in rows.places {
        diesel::replace_into(place::table).values(at).execute(c)?;
    }
    written.into_iter().for_each(|rows| counted.one_batch(rows));
    let mut balances = Vec::new();
    for ids in concerned.chunks(ROWS) {
        let concerned = account::table.filter(account::id.eq_any(ids.to_vec()));
        balances.extend(concerned.select((account::id, account::balance)).load::<(i64, i64)>(c)?);
    }
    Ok(balances)
}

/// Writes rows of the request log.
pub(super) fn write_log(
    c: &mut SqliteConnection,
    batch: &[Logged],
    parts: &[Range],
    counted: &Statements,
) -> Stored<()> {
    in_step(parts, stored_positions!(LOG_WRITER, parts).load(c)?)?;
    let log::Written { calls, media, attempts, places } = log::Written::of(batch, parts);
    let written = [calls.len(), media.len(), attempts.len(), places.len()];
    for call in calls {
        diesel::insert_or_ignore_into(request_log::table).values(call).execute(c)?;
    }
    for media in media {
        diesel::insert_or_ignore_into(call_media::table).values(media).execute(c)?;
    }
    for attempt in attempts {
        diesel::insert_or_ignore_into(call_attempt::table).values(attempt).execute(c)?;
    }
    for at in places {
        diesel::replace_into(place::table).values(at).execute(c)?;
    }
    written.into_iter().for_each(|rows| counted.one_batch(rows));
    Ok(())
}

/// Keeps prices that are new.
pub(super) fn keep_prices(
    c: &mut SqliteConnection,
    prices: Vec<PriceRow>,
    counted: &Statements,
) -> Stored<()> {
    let written = prices.len();
    for price in prices {
        diesel::insert_or_ignore_into(price_version::table).values(price).execute(c)?;
    }
    counted.one_batch(written);
    Ok(())
}
