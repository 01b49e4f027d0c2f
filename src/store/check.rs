//! Whether the books balance: balances against entries, entries against the request log.

use std::collections::{BTreeMap, HashMap};

use diesel::{
    ExpressionMethods as _, QueryDsl as _, QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};
use diesel_async::RunQueryDsl as _;
use penstock_actors::domain::{AccountId, Money, StreamId};

use super::{
    BILLER, LOG_WRITER, Store,
    age::CLOSED,
    error::Stored,
    log::FORGOTTEN,
    pool::query,
    schema::{account, consumer_position as place},
};

/// An account whose balance is not the sum of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffBalance {
    /// The account.
    pub account: AccountId,
    /// What it holds.
    pub balance: Money,
    /// What its entries add up to.
    pub entries: Money,
}

/// A stream in which the ledger and the request log disagree about an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffLog {
    /// The account.
    pub account: AccountId,
    /// The stream.
    pub stream: StreamId,
    /// What the ledger drew.
    pub entries: Money,
    /// What the request log's calls cost.
    pub calls: Money,
}

/// What a check of the books found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BooksReport {
    /// Accounts that were checked.
    pub accounts: usize,
    /// Streams whose entries were compared with the request log.
    pub streams: usize,
    /// Balances that are not the sum of their entries.
    pub off_balance: Vec<OffBalance>,
    /// Sums in which ledger and request log differ.
    pub off_log: Vec<OffLog>,
}

impl BooksReport {
    /// Whether nothing differs.
    pub fn balances(&self) -> bool {
        self.off_balance.is_empty() && self.off_log.is_empty()
    }
}

#[derive(QueryableByName)]
struct AccountSum {
    #[diesel(sql_type = BigInt)]
    account: i64,
    #[diesel(sql_type = BigInt)]
    balance: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    entries: Option<i64>,
}

#[derive(QueryableByName)]
struct Sum {
    #[diesel(sql_type = BigInt)]
    account: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    sum: Option<i64>,
}

#[derive(QueryableByName)]
struct ChainSum {
    #[diesel(sql_type = Text)]
    accounts: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    sum: Option<i64>,
}

#[derive(QueryableByName)]
struct Bounds {
    #[diesel(sql_type = Nullable<BigInt>)]
    low: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    high: Option<i64>,
}

type Places = HashMap<(i64, i64, i64), i64>;

impl Store {
    /// Checks that every balance is the sum of its entries, and that for each stream the ledger drew what
    /// the calls of the request log cost, as far as both have come.
    ///
    /// # Errors
    /// [`StoreError`](super::StoreError)
    pub async fn check_books(&self) -> Stored<BooksReport> {
        let mut report = BooksReport { accounts: self.count_accounts().await?, ..BooksReport::default() };
        // One statement, so that balance and entries are of one moment. Sums are 64 bits: MySQL's would be decimals.
        let sums = |integer: &str| {
            format!(
                "SELECT a.id AS account, a.balance AS balance, \
                 CAST(COALESCE(SUM(e.amount), 0) AS {integer}) AS entries \
                 FROM account a LEFT JOIN ledger_entry e ON e.account_id = a.id \
                 GROUP BY a.id, a.balance HAVING COALESCE(SUM(e.amount), 0) <> a.balance"
            )
        };
        let integer = self.main.integer();
        let off = query!(&self.main, c => diesel::sql_query(sums(integer)).load::<AccountSum>(c).await)?;
        report.off_balance = off
            .into_iter()
            .map(|row| OffBalance {
                account: AccountId(row.account),
                balance: Money::from_nanos(row.balance),
                entries: Money::from_nanos(row.entries.unwrap_or(0)),
            })
            .collect();
        let (billed, logged) = (self.main_places(BILLER).await?, self.log_places(LOG_WRITER).await?);
        let (forgotten, closed) = (self.log_places(FORGOTTEN).await?, self.main_places(CLOSED).await?);
        for (stream, billed) in billed {
            let Some(logged) = logged.get(&stream) else { continue };
            let at = |places: &Places| places.get(&stream).copied().unwrap_or(0);
            let from = at(&forgotten).max(at(&closed));
            report.streams += 1;
            report.off_log.extend(self.compare(stream, from, billed.min(*logged)).await?);
        }
        Ok(report)
    }

