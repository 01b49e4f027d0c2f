//! Looks calls up for the management API: in the request log, and in the journal where they are on their way.

use std::sync::{Arc, Weak};

use penstock_actors::{domain::CallId, usage_log::UsageLogView};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    api::{Answered, Away, Found, Pending, Question},
    journal::{Journal, Journalled, OpenCall, abandon},
    store::{CallRows, LateStore, Logged},
};

/// Questions that are looked up at a time; each takes a connection to the database.
const AT_ONCE: usize = 4;

/// The request log's place among the consumers.
const LOG_WRITER: usize = 1;

/// Where calls are to be found.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) store: Arc<LateStore>,
    pub(super) journal: Weak<Journal>,
    pub(super) usage_log: UsageLogView,
}

impl Calls {
    /// Answers questions for as long as the gateway runs.
    pub(super) fn answer(self, mut questions: mpsc::Receiver<Question>) {
        actix_web::rt::spawn(async move {
            let places = Arc::new(Semaphore::new(AT_ONCE));
            while let Some(Question { call, answer }) = questions.recv().await {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let calls = self.clone();
                actix_web::rt::spawn(async move {
                    // Whoever asked may have gone.
                    let _ = answer.send(calls.find(call).await);
                    drop(place);
                });
            }
        });
    }

    async fn find(&self, call: CallId) -> Answered {
        let away = |e: &dyn std::fmt::Display| Away(e.to_string());
        let store = self.store.get().map_err(|e| away(&e))?;
        // Before the rows: what is entered meanwhile is found in the journal still.
        let positions = self.usage_log.consumers()[LOG_WRITER].durable();
        let known = move |stream| positions.get(&stream).copied().unwrap_or_default();
        let found = match store.get_call(call).await.map_err(|e| away(&e))? {
            Some(rows) => Some((rows, None)),
            None => self.in_journal(call, known).await?,
        };
        let Some((rows, pending)) = found else { return Ok(None) };
        let version = penstock_actors::domain::PriceVersion(rows.call.price_version);
        let price = store.price(version).await.map_err(|e| away(&e))?;
        Ok(Some(Found { rows: Box::new(rows), pending, price }))
    }

    async fn in_journal(
        &self,
        call: CallId,
        known: impl Fn(penstock_actors::domain::StreamId) -> u64 + Send + 'static,
    ) -> Result<Option<(CallRows, Option<Pending>)>, Away> {
        // Ids of ours have a version; others were never written down.
        let Some(journal) = self.journal.upgrade().filter(|_| (call.0 >> 76) & 0xf == 7) else {
            return Ok(None);
        };
        let looked = tokio::task::spawn_blocking(move || journal.find(call, &known)).await;
        let found = looked.map_err(|e| Away(e.to_string()))?.map_err(|e| Away(e.to_string()))?;
        let (logged, pending) = match found {
            None => return Ok(None),
            Some(Journalled::Settled(settlement, stream, ends_at)) => {
                (Logged { stream, ends_at, settlement: *settlement }, Pending::Settled)
            }
            Some(Journalled::Open(open)) => (as_it_stands(&open), Pending::UnderWay),
        };
        Ok(Some((CallRows::from(&logged), Some(pending))))
    }
}

/// A call that goes on, as its row would be if it ended here.
fn as_it_stands(open: &OpenCall) -> Logged {
    let mut settlement = abandon(open, i64::MAX);
    settlement.code.clear();
    settlement.attempts.clear();
    Logged { stream: open.stream, ends_at: 0, settlement }
}
