//! Connections to one database, and the macros that write a query once for every backend.
//!
//! Nothing outside the store sees which backend there is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bb8::ErrorSink;
use diesel::{
    ConnectionError, ConnectionResult, SqliteConnection,
    connection::{Instrumentation, InstrumentationEvent},
};
use diesel_async::{
    AsyncConnection, AsyncMysqlConnection, AsyncPgConnection, SimpleAsyncConnection as _,
    TransactionManager as _,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, PoolError, RecyclingMethod, bb8::Pool},
    sync_connection_wrapper::SyncConnectionWrapper,
};

use super::{
    dsn::{Dsn, MysqlAddress, MysqlDsn, PostgresDsn, Tls},
    error::{StoreError, Stored},
    tls,
};

/// A connection to SQLite, whose work is done on a thread for blocking work.
pub(super) type Lite = SyncConnectionWrapper<SqliteConnection>;

/// How long an operation waits for a connection.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a query or a transaction may take.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Connections to a server.
const MOST_CONNECTIONS: u32 = 8;
/// SQLite has one writer; so many may read beside it.
const LITE_READERS: u32 = 3;
/// How often a transaction is tried when others are in the way.
const MOST_TRIES: u32 = 8;
/// After this long it is not tried again.
const BUSY_WITHIN: Duration = Duration::from_secs(5);

/// A database and the connections to it.
#[derive(Clone)]
pub(super) enum Db {
    Lite { writer: Pool<Lite>, readers: Pool<Lite> },
    Pg(Pool<AsyncPgConnection>),
    My(Pool<AsyncMysqlConnection>),
}

/// Counts the statements that reach a database; the rows of one batch count as one.
#[derive(Clone, Debug, Default)]
pub(super) struct Statements(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: AtomicU64,
    of_http_workers: AtomicU64,
}

/// How the threads of HTTP workers are called.
const HTTP_WORKER: &str = "actix-server worker";

impl Statements {
    pub(super) fn count(&self) -> u64 {
        self.0.all.load(Ordering::Relaxed)
    }

    /// Those that an HTTP worker's thread sent by itself; SQLite's are sent by threads of their own.
    pub(super) fn of_http_workers(&self) -> u64 {
        self.0.of_http_workers.load(Ordering::Relaxed)
    }

    /// Takes rows back that one prepared statement wrote as one batch.
    pub(super) fn one_batch(&self, rows: usize) {
        self.0.all.fetch_sub((rows as u64).saturating_sub(1), Ordering::Relaxed);
    }
}

impl Instrumentation for Statements {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if matches!(event, InstrumentationEvent::StartQuery { .. }) {
            self.0.all.fetch_add(1, Ordering::Relaxed);
            let of_worker = std::thread::current().name().is_some_and(|name| name.starts_with(HTTP_WORKER));
            self.0.of_http_workers.fetch_add(of_worker.into(), Ordering::Relaxed);
        }
    }
}

/// A query, written once: `$c` is a connection of whatever backend there is.
macro_rules! query {
    ($db:expr, $c:ident => $body:expr) => {
        match $db {
            $crate::store::pool::Db::Lite { readers, .. } => {
                let mut held = readers.get().await?;
                let $c: &mut $crate::store::pool::Lite = &mut held;
                $body.map_err($crate::store::StoreError::from)
            }
            $crate::store::pool::Db::Pg(pool) => {
                let mut held = pool.get().await?;
                let answer = {
                    let $c: &mut diesel_async::AsyncPgConnection = &mut held;
                    $crate::store::pool::in_time(async { $body }).await
                };
                $crate::store::pool::forget_if_late(&mut *held, answer)
            }
            $crate::store::pool::Db::My(pool) => {
                let mut held = pool.get().await?;
                let answer = {
                    let $c: &mut diesel_async::AsyncMysqlConnection = &mut held;
                    $crate::store::pool::in_time(async { $body }).await
                };
                $crate::store::pool::forget_if_late(&mut *held, answer)
            }
        }
    };
}

/// A transaction, written once and tried again where others were in the way. The body may run more than
/// once; it must end in `Stored<T>`.
macro_rules! transaction {
    ($db:expr, $c:ident => $body:block) => {{
        let mut tries = $crate::store::pool::Tries::default();
        loop {
            let outcome: $crate::store::Stored<_> = async {
                match $db {
                    $crate::store::pool::Db::Lite { writer, .. } => {
                        let mut held = writer.get().await?;
                        // What someone has asked for survives a power cut; the journal vouches for the batches.
                        held.batch_execute("PRAGMA synchronous = FULL").await?;
                        let done =
                            held.immediate_transaction(async |$c: &mut $crate::store::pool::Lite| $body).await;
                        held.batch_execute("PRAGMA synchronous = NORMAL").await?;
                        done
                    }
                    $crate::store::pool::Db::Pg(pool) => {
                        let mut held = pool.get().await?;
                        let connection: &mut diesel_async::AsyncPgConnection = &mut held;
                        let work =
                            connection.transaction(async |$c: &mut diesel_async::AsyncPgConnection| $body);
                        let answer = $crate::store::pool::in_time(work).await;
                        $crate::store::pool::forget_if_late(&mut *held, answer)
                    }
                    $crate::store::pool::Db::My(pool) => {
                        let mut held = pool.get().await?;
                        let connection: &mut diesel_async::AsyncMysqlConnection = &mut held;
                        let work =
                            connection.transaction(async |$c: &mut diesel_async::AsyncMysqlConnection| $body);
                        let answer = $crate::store::pool::in_time(work).await;
                        $crate::store::pool::forget_if_late(&mut *held, answer)
                    }
                }
            }
            .await;
            match outcome {
                Err(error) if tries.worth_another(&error) => tries.step_aside().await,
                outcome => break outcome,
            }
        }
    }};
}