    async fn count_accounts(&self) -> Stored<usize> {
        let count = query!(&self.main, c => account::table.count().get_result::<i64>(c).await)?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    async fn main_places(&self, consumer: &str) -> Stored<Places> {
        let rows = query!(&self.main, c => place::table
            .filter(place::consumer.eq(consumer))
            .select((place::node, place::boot, place::worker, place::up_to))
            .load::<(i64, i64, i64, i64)>(c)
            .await)?;
        Ok(rows.into_iter().map(|(n, b, w, at)| ((n, b, w), at)).collect())
    }

    async fn log_places(&self, consumer: &str) -> Stored<Places> {
        let rows = query!(&self.log, c => place::table
            .filter(place::consumer.eq(consumer))
            .select((place::node, place::boot, place::worker, place::up_to))
            .load::<(i64, i64, i64, i64)>(c)
            .await)?;
        Ok(rows.into_iter().map(|(n, b, w, at)| ((n, b, w), at)).collect())
    }

    /// Compares whole entries of one stream: those that begin where the log is still whole, and end where
    /// the log has come.
    async fn compare(&self, stream: (i64, i64, i64), from: i64, to: i64) -> Stored<Vec<OffLog>> {
        let (node, boot, worker) = stream;
        let of_stream = format!("node = {node} AND boot = {boot} AND worker = {worker}");
        // An entry across a border is left out on both sides.
        let bounds = format!(
            "SELECT MAX(CASE WHEN from_offset < {from} AND to_offset > {from} THEN to_offset END) AS low, \
             MIN(CASE WHEN from_offset < {to} AND to_offset > {to} THEN from_offset END) AS high \
             FROM ledger_entry WHERE {of_stream} AND kind = 'usage'"
        );
        let bounds = query!(&self.main, c => diesel::sql_query(&bounds).get_result::<Bounds>(c).await)?;
        let (low, high) = (bounds.low.unwrap_or(from), bounds.high.unwrap_or(to));
        let within =
            format!("{of_stream} AND kind = 'usage' AND from_offset >= {low} AND to_offset <= {high}");
        let drawn = format!(
            "SELECT account_id AS account, CAST(-SUM(amount) AS {}) AS sum FROM ledger_entry WHERE {within} \
             GROUP BY account_id",
            self.main.integer()
        );
        let drawn = query!(&self.main, c => diesel::sql_query(&drawn).load::<Sum>(c).await)?;
        let cost = format!(
            "SELECT accounts, CAST(SUM(charge) AS {}) AS sum FROM request_log \
             WHERE {of_stream} AND ends_at > {low} AND ends_at <= {high} GROUP BY accounts",
            self.log.integer()
        );
        let cost = query!(&self.log, c => diesel::sql_query(&cost).load::<ChainSum>(c).await)?;
        let mut sums: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for row in drawn {
            sums.entry(row.account).or_default().0 += row.sum.unwrap_or(0);
        }
        for row in cost {
            for account in row.accounts.split(',').filter_map(|a| a.parse().ok()) {
                sums.entry(account).or_default().1 += row.sum.unwrap_or(0);
            }
        }
        let stream = StreamId { node: node as u32, boot: boot as u32, worker: worker as u16 };
        let differing = sums.into_iter().filter(|(_, (entries, calls))| entries != calls);
        Ok(differing
            .map(|(account, (entries, calls))| OffLog {
                account: AccountId(account),
                stream,
                entries: Money::from_nanos(entries),
                calls: Money::from_nanos(calls),
            })
            .collect())
    }
}
