//! What drills ask of the store beside what the gateway does.

use diesel::{ExpressionMethods as _, QueryDsl as _};
use diesel_async::{
    AsyncConnection as _, RunQueryDsl as _, SimpleAsyncConnection as _,
    pooled_connection::bb8::PooledConnection,
};
use penstock_actors::domain::{CallId, Money};

use super::{
    CallRow, Store, StoreError, Stored, accounts,
    books::ROWS,
    keys::{KeyRecord, NewKey, NewSecret, Origin, SPACE, bump, insert_key},
    now_ms,
    pool::{Db, Lite, query, transaction},
    schema::{account, api_key, ledger_entry, request_log, revision},
};
use crate::api_key::digest;

/// Keeps every other writer of the embedded database waiting until it is released or dropped.
pub struct Hold(PooledConnection<'static, Lite>);

impl Hold {
    /// Lets the others write again.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn release(mut self) -> Stored<()> {
        Ok(self.0.batch_execute("ROLLBACK").await?)
    }
}

impl Store {
    /// Takes the embedded database's write lock and keeps it, as another program could.
    ///
    /// # Errors
    /// [`StoreError`], also where the database is another.
    pub async fn hold(&self) -> Stored<Hold> {
        let Db::Lite { writer, .. } = &self.main else {
            return StoreError::refused("only the embedded database can be held by one writer");
        };
        let mut held = writer.get_owned().await?;
        held.batch_execute("BEGIN IMMEDIATE").await?;
        Ok(Hold(held))
    }

    /// Makes a key without limits for each of these secrets, many in a transaction.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn fill_keys(&self, secrets: impl IntoIterator<Item = String>) -> Stored<()> {
        const TOGETHER: usize = 1_000;
        let secrets: Vec<_> = secrets.into_iter().collect();
        for secrets in secrets.chunks(TOGETHER) {
            transaction!(&self.main, c => {
                bump!(c);
                for secret in secrets {
                    let kept = NewSecret { digest: digest(secret), prefix: String::new() };
                    let record = KeyRecord::new(&NewKey::named(secret), &kept, Origin::Made, None);
                    insert_key!(c, &record, None);
                }
                Stored::Ok(())
            })?;
        }
        Ok(())
    }

    /// Those of the calls that the request log has.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn get_calls(&self, ids: &[CallId]) -> Stored<Vec<CallRow>> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(ROWS) {
            let ids: Vec<Vec<u8>> = ids.iter().map(|id| id.0.to_be_bytes().to_vec()).collect();
            let rows = query!(&self.log, c => request_log::table
                .filter(request_log::call_id.eq_any(ids.clone()))
                .load::<CallRow>(c)
                .await)?;
            found.extend(rows);
        }
        Ok(found)
    }

    /// How many calls the request log has.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn count_calls(&self) -> Stored<u64> {
        let count = query!(&self.log, c => request_log::table.count().get_result::<i64>(c).await)?;
        Ok(count.unsigned_abs())
    }
}
