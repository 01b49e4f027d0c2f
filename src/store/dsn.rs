//! Where the database is, as operators write it: URLs, Go's form for MySQL, paths of SQLite. Pure.
//!
//! A password is never shown: not by `Debug`, not by `Display`, not by an error.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// The embedded database's file in the data directory.
const DEFAULT_FILE: &str = "penstock.db";

/// A database, by the words that reach it.
#[derive(Clone, PartialEq, Eq)]
pub enum Dsn {
    /// A file of the embedded database.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(Box<PostgresDsn>),
    /// A MySQL or MariaDB server.
    Mysql(MysqlDsn),
}

/// How far the server's certificate is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// In clear.
    Off,
    /// Encrypted where the server offers it, unverified.
    Prefer,
    /// Encrypted, unverified.
    Unverified,
    /// Encrypted, and the certificate must fit the name.
    Verified,
}

/// What reaches a PostgreSQL server.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresDsn {
    /// Without the keys that say how TLS is done.
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: Tls,
    /// Certificates to trust instead of the public authorities.
    pub(super) root_cert: Option<PathBuf>,
}

/// What reaches a MySQL server.
#[derive(Clone, PartialEq, Eq)]
pub struct MysqlDsn {
    pub(super) address: MysqlAddress,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) database: String,
    pub(super) tls: Tls,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MysqlAddress {
    Tcp(String, u16),
    Socket(String),
}

/// Why the words reach nothing; never holds them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DsnError(String);

impl DsnError {
    fn new<T>(sentence: impl Into<String>) -> Result<T, Self> {
        Err(Self(sentence.into()))
    }
}

impl Dsn {
    /// Whether it is a file that is not there.
    pub(super) fn is_missing_file(&self) -> bool {
        matches!(self, Self::Sqlite(path) if !path.exists())
    }

    /// Reads an address; an empty one is the embedded database in the data directory.
    ///
    /// # Errors
    /// A sentence that says which form was expected and what is wrong.
    pub fn parse(text: &str, data_dir: &Path) -> Result<Self, DsnError> {
        let text = text.trim();
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            _ if text.is_empty() => Ok(Self::Sqlite(data_dir.join(DEFAULT_FILE))),
            Some("postgres" | "postgresql") => postgres(text),
            Some("mysql" | "mariadb") => mysql_url(text),
            _ if text.to_ascii_lowercase().starts_with("sqlite:") => {
                let path = &text["sqlite:".len()..];
                Self::sqlite(path.strip_prefix("//").unwrap_or(path))
            }
            _ if text.contains(")/") || text.contains("@/") || text.starts_with('/') => mysql_go(text),
            _ => DsnError::new(
                "this is no address of a database; write postgres://user:password@host/name, \
                 mysql://user:password@host/name, user:password@tcp(host:3306)/name or sqlite:path",
            ),
        }
    }

    /// A file of the embedded database; what follows a question mark is for other programs.
    ///
    /// # Errors
    /// Where there is no file.
    pub fn sqlite(path: &str) -> Result<Self, DsnError> {
        let path = path.split('?').next().unwrap_or_default();
        match path {
            "" => DsnError::new("the path of the SQLite file is empty"),
            ":memory:" => DsnError::new("a database in memory would lose the books; give the path of a file"),
            _ => Ok(Self::Sqlite(path.into())),
        }
    }
}

fn postgres(text: &str) -> Result<Dsn, DsnError> {
    let (base, query) = text.split_once('?').unwrap_or((text, ""));
    let (mut tls, mut root_cert, mut rest) = (Tls::Prefer, None, Vec::new());
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("sslmode", mode) => tls = sslmode(mode)?,
            ("sslrootcert", path) => root_cert = Some(PathBuf::from(decoded(path)?)),
            // Only Go's and C's drivers know these.
            ("TimeZone" | "timezone" | "sslcert" | "sslkey", "") => {}
            _ => rest.push(pair),
        }
    }
    if root_cert.is_some() && tls == Tls::Prefer {
        tls = Tls::Verified;
    }
    let rest = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    // The driver's own words may repeat a part of the address.
    let Ok(mut config) = rest.parse::<tokio_postgres::Config>() else {
        return DsnError::new(
            "the PostgreSQL address cannot be read; write postgres://user:password@host:5432/name?sslmode=..., \
             with %XX for special characters of the password",
        );
    };
    if config.get_hosts().is_empty() {
        return DsnError::new("the PostgreSQL address names no host");
    }
    config.ssl_mode(match tls {
        Tls::Off => tokio_postgres::config::SslMode::Disable,
        Tls::Prefer => tokio_postgres::config::SslMode::Prefer,
        Tls::Unverified | Tls::Verified => tokio_postgres::config::SslMode::Require,
    });
    Ok(Dsn::Postgres(Box::new(PostgresDsn { config, tls, root_cert })))
}

fn sslmode(mode: &str) -> Result<Tls, DsnError> {
    match mode {
        "disable" => Ok(Tls::Off),
        "allow" | "prefer" => Ok(Tls::Prefer),
        "require" => Ok(Tls::Unverified),
        "verify-ca" | "verify-full" => Ok(Tls::Verified),
        _ => DsnError::new("sslmode must be disable, prefer, require, verify-ca or verify-full"),
    }
}

