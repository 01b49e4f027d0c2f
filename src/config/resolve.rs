//! From the file as written to settings in force: defaults, units, secrets, contradictions.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use penstock_actors::domain::{
    Catalog, ChannelName, ChannelSpec, Credential, PoolSettings, Served, Timeouts, TransportKind,
};

use super::{
    ConfigError, Log, Overrides, Providers, Server, Settings, Tls, provider, raw, secret, units::Span,
};
use crate::api_key::{self, KeySpec};

const DEFAULT_PORT: u16 = 3000;
const DEFAULT_TLS_PORT: u16 = 3443;
/// The channel that `[mock]` switches.
pub const RESERVED: &str = "penstock-mock";
/// Longer durations are mistakes, and clocks overflow at some.
const LONGEST_DURATION: Duration = Duration::from_secs(30 * 24 * 3600);
const DEFAULT_GROUP: &str = "default";

pub(super) fn resolve(
    raw: raw::File,
    overrides: &Overrides,
    providers: &dyn Providers,
) -> Result<Settings, ConfigError> {
    let server = server(raw.server, raw.tls, overrides)?;
    let log = Log {
        filter: raw.log.filter.unwrap_or_else(|| "info,actix_server=warn".to_owned()),
        format: raw.log.format,
    };
    let mut channels = Vec::new();
    let (mut names, mut ids) = (BTreeSet::new(), BTreeMap::new());
    for (i, written) in raw.channels.into_iter().enumerate() {
        let spec = channel(i, written, providers)?;
        if !names.insert(spec.name.clone()) {
            return Err(ConfigError::invalid(at(i, &spec.name.0, "name"), "another channel has this name"));
        }
        if let Some(other) = spec.id.and_then(|id| ids.insert(id, spec.name.clone())) {
            let problem = format!("channel \"{other}\" has this id already");
            return Err(ConfigError::invalid(at(i, &spec.name.0, "id"), problem));
        }
        channels.push(Arc::new(spec));
    }
    let mock = raw.mock.enabled.unwrap_or(channels.is_empty());
    let aliases = aliases(raw.aliases, &channels)?;
    let keys = keys(raw.keys)?;
    let models = raw.models;
    Ok(Settings { server, log, mock, catalog: Catalog { revision: 0, channels, aliases }, keys, models })
}

fn at(index: usize, name: &str, field: &str) -> String {
    match name {
        "" => format!("channel[{index}].{field}"),
        _ => format!("channel \"{name}\": {field}"),
    }
}

fn server(raw: raw::Server, tls: Option<raw::Tls>, overrides: &Overrides) -> Result<Server, ConfigError> {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_PORT);
    let server = Server {
        listen: overrides.listen.or(raw.listen).unwrap_or(any),
        data_dir: overrides.data_dir.clone().or(raw.data_dir).unwrap_or_else(|| PathBuf::from("data")),
        workers: raw
            .workers
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
        max_body: raw.max_body.map_or(64 << 20, |s| s.0),
        max_whole_body: raw.max_whole_body.map_or(32 << 20, |s| s.0),
        max_bytes_in_flight: raw.max_bytes_in_flight.map_or(1 << 30, |s| s.0),
        max_event: raw.max_event.map_or(16 << 20, |s| s.0 as usize),
        client_stall: raw.client_stall.map_or(Duration::from_secs(300), |s| s.0),
        drain: raw.drain.map_or(Duration::from_secs(30), |s| s.0),
        tls: tls.map(|tls| Tls {
            listen: tls.listen.unwrap_or(SocketAddr::new(any.ip(), DEFAULT_TLS_PORT)),
            certificate: tls.certificate,
            key: tls.key,
        }),
    };
    let positive = [
        ("workers", server.workers as u64),
        ("max_body", server.max_body),
        ("max_whole_body", server.max_whole_body),
        ("max_event", server.max_event as u64),
        ("client_stall", server.client_stall.as_millis() as u64),
    ];
    if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
        return Err(ConfigError::invalid(format!("server.{key}"), "must be more than 0"));
    }
    if server.client_stall.max(server.drain) > LONGEST_DURATION {
        return Err(ConfigError::invalid("server.client_stall, server.drain", "must be at most 30 days"));
    }
    if server.workers > 1024 {
        return Err(ConfigError::invalid("server.workers", "must be at most 1024"));
    }
    if server.tls.as_ref().is_some_and(|tls| tls.listen == server.listen && tls.listen.port() != 0) {
        return Err(ConfigError::invalid("tls.listen", "is server.listen; each needs an address of its own"));
    }
    if server.max_bytes_in_flight < server.max_body {
        let problem = "is less than server.max_body, so the largest body could never be taken";
        return Err(ConfigError::invalid("server.max_bytes_in_flight", problem));
    }
    Ok(server)
}

