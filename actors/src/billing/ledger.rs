//! The ledger in memory: what each account has left. Calls reserve and settle here; rows are the Biller's.
//!
//! A balance is one atomic that only ever receives deltas. Looking an account up takes no lock: the
//! registry is a set of snapshots that refer to live cells and never copy them.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use arc_swap::ArcSwap;
use crossbeam::utils::CachePadded;

use crate::domain::{AccountChain, AccountId, Money, Payer};

#[cfg(not(feature = "loom"))]
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// Whether an account may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Funds {
    /// It pays out of its balance; at nothing it refuses.
    Limited,
    /// It never refuses; its balance falls below zero and so keeps count.
    Unlimited,
}

/// An account's live cell.
#[derive(Debug)]
pub struct AccountCell {
    /// The account.
    pub id: AccountId,
    available: CachePadded<AtomicI64>,
    unlimited: AtomicBool,
    /// What the database would hold if nobody but this node had written: its last balance and our flushes
    /// since. The Biller alone writes it.
    expected: AtomicI64,
}

impl AccountCell {
    /// Makes the cell of an account with a balance.
    pub fn new(id: AccountId, balance: Money, funds: Funds) -> Arc<Self> {
        let available = CachePadded::new(AtomicI64::new(balance.nanos()));
        let unlimited = AtomicBool::new(funds == Funds::Unlimited);
        Arc::new(Self { id, available, unlimited, expected: AtomicI64::new(balance.nanos()) })
    }

    /// The balance without what is reserved.
    pub fn available(&self) -> Money {
        Money::from_nanos(self.available.load(Ordering::Relaxed))
    }

    /// Whether it may be empty.
    pub fn funds(&self) -> Funds {
        if self.unlimited.load(Ordering::Relaxed) { Funds::Unlimited } else { Funds::Limited }
    }

    /// Sets whether it may be empty. What is reserved stays reserved.
    pub fn set_funds(&self, funds: Funds) {
        self.unlimited.store(funds == Funds::Unlimited, Ordering::Relaxed);
    }

    /// Moves the balance: a top-up, a correction, or what another node has spent.
    pub fn apply(&self, delta: Money) {
        self.available.fetch_add(delta.nanos(), Ordering::Relaxed);
    }

    /// Notes that the database has taken a delta that was drawn here before.
    pub fn flushed(&self, delta: Money) {
        self.expected.fetch_add(delta.nanos(), Ordering::Relaxed);
    }

    /// Takes over what others have written: the database's balance now, less what it was expected to be.
    /// Must not run beside a flush whose end is not known. Gives that difference.
    pub fn observe(&self, balance: Money) -> Money {
        let foreign = balance - Money::from_nanos(self.expected.swap(balance.nanos(), Ordering::Relaxed));
        self.apply(foreign);
        foreign
    }

    /// Takes an amount if the balance covers it; else tells what it is.
    fn take(&self, amount: Money) -> Result<(), Money> {
        if amount == Money::ZERO || self.funds() == Funds::Unlimited {
            self.apply(-amount);
            return Ok(());
        }
        let mut seen = self.available.load(Ordering::Relaxed);
        while seen >= amount.nanos() {
            let left = seen - amount.nanos();
            match self.available.compare_exchange_weak(seen, left, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
        }
        Err(Money::from_nanos(seen))
    }
}

/// An account cannot cover a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// The first account of the chain that could not.
    pub account: AccountId,
    /// What it had.
    pub available: Money,
    /// What more it would have needed.
    pub missing: Money,
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, available, missing } = self;
        write!(f, "account {} has {available} USD and lacks {missing} USD", account.0)
    }
}

impl std::error::Error for Short {}

/// The cells of an [`AccountChain`], in its order and each once. Cheap to copy.
#[derive(Clone, Debug)]
pub struct Chain(Arc<[Arc<AccountCell>]>);

impl Chain {
    /// A chain of cells.
    pub fn new(cells: impl IntoIterator<Item = Arc<AccountCell>>) -> Self {
        let mut chain: Vec<Arc<AccountCell>> = Vec::new();
        for cell in cells {
            if !chain.iter().any(|c| c.id == cell.id) {
                chain.push(cell);
            }
        }
        Self(chain.into())
    }

    /// The accounts, as the books keep them.
    pub fn accounts(&self) -> AccountChain {
        AccountChain(self.0.iter().map(|c| c.id).collect())
    }

    /// The least that a limited account of the chain has left; [`Money::MAX`] where none is limited.
    pub fn available(&self) -> Money {
        let limited = self.0.iter().filter(|c| c.funds() == Funds::Limited);
        limited.map(|c| c.available()).min().unwrap_or(Money::MAX)
    }

    /// Who pays, as prices are asked.
    pub fn payer(&self) -> Payer {
        match self.0.iter().any(|cell| cell.funds() == Funds::Limited) {
            true => Payer::Quota,
            false => Payer::Unlimited,
        }
    }

    /// Holds an amount on every account. A negative amount holds nothing; nothing is always granted.
    ///
    /// # Errors
    /// [`Short`] names the first account that cannot cover it; then nothing is held on any.
    pub fn reserve(&self, amount: Money) -> Result<Reservation, Short> {
        let held = self.take(amount)?;
        Ok(Reservation { chain: self.clone(), held })
    }

    fn take(&self, amount: Money) -> Result<Money, Short> {
        let amount = amount.max(Money::ZERO);
        for (taken, cell) in self.0.iter().enumerate() {
            if let Err(available) = cell.take(amount) {
                self.0[..taken].iter().rev().for_each(|c| c.apply(amount));
                return Err(Short { account: cell.id, available, missing: amount - available });
            }
        }
        Ok(amount)
    }
}

