//! A database that is locked, mute, or gone: the store says so in time, and finds it again by itself.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use diesel::{Connection as _, connection::SimpleConnection as _};
use penstock::store::{NewKey, NewSecret, Store, StoreError, dsn::Dsn};

use crate::support::{
    SOON,
    database::Database,
    relayed::{Mode, Relayed},
};

/// An answer or an excuse, within this.
const BOUND: Duration = Duration::from_secs(25);

fn secret(byte: u8) -> NewSecret {
    NewSecret { digest: [byte; 32], prefix: String::new() }
}

async fn excuse<T>(asked: impl Future<Output = Result<T, StoreError>>) -> StoreError {
    let answer = tokio::time::timeout(BOUND, asked).await.expect("in time");
    let Err(error) = answer else { panic!("it answered") };
    assert!(error.is_transient(), "{error}");
    error
}

async fn answers_again(store: &Store) {
    let deadline = Instant::now() + 2 * SOON;
    while let Err(error) = store.revision().await {
        assert!(error.is_transient(), "{error}");
        assert!(Instant::now() < deadline, "it is not found again: {error}");
    }
}

#[tokio::test]
async fn a_locked_sqlite_file_is_waited_for_and_then_called_busy() {
    let database = Database::sqlite().await;
    let store = database.open().await;
    let path = database.url.strip_prefix("sqlite:").unwrap().to_owned();
    let mut holder = diesel::SqliteConnection::establish(&path).unwrap();
    holder.batch_execute("BEGIN IMMEDIATE").unwrap();
    assert!(store.revision().await.is_ok(), "readers go on");
    let error = excuse(store.create_key(&NewKey::named("k"), &secret(1))).await;
    assert!(matches!(error, StoreError::Busy(_)), "{error}");
    holder.batch_execute("ROLLBACK").unwrap();
    store.create_key(&NewKey::named("k"), &secret(1)).await.unwrap();
}

async fn a_mute_server_is_not_waited_for(database: Database) {
    let relayed = Relayed::to(&database.url);
    let dsn = Dsn::parse(&relayed.url, &PathBuf::new()).unwrap();
    let store = Store::open(&dsn, None).await.unwrap();
    store.create_key(&NewKey::named("before"), &secret(1)).await.unwrap();
    for mode in [Mode::Mute, Mode::Cut] {
        relayed.set(mode);
        excuse(store.revision()).await;
        excuse(store.create_key(&NewKey::named("during"), &secret(2))).await;
        let opened = tokio::time::timeout(BOUND, Store::open(&dsn, None)).await.expect("in time");
        assert!(opened.is_err_and(|e| e.is_transient()));
        relayed.set(Mode::Pass);
        answers_again(&store).await;
    }
    store.create_key(&NewKey::named("after"), &secret(3)).await.unwrap();
}

#[tokio::test]
async fn a_mute_postgres_is_not_waited_for() {
    a_mute_server_is_not_waited_for(Database::postgres().await).await;
}

#[tokio::test]
async fn a_mute_mysql_is_not_waited_for() {
    a_mute_server_is_not_waited_for(Database::mysql().await).await;
}

/// A server of this test's own, which it may kill.
struct Server {
    dir: tempfile::TempDir,
    kind: &'static str,
}

impl Server {
    fn script(&self, args: &[&str]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers.sh");
        let done = Command::new(script).args(args).arg(self.dir.path().join("server")).status().unwrap();
        assert!(done.success(), "{args:?}");
    }

    fn start(&self) -> String {
        self.script(&["start", self.kind]);
        let url = std::fs::read_to_string(self.dir.path().join("server/url")).unwrap();
        url.trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.script(&["stop"]);
    }
}

async fn what_was_committed_survives_a_killed_server(kind: &'static str) {
    let dir = tempfile::tempdir().unwrap();
    // The server runs as somebody else where this runs as root.
    let open: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let server = Server { dir, kind };
    let url = server.start();
    let database = match kind {
        "postgres" => Database::postgres_at(&url).await,
        _ => Database::mysql_at(&url).await,
    };
    let store = database.open().await;
    store.create_key(&NewKey::named("before"), &secret(1)).await.unwrap();
    server.script(&["stop"]);
    excuse(store.revision()).await;
    excuse(store.top_up("before", penstock_actors::domain::Money::DOLLAR, "")).await;
    server.start();
    answers_again(&store).await;
    assert_eq!(store.published().await.unwrap().keys.len(), 1);
    store.create_key(&NewKey::named("after"), &secret(2)).await.unwrap();
}

#[tokio::test]
async fn what_was_committed_survives_a_killed_postgres() {
    what_was_committed_survives_a_killed_server("postgres").await;
}

#[tokio::test]
async fn what_was_committed_survives_a_killed_mysql() {
    what_was_committed_survives_a_killed_server("mysql").await;
}

#[tokio::test]
async fn a_locked_sqlite_file_is_opened_where_nothing_has_to_be_written() {
    let database = Database::sqlite().await;
    database.open().await.create_key(&NewKey::named("k"), &secret(1)).await.unwrap();
    let path = database.url.strip_prefix("sqlite:").unwrap().to_owned();
    let mut holder = diesel::SqliteConnection::establish(&path).unwrap();
    holder.batch_execute("BEGIN IMMEDIATE").unwrap();
    let opened =
        tokio::time::timeout(SOON, Store::open(&database.dsn(), None)).await.expect("in time").unwrap();
    assert_eq!(opened.published().await.unwrap().keys.len(), 1);
}
