//! Settings: raw as written, then resolved once into one struct a concern. Reads no provider tables.
//!
//! A flag wins over the environment, the environment over the file, the file over the defaults. Every
//! mistake is told with its place and the key's name; a file with mistakes changes nothing.

mod decimal;
mod difference;
mod dotenv;
mod environment;
mod known_keys;
mod layers;
mod lint;
mod nearest;
mod one_api;
pub mod prices;
mod problem;
mod provider;
mod proxy;
mod raw;
mod reference;
mod resolve;
mod secret;
mod source;
mod units;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use penstock_actors::{
    domain::{Catalog, ChannelName, Credential, PriceList, Uncertain},
    limiter::Rules,
    router::fairness::Band,
};

pub use difference::differences;
pub use environment::Environment;
pub use known_keys::variables as variables_of_providers;
pub use lint::only_checked;
pub use one_api::table as one_api_table;
pub use problem::{Notice, Place, Problem, Weight};
pub use provider::{ProviderDefaults, Providers, ProvidersRefused};
pub use reference::render as reference;
pub use resolve::{RESERVED, limit_set};
pub use source::{Overrides, Source, USUAL_FILE};

use crate::{
    api_key::{KeyDigest, KeySpec},
    known_models::ModelFacts,
};

/// Everything an operator can set, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The listener and its caps. Changes need a restart.
    pub server: Server,
    /// The log. Changes need a restart.
    pub log: Log,
    /// Where keys and books are kept. Changes need a restart.
    pub store: Store,
    /// Whether the built-in mock channel serves `penstock-echo`.
    pub mock: bool,
    /// Channels and aliases. Channels in `discover` serve more than is written here.
    pub catalog: Catalog,
    /// How calls wait where every channel is full.
    pub queue: Queue,
    /// What is fetched for clients.
    pub media: Media,
    /// Which channels' models the provider is asked for.
    pub discover: Discover,
    /// Keys declared in the file and in the environment.
    pub keys: Vec<KeySpec>,
    /// Models that stand in for others.
    pub backups: Backups,
    /// The digest of the management token, which the environment names. Changes need a restart.
    pub root_access: Option<KeyDigest>,
    /// What may be taken in a time.
    pub limits: Rules,
    /// What models cost.
    pub prices: Arc<PriceList>,
    /// What the operator says of models, by name.
    pub models: BTreeMap<String, ModelFacts>,
    /// What is allowed and still worth a line.
    pub notices: Vec<Notice>,
    /// Files that secrets were read from.
    pub secret_files: BTreeSet<PathBuf>,
}

/// Models that stand in for others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backups {
    /// By model.
    pub of_models: HashMap<String, Vec<String>>,
    /// By the name of a key.
    pub of_keys: HashMap<String, Vec<String>>,
    /// Models that one request may list.
    pub most_listed: usize,
    /// What becomes of calls whose failed attempt may have been worked on, by model, over what channels say.
    pub uncertain: HashMap<String, Uncertain>,
}

/// Models that providers say they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discover {
    /// The channels to ask for.
    pub channels: BTreeSet<ChannelName>,
    /// How often.
    pub refresh: Duration,
}

/// What is fetched for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Whether anything is.
    pub fetch: bool,
    /// Longest medium.
    pub max_bytes: u64,
    /// Media of one request.
    pub max_count: u32,
    /// How long a request may wait for them.
    pub timeout: Duration,
    /// Redirects that are followed.
    pub max_redirects: u32,
    /// Names that may be asked, wherever they lead.
    pub allow_names: Vec<String>,
    /// Ranges of addresses that may be asked: the first, and how many of its bits count.
    pub allow_ranges: Vec<(IpAddr, u8)>,
}

/// How calls wait where every channel is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How long a call may wait where nothing else is said.
    pub max_wait: Duration,
    /// The longest that a client may ask for.
    pub longest_wait: Duration,
    /// How long a tier is waited for before the next one is, too.
    pub overflow_after: Duration,
    /// A stream that waits longer gets comments.
    pub comments_after: Option<Duration>,
    /// Calls that may wait.
    pub max_calls: u64,
    /// Calls of one key that may wait.
    pub max_calls_of_key: u64,
    /// Bytes of the bodies of calls that wait.
    pub max_bytes: u64,
    /// Standing delay above which calls of the lowest band give way.
    pub shed_above: Duration,
    /// Calls of everyone together.
    pub space: Ceiling,
    /// What holds for models.
    pub models: BTreeMap<String, QueueOfModel>,
    /// What holds for groups.
    pub groups: BTreeMap<String, QueueOfCaller>,
    /// What holds for keys, by name.
    pub keys: BTreeMap<String, QueueOfCaller>,
}

