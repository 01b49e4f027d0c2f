//! The store as the actors of the books see it.

use penstock_actors::{
    domain::AccountId,
    ports::{BalanceRows, BooksBatch, BooksStore, Pending, RequestLogStore, StoreError as PortError},
    usage_log::{Batch, Positions},
};

use super::{BILLER, LOG_WRITER, Logged, Store, StoreError};

impl From<StoreError> for PortError {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

impl BooksStore for Store {
    fn positions(&self) -> Pending<Result<Positions, PortError>> {
        let store = self.clone();
        Box::pin(async move { Ok(store.positions_of(BILLER).await?) })
    }

    fn commit(&self, batch: BooksBatch) -> Pending<Result<BalanceRows, PortError>> {
        let store = self.clone();
        Box::pin(async move { Ok(store.commit_usage(&batch).await?) })
    }

    fn balances(&self, accounts: Vec<AccountId>) -> Pending<Result<BalanceRows, PortError>> {
        let store = self.clone();
        Box::pin(async move { Ok(store.balances_of(&accounts).await?) })
    }
}

impl RequestLogStore for Store {
    fn positions(&self) -> Pending<Result<Positions, PortError>> {
        let store = self.clone();
        Box::pin(async move { Ok(store.positions_of(LOG_WRITER).await?) })
    }

    fn commit(&self, batch: Batch) -> Pending<Result<(), PortError>> {
        let store = self.clone();
        Box::pin(async move {
            let logged = batch.settlements.into_iter().map(Logged::from).collect::<Vec<_>>();
            Ok(store.write_log(&logged, &batch.ranges).await?)
        })
    }
}
