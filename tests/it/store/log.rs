//! The request log: written once, found by id, forgotten by age.

use penstock::store::{CallRows, LOG_WRITER, MediaRow, Store, StoreError};
use penstock_actors::domain::CallId;

use crate::support::{
    database::{Database, on_every_database},
    settled::{logged, part, stream},
};

on_every_database!(
    a_call_is_found_with_its_attempts,
    a_batch_is_written_once,
    old_calls_are_forgotten_in_small_steps,
    the_log_may_be_a_database_of_its_own,
);

async fn a_call_is_found_with_its_attempts(database: Database) {
    let store = database.open().await;
    let id = uuid::Uuid::now_v7();
    store.write_log(&[logged(id.as_u128(), 10, &[5, 1], 40)], &[part(0, 0, 10)]).await.unwrap();
    let CallRows { call, media, attempts } = store.get_call(CallId(id.as_u128())).await.unwrap().unwrap();
    assert_eq!(media, MediaRow::default(), "text alone has no row");
    assert_eq!((call.charge, call.cost, call.reserved), (40, 20, 80));
    assert_eq!(
        (call.model.as_str(), call.accounts.as_str(), call.outcome.as_str()),
        ("mü", "5,1", "completed")
    );
    assert_eq!((call.input, call.output, call.price_version), (1, 2, 3));
    assert_eq!(call.client_request_id.len(), 250, "cut, not refused");
    let shown: Vec<_> = attempts.iter().map(|a| (a.attempt, &*a.channel, &*a.fault)).collect();
    assert_eq!(shown, [(1, "a", "upstream"), (2, "b", "")]);
    let json = serde_json::to_value(&call).unwrap();
    assert_eq!(json["call_id"], id.to_string());
    assert_eq!(store.get_call(CallId(1)).await.unwrap(), None);
}

async fn a_batch_is_written_once(database: Database) {
    let store = database.open().await;
    let calls: Vec<_> = (1..=1_200).map(|i| logged(i, i as u64, &[1], 5)).collect();
    let all = [part(0, 0, 1_200)];
    store.write_log(&calls, &all).await.unwrap();
    assert!(matches!(store.write_log(&calls, &all).await, Err(StoreError::OutOfStep { stored: 1_200, .. })));
    // After a restart, batches have other borders.
    assert!(store.write_log(&calls[600..], &[part(0, 600, 1_201)]).await.is_err());
    assert_eq!(store.positions_of(LOG_WRITER).await.unwrap()[&stream(0)], 1_200);
    assert_eq!(store.forget_calls(i64::MAX, 10_000).await.unwrap(), 1_200);
}

async fn old_calls_are_forgotten_in_small_steps(database: Database) {
    let store = database.open().await;
    let mut calls: Vec<_> = (1..=10).map(|i| logged(i, i as u64, &[1], 5)).collect();
    calls.iter_mut().for_each(|call| call.settlement.usage.audio_in = 7);
    store.write_log(&calls, &[part(0, 0, 10)]).await.unwrap();
    let mut steps = Vec::new();
    loop {
        match store.forget_calls(1_008, 3).await.unwrap() {
            0 => break,
            gone => steps.push(gone),
        }
    }
    assert_eq!(steps, [3, 3, 1]);
    assert_eq!(store.get_call(CallId(7)).await.unwrap(), None);
    let kept = store.get_call(CallId(8)).await.unwrap().unwrap();
    assert_eq!((kept.attempts.len(), kept.media.audio_in), (2, 7));
}

async fn the_log_may_be_a_database_of_its_own(database: Database) {
    let other = Database::sqlite().await;
    let store = Store::open(&database.dsn(), Some(&other.dsn())).await.unwrap();
    store.write_log(&[logged(1, 10, &[1], 40)], &[part(0, 0, 10)]).await.unwrap();
    assert!(database.open().await.get_call(CallId(1)).await.unwrap().is_none());
    assert!(other.open().await.get_call(CallId(1)).await.unwrap().is_some());
}
