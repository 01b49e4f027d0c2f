//! The catalog: channels and aliases as one immutable value with a revision.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use super::{Attached, Care, Credential, Credentials, LearningRules, Ratio};

/// A channel's permanent name, unique in a catalog.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(pub Arc<str>);

impl ChannelName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A model's name: the one clients ask for, or the one a provider knows it by.
pub type ModelName = Arc<str>;

/// A model that a channel serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The name clients ask for.
    pub model: ModelName,
    /// The name the provider knows it by.
    pub upstream: ModelName,
}

/// Deadlines of one attempt on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Name resolution, TCP and TLS together.
    pub connect: Duration,
    /// From the attempt's start to the first event of a streamed answer.
    pub first_byte_stream: Duration,
    /// From the attempt's start to the first byte of an answer that is no stream.
    pub first_byte: Duration,
    /// Between two reads of an answer.
    pub idle: Duration,
    /// From the attempt's start to the answer's last byte.
    pub total: Duration,
}

impl Timeouts {
    /// The first-byte deadline for a streamed or a whole answer.
    pub fn first_byte_for(&self, answer: Delivery) -> Duration {
        match answer {
            Delivery::Stream => self.first_byte_stream,
            Delivery::Whole => self.first_byte,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte_stream: Duration::from_secs(60),
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(120),
            total: Duration::from_secs(3600),
        }
    }
}

/// How an answer is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// As one body.
    Whole,
    /// As a stream of events.
    Stream,
}

/// What a channel's connections are made by. A change of it starts a new pool generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Open connections allowed, counted over all workers.
    pub max_connections: u32,
    /// An unused connection is closed after this long.
    pub idle: Duration,
    /// A connection is not reused after this long.
    pub lifetime: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { max_connections: 16_384, idle: Duration::from_secs(30), lifetime: Duration::from_secs(600) }
    }
}

/// By what a channel's requests go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportKind {
    /// The gateway's own HTTP/1.1.
    #[default]
    Http1,
    /// The client of the actix family.
    Awc,
}

/// A host that connections to a provider lead through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Host name or address, an IPv6 one in brackets.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// What it is shown, where it wants a login.
    pub login: Option<ProxyLogin>,
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP CONNECT.
    Http,
    /// HTTP CONNECT inside TLS.
    Https,
    /// SOCKS5; names are resolved here.
    Socks5,
    /// SOCKS5; names are resolved by the proxy.
    Socks5h,
}

/// A proxy's user name and password, hidden both: some put a token into the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyLogin {
    /// The user name.
    pub user: Credential,
    /// The password.
    pub password: Credential,
}

/// One way to reach models, as its operator wishes it to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSpec {
    /// Permanent name.
    pub name: ChannelName,
    /// The number a caller may pin, where the operator gave one.
    pub id: Option<u64>,
    /// The provider's id.
    pub provider: Arc<str>,
    /// The provider's row.
    pub row: Attached,
    /// Where the provider is, without a trailing slash.
    pub base_url: Arc<str>,
    /// What fills the places in the row's paths.
    pub params: Vec<(Arc<str>, Arc<str>)>,
    /// What the provider is shown; nothing for servers that want nothing.
    pub credentials: Credentials,
    /// Headers set on each request, in the operator's order.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// Quirks in force, by name: the row's, or the operator's instead.
    pub quirks: Vec<Arc<str>>,
    /// What it serves.
    pub models: Vec<Served>,
    /// Groups of callers that may use it.
    pub groups: Vec<Arc<str>>,
    /// Higher priorities form the tiers that are tried first.
    pub priority: i32,
    /// Share of calls inside a tier.
    pub weight: u32,
    /// Requests in flight allowed; `None` for no limit.
    pub concurrency: Option<u32>,
    /// How it learns what its provider allows.
    pub learning: LearningRules,
    /// The manual switch.
    pub enabled: bool,
    /// Deadlines of an attempt.
    pub timeouts: Timeouts,
    /// How its connections are kept.
    pub pool: PoolSettings,
    /// By what its requests go out.
    pub transport: TransportKind,
    /// What its connections lead through; `None` for no proxy.
    pub proxy: Option<Arc<Proxy>>,
    /// What it costs us, as a part of the model's price.
    pub cost_ratio: Ratio,
    /// How its failures are treated.
    pub care: Care,
}

impl ChannelSpec {
    /// Whether requests of both settings are one account's at one place: what the provider says of its limits, its
    /// credential or its credit to one of them is true for the other.
    pub fn is_same_account(&self, other: &Self) -> bool {
        self.is_same_place(other) && self.credentials == other.credentials
    }

    /// The same, but that another credential may be shown there.
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.base_url == other.base_url
            && self.provider == other.provider
            && self.params == other.params
            && self.headers == other.headers
    }

    /// The same, and by the same way: where one of them fails, the other does.
    pub fn is_reached_alike(&self, other: &Self) -> bool {
        self.is_same_account(other) && self.proxy == other.proxy
    }
}

/// Channels and aliases as one immutable value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Grows with each change.
    pub revision: u64,
    /// Every channel, enabled or not.
    pub channels: Vec<Arc<ChannelSpec>>,
    /// Names that stand for another model.
    pub aliases: BTreeMap<ModelName, ModelName>,
}
