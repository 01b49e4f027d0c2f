//! The Biller: what was settled, summed up and brought into the database; what others wrote there, brought back.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use actix::{Handler, Message};

use super::Ledger;
use crate::{
    domain::{AccountId, Money, StreamId},
    ports::{BalanceRows, BooksBatch, BooksStore, OwnStreams, Pending, Spend, StoreError},
    shell::guarded,
    usage_log::{Batch, Follower, Positions, Range, Sink},
};

/// The actor that brings settlements into the books.
pub type Biller = Follower<Books>;

/// The Biller's sink.
pub struct Books {
    store: Arc<dyn BooksStore>,
    ledger: Arc<Ledger>,
    own: OwnStreams,
    /// Streams of older starts that the ledger holds up to here, though the database may not: until it does,
    /// a balance there tells nothing of what others wrote.
    ahead: Positions,
    /// Commits that have not answered. Which of them took place is told by the positions.
    in_doubt: VecDeque<Flush>,
    /// Accounts that others may have written.
    wanted: BTreeSet<AccountId>,
    /// Those of them that the store has been asked for.
    asked: Vec<AccountId>,
}

/// What a commit takes from the balances in the database that was drawn in memory before.
#[derive(Clone, Debug)]
struct Flush {
    ranges: Vec<Range>,
    drawn: Vec<(AccountId, Money)>,
}

impl Books {
    /// Older commits in doubt are forgotten: they were answered by the positions long since.
    const MOST_IN_DOUBT: usize = 16;
    /// Accounts asked for at a time.
    const ASKED: usize = 500;

    /// Brings settlements from the usage log into `store`, and what others wrote there into `ledger`, which
    /// holds the streams of older starts up to `ahead` already.
    pub fn new(store: Arc<dyn BooksStore>, ledger: Arc<Ledger>, own: OwnStreams, ahead: Positions) -> Self {
        let (in_doubt, wanted, asked) = (VecDeque::new(), BTreeSet::new(), Vec::new());
        Self { store, ledger, own, ahead, in_doubt, wanted, asked }
    }

    /// The database has come up to here.
    fn reached(&mut self, stream: StreamId, to: u64) {
        if self.ahead.get(&stream).is_some_and(|ahead| *ahead <= to) {
            self.ahead.remove(&stream);
        }
    }

    fn flushed(&self, flush: &Flush) {
        for (account, drawn) in &flush.drawn {
            if let Some(cell) = self.ledger.cell(*account) {
                cell.flushed(-*drawn);
            }
        }
    }

    fn observe(&mut self, balances: BalanceRows) {
        if !self.ahead.is_empty() {
            self.wanted.extend(balances.into_iter().map(|(account, _)| account));
            return;
        }
        for (account, balance) in balances {
            if let Some(cell) = self.ledger.cell(account) {
                let foreign = cell.observe(balance);
                if foreign != Money::ZERO {
                    tracing::debug!(account = account.0, %foreign, "balance moved from outside");
                }
            }
        }
    }
}

impl Sink for Books {
    type Done = BalanceRows;

    fn positions(&self) -> Pending<Result<Positions, StoreError>> {
        self.store.positions()
    }

    fn located(&mut self, durable: &Positions) {
        // A commit moves all its positions or none, and only from where they were: the one that took place
        // is the one that ends where they stand.
        let ends = |f: &Flush| f.ranges.iter().all(|r| durable.get(&r.stream) == Some(&r.to));
        if let Some(took_place) = self.in_doubt.iter().position(ends) {
            let flush = self.in_doubt[took_place].clone();
            self.flushed(&flush);
            self.in_doubt.clear();
        }
        for (stream, to) in durable {
            self.reached(*stream, *to);
        }
    }

    fn commit(&mut self, batch: Batch) -> Pending<Result<Self::Done, StoreError>> {
        let spends = spends(&batch);
        let mut drawn: BTreeMap<AccountId, Money> = BTreeMap::new();
        for spend in spends.iter().filter(|s| self.own.has(s.part.stream)) {
            *drawn.entry(spend.account).or_default() += spend.amount;
        }
        if self.in_doubt.len() == Self::MOST_IN_DOUBT {
            self.in_doubt.pop_front();
        }
        let flush = Flush { ranges: batch.ranges.clone(), drawn: drawn.into_iter().collect() };
        self.in_doubt.push_back(flush);
        self.store.commit(BooksBatch { spends, positions: batch.ranges, lost: batch.lost })
    }

    fn committed(&mut self, balances: Self::Done) {
        if let Some(flush) = self.in_doubt.pop_back() {
            self.flushed(&flush);
            flush.ranges.iter().for_each(|part| self.reached(part.stream, part.to));
        }
        self.in_doubt.clear();
        self.observe(balances);
    }

    fn chore(&mut self) -> Option<Pending<Result<Self::Done, StoreError>>> {
        if !self.ahead.is_empty() {
            return None;
        }
        let asked: Vec<_> = self.wanted.iter().take(Self::ASKED).copied().collect();
        // If the store fails they are asked for again: a failed chore leads back to the positions, and here.
        self.asked.clone_from(&asked);
        (!asked.is_empty()).then(|| self.store.balances(asked))
    }

    fn chore_done(&mut self, balances: Self::Done) {
        // Those that are no longer there have nothing to tell.
        for account in std::mem::take(&mut self.asked) {
            self.wanted.remove(&account);
        }
        self.observe(balances);
    }
}

/// What each account pays, by stream.
fn spends(batch: &Batch) -> Vec<Spend> {
    let mut sums: BTreeMap<(AccountId, StreamId), (u32, Money)> = BTreeMap::new();
    for (part, settlement) in &batch.settlements {
        let accounts: BTreeSet<_> = settlement.accounts.0.iter().collect();
        for account in accounts {
            let (calls, amount) = sums.entry((*account, part.stream)).or_default();
            *calls += 1;
            *amount += settlement.charge;
        }
    }
    let part = |stream| batch.ranges.iter().find(|r| r.stream == stream).copied();
    let paid = sums.into_iter().filter(|(_, (_, amount))| *amount != Money::ZERO);
    paid.filter_map(|((account, stream), (calls, amount))| {
        Some(Spend { account, part: part(stream)?, calls, amount })
    })
    .collect()
}

/// Accounts have been written by someone else: their balances are to be taken over.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Refresh(pub Vec<AccountId>);

impl Handler<Refresh> for Biller {
    type Result = ();

    fn handle(&mut self, Refresh(accounts): Refresh, ctx: &mut Self::Context) {
        guarded(self, ctx, "biller", |me, _| me.sink().wanted.extend(accounts));
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