fn mysql_url(text: &str) -> Result<Dsn, DsnError> {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.rsplit_once('/').unwrap_or((rest, ""));
    let (credentials, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let (user, password) = (decoded(user)?, decoded(password)?);
    mysql(user, password, tcp(host)?, decoded(database)?, query)
}

/// `user:password@tcp(host:port)/name?parameters`, read from the right as Go's driver does: the password
/// may hold any character.
fn mysql_go(text: &str) -> Result<Dsn, DsnError> {
    let Some((before, after)) = text.rsplit_once('/') else {
        return DsnError::new("the MySQL address names no database");
    };
    let (database, query) = after.split_once('?').unwrap_or((after, ""));
    let (credentials, net) = before.rsplit_once('@').unwrap_or(("", before));
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let address = match net.strip_suffix(')').and_then(|n| n.split_once('(')) {
        None if net.is_empty() || net == "tcp" => tcp("127.0.0.1")?,
        Some(("tcp" | "tcp4" | "tcp6", host)) => tcp(host)?,
        Some(("unix", path)) if !path.is_empty() => MysqlAddress::Socket(path.to_owned()),
        _ => return DsnError::new("the MySQL address must be tcp(host:port) or unix(path)"),
    };
    mysql(user.to_owned(), password.to_owned(), address, decoded(database)?, query)
}

fn tcp(host: &str) -> Result<MysqlAddress, DsnError> {
    let plain = |host: &str| host.trim_matches(['[', ']']).to_owned();
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, "3306"),
    };
    match port.parse() {
        Ok(port) if !plain(name).is_empty() => Ok(MysqlAddress::Tcp(plain(name), port)),
        _ => DsnError::new("the MySQL address needs a host, and a port from 1 to 65535"),
    }
}

/// Parameters of Go's driver that change nothing here: how Go reads times and texts.
const GO_ONLY: &[&str] = &[
    "allowNativePasswords",
    "charset",
    "checkConnLiveness",
    "clientFoundRows",
    "collation",
    "interpolateParams",
    "loc",
    "maxAllowedPacket",
    "multiStatements",
    "parseTime",
    "readTimeout",
    "rejectReadOnly",
    "timeout",
    "writeTimeout",
];

fn mysql(
    user: String,
    password: String,
    address: MysqlAddress,
    database: String,
    query: &str,
) -> Result<Dsn, DsnError> {
    let mut tls = Tls::Off;
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("tls", "false") | ("ssl-mode", "DISABLED") => tls = Tls::Off,
            ("tls", "true") | ("ssl-mode", "VERIFY_CA" | "VERIFY_IDENTITY") => tls = Tls::Verified,
            ("tls", "skip-verify") | ("ssl-mode", "REQUIRED") => tls = Tls::Unverified,
            ("tls", "preferred") | ("ssl-mode", "PREFERRED") => tls = Tls::Prefer,
            ("tls", _) => return DsnError::new("tls must be true, false, skip-verify or preferred"),
            (key, _) if GO_ONLY.contains(&key) => {}
            (key, _) if key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') => {
                return DsnError::new(format!("the MySQL parameter {key} is not known"));
            }
            _ => return DsnError::new("a MySQL parameter cannot be read"),
        }
    }
    if database.is_empty() {
        return DsnError::new("the MySQL address names no database");
    }
    Ok(Dsn::Mysql(MysqlDsn { address, user, password, database, tls }))
}

fn decoded(text: &str) -> Result<String, DsnError> {
    let (mut bytes, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(byte) = text.as_bytes().get(at) {
        if *byte == b'%' {
            let hex = text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
            bytes.push(hex.ok_or_else(|| DsnError("a % in the address must begin %XX; write %25".into()))?);
            at += 3;
        } else {
            bytes.push(*byte);
            at += 1;
        }
    }
    String::from_utf8(bytes).map_err(|_| DsnError("the address holds %XX that are no text".into()))
}

/// The address without its password, for people.
impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use tokio_postgres::config::Host;
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(dsn) => {
                let config = &dsn.config;
                write!(f, "postgres://{}@", config.get_user().unwrap_or_default())?;
                for (i, host) in config.get_hosts().iter().enumerate() {
                    let comma = if i > 0 { "," } else { "" };
                    let port = config.get_ports().get(i).or(config.get_ports().first()).unwrap_or(&5432);
                    match host {
                        Host::Tcp(name) => write!(f, "{comma}{name}:{port}")?,
                        Host::Unix(path) => write!(f, "{comma}{}:{port}", path.display())?,
                    }
                }
                write!(f, "/{}", config.get_dbname().or(config.get_user()).unwrap_or_default())
            }
            Self::Mysql(dsn) => match &dsn.address {
                MysqlAddress::Tcp(host, port) => {
                    write!(f, "mysql://{}@{host}:{port}/{}", dsn.user, dsn.database)
                }
                MysqlAddress::Socket(path) => write!(f, "mysql://{}@{path}/{}", dsn.user, dsn.database),
            },
        }
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
