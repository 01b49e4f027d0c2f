//! The writer of the request log: a row for each call, into a database that may be another than the books'.

use std::sync::Arc;

use super::{Batch, Follower, Positions, Sink};
use crate::ports::{Pending, RequestLogStore, StoreError};

/// The actor that writes the request log.
pub type LogWriter = Follower<RequestLog>;

/// Its sink.
pub struct RequestLog(pub Arc<dyn RequestLogStore>);

impl Sink for RequestLog {
    type Done = ();

    fn positions(&self) -> Pending<Result<Positions, StoreError>> {
        self.0.positions()
    }

    fn commit(&mut self, batch: Batch) -> Pending<Result<(), StoreError>> {
        self.0.commit(batch)
    }
}
