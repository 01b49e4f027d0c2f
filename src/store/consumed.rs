//! What was consumed in a time, added up by key, model and channel: what limits know of before a start.

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Text},
};
use diesel_async::RunQueryDsl as _;
use penstock_actors::domain::Usage;

use super::{Store, error::Stored, pool::query};

/// Keys that are named in one statement.
const AT_A_TIME: usize = 500;

/// What one key consumed of one model on one channel.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Consumed {
    /// The key's number.
    #[diesel(sql_type = BigInt)]
    pub key_id: i64,
    /// The model as it was asked for.
    #[diesel(sql_type = Text)]
    pub model: String,
    /// The channel that answered or was tried last.
    #[diesel(sql_type = Text)]
    pub channel: String,
    /// Calls that were sent.
    #[diesel(sql_type = BigInt)]
    pub calls: i64,
    /// Their tokens.
    #[diesel(sql_type = BigInt)]
    pub tokens: i64,
    /// Nano-dollars paid for them.
    #[diesel(sql_type = BigInt)]
    pub charge: i64,
}

impl Store {
    /// Adds up the calls that arrived in a time, from its first millisecond to before its last, and were sent:
    /// those of these keys, or of all.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError)
    pub async fn consumed(&self, from_ms: i64, to_ms: i64, by: Option<&[i64]>) -> Stored<Vec<Consumed>> {
        let Some(by) = by else { return self.consumed_where(from_ms, to_ms, "").await };
        let mut consumed = Vec::new();
        for keys in by.chunks(AT_A_TIME) {
            let keys: Vec<_> = keys.iter().map(i64::to_string).collect();
            let of_these = format!("AND key_id IN ({})", keys.join(", "));
            consumed.extend(self.consumed_where(from_ms, to_ms, &of_these).await?);
        }
        Ok(consumed)
    }

    async fn consumed_where(&self, from_ms: i64, to_ms: i64, and: &str) -> Stored<Vec<Consumed>> {
        let integer = self.log.integer();
        let tokens = Usage::NAMES.map(|bucket| format!("COALESCE({bucket}, 0)")).join(" + ");
        // Sums are cast to 64 bits: PostgreSQL's and MySQL's would be decimals.
        let sums = format!(
            "SELECT key_id, model, channel, CAST(COUNT(*) AS {integer}) AS calls, \
             CAST(SUM({tokens}) AS {integer}) AS tokens, CAST(SUM(charge) AS {integer}) AS charge FROM request_log \
             LEFT JOIN call_media ON call_media.call_id = request_log.call_id \
             WHERE arrived_ms >= {from_ms} AND arrived_ms < {to_ms} AND channel <> '' {and} \
             GROUP BY key_id, model, channel"
        );
        query!(&self.log, c => diesel::sql_query(&sums).load::<Consumed>(c).await)
    }
}
