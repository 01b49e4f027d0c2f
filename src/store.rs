//! The store: keys, accounts, the ledger and the request log, in SQLite, PostgreSQL or MySQL.
//!
//! The only place that names the database's crates. Outside are ordinary async functions and plain values;
//! nobody sees which backend there is. Nothing here is on a call's path.

mod accounts;
mod age;
mod books;
mod check;
mod consumed;
mod declared;
mod drill;
pub mod dsn;
mod error;
mod ids;
mod keys;
mod late;
mod lite;
mod log;
mod migrate;
mod nodes;
mod pool;
mod ports;
mod schema;
mod snapshot;
mod tls;

use diesel::{ExpressionMethods as _, QueryDsl as _, QueryResult};
use diesel_async::{AsyncConnection as _, RunQueryDsl as _};

pub use accounts::{Account, Allowance};
pub use age::Duty;
pub use check::{BooksReport, OffBalance, OffLog};
pub use consumed::Consumed;
pub use drill::Hold;
pub use error::{StoreError, Stored};
pub use keys::{DEEPEST, KeyRow, KeyStatus, NewKey, NewSecret, Origin};
pub use late::{LateStore, LogLag, Voice};
pub use log::{AttemptRow, CallRow, CallRows, LOG_WRITER, Logged, MediaRow};
pub use nodes::{Claimant, Claimed, Ended, KeptPrice, Reach};
pub use snapshot::Snapshot;

use dsn::Dsn;
use penstock_actors::domain::StreamId;
use pool::{Db, Statements, query};

use crate::clock::now_ms;

/// The databases, opened and migrated. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    main: Db,
    /// The request log's; the same as `main` unless another was named.
    log: Db,
    statements: Statements,
}

/// What the gateway publishes, read at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Published {
    /// Moves with every change of keys and accounts.
    pub revision: i64,
    /// Every key that is not revoked.
    pub keys: Vec<KeyRow>,
    /// Every account.
    pub accounts: Vec<Account>,
    /// How far the balances have come in each stream of the journal.
    pub positions: Vec<(StreamId, u64)>,
}

/// What [`Store::migrate`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    /// Applies what is missing.
    Apply,
    /// Says what is missing.
    Look,
}

/// The consumer that the balances follow.
pub const BILLER: &str = "biller";

impl Store {
    /// Opens the databases and brings them to the schema this program knows.
    ///
    /// # Errors
    /// [`StoreError`]: unreachable, of a newer schema, or refused.
    pub async fn open(main: &Dsn, log: Option<&Dsn>) -> Stored<Self> {
        let statements = Statements::default();
        let open = async |dsn: &Dsn| {
            let db = Db::connect(dsn, &statements).await?;
            migrate::run(&db, dsn).await?;
            Stored::Ok(db)
        };
        let main_db = open(main).await?;
        let log = match log.filter(|log| *log != main) {
            Some(log) => open(log).await?,
            None => main_db.clone(),
        };
        Ok(Self { main: main_db, log, statements })
    }

    /// Brings the databases to the schema this program knows, or only looks what that takes. Gives each with
    /// the names of its steps.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn migrate(
        main: &Dsn,
        log: Option<&Dsn>,
        migration: Migration,
    ) -> Stored<Vec<(String, Vec<&'static str>)>> {
        let mut done = Vec::new();
        for dsn in std::iter::once(main).chain(log.filter(|log| *log != main)) {
            let steps = match migration {
                // A file that is not there yet is not made by looking at it.
                Migration::Look if dsn.is_missing_file() => migrate::all(),
                Migration::Look => {
                    migrate::pending(&Db::connect(dsn, &Statements::default()).await?, dsn).await?
                }
                Migration::Apply => {
                    migrate::run(&Db::connect(dsn, &Statements::default()).await?, dsn).await?
                }
            };
            done.push((dsn.to_string(), steps));
        }
        Ok(done)
    }

    /// How many statements have reached a database; the rows of a batch count as one.
    pub fn statements(&self) -> u64 {
        self.statements.count()
    }

    /// Those of them that the threads of HTTP workers sent; not counted where the database is SQLite.
    pub fn statements_of_http_workers(&self) -> u64 {
        self.statements.of_http_workers()
    }

    /// Moves with every change of keys and accounts that others must see.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn revision(&self) -> Stored<i64> {
        use schema::revision::dsl;
        query!(&self.main, c => dsl::revision.select(dsl::number).first::<i64>(c).await)
    }

    /// Reads what the gateway publishes, all of it as of one moment.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn published(&self) -> Stored<Published> {
        macro_rules! read {
            ($c:ident) => {{
                use schema::{account, api_key, consumer_position as position, revision};
                let revision = revision::table.select(revision::number).first::<i64>($c).await?;
                let keys = api_key::table
                    .filter(api_key::status.ne(KeyStatus::Revoked.as_str()))
                    .load::<keys::KeyRecord>($c)
                    .await?;
                let accounts = account::table
                    .select((account::id, account::balance, account::is_limited))
                    .load::<(i64, i64, bool)>($c)
                    .await?;
                let positions = position::table
                    .filter(position::consumer.eq(BILLER))
                    .select((position::node, position::boot, position::worker, position::up_to))
                    .load::<(i64, i64, i64, i64)>($c)
                    .await?;
                QueryResult::Ok((revision, keys, accounts, positions))
            }};
        }
        let (revision, keys, accounts, positions) = match &self.main {
            Db::Lite { readers, .. } => {
                let mut held = readers.get().await?;
                let connection: &mut pool::Lite = &mut held;
                connection.transaction(async |c: &mut pool::Lite| read!(c)).await?
            }
            Db::Pg(pool) => {
                let mut held = pool.get().await?;
                let mut reading = held.build_transaction().repeatable_read().read_only();
                let read = reading.run(async |c: &mut diesel_async::AsyncPgConnection| read!(c));
                let answer = pool::in_time(read).await;
                pool::forget_if_late(&mut *held, answer)?
            }
            Db::My(pool) => {
                let mut held = pool.get().await?;
                // For the next transaction only.
                let as_of_one_moment = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ";
                diesel::sql_query(as_of_one_moment).execute(&mut *held).await?;
                let connection: &mut diesel_async::AsyncMysqlConnection = &mut held;
                let read =
                    connection.transaction(async |c: &mut diesel_async::AsyncMysqlConnection| read!(c));
                let answer = pool::in_time(read).await;
                pool::forget_if_late(&mut *held, answer)?
            }
        };
        Ok(Published {
            revision,
            keys: keys.into_iter().map(KeyRow::try_from).collect::<Stored<_>>()?,
            accounts: accounts.into_iter().map(Account::from).collect(),
            positions: positions.into_iter().map(position).collect(),
        })
    }
}

fn position((node, boot, worker, up_to): (i64, i64, i64, i64)) -> (StreamId, u64) {
    let stream = StreamId { node: node as u32, boot: boot as u32, worker: worker as u16 };
    (stream, up_to as u64)
}

fn next_id() -> i64 {
    ids::next(now_ms(), rand::random())
}
