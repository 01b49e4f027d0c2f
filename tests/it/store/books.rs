//! Usage is entered once, whatever happens between the store and who commits.

use penstock::store::{
    BILLER, Claimant, Claimed, Duty, Ended, KeptPrice, LOG_WRITER, NewKey, NewSecret, Reach, Store,
    StoreError,
};
use penstock_actors::{
    domain::{AccountId, Money, PriceVersion},
    ports::{BooksBatch, BooksStore, Spend},
    usage_log::Range,
};

use crate::support::{
    database::{Database, on_every_database},
    settled::{logged, part, stream},
};

on_every_database!(
    a_batch_is_entered_once_however_often_it_is_committed,
    a_batch_that_does_not_follow_is_refused,
    batches_that_cross_are_all_entered,
    a_batch_takes_a_handful_of_statements,
    the_check_finds_what_does_not_balance,
    a_node_speaks_with_one_voice,
    a_price_is_kept_as_it_was_first_seen,
    one_node_at_a_time_has_a_duty,
    what_age_takes_of_the_ledger_stays_in_its_sums,
    rows_that_are_passed_over_are_not_missed_by_the_check,
);

/// What accounts spent in the parts of workers' streams.
fn batch(parts: &[Range], spent: &[(i64, u16, i64)]) -> BooksBatch {
    let spends = spent.iter().map(|(account, worker, nanos)| Spend {
        account: AccountId(*account),
        part: *parts.iter().find(|p| p.stream == stream(*worker)).unwrap(),
        calls: 1,
        amount: Money::from_nanos(*nanos),
    });
    BooksBatch { spends: spends.collect(), positions: parts.to_vec(), lost: Vec::new() }
}

async fn balance(store: &Store, account: i64) -> i64 {
    let accounts = store.published().await.unwrap().accounts;
    accounts.iter().find(|a| a.id == account).map_or(0, |a| a.balance)
}

/// Commits in a thread of its own, as another process would; whether it was the one.
fn commit_beside(database: &Database, batch: &BooksBatch) -> std::thread::JoinHandle<bool> {
    let (dsn, batch) = (database.dsn(), batch.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let done = Store::open(&dsn, None).await.unwrap().commit_usage(&batch).await;
            assert!(matches!(done, Ok(_) | Err(StoreError::OutOfStep { .. })), "{done:?}");
            done.is_ok()
        })
    })
}

async fn a_batch_is_entered_once_however_often_it_is_committed(database: Database) {
    let store = database.open().await;
    let both = batch(&[part(0, 0, 100), part(1, 0, 50)], &[(1, 0, 30), (1, 1, 12), (77, 1, 12)]);
    let beside: Vec<_> = (0..4).map(|_| commit_beside(&database, &both)).collect();
    let done = beside.into_iter().map(|t| t.join().unwrap()).filter(|done| *done).count();
    assert_eq!(done, 1);
    assert!(matches!(store.commit_usage(&both).await, Err(StoreError::OutOfStep { .. })));
    assert_eq!((balance(&store, 1).await, balance(&store, 77).await), (-42, -12), "77 was not known before");
    let positions = store.positions_of(BILLER).await.unwrap();
    assert_eq!((positions[&stream(0)], positions[&stream(1)]), (100, 50));
    let next = batch(&[part(1, 50, 60)], &[(1, 1, 8), (5, 1, 0)]);
    let balances = BooksStore::commit(&store, next).await.unwrap();
    assert_eq!(balances, [(AccountId(1), Money::from_nanos(-50))]);
    assert_eq!(BooksStore::balances(&store, vec![AccountId(77), AccountId(5)]).await.unwrap().len(), 1);
    assert!(store.check_books().await.unwrap().off_balance.is_empty());
}