/// How calls for a model wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueOfModel {
    /// How long they may.
    pub max_wait: Option<Duration>,
    /// How long a tier is waited for before the next one is, too.
    pub overflow_after: Option<Duration>,
    /// How many of its calls may be in flight at once.
    pub ceiling: Ceiling,
}

/// How many calls may be in flight at once, and what becomes of more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ceiling {
    /// How many; `None` for no limit.
    pub concurrency: Option<u32>,
    /// What becomes of more.
    pub on_limit: OnLimit,
}

/// How the calls of a key or of a group wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueOfCaller {
    /// How long they may.
    pub max_wait: Option<Duration>,
    /// Their priority class.
    pub band: Option<Band>,
    /// The key's share against other keys'.
    pub weight: Option<u32>,
    /// How many may be in flight at once, of its own and of the keys below it.
    pub ceiling: Ceiling,
}

/// What becomes of calls beyond a key's or a group's concurrency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLimit {
    /// They wait.
    #[default]
    Wait,
    /// They are refused.
    Refuse,
}

/// The listener and its caps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where state lives.
    pub data_dir: PathBuf,
    /// HTTP workers.
    pub workers: usize,
    /// Bytes of one request body, decompressed.
    pub max_body: u64,
    /// Bytes of one request body that must be held whole because dialects differ.
    pub max_whole_body: u64,
    /// Bytes of all request bodies held at once, in memory and in temporary files.
    pub max_bytes_in_flight: u64,
    /// Bytes of one event of a stream.
    pub max_event: usize,
    /// A client that takes none of its answer for this long is cut off.
    pub client_stall: Duration,
    /// How long streams may go on after a signal to stop.
    pub drain: Duration,
    /// Whether changed files are taken up without a signal.
    pub watch: bool,
    /// The TLS listener, where there is one.
    pub tls: Option<Tls>,
}

/// A listener under TLS, beside the one in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// PEM: the server's certificate first, then its issuers.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// Where keys and books are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The database's address, which may hold a password; `None` for the file in the data directory.
    pub url: Option<Credential>,
    /// The request log's database; `None` for the same.
    pub log_url: Option<Credential>,
    /// For how long keys open that the database could not confirm.
    pub max_staleness: Duration,
    /// How the journal is kept.
    pub journal: Journal,
    /// What age takes.
    pub retention: Retention,
}

/// How the journal is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// What a settlement must survive before the last byte of its answer goes out.
    pub mode: JournalMode,
    /// How often it is synced.
    pub sync: Duration,
    /// A write that takes longer moves the writer to a thread.
    pub slow_write: Duration,
    /// The longest file, in bytes.
    pub segment: u64,
    /// What is allocated ahead for each worker, in bytes.
    pub spare: u64,
    /// What waits in memory for a slow disk, for each worker, in bytes.
    pub queue: u64,
    /// What becomes of calls when the disk takes nothing.
    pub on_failure: OnFailure,
    /// How long a file is kept that nothing needs.
    pub keep: Duration,
    /// Rows of the request log that are further behind are left out, in bytes of journal.
    pub log_lag: u64,
}

/// What a settlement must survive before the last byte of its answer goes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JournalMode {
    /// The process: a power cut may lose the last ones.
    #[default]
    Group,
    /// The machine.
    Power,
}

/// What becomes of calls when the journal's disk takes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// They are refused.
    #[default]
    Refuse,
    /// They go on without a record.
    GoOn,
}

/// What age takes from the database; `None` for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Calls in the request log.
    pub requests: Option<Duration>,
    /// Single entries of the ledger.
    pub ledger: Option<Duration>,
    /// How often it is looked for.
    pub every: Duration,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A `tracing` filter, `info` for example.
    pub filter: String,
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// A folder that gets the log too.
    pub dir: Option<PathBuf>,
    /// When another file is begun there.
    pub rotation: Rotation,
}

/// When another log file is begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rotation {
    /// Each day, in UTC.
    #[default]
    Daily,
    /// Never.
    Never,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{}: {}", path.display(), unreadable(error))]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Mistakes, each on a line of its own.
    #[error("{}", lines(.0))]
    Refused(Vec<Problem>),
}

fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        std::io::ErrorKind::IsADirectory => "is a folder, not a file".to_owned(),
        std::io::ErrorKind::InvalidData => "is no UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads the settings of a source.
///
/// # Errors
/// [`ConfigError`] with every mistake that can be told at once.
pub fn load(source: &Source, providers: &dyn Providers) -> Result<Settings, ConfigError> {
    let text = match &source.file {
        None => String::new(),
        Some(path) => read(path)?,
    };
    resolve::resolve(&text, source, providers).map_err(ConfigError::Refused)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.into(), error })
}

#[cfg(test)]
mod tests;
