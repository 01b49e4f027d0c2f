//! What age takes from the database, in small batches, now and then. Of several nodes, one does it.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::now_ms,
    config::Retention,
    store::{Duty, LateStore, Store, StoreError},
};

/// The duty's name.
const DUTY: &str = "retention";
/// Rows removed in one transaction: its locks are short.
const BATCH: i64 = 500;
/// Between two batches others have the database.
const PAUSE: Duration = Duration::from_millis(50);
/// A duty that was not kept for so long, beyond what it is looked at, is another's to take.
const GRACE: Duration = Duration::from_secs(60);

/// Takes what is too old for as long as the gateway runs.
pub(super) fn keep(store: &Arc<LateStore>, settings: Retention, holder: String) {
    if settings.requests.is_none() && settings.ledger.is_none() {
        return;
    }
    let store = Arc::downgrade(store);
    actix_web::rt::spawn(async move {
        loop {
            tokio::time::sleep(settings.every).await;
            let Some(store) = store.upgrade().map(|late| late.get()) else { return };
            // Away: the next time.
            let Ok(store) = store else { continue };
            match take(&store, settings, &holder).await {
                Ok((0, 0)) => {}
                Ok((calls, entries)) => {
                    tracing::info!(calls, entries, "age has taken rows from the database")
                }
                Err(error) => tracing::warn!(%error, "what is too old was not removed; it is tried again"),
            }
        }
    });
}

/// Removes everything that is too old, if the duty is ours; gives how many calls and entries.
async fn take(store: &Store, settings: Retention, holder: &str) -> Result<(usize, usize), StoreError> {
    let duty = Duty { name: DUTY, holder };
    let lease = (settings.every + GRACE).as_millis() as i64;
    let (mut calls, mut entries) = (0, 0);
    let before = |age: Duration| now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    if let Some(age) = settings.requests {
        while store.take_duty(duty, now_ms(), now_ms() + lease).await? {
            let gone = store.forget_calls(before(age), BATCH).await?;
            calls += gone;
            if gone < BATCH as usize {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    if let Some(age) = settings.ledger {
        while store.take_duty(duty, now_ms(), now_ms() + lease).await? {
            let gone = store.close_entries(duty, before(age), BATCH).await?;
            entries += gone;
            if gone < BATCH as usize {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok((calls, entries))
}