async fn a_batch_that_does_not_follow_is_refused(database: Database) {
    let store = database.open().await;
    store.commit_usage(&batch(&[part(0, 0, 100)], &[(1, 0, 30)])).await.unwrap();
    for (from, to) in [(50, 150), (120, 150), (0, 100)] {
        let refused = store.commit_usage(&batch(&[part(0, from, to)], &[(1, 0, 9)])).await;
        assert!(
            matches!(refused, Err(StoreError::OutOfStep { stored: 100, .. })),
            "{from} to {to}: {refused:?}"
        );
    }
    assert!(store.commit_usage(&batch(&[part(9, 5, 8)], &[])).await.is_err(), "a new stream begins at 0");
    assert_eq!(balance(&store, 1).await, -30);
    store.commit_usage(&BooksBatch::default()).await.unwrap();
    // What is lost is entered as a gap, beside what the space spent in the same part.
    let mut lost = batch(&[part(0, 100, 200)], &[(1, 0, 9)]);
    lost.lost.push(part(0, 100, 150));
    store.commit_usage(&lost).await.unwrap();
    assert!(store.check_books().await.unwrap().off_balance.is_empty());
}

async fn batches_that_cross_are_all_entered(database: Database) {
    let store = database.open().await;
    const ROUNDS: u64 = 20;
    let workers: Vec<_> = (0..4_u16)
        .map(|worker| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    // Each names the accounts in another order.
                    let mut spent: Vec<_> = (0..5).map(|a| (100 + a, worker, 1)).collect();
                    spent.rotate_left(usize::from(worker));
                    let part = part(worker, round, round + 1);
                    let batch = batch(&[part], &spent);
                    while let Err(error) = store.commit_usage(&batch).await {
                        assert!(error.is_transient(), "{error}");
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    for account in 100..105 {
        assert_eq!(balance(&store, account).await, -4 * ROUNDS as i64);
    }
    assert!(store.check_books().await.unwrap().off_balance.is_empty());
}

async fn a_batch_takes_a_handful_of_statements(database: Database) {
    let store = database.open().await;
    let spent: Vec<_> = (0..100).map(|a| (100 + a, 0, 5)).collect();
    let calls: Vec<_> = (1..=200).map(|i| logged(i, i as u64, &[1], 5)).collect();
    // The first of each prepares what later ones find prepared.
    store.commit_usage(&batch(&[part(0, 0, 1)], &spent)).await.unwrap();
    store.write_log(&calls[..1], &[part(0, 0, 1)]).await.unwrap();
    let before = store.statements();
    store.commit_usage(&batch(&[part(0, 1, 200)], &spent)).await.unwrap();
    store.write_log(&calls, &[part(0, 1, 200)]).await.unwrap();
    let taken = store.statements() - before;
    assert!((2..=16).contains(&taken), "{taken} statements for 200 calls");
}

async fn the_check_finds_what_does_not_balance(database: Database) {
    let store = database.open().await;
    let secret = NewSecret { digest: [1; 32], prefix: String::new() };
    let new = NewKey { quota: Some(Money::DOLLAR), ..NewKey::named("k") };
    let key = store.create_key(&new, &secret).await.unwrap();
    let chain = [key.account, 1];
    let calls = [logged(1, 10, &chain, 40), logged(2, 20, &chain, 2), logged(3, 30, &chain, 5)];
    let spent = |nanos| [(key.account, 0, nanos), (1, 0, nanos)];
    store.commit_usage(&batch(&[part(0, 0, 20)], &spent(42))).await.unwrap();
    // The log is behind, then level, then ahead: whole entries are compared.
    store.write_log(&calls[..1], &[part(0, 0, 10)]).await.unwrap();
    assert!(store.check_books().await.unwrap().balances());
    store.write_log(&calls[1..], &[part(0, 10, 30)]).await.unwrap();
    let report = store.check_books().await.unwrap();
    assert!(report.balances() && report.streams == 1 && report.accounts == 2, "{report:?}");
    store.commit_usage(&batch(&[part(0, 20, 30)], &spent(5))).await.unwrap();
    assert!(store.check_books().await.unwrap().balances());
    assert_eq!(store.positions_of(LOG_WRITER).await.unwrap()[&stream(0)], 30);
    // What age has taken from the log is not missed.
    assert_eq!(store.forget_calls(1_015, 100).await.unwrap(), 1);
    assert!(store.check_books().await.unwrap().balances());
    database.execute("UPDATE account SET balance = balance + 1 WHERE id = 1").await;
    database.execute("UPDATE request_log SET charge = charge + 3 WHERE ends_at = 30").await;
    let report = store.check_books().await.unwrap();
    let [off] = report.off_balance[..] else { panic!("{report:?}") };
    assert_eq!((off.account, off.balance.nanos() - off.entries.nanos()), (AccountId(1), 1));
    assert_eq!(report.off_log.len(), 2, "{report:?}");
    assert!(report.off_log.iter().all(|o| (o.entries.nanos(), o.calls.nanos()) == (5, 8)), "{report:?}");
}

async fn a_node_speaks_with_one_voice(database: Database) {
    let store = database.open().await;
    let start = |nonce: &str, place: &str, may_follow: &[&str]| Claimant {
        node: 4,
        nonce: nonce.to_owned(),
        place: place.to_owned(),
        may_follow: may_follow.iter().map(|n| (*n).to_owned()).collect(),
        reach: Reach::Shared,
    };
    let first = start("first", "here", &[]);
    let claim =
        async |claimant: &Claimant, now_ms, ended| store.claim_node(claimant, now_ms, ended).await.unwrap();
    let running = Ended::SeenBefore(0);
    for now_ms in [1_000, 2_000, 2_000] {
        assert_eq!(claim(&first, now_ms, running).await, Claimed::Ours(1), "within a millisecond too");
    }
    // At the same place only one can be; elsewhere the holder must have ended.
    let again = start("again", "here", &["first"]);
    assert_eq!(claim(&again, 3_000, running).await, Claimed::Ours(2));
    let copy = start("copy", "there", &["first", "again"]);
    for ended in [running, Ended::SeenBefore(3_000), Ended::SeenLast(2_000)] {
        assert_eq!(claim(&copy, 5_000, ended).await, Claimed::Alive(3_000), "{ended:?}");
    }
    assert_eq!(claim(&copy, 5_000, Ended::SeenLast(3_000)).await, Claimed::Ours(3));
    // Who cannot have known the holder never follows it, however long it is gone.
    let older = start("older", "there", &["first", "again"]);
    for claimant in [&again, &older] {
        assert_eq!(claim(claimant, i64::MAX, Ended::SeenBefore(i64::MAX)).await, Claimed::Elsewhere);
    }
    store.release_node(&again).await.unwrap();
    let next = start("next", "", &["copy"]);
    assert_eq!(
        claim(&next, 6_000, Ended::SeenBefore(1)).await,
        Claimed::Alive(5_000),
        "no holder, no release"
    );
    store.release_node(&copy).await.unwrap();
    assert_eq!(claim(&next, 6_000, Ended::SeenBefore(1)).await, Claimed::Ours(4));
    let nowhere = start("nowhere", "", &["next"]);
    assert_eq!(claim(&nowhere, 6_000, running).await, Claimed::Alive(6_000), "unknown places are not one");
    // In a database of its own, whatever is said of others is past.
    let alone = Claimant { reach: Reach::Own, ..start("alone", "there", &[]) };
    assert_eq!(claim(&alone, 6_000, running).await, Claimed::Ours(5));
}

async fn a_price_is_kept_as_it_was_first_seen(database: Database) {
    let store = database.open().await;
    let version = PriceVersion(-9_007_199_254_740_993);
    assert_eq!(store.price(version).await.unwrap(), None);
    let price =
        |version, content: &str| KeptPrice { version, model: "m".to_owned(), content: content.to_owned() };
    let first = [price(version, "{\"input\":1}"), price(version, "twice"), price(PriceVersion(1), "x")];
    assert_eq!(store.keep_prices(&first, 5).await.unwrap(), 2);
    assert_eq!(store.keep_prices(&[price(version, "other")], 6).await.unwrap(), 0);
    assert_eq!(store.price(version).await.unwrap().as_deref(), Some("{\"input\":1}"));
    let many: Vec<_> = (10..360).map(|v| price(PriceVersion(v), "x")).collect();
    assert_eq!(store.keep_prices(&many, 7).await.unwrap(), 350);
}

async fn one_node_at_a_time_has_a_duty(database: Database) {
    let store = database.open().await;
    let duty = |holder| Duty { name: "age", holder };
    assert!(store.take_duty(duty("a"), 1_000, 2_000).await.unwrap());
    assert!(store.take_duty(duty("a"), 1_500, 2_000).await.unwrap(), "it keeps it");
    assert!(!store.take_duty(duty("b"), 1_999, 3_000).await.unwrap());
    assert!(store.take_duty(duty("b"), 2_002, 3_000).await.unwrap(), "it was not renewed");
    assert!(!store.take_duty(duty("a"), 2_500, 4_000).await.unwrap());
    assert!(store.close_entries(duty("a"), i64::MAX, 10).await.is_err(), "without the duty");
    let takers: Vec<_> = (0..8)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(async move {
                let holder = i.to_string();
                store.take_duty(Duty { name: "other", holder: &holder }, 10, 1_000).await.unwrap()
            })
        })
        .collect();
    let mut taken = 0;
    for taker in takers {
        taken += usize::from(taker.await.unwrap());
    }
    assert_eq!(taken, 1);
}