fn channel(index: usize, raw: raw::Channel, providers: &dyn Providers) -> Result<ChannelSpec, ConfigError> {
    let name = raw.name.clone();
    let wrong = |field: &str, problem: String| ConfigError::invalid(at(index, &name, field), problem);
    let bad = |field: &str, problem: String| Err(wrong(field, problem));
    if raw.name == RESERVED {
        return bad("name", "is the name of the built-in mock channel".into());
    }
    if !is_name(&raw.name) {
        return bad("name", "must be 1 to 64 letters, digits, dots, dashes or underscores".into());
    }
    let provider = providers.provider(&raw.provider).map_err(|problem| wrong("provider", problem))?;
    let provider::Place { base_url, params } =
        provider::place(&raw, &provider, providers).map_err(|(field, problem)| wrong(field, problem))?;
    let credential = match raw.credential.as_deref().map(secret::resolve) {
        Some(Ok(secret)) => Some(Credential::new(secret)),
        Some(Err(problem)) => return bad("credential", problem),
        None if provider.needs_credential => {
            return bad("credential", format!("provider {} needs one", raw.provider));
        }
        None => None,
    };
    if credential.is_some() && provider.takes_no_credential {
        return bad("credential", format!("provider {} takes none", raw.provider));
    }
    if let Some(written) = &raw.quirks {
        providers.check_quirks(written).map_err(|problem| wrong("quirks", problem))?;
    }
    if raw.models.is_empty() {
        return bad("models", "a channel must serve at least one model".into());
    }
    let mut seen = BTreeSet::new();
    if let Some(model) = raw.models.iter().find(|m| !is_model(m) || !seen.insert(m.as_str())) {
        return bad("models", format!("\"{model}\" is empty, holds spaces at its ends or stands twice"));
    }
    if let Some(model) = raw.mapping.keys().find(|m| !raw.models.contains(m)) {
        return bad("mapping", format!("\"{model}\" is not one of the channel's models"));
    }
    if let Some((model, _)) = raw.mapping.iter().find(|(_, upstream)| !is_model(upstream)) {
        return bad("mapping", format!("\"{model}\" is mapped to no name"));
    }
    let groups = raw.groups.clone().unwrap_or_else(|| vec![DEFAULT_GROUP.to_owned()]);
    if groups.is_empty() || groups.iter().any(|g| !is_name(g)) {
        return bad("groups", "must be names; a channel without a group serves nobody".into());
    }
    if raw.weight > 1_000_000 {
        return bad("weight", "must be at most 1000000".into());
    }
    let mut headers = Vec::new();
    for (header, written) in &raw.headers {
        let value = secret::resolve(written).map_err(|problem| wrong("headers", problem))?;
        header_allowed(header, &value).map_err(|problem| wrong("headers", problem))?;
        headers.push((header.as_str().into(), value.into()));
    }
    provider::account_headers(&raw, &provider, &mut headers).map_err(|(field, p)| wrong(field, p))?;
    let timeouts = timeouts(&raw.timeouts).map_err(|(field, problem)| wrong(field, problem))?;
    let pool = pool(&raw.pool).map_err(|(field, problem)| wrong(field, problem))?;
    if let Some(limit) = raw.concurrency
        && limit > pool.max_connections
    {
        let problem = format!("{limit} is more than pool.max_connections ({})", pool.max_connections);
        return bad("concurrency", problem);
    }
    let quirks = match raw.quirks {
        Some(quirks) => quirks.into_iter().map(Arc::from).collect(),
        None => provider.quirks.into_iter().map(Arc::from).collect(),
    };
    let upstream = |m: &String| raw.mapping.get(m).unwrap_or(m).as_str().into();
    Ok(ChannelSpec {
        models: raw
            .models
            .iter()
            .map(|m| Served { model: m.as_str().into(), upstream: upstream(m) })
            .collect(),
        name: ChannelName(raw.name.into()),
        id: raw.id,
        provider: raw.provider.into(),
        row: provider.row,
        base_url: base_url.into(),
        params,
        credential,
        headers,
        quirks,
        groups: groups.into_iter().map(Arc::from).collect(),
        priority: raw.priority,
        weight: raw.weight,
        concurrency: raw.concurrency,
        enabled: raw.enabled,
        timeouts,
        pool,
        transport: match raw.transport {
            raw::Transport::Http1 => TransportKind::Http1,
            raw::Transport::Awc => TransportKind::Awc,
        },
    })
}

