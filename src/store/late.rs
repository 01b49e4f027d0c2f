//! The store as the running gateway has it: it may be away at the start, and is there once it could be opened.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
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
    lag: OnceLock<LogLag>,
    dropped_rows: Arc<AtomicU64>,
}

/// How far the request log may be behind before rows are left out.
pub struct LogLag {
    /// So many bytes of journal.
    pub most: u64,
    /// How far it is behind now.
    pub now: Box<dyn Fn() -> u64 + Send + Sync>,
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

    /// Has rows of the request log left out while it is further behind than this.
    pub fn shed(&self, lag: LogLag) {
        if self.lag.set(lag).is_err() {
            tracing::error!("the lag of the request log was bounded twice");
        }
    }

    /// Rows of the request log that were left out.
    pub fn dropped_rows(&self) -> u64 {
        self.dropped_rows.load(Ordering::Relaxed)
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
        let is_far_behind = self.lag.get().is_some_and(|lag| (lag.now)() > lag.most);
        if is_far_behind && !batch.settlements.is_empty() {
            let (rows, dropped) = (batch.settlements.len() as u64, Arc::clone(&self.dropped_rows));
            let passed_over = async move |store: Arc<Store>| {
                store.pass_over(batch).await?;
                if dropped.fetch_add(rows, Ordering::Relaxed) == 0 {
                    tracing::error!(
                        "the request log is further behind than journal.log_lag: rows are left out"
                    );
                }
                Ok(())
            };
            return ask!(self, store => passed_over(store));
        }
        ask!(self, store => RequestLogStore::commit(&*store, batch))
    }
}