async fn what_age_takes_of_the_ledger_stays_in_its_sums(database: Database) {
    let store = database.open().await;
    let duty = Duty { name: "age", holder: "me" };
    assert!(store.take_duty(duty, 1, 2).await.unwrap());
    for i in 0..5_u64 {
        let part = part(0, i * 10, i * 10 + 10);
        store.commit_usage(&batch(&[part], &[(1, 0, 7), (77, 0, 7)])).await.unwrap();
        let mut call = logged(u128::from(i) + 1, i * 10 + 10, &[1], 7);
        call.settlement.accounts.0.push(AccountId(77));
        store.write_log(&[call], &[part]).await.unwrap();
    }
    assert!(store.check_books().await.unwrap().balances());
    assert_eq!(store.close_entries(duty, 0, 100).await.unwrap(), 0, "nothing is that old");
    // Three of the entries: the second stretch is cut between its accounts.
    assert_eq!(store.close_entries(duty, i64::MAX, 3).await.unwrap(), 3);
    assert_eq!((balance(&store, 1).await, balance(&store, 77).await), (-35, -35));
    let report = store.check_books().await.unwrap();
    assert!(report.balances() && report.streams == 1, "{report:?}");
    while store.close_entries(duty, i64::MAX, 3).await.unwrap() > 0 {}
    assert!(store.check_books().await.unwrap().balances());
    store.commit_usage(&batch(&[part(0, 50, 60)], &[(1, 0, 2)])).await.unwrap();
    assert_eq!(store.close_entries(duty, i64::MAX, 100).await.unwrap(), 1);
    database.execute("UPDATE account SET balance = balance + 1 WHERE id = 77").await;
    let report = store.check_books().await.unwrap();
    assert_eq!(report.off_balance.len(), 1, "{report:?}");
    let entries = report.off_balance[0].entries;
    assert_eq!(entries, Money::from_nanos(-35), "the closing entry holds all of it");
}

async fn rows_that_are_passed_over_are_not_missed_by_the_check(database: Database) {
    let store = database.open().await;
    store.commit_usage(&batch(&[part(0, 0, 30)], &[(1, 0, 9)])).await.unwrap();
    store.skip_log(&[part(0, 0, 20)]).await.unwrap();
    assert!(matches!(store.skip_log(&[part(0, 0, 20)]).await, Err(StoreError::OutOfStep { stored: 20, .. })));
    store.write_log(&[logged(3, 30, &[1], 3)], &[part(0, 20, 30)]).await.unwrap();
    assert!(store.check_books().await.unwrap().balances());
    assert_eq!(store.positions_of(LOG_WRITER).await.unwrap()[&stream(0)], 30);
}
