//! A database for one test, on each backend; the servers are started by `tests/servers.sh`.

use std::path::PathBuf;

use mysql_async::prelude::Queryable as _;
use penstock::store::{Store, dsn::Dsn};

const NO_SERVER: &str = "no database server for the tests: run them by `make test`, or put \
                         `tests/servers.sh run` before the command";

/// A database that is removed at the end.
pub struct Database {
    /// As an operator writes it.
    pub url: String,
    name: String,
    server: Server,
    _dir: tempfile::TempDir,
}

#[derive(Clone)]
enum Server {
    None,
    Postgres(String),
    Mysql(String),
}

impl Database {
    /// A file.
    pub async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("test.db").display());
        Self { url, name: String::new(), server: Server::None, _dir: dir }
    }

    /// A new database on the PostgreSQL server of this run.
    pub async fn postgres() -> Self {
        Self::postgres_at(&std::env::var("PENSTOCK_TEST_POSTGRES").expect(NO_SERVER)).await
    }

    /// A new database on the MariaDB server of this run.
    pub async fn mysql() -> Self {
        Self::mysql_at(&std::env::var("PENSTOCK_TEST_MYSQL").expect(NO_SERVER)).await
    }

    /// A new database on a PostgreSQL server.
    pub async fn postgres_at(url: &str) -> Self {
        Self::made(Server::Postgres(url.to_owned())).await
    }

    /// A new database on a MariaDB server.
    pub async fn mysql_at(url: &str) -> Self {
        Self::made(Server::Mysql(url.to_owned())).await
    }

    async fn made(server: Server) -> Self {
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        server.administer(&format!("CREATE DATABASE {name}")).await;
        let (Server::Postgres(url) | Server::Mysql(url)) = &server else { unreachable!("it has one") };
        let (base, _) = url.rsplit_once('/').unwrap();
        let url = format!("{base}/{name}");
        Self { url, name, server, _dir: tempfile::tempdir().unwrap() }
    }

    /// How it is reached.
    pub fn dsn(&self) -> Dsn {
        Dsn::parse(&self.url, &PathBuf::new()).unwrap()
    }

    /// Opens it.
    pub async fn open(&self) -> Store {
        Store::open(&self.dsn(), None).await.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Runs statements beside the store.
    pub async fn execute(&self, sql: &str) {
        match &self.server {
            Server::None => {
                use diesel::{Connection as _, connection::SimpleConnection as _};
                let path = self.url.strip_prefix("sqlite:").unwrap();
                diesel::SqliteConnection::establish(path).unwrap().batch_execute(sql).unwrap();
            }
            Server::Postgres(_) => Server::Postgres(self.url.clone()).administer(sql).await,
            Server::Mysql(_) => Server::Mysql(self.url.clone()).administer(sql).await,
        }
    }
}

impl Server {
    async fn administer(&self, sql: &str) {
        match self {
            Self::None => {}
            Self::Postgres(url) => {
                let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
                let driver = tokio::spawn(connection);
                client.batch_execute(sql).await.unwrap();
                drop(client);
                let _ = driver.await;
            }
            Self::Mysql(url) => {
                let options = mysql_async::Opts::from_url(url).unwrap();
                let options = mysql_async::OptsBuilder::from_opts(options).prefer_socket(false);
                let mut connection = mysql_async::Conn::new(options).await.unwrap();
                connection.query_drop(sql).await.unwrap();
                connection.disconnect().await.unwrap();
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = match &self.server {
            Server::None => return,
            Server::Postgres(_) => format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name),
            Server::Mysql(_) => format!("DROP DATABASE IF EXISTS {}", self.name),
        };
        let server = self.server.clone();
        let work = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(server.administer(&drop));
        });
        // A server that a test has killed cannot remove anything; its folder goes as a whole.
        let _ = work.join();
    }
}

/// Runs each named test on every backend.
macro_rules! on_every_database {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::support::database::Database::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::support::database::Database::postgres().await).await;
            })*
        }
        mod mysql {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::support::database::Database::mysql().await).await;
            })*
        }
    };
}

pub(crate) use on_every_database;