pub(super) type FieldProblem = (&'static str, String);

fn timeouts(raw: &raw::Timeouts) -> Result<Timeouts, FieldProblem> {
    let default = Timeouts::default();
    let or = |written: Option<Span>, default: Duration| written.map_or(default, |s| s.0);
    let total = or(raw.total, default.total);
    // A default gives way to a shorter total; only what is written can contradict it.
    let timeouts = Timeouts {
        connect: or(raw.connect, default.connect.min(total)),
        first_byte_stream: or(raw.first_byte_stream, default.first_byte_stream.min(total)),
        first_byte: or(raw.first_byte, default.first_byte.min(total)),
        idle: or(raw.idle, default.idle.min(total)),
        total,
    };
    for (field, value) in [
        ("timeouts.connect", timeouts.connect),
        ("timeouts.first_byte_stream", timeouts.first_byte_stream),
        ("timeouts.first_byte", timeouts.first_byte),
        ("timeouts.idle", timeouts.idle),
        ("timeouts.total", timeouts.total),
    ] {
        if value.is_zero() || value > LONGEST_DURATION {
            return Err((field, "must be more than 0 and at most 30 days".into()));
        }
        if value > total {
            return Err((field, format!("{value:?} is more than timeouts.total ({total:?})")));
        }
    }
    Ok(timeouts)
}

fn pool(raw: &raw::Pool) -> Result<PoolSettings, FieldProblem> {
    let default = PoolSettings::default();
    let pool = PoolSettings {
        max_connections: raw.max_connections.unwrap_or(default.max_connections),
        idle: raw.idle.map_or(default.idle, |s| s.0),
        lifetime: raw.lifetime.map_or(default.lifetime, |s| s.0),
    };
    match pool.max_connections {
        0 => Err(("pool.max_connections", "must be more than 0; use enabled = false instead".into())),
        _ => Ok(pool),
    }
}

pub(super) fn header_allowed(name: &str, value: &str) -> Result<(), String> {
    const OURS: [&str; 6] =
        ["host", "content-length", "transfer-encoding", "connection", "content-type", "expect"];
    if http::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(format!("\"{name}\" is no header name"));
    }
    if OURS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("\"{name}\" is set by the gateway itself"));
    }
    if http::header::HeaderValue::from_str(value).is_err() {
        return Err(format!("the value of \"{name}\" holds characters that no header can carry"));
    }
    Ok(())
}

fn aliases(
    raw: BTreeMap<String, String>,
    channels: &[Arc<ChannelSpec>],
) -> Result<BTreeMap<Arc<str>, Arc<str>>, ConfigError> {
    let served: BTreeSet<&str> = channels.iter().flat_map(|c| &c.models).map(|m| &*m.model).collect();
    for (alias, target) in &raw {
        let key = || format!("aliases.\"{alias}\"");
        if !is_model(alias) {
            return Err(ConfigError::invalid(key(), "an alias must be a name"));
        }
        if raw.contains_key(target) {
            return Err(ConfigError::invalid(key(), format!("\"{target}\" is an alias itself")));
        }
        if !served.contains(target.as_str()) {
            return Err(ConfigError::invalid(key(), format!("no channel serves \"{target}\"")));
        }
        if served.contains(alias.as_str()) {
            return Err(ConfigError::invalid(key(), "a channel serves a model of this name"));
        }
    }
    Ok(raw.into_iter().map(|(alias, target)| (alias.into(), target.into())).collect())
}

fn keys(raw: Vec<raw::Key>) -> Result<Vec<KeySpec>, ConfigError> {
    let (mut names, mut digests) = (BTreeSet::new(), BTreeSet::new());
    let mut keys = Vec::new();
    for key in raw {
        let bad = |field: &str, problem: &str| {
            Err(ConfigError::invalid(format!("key \"{}\": {field}", key.name), problem))
        };
        if !is_name(&key.name) || !names.insert(key.name.clone()) {
            return bad("name", "must be a name that no other key has");
        }
        let digest = match (&key.secret, &key.sha256) {
            (Some(_), Some(_)) => return bad("secret", "give either secret or sha256, not both"),
            (None, None) => {
                return bad("secret", "give secret (the key itself, env:NAME, file:PATH) or sha256");
            }
            (Some(written), None) => match secret::resolve(written) {
                Ok(secret) if api_key::is_strong(&secret) => api_key::digest(&secret),
                Ok(_) => return bad("secret", "a key must have at least 16 characters without spaces"),
                Err(problem) => return bad("secret", &problem),
            },
            (None, Some(hex)) => match api_key::parse_digest(hex) {
                Some(digest) => digest,
                None => return bad("sha256", "must be 64 hexadecimal digits"),
            },
        };
        if !digests.insert(digest) {
            return bad("secret", "another key has the same secret");
        }
        let group = key.group.unwrap_or_else(|| DEFAULT_GROUP.to_owned());
        if !is_name(&group) {
            return Err(ConfigError::invalid(format!("key \"{}\": group", key.name), "must be a name"));
        }
        keys.push(KeySpec {
            name: key.name,
            digest,
            group,
            models: key.models,
            may_pin: key.may_pin,
            may_see_routing: key.may_see_routing,
        });
    }
    Ok(keys)
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn is_model(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && text.trim() == text && !text.chars().any(char::is_control)
}
