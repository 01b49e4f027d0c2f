//! The settings file as it is written: every key once, nothing checked but names and types.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny},
};

use super::{
    JournalMode, LogFormat, OnFailure, OnLimit, Rotation,
    units::{Dollars, Factor, Size, Span},
};
use crate::known_models::ModelFacts;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) server: Server,
    pub(super) tls: Option<Tls>,
    pub(super) log: Log,
    pub(super) store: Store,
    pub(super) journal: Journal,
    pub(super) retention: Retention,
    pub(super) mock: Mock,
    pub(super) defaults: Defaults,
    pub(super) discover: Discover,
    pub(super) queue: Queue,
    pub(super) media: Media,
    /// Read by whoever knows the providers.
    #[serde(rename = "provider")]
    pub(super) providers: Vec<IgnoredAny>,
    #[serde(rename = "channel")]
    pub(super) channels: Vec<Channel>,
    pub(super) aliases: BTreeMap<String, String>,
    /// Their fields are in `known_models`.
    #[serde(rename = "model")]
    pub(super) models: BTreeMap<String, ModelFacts>,
    #[serde(rename = "key")]
    pub(super) keys: Vec<Key>,
    pub(super) prices: Prices,
    /// Read by `prices`, like the ratios.
    pub(super) price: Vec<IgnoredAny>,
    pub(super) model_ratio: BTreeMap<String, IgnoredAny>,
    pub(super) completion_ratio: BTreeMap<String, IgnoredAny>,
    pub(super) group_ratio: BTreeMap<String, IgnoredAny>,
    pub(super) failover: Failover,
    pub(super) failover_uncertain: BTreeMap<String, bool>,
    pub(super) backup_models: BTreeMap<String, Vec<String>>,
    pub(super) limits: Limits,
    pub(super) group_limits: BTreeMap<String, Vec<String>>,
    pub(super) model_limits: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Failover {
    pub(super) breaker_percent: Option<u32>,
    pub(super) breaker_attempts: Option<u32>,
    pub(super) breaker_window: Option<Span>,
    pub(super) breaker_open: Option<Span>,
    pub(super) switch_off: Option<bool>,
    pub(super) retry_percent: Option<u32>,
    pub(super) uncertain: Option<bool>,
    pub(super) max_models: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) time_zone: Option<String>,
    pub(super) key: Vec<String>,
    pub(super) space: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Server {
    pub(super) listen: Option<SocketAddr>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) workers: Option<usize>,
    pub(super) max_body: Option<Size>,
    pub(super) max_whole_body: Option<Size>,
    pub(super) max_bytes_in_flight: Option<Size>,
    pub(super) max_event: Option<Size>,
    pub(super) client_stall: Option<Span>,
    pub(super) drain: Option<Span>,
    pub(super) watch: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) listen: Option<SocketAddr>,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Prices {
    pub(super) models_without_price: IgnoredAny,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) filter: Option<String>,
    pub(super) format: LogFormat,
    pub(super) dir: Option<PathBuf>,
    pub(super) rotation: Rotation,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Store {
    pub(super) url: Option<String>,
    pub(super) log_url: Option<String>,
    pub(super) max_staleness: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Journal {
    pub(super) mode: JournalMode,
    pub(super) sync: Option<Span>,
    pub(super) slow_write: Option<Span>,
    pub(super) segment: Option<Size>,
    pub(super) spare: Option<Size>,
    pub(super) queue: Option<Size>,
    pub(super) on_failure: OnFailure,
    pub(super) keep: Option<Span>,
    pub(super) log_lag: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Retention {
    pub(super) requests: Option<Span>,
    pub(super) ledger: Option<Span>,
    pub(super) every: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mock {
    pub(super) enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Defaults {
    pub(super) proxy: Option<String>,
    pub(super) timeouts: Timeouts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Discover {
    pub(super) local: Vec<String>,
    pub(super) refresh: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Queue {
    pub(super) max_wait: Option<Span>,
    pub(super) longest_wait: Option<Span>,
    pub(super) overflow_after: Option<Span>,
    pub(super) comments_after: Option<Span>,
    pub(super) max_calls: Option<u64>,
    pub(super) max_calls_of_key: Option<u64>,
    pub(super) max_bytes: Option<Size>,
    pub(super) shed_above: Option<Span>,
    pub(super) space: Option<QueueOfSpace>,
    pub(super) model: BTreeMap<String, QueueOfModel>,
    pub(super) group: BTreeMap<String, QueueOfCaller>,
    pub(super) key: BTreeMap<String, QueueOfCaller>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Media {
    pub(super) fetch: Option<bool>,
    pub(super) max_bytes: Option<Size>,
    pub(super) max_count: Option<u32>,
    pub(super) timeout: Option<Span>,
    pub(super) max_redirects: Option<u32>,
    pub(super) allow_hosts: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueOfModel {
    pub(super) max_wait: Option<Span>,
    pub(super) overflow_after: Option<Span>,
    pub(super) concurrency: Option<u32>,
    #[serde(default)]
    pub(super) on_limit: OnLimit,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueOfSpace {
    pub(super) concurrency: Option<u32>,
    #[serde(default)]
    pub(super) on_limit: OnLimit,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueOfCaller {
    pub(super) max_wait: Option<Span>,
    pub(super) band: Option<Band>,
    pub(super) weight: Option<u32>,
    pub(super) concurrency: Option<u32>,
    #[serde(default)]
    pub(super) on_limit: OnLimit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Band {
    High,
    Normal,
    Low,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) id: Option<u64>,
    pub(super) provider: String,
    pub(super) base_url: Option<String>,
    #[serde(default)]
    pub(super) params: BTreeMap<String, String>,
    pub(super) credential: Option<String>,
    pub(super) credentials: Option<Vec<String>>,
    #[serde(default)]
    pub(super) credential_turn: Turn,
    pub(super) organisation: Option<String>,
    pub(super) project: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) quirks: Option<Vec<String>>,
    pub(super) models: Option<Models>,
    #[serde(default)]
    pub(super) mapping: BTreeMap<String, String>,
    pub(super) groups: Option<Vec<String>>,
    #[serde(default)]
    pub(super) priority: i32,
    #[serde(default = "one")]
    pub(super) weight: u32,
    pub(super) concurrency: Option<u32>,
    #[serde(default)]
    pub(super) adaptive: Adaptive,
    #[serde(default = "yes")]
    pub(super) pacing: bool,
    pub(super) longest_pause: Option<Span>,
    #[serde(default = "yes")]
    pub(super) enabled: bool,
    #[serde(default)]
    pub(super) timeouts: Timeouts,
    #[serde(default)]
    pub(super) pool: Pool,
    #[serde(default)]
    pub(super) transport: Transport,
    pub(super) proxy: Option<String>,
    pub(super) cost_ratio: Option<Factor>,
    pub(super) failover_uncertain: Option<bool>,
    pub(super) limits: Option<Vec<String>>,
}

/// In which order several credentials are shown.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Turn {
    #[default]
    RoundRobin,
    Random,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Transport {
    #[default]
    Http1,
    Awc,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Adaptive {
    #[default]
    Fixed,
    Aimd,
    Gradient,
}

/// What may be written for models.
pub(super) const MODELS_FORM: &str =
    "write a list of names, or \"discover\" for those the provider says it has";

/// What a channel serves: what is written, or what the provider says that it has.
#[derive(Debug)]
pub(super) enum Models {
    Listed(Vec<String>),
    Discovered,
}

impl<'de> Deserialize<'de> for Models {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Word(String),
            List(Vec<String>),
        }
        match Written::deserialize(from) {
            Ok(Written::List(names)) => Ok(Self::Listed(names)),
            Ok(Written::Word(word)) if word == "discover" => Ok(Self::Discovered),
            _ => Err(D::Error::custom(MODELS_FORM)),
        }
    }
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Timeouts {
    pub(super) connect: Option<Span>,
    pub(super) first_byte: Option<Span>,
    pub(super) first_byte_stream: Option<Span>,
    pub(super) idle: Option<Span>,
    pub(super) total: Option<Span>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Pool {
    pub(super) max_connections: Option<u32>,
    pub(super) idle: Option<Span>,
    pub(super) lifetime: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) secret: Option<String>,
    pub(super) sha256: Option<String>,
    pub(super) group: Option<String>,
    pub(super) models: Option<Vec<String>>,
    #[serde(default)]
    pub(super) may_pin: bool,
    #[serde(default)]
    pub(super) may_see_routing: bool,
    pub(super) backup_models: Option<Vec<String>>,
    pub(super) limits: Option<Vec<String>>,
    pub(super) quota: Option<Dollars>,
    pub(super) expires: Option<String>,
    pub(super) parent: Option<String>,
}
