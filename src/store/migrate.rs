//! Brings a database to the schema this program knows: at every start, under a lock, a step at a time.
//!
//! PostgreSQL and SQLite do a step in a transaction. MySQL commits each statement by itself, so steps are
//! written such that they may run again.

use std::time::{Duration, Instant};

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable},
};
use diesel_async::{AsyncConnection as _, RunQueryDsl as _, SimpleAsyncConnection as _};

use super::{
    dsn::Dsn,
    error::{StoreError, Stored},
    now_ms,
    pool::{self, Db},
};

/// One step, in the words of each backend.
struct Step {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
    mysql: &'static str,
}

macro_rules! step {
    ($version:literal, $name:literal) => {
        Step {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("../../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../../migrations/postgres/", $name, ".sql")),
            mysql: include_str!(concat!("../../migrations/mysql/", $name, ".sql")),
        }
    };
}

/// Every step, oldest first. A step that was released is never edited.
const STEPS: &[Step] =
    &[step!(1, "0001_books"), step!(2, "0002_duty"), step!(3, "0003_limits"), step!(4, "0004_media")];

/// How long another process may migrate before this one gives up.
const LOCK_WITHIN: Duration = Duration::from_secs(60);
/// How often the lock is tried.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long one statement of a step may take: an index over a large table takes its time.
const STEP_WITHIN: Duration = Duration::from_secs(3600);
/// An arbitrary number that no other program locks in a PostgreSQL database.
const ADVISORY_LOCK: i64 = 0x0070_656e_7374_6f63;

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = Nullable<BigInt>)]
    value: Option<i64>,
}

macro_rules! number {
    ($connection:expr, $sql:expr) => {
        diesel::sql_query($sql).get_result::<Number>($connection).await.map(|n| n.value.unwrap_or(0))
    };
}

/// Steps that are missing, or the reason why the database cannot be used.
fn missing(found: i64, dsn: &Dsn) -> Stored<impl Iterator<Item = &'static Step>> {
    let known = STEPS.last().map_or(0, |s| s.version);
    if found > known {
        return Err(StoreError::NewerSchema { place: dsn.to_string(), found, known });
    }
    Ok(STEPS.iter().filter(move |s| s.version > found))
}

const FOUND: &str = "SELECT MAX(version) AS value FROM schema_version";

fn note(step: &Step) -> String {
    format!(
        "INSERT INTO schema_version (version, name, applied_ms) VALUES ({}, '{}', {})",
        step.version,
        step.name,
        now_ms()
    )
}

/// Statements end with a semicolon at the end of a line; comments have lines of their own.
fn statements(text: &str) -> impl Iterator<Item = String> {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim_start().starts_with("--")).collect();
    let joined = lines.join("\n");
    let statements: Vec<String> =
        joined.split(";\n").map(|s| s.trim().trim_end_matches(';').to_owned()).collect();
    statements.into_iter().filter(|s| !s.is_empty())
}

/// The table and the column that a statement adds.
fn added_column(statement: &str) -> Option<(&str, &str)> {
    match statement.split_whitespace().collect::<Vec<_>>()[..] {
        ["ALTER", "TABLE", table, "ADD", "COLUMN", column, ..] => Some((table, column)),
        _ => None,
    }
}

/// Applies what is missing, and gives its names.
pub(super) async fn run(db: &Db, dsn: &Dsn) -> Stored<Vec<&'static str>> {
    match db {
        Db::Lite { writer, .. } => lite(&mut *writer.get().await?, dsn).await,
        Db::Pg(pool) => {
            let mut connection = pool.get().await?;
            let done = postgres(&mut connection, dsn).await;
            let unlock = format!("SELECT pg_advisory_unlock({ADVISORY_LOCK})");
            pool::in_time(connection.batch_execute(&unlock)).await.ok();
            // Its settings are those of a migration, and so would be a lock that was not given back.
            pool::forget(&mut *connection);
            done
        }
        Db::My(pool) => {
            let mut connection = pool.get().await?;
            let done = mysql(&mut connection, dsn).await;
            let unlock = "DO RELEASE_LOCK(CONCAT('penstock.', MD5(DATABASE())))";
            pool::in_time(connection.batch_execute(unlock)).await.ok();
            pool::forget(&mut *connection);
            done
        }
    }
}

/// The names of every step.
pub(super) fn all() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

/// The names of what is missing; nothing is changed.
pub(super) async fn pending(db: &Db, dsn: &Dsn) -> Stored<Vec<&'static str>> {
    // Without its table, every step is missing.
    let is_there = match db {
        Db::Lite { .. } => "SELECT COUNT(*) AS value FROM sqlite_master WHERE name = 'schema_version'",
        Db::Pg(_) => "SELECT COUNT(to_regclass('schema_version')) AS value",
        Db::My(_) => {
            "SELECT COUNT(*) AS value FROM information_schema.tables \
             WHERE table_schema = DATABASE() AND table_name = 'schema_version'"
        }
    };
    let is_there = pool::query!(db, c => number!(&mut *c, is_there))? > 0;
    let found = if is_there { pool::query!(db, c => number!(&mut *c, FOUND))? } else { 0 };
    Ok(missing(found, dsn)?.map(|step| step.name).collect())
}

fn failed(step: &Step, problem: StoreError) -> StoreError {
    if problem.is_transient() {
        return problem;
    }
    StoreError::Migration { name: step.name, problem: problem.to_string() }
}