pub(super) use {query, transaction};

/// Waits for an answer as long as is sensible.
pub(super) async fn in_time<T, E: Into<StoreError>>(work: impl Future<Output = Result<T, E>>) -> Stored<T> {
    match tokio::time::timeout(ANSWER_WITHIN, work).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(StoreError::TimedOut),
    }
}

/// A connection whose answer was not waited for would give it to the next who asks: it is dropped.
pub(super) fn forget_if_late<C: AsyncConnection, T>(connection: &mut C, answer: Stored<T>) -> Stored<T> {
    if matches!(answer, Err(StoreError::TimedOut)) {
        forget(connection);
    }
    answer
}

/// Has the pool drop a connection once it is given back.
pub(super) fn forget<C: AsyncConnection>(connection: &mut C) {
    C::TransactionManager::transaction_manager_status_mut(connection).set_in_error();
}

/// How often, and since when, others were in the way.
pub(super) struct Tries {
    count: u32,
    since: Instant,
}

impl Default for Tries {
    fn default() -> Self {
        Self { count: 0, since: Instant::now() }
    }
}

impl Tries {
    /// Whether what failed so is tried again. A lock that is held for seconds was waited for already.
    pub(super) fn worth_another(&self, error: &StoreError) -> bool {
        error.is_conflict() && self.count + 1 < MOST_TRIES && self.since.elapsed() < BUSY_WITHIN
    }

    /// Steps aside for a while, each time for longer, and never two for the same while.
    pub(super) async fn step_aside(&mut self) {
        self.count += 1;
        let most = 10_u64 << self.count.min(6);
        tokio::time::sleep(Duration::from_millis(rand::random_range(most / 2..=most))).await;
    }
}

/// A failed background attempt to connect is told to who waits; here it is only for the curious.
#[derive(Clone, Debug)]
struct Told;

impl ErrorSink<PoolError> for Told {
    fn sink(&self, error: PoolError) {
        tracing::debug!(%error, "a connection to the database failed");
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<PoolError>> {
        Box::new(self.clone())
    }
}

impl Db {
    /// The type that a sum is cast to, which would be a decimal otherwise.
    pub(super) fn integer(&self) -> &'static str {
        match self {
            Self::Lite { .. } => "INTEGER",
            Self::Pg(_) => "BIGINT",
            Self::My(_) => "SIGNED",
        }
    }

    /// Connects once, so that the reason is known where that fails, and makes the pool.
    pub(super) async fn connect(dsn: &Dsn, statements: &Statements) -> Stored<Self> {
        match dsn {
            Dsn::Sqlite(path) => {
                if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                    std::fs::create_dir_all(folder)
                        .map_err(|error| StoreError::File { path: folder.into(), error })?;
                }
                let path = path.to_str().ok_or_else(|| {
                    StoreError::Refused(format!(
                        "the path {} is no text that SQLite can open",
                        path.display()
                    ))
                })?;
                let first = probed(lite(path.to_owned(), statements.clone())).await?;
                drop(first);
                let pool = |size| {
                    let statements = statements.clone();
                    // There is no line that could be cut: it need not be tried each time.
                    let kept = RecyclingMethod::Fast;
                    pool(path, size, kept, move |path| Box::pin(lite(path.to_owned(), statements.clone())))
                };
                Ok(Self::Lite { writer: pool(1), readers: pool(LITE_READERS) })
            }
            Dsn::Postgres(dsn) => {
                drop(probed(postgres(dsn.clone(), statements.clone())).await?);
                let (dsn, statements) = (dsn.clone(), statements.clone());
                Ok(Self::Pg(pool("", MOST_CONNECTIONS, RecyclingMethod::Verified, move |_| {
                    Box::pin(postgres(dsn.clone(), statements.clone()))
                })))
            }
            Dsn::Mysql(dsn) => {
                drop(probed(mysql(dsn.clone(), statements.clone())).await?);
                let (dsn, statements) = (dsn.clone(), statements.clone());
                Ok(Self::My(pool("", MOST_CONNECTIONS, RecyclingMethod::Verified, move |_| {
                    Box::pin(mysql(dsn.clone(), statements.clone()))
                })))
            }
        }
    }
}

