//! What nodes leave in the database beside the books: which process speaks for a node, and which prices
//! calls were priced by.

use std::collections::HashSet;

use diesel::{ExpressionMethods as _, Insertable, OptionalExtension as _, QueryDsl as _};
use diesel_async::{AsyncConnection as _, RunQueryDsl as _, SimpleAsyncConnection as _};
use penstock_actors::domain::PriceVersion;

use super::{
    Store,
    books::or_conflict,
    error::Stored,
    keys::bump,
    lite,
    pool::{Db, query, transaction},
    schema::{node_claim, price_version, revision},
};

/// Prices that are kept in one transaction.
const PRICES: usize = 100;

/// A price as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPrice {
    /// Names its contents for good.
    pub version: PriceVersion,
    /// The model.
    pub model: String,
    /// What it says, as JSON.
    pub content: String,
}

#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = price_version, treat_none_as_default_value = false)]
pub(super) struct PriceRow {
    version: i64,
    model: String,
    content: String,
    first_seen_ms: i64,
}

impl PriceRow {
    fn new(price: &KeptPrice, now_ms: i64) -> Self {
        let KeptPrice { version, model, content } = price.clone();
        Self { version: version.0, model, content, first_seen_ms: now_ms }
    }
}

/// One statement. Another node may have kept the same meanwhile; then it is tried again, and finds them.
macro_rules! insert_prices {
    ($pool:expr, $rows:expr) => {{
        let mut held = $pool.get().await?;
        let insert = diesel::insert_into(price_version::table).values($rows);
        let done =
            super::pool::in_time(async { insert.execute(&mut *held).await.map_err(or_conflict) }).await;
        super::pool::forget_if_late(&mut *held, done).map(drop)
    }};
}

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
    /// Who else can reach the database.
    pub reach: Reach,
}

/// Who can reach a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nobody but who has the data directory, in which it lies: whatever it says of others is past.
    Own,
    /// Other nodes too.
    Shared,
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
            let is_own = claimant.reach == Reach::Own;
            if !is_own && holder != mine && !claimant.may_follow.iter().any(|known| known == nonce) {
                return Ok(Claimed::Elsewhere);
            }
            let is_here = !place.is_empty() && place == claimant.place;
            let has_ended = is_own || is_here || match ended {
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

    /// Keeps the contents of prices, so that old calls can be explained; known versions are left as they are.
    /// Gives how many are new.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError)
    pub async fn keep_prices(&self, prices: &[KeptPrice], now_ms: i64) -> Stored<usize> {
        let known = query!(&self.main, c => price_version::table
            .select(price_version::version)
            .load::<i64>(c)
            .await)?;
        let known: HashSet<i64> = known.into_iter().collect();
        let mut new: Vec<&KeptPrice> = prices.iter().filter(|p| !known.contains(&p.version.0)).collect();
        new.sort_by_key(|price| price.version);
        new.dedup_by_key(|price| price.version);
        for prices in new.chunks(PRICES) {
            let rows: Vec<_> = prices.iter().map(|price| PriceRow::new(price, now_ms)).collect();
            match &self.main {
                Db::Lite { .. } => {
                    let counted = self.statements.clone();
                    lite::batch(&self.main, move |c| lite::keep_prices(c, rows, &counted)).await
                }
                Db::Pg(pool) => insert_prices!(pool, rows),
                Db::My(pool) => insert_prices!(pool, rows),
            }?;
        }
        Ok(new.len())
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
