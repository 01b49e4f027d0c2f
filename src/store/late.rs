//! The store as the running gateway has it: it may be away at the start, and is there once it could be opened.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwapOption;
use penstock_actors::{
    domain::AccountId,
    ports::{BalanceRows, BooksBatch, BooksStore, Pending, RequestLogStore, StoreError},
    usage_log::{Batch, Positions},
};

use super::Store;

/// The store, once it could be opened. The books are written there only while the node is ours.
#[derive(Default)]
pub struct LateStore {
    store: ArcSwapOption<Store>,
    is_claimed: AtomicBool,
}

/// Whether this process speaks for its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// It does.
    Ours,
    /// It does not know yet, or another does.
    NotOurs,
}

impl LateStore {
    /// The store is open.
    pub fn set(&self, store: Store) {
        self.store.store(Some(Arc::new(store)));
    }

    /// The store.
    ///
    /// # Errors
    /// Where it could not be opened yet.
    pub fn get(&self) -> Result<Arc<Store>, StoreError> {
        let store = self.store.load_full();
        store.ok_or_else(|| StoreError("the database could not be reached yet".to_owned()))
    }

    /// Says whether the books may be written.
    pub fn speak(&self, voice: Voice) {
        self.is_claimed.store(voice == Voice::Ours, Ordering::Release);
    }

    /// The store, for who writes the books.
    fn ours(&self) -> Result<Arc<Store>, StoreError> {
        let store = self.get()?;
        match self.is_claimed.load(Ordering::Acquire) {
            true => Ok(store),
            false => Err(StoreError("this process does not speak for its node yet".to_owned())),
        }
    }
}

/// Has the store do something; where it is away, that is the answer.
macro_rules! ask {
    ($late:expr, $store:ident => $asked:expr) => {
        match $late.ours() {
            Ok($store) => Box::pin(async move { $asked.await }),
            Err(away) => Box::pin(std::future::ready(Err(away))),
        }
    };
}

impl BooksStore for LateStore {
    fn positions(&self) -> Pending<Result<Positions, StoreError>> {
        ask!(self, store => BooksStore::positions(&*store))
    }

    fn commit(&self, batch: BooksBatch) -> Pending<Result<BalanceRows, StoreError>> {
        ask!(self, store => BooksStore::commit(&*store, batch))
    }

    fn balances(&self, accounts: Vec<AccountId>) -> Pending<Result<BalanceRows, StoreError>> {
        ask!(self, store => store.balances(accounts))
    }
}

impl RequestLogStore for LateStore {
    fn positions(&self) -> Pending<Result<Positions, StoreError>> {
        ask!(self, store => RequestLogStore::positions(&*store))
    }

    fn commit(&self, batch: Batch) -> Pending<Result<(), StoreError>> {
        ask!(self, store => RequestLogStore::commit(&*store, batch))
    }
}