async fn probed<C>(connecting: impl Future<Output = ConnectionResult<C>>) -> Stored<C> {
    match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
        Ok(connected) => connected.map_err(|e| StoreError::Unreachable(e.to_string())),
        Err(_) => Err(StoreError::Unreachable(format!("no answer within {CONNECT_WITHIN:?}"))),
    }
}

type Connecting<C> = std::pin::Pin<Box<dyn Future<Output = ConnectionResult<C>> + Send>>;

fn pool<C>(
    url: &str,
    size: u32,
    kept: RecyclingMethod<C>,
    connect: impl Fn(&str) -> Connecting<C> + Send + Sync + 'static,
) -> Pool<C>
where
    C: AsyncConnection + 'static,
    AsyncDieselConnectionManager<C>: bb8::ManageConnection<Connection = C, Error = PoolError>,
{
    let mut config = ManagerConfig::<C>::default();
    config.custom_setup = Box::new(move |url| connect(url));
    config.recycling_method = kept;
    let manager = AsyncDieselConnectionManager::new_with_config(url, config);
    Pool::builder()
        .max_size(size)
        .connection_timeout(CONNECT_WITHIN)
        .error_sink(Box::new(Told))
        .build_unchecked(manager)
}

/// How SQLite is opened: readers beside one writer, an `fsync` at checkpoints, five seconds for a lock.
const PRAGMAS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; \
                       PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;";

async fn lite(path: String, statements: Statements) -> ConnectionResult<Lite> {
    let mut connection = Lite::establish(&path).await?;
    // The first who turns WAL on locks everyone else out for a moment, and no timeout holds for that.
    let mut tries = Tries::default();
    while let Err(error) = connection.batch_execute(PRAGMAS).await {
        let is_locked = error.to_string().contains("locked");
        if !is_locked || !tries.worth_another(&StoreError::Busy(error.to_string())) {
            return Err(ConnectionError::CouldntSetupConfiguration(error));
        }
        tries.step_aside().await;
    }
    connection.set_instrumentation(statements);
    Ok(connection)
}

async fn postgres(dsn: Box<PostgresDsn>, statements: Statements) -> ConnectionResult<AsyncPgConnection> {
    let refused = |e: tokio_postgres::Error| ConnectionError::BadConnection(words(&e));
    let mut config = dsn.config.clone();
    config.connect_timeout(CONNECT_WITHIN);
    config.keepalives_idle(Duration::from_secs(30));
    let mut connection = if dsn.tls == Tls::Off {
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(refused)?;
        AsyncPgConnection::try_from_client_and_connection(client, connection).await?
    } else {
        let tls = tls::client(dsn.tls, dsn.root_cert.as_deref()).map_err(ConnectionError::BadConnection)?;
        let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
        let (client, connection) = config.connect(tls).await.map_err(refused)?;
        AsyncPgConnection::try_from_client_and_connection(client, connection).await?
    };
    // What is not waited for any more shall not hold locks.
    let limits = format!(
        "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}",
        ANSWER_WITHIN.as_millis(),
        2 * ANSWER_WITHIN.as_millis()
    );
    connection.batch_execute(&limits).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    connection.set_instrumentation(statements);
    Ok(connection)
}

/// An error with its causes: the driver's own first line says little.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

async fn mysql(dsn: MysqlDsn, statements: Statements) -> ConnectionResult<AsyncMysqlConnection> {
    let refused = |e: mysql_async::Error| ConnectionError::BadConnection(words(&e));
    let verified = mysql_async::SslOpts::default();
    let ssl = match dsn.tls {
        Tls::Off => None,
        Tls::Verified => Some(verified),
        Tls::Prefer | Tls::Unverified => {
            Some(verified.with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true))
        }
    };
    let mut options = mysql_async::OptsBuilder::default()
        .user(Some(dsn.user))
        .pass(Some(dsn.password))
        .db_name(Some(dsn.database))
        .prefer_socket(false)
        .tcp_keepalive(Some(30_000_u32))
        .setup(vec![
            "SET SESSION innodb_lock_wait_timeout = 5",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        ]);
    options = match dsn.address {
        MysqlAddress::Tcp(host, port) => options.ip_or_hostname(host).tcp_port(port),
        MysqlAddress::Socket(path) => options.socket(Some(path)),
    };
    let connected = mysql_async::Conn::new(options.clone().ssl_opts(ssl)).await;
    let connected = match connected {
        // The server speaks no TLS, and that is allowed.
        Err(mysql_async::Error::Driver(_)) if dsn.tls == Tls::Prefer => mysql_async::Conn::new(options).await,
        connected => connected,
    };
    let mut connection = AsyncMysqlConnection::try_from(connected.map_err(refused)?).await?;
    connection.set_instrumentation(statements);
    Ok(connection)
}