async fn lite(connection: &mut pool::Lite, dsn: &Dsn) -> Stored<Vec<&'static str>> {
    // Where nothing is missing nobody waits for a writer who holds the file.
    if let Ok(found) = number!(&mut *connection, FOUND)
        && missing(found, dsn)?.next().is_none()
    {
        return Ok(Vec::new());
    }
    let work = async |c: &mut pool::Lite| {
        c.batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL PRIMARY KEY, \
             name TEXT NOT NULL, applied_ms INTEGER NOT NULL)",
        )
        .await?;
        let mut applied = Vec::new();
        for step in missing(number!(c, FOUND)?, dsn)? {
            for statement in statements(step.sqlite) {
                // SQLite has no word for a column that may be there already.
                if let Some((table, column)) = added_column(&statement) {
                    let is_there = format!(
                        "SELECT COUNT(*) AS value FROM pragma_table_info('{table}') WHERE name = '{column}'"
                    );
                    if number!(&mut *c, is_there)? > 0 {
                        continue;
                    }
                }
                c.batch_execute(&statement).await.map_err(|e| failed(step, e.into()))?;
            }
            c.batch_execute(&note(step)).await?;
            tracing::info!(step = step.name, "the database was migrated");
            applied.push(step.name);
        }
        Ok(applied)
    };
    // The lock of the file is that of the migration; an open reader elsewhere does not hinder it.
    let until = Instant::now() + LOCK_WITHIN;
    loop {
        let done: Stored<Vec<&'static str>> = connection.immediate_transaction(work).await;
        match done {
            Err(error) if error.is_conflict() && Instant::now() < until => {
                tokio::time::sleep(LOOK_EVERY).await
            }
            done => return done,
        }
    }
}

async fn postgres(connection: &mut diesel_async::AsyncPgConnection, dsn: &Dsn) -> Stored<Vec<&'static str>> {
    connection.batch_execute(&format!("SET statement_timeout = {}", STEP_WITHIN.as_millis())).await?;
    let lock =
        format!("SELECT CASE WHEN pg_try_advisory_lock({ADVISORY_LOCK}) THEN 1 ELSE 0 END::bigint AS value");
    let until = Instant::now() + LOCK_WITHIN;
    while pool::in_time(async { number!(&mut *connection, lock.as_str()) }).await? == 0 {
        if Instant::now() > until {
            return Err(StoreError::Busy(format!("another process migrates it since {LOCK_WITHIN:?}")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let table = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL PRIMARY KEY, \
                 name TEXT NOT NULL, applied_ms BIGINT NOT NULL)";
    connection.batch_execute(table).await?;
    let mut applied = Vec::new();
    for step in missing(number!(&mut *connection, FOUND)?, dsn)? {
        connection
            .transaction(async |c: &mut diesel_async::AsyncPgConnection| {
                c.batch_execute(step.postgres).await?;
                c.batch_execute(&note(step)).await?;
                Ok(())
            })
            .await
            .map_err(|e| failed(step, e))?;
        tracing::info!(step = step.name, "the database was migrated");
        applied.push(step.name);
    }
    Ok(applied)
}

async fn mysql(connection: &mut diesel_async::AsyncMysqlConnection, dsn: &Dsn) -> Stored<Vec<&'static str>> {
    // The name is known to the whole server.
    let lock =
        format!("SELECT GET_LOCK(CONCAT('penstock.', MD5(DATABASE())), {}) AS value", LOCK_WITHIN.as_secs());
    if number!(&mut *connection, lock)? != 1 {
        return Err(StoreError::Busy(format!("another process migrates it since {LOCK_WITHIN:?}")));
    }
    let table = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL PRIMARY KEY, \
                 name VARCHAR(191) NOT NULL, applied_ms BIGINT NOT NULL) ENGINE = InnoDB";
    connection.batch_execute(table).await?;
    let mut applied = Vec::new();
    for step in missing(number!(&mut *connection, FOUND)?, dsn)? {
        for statement in statements(step.mysql) {
            connection.batch_execute(&statement).await.map_err(|e| failed(step, e.into()))?;
        }
        connection.batch_execute(&note(step)).await?;
        tracing::info!(step = step.name, "the database was migrated");
        applied.push(step.name);
    }
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_step_of_every_backend_in_order() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        for backend in ["sqlite", "postgres", "mysql"] {
            let mut files: Vec<String> = std::fs::read_dir(folder.join(backend))
                .expect("the folder is there")
                .map(|e| e.expect("readable").file_name().to_string_lossy().into_owned())
                .collect();
            files.sort();
            let steps: Vec<String> = STEPS.iter().map(|s| format!("{}.sql", s.name)).collect();
            assert_eq!(files, steps, "{backend}");
        }
        for (i, step) in STEPS.iter().enumerate() {
            assert_eq!(step.version, i as i64 + 1);
            assert!(step.name.starts_with(&format!("{:04}_", step.version)));
        }
    }

    #[test]
    fn each_statement_of_mysql_may_run_again() {
        for statement in STEPS.iter().flat_map(|s| statements(s.mysql)) {
            let again = ["CREATE TABLE IF NOT EXISTS", "INSERT IGNORE", "ALTER TABLE", "CREATE INDEX IF NOT"];
            // A statement that is made where something is missing.
            let made = ["SET @", "PREPARE ", "EXECUTE ", "DEALLOCATE PREPARE "];
            let again = [again, made].concat();
            assert!(again.iter().any(|a| statement.starts_with(a)), "{statement}");
        }
    }
}
