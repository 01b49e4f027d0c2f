//! What nodes leave in the database beside the books: which process speaks for a node, and which prices
//! calls were priced by.

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _};
use diesel_async::{AsyncConnection as _, RunQueryDsl as _};
use penstock_actors::domain::PriceVersion;

use super::{
    Store,
    error::Stored,
    keys::bump,
    pool::{query, transaction},
    schema::{node_claim, price_version, revision},
};

/// A start that wants to speak for its node.
#[derive(Clone, Debug)]
pub struct Claimant {
    /// The node.
    pub node: u32,
    /// What no other start has.
    pub nonce: String,
    /// Which data directory on which machine it is. While one process has it, no other can open it there.
    pub place: String,
    /// The nonces of starts of this data directory that this one may follow.
    pub may_follow: Vec<String>,
}

impl Claimant {
    /// The holder as the database has it.
    fn holder(&self) -> String {
        format!("{}@{}", self.nonce, self.place)
    }
}

/// What came of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The node is the claimant's, with this epoch.
    Ours(i64),
    /// An earlier start of the same data directory, at another place, may still run: it was seen then.
    Alive(i64),
    /// The node was claimed by a start that the data directory knows nothing of: it is a copy.
    Elsewhere,
}

/// How the holder of a claim is known to have ended, where its place does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was last seen before this moment.
    SeenBefore(i64),
    /// It was seen at this moment, and not again for long.
    SeenLast(i64),
}

impl Store {
    /// Claims a node, or renews the claim.
    ///
    /// A holder that ended is followed with a new epoch: it was at the claimant's own place, which only one
    /// process can have, or `ended` says so. One that the claimant may not follow never is.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError)
    pub async fn claim_node(&self, claimant: &Claimant, now_ms: i64, ended: Ended) -> Stored<Claimed> {
        let (node, mine) = (i64::from(claimant.node), claimant.holder());
        let held = query!(&self.main, c => node_claim::table
            .find(node)
            .first::<(i64, i64, String, i64)>(c)
            .await
            .optional())?;
        if let Some((_, epoch, holder, _)) = held
            && holder == mine
        {
            let ours = node_claim::table.find(node).filter(node_claim::nonce.eq(&mine));
            let renewed = query!(&self.main, c => diesel::update(ours)
                .set(node_claim::seen_ms.eq(now_ms))
                .execute(c)
                .await)?;
            // Two renewals within a millisecond change nothing in MySQL's count.
            if renewed > 0 || self.holder(node).await?.as_deref() == Some(mine.as_str()) {
                return Ok(Claimed::Ours(epoch));
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
                        node_claim::nonce.eq(&mine),
                        node_claim::seen_ms.eq(now_ms),
                    ))
                    .execute(c)
                    .await?;
                return Stored::Ok(Claimed::Ours(1));
            };
            let (nonce, place) = holder.split_once('@').unwrap_or((&holder, ""));
            if holder != mine && !claimant.may_follow.iter().any(|known| known == nonce) {
                return Ok(Claimed::Elsewhere);
            }
            let is_here = !place.is_empty() && place == claimant.place;
            let has_ended = is_here || match ended {
                Ended::SeenBefore(moment) => seen_ms < moment,
                Ended::SeenLast(moment) => seen_ms == moment,
            };
            if !has_ended {
                return Ok(Claimed::Alive(seen_ms));
            }
            diesel::update(node_claim::table.find(node))
                .set((
                    node_claim::epoch.eq(epoch + 1),
                    node_claim::nonce.eq(&mine),
                    node_claim::seen_ms.eq(now_ms),
                ))
                .execute(c)
                .await?;
            Ok(Claimed::Ours(epoch + 1))
        })
    }

    /// Says that the holder of a claim ends: whoever may follow it need not wait.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError)
    pub async fn release_node(&self, claimant: &Claimant) -> Stored<()> {
        let ours =
            node_claim::table.find(i64::from(claimant.node)).filter(node_claim::nonce.eq(claimant.holder()));
        query!(&self.main, c => diesel::update(ours).set(node_claim::seen_ms.eq(0)).execute(c).await)?;
        Ok(())
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
    /// [`StoreError`](super::StoreError)
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
    /// [`StoreError`](super::StoreError)
    pub async fn price(&self, version: PriceVersion) -> Stored<Option<String>> {
        query!(&self.main, c => price_version::table
            .find(version.0)
            .select(price_version::content)
            .first::<String>(c)
            .await
            .optional())
    }
}
