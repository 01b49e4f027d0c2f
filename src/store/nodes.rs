//! What nodes leave in the database beside the books: which process speaks for a node, and which prices
//! calls were priced by.

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _};
use diesel_async::{AsyncConnection as _, RunQueryDsl as _, SimpleAsyncConnection as _};
use penstock_actors::domain::PriceVersion;

use super::{
    Store,
    error::{StoreError, Stored},
    keys::bump,
    pool::{query, transaction},
    schema::{node_claim, price_version, revision},
};

impl Store {
    /// Claims a node for the process that made `nonce`, or renews its claim; gives the claim's epoch. A
    /// claim that was not renewed since `stale_before_ms` is taken over with a new epoch.
    ///
    /// # Errors
    /// Refused, where another process speaks for the node.
    pub async fn claim_node(&self, node: u32, nonce: &str, now_ms: i64, stale_before_ms: i64) -> Stored<i64> {
        let node = i64::from(node);
        let held = query!(&self.main, c => node_claim::table
            .find(node)
            .first::<(i64, i64, String, i64)>(c)
            .await
            .optional())?;
        if let Some((_, epoch, holder, _)) = held
            && holder == nonce
        {
            let mine = node_claim::table.find(node).filter(node_claim::nonce.eq(nonce));
            let renewed = query!(&self.main, c => diesel::update(mine)
                .set(node_claim::seen_ms.eq(now_ms))
                .execute(c)
                .await)?;
            // Two renewals within a millisecond change nothing in MySQL's count.
            if renewed > 0 || self.holder(node).await?.as_deref() == Some(nonce) {
                return Ok(epoch);
            }
        }
        transaction!(&self.main, c => {
            bump!(c);
            let held = node_claim::table
                .find(node)
                .first::<(i64, i64, String, i64)>(c)
                .await
                .optional()?;
            let Some((_, epoch, holder, seen_ms)) = held else {
                diesel::insert_into(node_claim::table)
                    .values((
                        node_claim::node.eq(node),
                        node_claim::epoch.eq(1),
                        node_claim::nonce.eq(nonce),
                        node_claim::seen_ms.eq(now_ms),
                    ))
                    .execute(c)
                    .await?;
                return Stored::Ok(1);
            };
            if holder != nonce && seen_ms >= stale_before_ms {
                return StoreError::refused(format!(
                    "another process runs as node {node}, seen {} s ago: a data directory must not be copied \
                     to a second node; give this one a data directory of its own",
                    now_ms.saturating_sub(seen_ms).max(0) / 1_000
                ));
            }
            diesel::update(node_claim::table.find(node))
                .set((
                    node_claim::epoch.eq(epoch + 1),
                    node_claim::nonce.eq(nonce),
                    node_claim::seen_ms.eq(now_ms),
                ))
                .execute(c)
                .await?;
            Ok(epoch + 1)
        })
    }

    async fn holder(&self, node: i64) -> Stored<Option<String>> {
        query!(&self.main, c => node_claim::table
            .find(node)
            .select(node_claim::nonce)
            .first::<String>(c)
            .await
            .optional())
    }

    /// Keeps the content of a price, so that old calls can be explained; known versions are left as they are.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn keep_price(
        &self,
        version: PriceVersion,
        model: &str,
        content: &str,
        now_ms: i64,
    ) -> Stored<()> {
        transaction!(&self.main, c => {
            let known = price_version::table.find(version.0).count().get_result::<i64>(c).await?;
            if known == 0 {
                diesel::insert_into(price_version::table)
                    .values((
                        price_version::version.eq(version.0),
                        price_version::model.eq(model),
                        price_version::content.eq(content),
                        price_version::first_seen_ms.eq(now_ms),
                    ))
                    .execute(c)
                    .await
                    .map_err(super::books::or_conflict)?;
            }
            Stored::Ok(())
        })
    }

    /// The content of a price; `None` where the version is unknown.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn price(&self, version: PriceVersion) -> Stored<Option<String>> {
        query!(&self.main, c => price_version::table
            .find(version.0)
            .select(price_version::content)
            .first::<String>(c)
            .await
            .optional())
    }
}