/// Money held on each account of a chain. Dropping it gives the money back; settling draws from it, once.
#[derive(Debug)]
#[must_use = "dropping a reservation gives the money back"]
pub struct Reservation {
    chain: Chain,
    held: Money,
}

impl Reservation {
    /// What is held on each account.
    pub fn held(&self) -> Money {
        self.held
    }

    /// Holds more, on every account.
    ///
    /// # Errors
    /// [`Short`] as for [`Chain::reserve`]; what was held before stays held.
    pub fn extend(&mut self, more: Money) -> Result<(), Short> {
        self.held += self.chain.take(more)?;
        Ok(())
    }

    /// Draws the charge and gives back the rest. The charge may exceed what is held: what was consumed is
    /// owed, and the balance then goes below zero.
    pub fn settle(mut self, charge: Money) {
        self.give_back(self.held - charge);
        self.held = Money::ZERO;
    }

    fn give_back(&self, amount: Money) {
        if amount != Money::ZERO {
            self.chain.0.iter().rev().for_each(|cell| cell.apply(amount));
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.give_back(self.held);
    }
}

/// No cell stands for this account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownAccount(pub AccountId);

impl fmt::Display for UnknownAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account {} is not known on this node", self.0.0)
    }
}

impl std::error::Error for UnknownAccount {}

type Shard = HashMap<AccountId, Arc<AccountCell>>;

/// Every account's cell, by id, in shards: adding one copies a shard's references, not the registry's.
#[derive(Debug)]
pub struct Ledger {
    shards: Box<[ArcSwap<Shard>]>,
    hash: RandomState,
}

impl Ledger {
    const SHARDS: usize = 256;

    /// A ledger without accounts.
    pub fn new() -> Arc<Self> {
        let shards = (0..Self::SHARDS).map(|_| ArcSwap::default()).collect();
        Arc::new(Self { shards, hash: RandomState::new() })
    }

    /// The cell of an account.
    pub fn cell(&self, id: AccountId) -> Option<Arc<AccountCell>> {
        self.shard(id).load().get(&id).cloned()
    }

    /// The cells of a chain.
    ///
    /// # Errors
    /// [`UnknownAccount`] where one has no cell.
    pub fn chain(&self, accounts: &AccountChain) -> Result<Chain, UnknownAccount> {
        let cells = accounts.0.iter().map(|id| self.cell(*id).ok_or(UnknownAccount(*id)));
        Ok(Chain::new(cells.collect::<Result<Vec<_>, _>>()?))
    }

    /// The cell of an account: its own if it has one, which keeps its balance, or else a new one.
    pub fn open(&self, id: AccountId, balance: Money, funds: Funds) -> Arc<AccountCell> {
        let fresh = AccountCell::new(id, balance, funds);
        self.shard(id).rcu(|shard| {
            let mut next = Shard::clone(shard);
            next.entry(id).or_insert_with(|| Arc::clone(&fresh));
            next
        });
        let cell = self.cell(id).unwrap_or(fresh);
        cell.set_funds(funds);
        cell
    }

    /// Forgets an account. Reservations on it end in peace.
    pub fn close(&self, id: AccountId) {
        self.shard(id).rcu(|shard| {
            let mut next = Shard::clone(shard);
            next.remove(&id);
            next
        });
    }

    /// Every account's cell, in no order.
    pub fn cells(&self) -> impl Iterator<Item = Arc<AccountCell>> + '_ {
        self.shards.iter().flat_map(|shard| shard.load().values().cloned().collect::<Vec<_>>())
    }

    /// Accounts known.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.load().len()).sum()
    }

    /// Whether no account is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, id: AccountId) -> &ArcSwap<Shard> {
        &self.shards[self.hash.hash_one(id) as usize % Self::SHARDS]
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use super::*;

    #[test]
    fn two_workers_at_the_edge_of_a_chain_never_share_the_last_call_nor_lose_it() {
        loom::model(|| {
            let child = AccountCell::new(AccountId(1), Money::from_nanos(2), Funds::Limited);
            let parent = AccountCell::new(AccountId(2), Money::from_nanos(1), Funds::Limited);
            let chain = Chain::new([Arc::clone(&child), Arc::clone(&parent)]);
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (chain, parent) = (chain.clone(), Arc::clone(&parent));
                    loom::thread::spawn(move || {
                        let reserved = chain.reserve(Money::from_nanos(1));
                        assert!(!parent.available().is_negative());
                        match reserved {
                            Ok(reservation) => {
                                reservation.settle(Money::from_nanos(1));
                                1
                            }
                            Err(short) => {
                                assert_eq!(short.account, AccountId(2));
                                0
                            }
                        }
                    })
                })
                .collect();
            let granted: i64 = threads.into_iter().map(|t| t.join().expect("no panic")).sum();
            assert_eq!(granted, 1);
            assert_eq!((child.available().nanos(), parent.available().nanos()), (1, 0));
        });
    }

    #[test]
    fn a_release_races_with_a_reservation_without_losing_money() {
        loom::model(|| {
            let child = AccountCell::new(AccountId(1), Money::from_nanos(1), Funds::Limited);
            let parent = AccountCell::new(AccountId(2), Money::from_nanos(1), Funds::Limited);
            let chain = Chain::new([Arc::clone(&child), Arc::clone(&parent)]);
            let held = chain.reserve(Money::from_nanos(1)).expect("covered");
            let other = loom::thread::spawn(move || drop(held));
            let here = chain.reserve(Money::from_nanos(1));
            other.join().expect("no panic");
            let left = 1 - here.as_ref().map_or(0, |r| r.held().nanos());
            assert_eq!((child.available().nanos(), parent.available().nanos()), (left, left));
        });
    }
}
