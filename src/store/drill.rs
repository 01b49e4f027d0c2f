//! What drills ask of the store beside what the gateway does.

use diesel::{ExpressionMethods as _, QueryDsl as _};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _, pooled_connection::bb8::PooledConnection};
use penstock_actors::domain::CallId;

use super::{
    CallRow, Store, StoreError, Stored,
    books::ROWS,
    pool::{Db, Lite, query},
    schema::request_log,
};

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
