//! How a database comes to the schema of this program, and how it does not.

use penstock::store::{Store, StoreError};

use crate::support::database::{Database, on_every_database};

on_every_database!(
    many_that_start_at_once_migrate_once,
    a_newer_schema_is_refused_in_words,
    what_was_interrupted_is_gone_on_with,
);

async fn many_that_start_at_once_migrate_once(database: Database) {
    // Threads of their own, as other processes would be: each has its own connections and locks.
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let dsn = database.dsn();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async { Store::open(&dsn, None).await.unwrap().revision().await })
            })
        })
        .collect();
    for start in starts {
        assert_eq!(start.join().unwrap().unwrap(), 1);
    }
    database.open().await;
}

async fn a_newer_schema_is_refused_in_words(database: Database) {
    drop(database.open().await);
    database
        .execute("INSERT INTO schema_version (version, name, applied_ms) VALUES (999, '0999_future', 0)")
        .await;
    let Err(error) = Store::open(&database.dsn(), None).await else { panic!("opened") };
    assert!(matches!(error, StoreError::NewerSchema { found: 999, .. }), "{error}");
    let said = error.to_string();
    assert!(
        said.contains("999") && said.contains("newer Penstock") && !said.contains("for-tests-only"),
        "{said}"
    );
}

async fn what_was_interrupted_is_gone_on_with(database: Database) {
    // As MySQL leaves it when the process dies between two statements: tables without the note.
    drop(database.open().await);
    database.execute("DELETE FROM schema_version").await;
    database.execute("DROP TABLE node_claim").await;
    let store = database.open().await;
    assert_eq!(store.revision().await.unwrap(), 1);
    database.execute("DELETE FROM node_claim").await;
}
