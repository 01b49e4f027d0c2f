//! What can go wrong with the store, and whether trying again may help.

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::pooled_connection::bb8::RunError;

use super::dsn::DsnError;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address cannot be read.
    #[error("{0}")]
    Address(#[from] DsnError),
    /// The database does not answer, or refuses to be talked to. It may come back.
    #[error("the database cannot be reached: {0}")]
    Unreachable(String),
    /// The database answered too late.
    #[error("the database did not answer in time")]
    TimedOut,
    /// Others held what was needed, several times in a row.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// The database was written by a newer Penstock.
    #[error(
        "the database {place} has schema version {found}, this program knows {known}; \
         start a newer Penstock, or use another database"
    )]
    NewerSchema {
        /// Which database.
        place: String,
        /// The version it has.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// A migration did not come to its end; what it had done stays, and the next start goes on with it.
    #[error("migration {name} failed: {problem}; the next start tries it again, once the cause is mended")]
    Migration {
        /// Which step.
        name: &'static str,
        /// What the database said.
        problem: String,
    },
    /// A batch does not begin where the one before ended.
    #[error("stream {stream:?} is committed up to {stored}, and the batch begins elsewhere")]
    OutOfStep {
        /// The stream.
        stream: penstock_actors::domain::StreamId,
        /// Where the next batch must begin.
        stored: u64,
    },
    /// The request cannot be fulfilled; a sentence for who asked.
    #[error("{0}")]
    Refused(String),
    /// The database refused a statement; trying again does not help.
    #[error("the database refused: {0}")]
    Failed(String),
    /// A file of the data directory cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which file.
        path: std::path::PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// What the store gives.
pub type Stored<T> = Result<T, StoreError>;

impl StoreError {
    /// A sentence for who asked.
    pub(super) fn refused<T>(sentence: impl Into<String>) -> Stored<T> {
        Err(Self::Refused(sentence.into()))
    }

    /// Whether the same may succeed later, unchanged.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::TimedOut | Self::Busy(_))
    }

    /// Whether somebody else was in the way: the same may succeed at once.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Busy(_))
    }
}

/// Others hold a lock, or were rolled back in our favour or we in theirs. Drivers have no kind for it.
const CONFLICTS: &[&str] = &[
    "database is locked",
    "database table is locked",
    "deadlock",
    "Lock wait timeout",
    "could not serialize",
    "Record has changed since last read",
];
/// The connection is gone or the server is going.
const GONE: &[&str] = &[
    "connection closed",
    "Connection refused",
    "Broken pipe",
    "Connection reset",
    "terminating connection",
    "shutting down",
    "starting up",
    "Server shutdown",
    "error communicating with the server",
    "Input/output error",
    "Can't connect",
    "Too many connections",
    "too many clients",
    "unexpected end of file",
    "Connection to the server is closed",
    "Pool was disconnect",
];

impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        let text = error.to_string();
        let says = |words: &[&str]| words.iter().any(|w| text.to_lowercase().contains(&w.to_lowercase()));
        match &error {
            DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => Self::Busy(text),
            DieselError::DatabaseError(DatabaseErrorKind::ClosedConnection, _)
            | DieselError::DatabaseError(DatabaseErrorKind::UnableToSendCommand, _)
            | DieselError::BrokenTransactionManager => Self::Unreachable(text),
            DieselError::RollbackErrorOnCommit { commit_error, .. } => {
                Self::Unreachable(commit_error.to_string())
            }
            _ if says(CONFLICTS) => Self::Busy(text),
            _ if says(GONE) => Self::Unreachable(text),
            _ => Self::Failed(text),
        }
    }
}

impl From<RunError> for StoreError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::User(error) => Self::Unreachable(error.to_string()),
            RunError::TimedOut => Self::Unreachable("no connection within the time allowed".to_owned()),
        }
    }
}
