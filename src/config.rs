//! Settings: raw as written, then resolved once into one struct a concern. Reads no provider tables.
//!
//! Unknown keys are refused with their place, contradictions with the key's name; an invalid file
//! changes nothing.

mod provider;
mod raw;
mod resolve;
mod secret;
mod units;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use penstock_actors::domain::{Catalog, ChannelSpec};

pub use provider::{ProviderDefaults, Providers, ProvidersRefused};
pub use resolve::RESERVED;

use crate::{api_key::KeySpec, known_models::ModelFacts};

/// Everything an operator can set, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The listener and its caps. Changes need a restart.
    pub server: Server,
    /// The log.
    pub log: Log,
    /// Whether the built-in mock channel serves `penstock-echo`.
    pub mock: bool,
    /// Channels and aliases.
    pub catalog: Catalog,
    /// Keys declared in the file.
    pub keys: Vec<KeySpec>,
    /// What the operator says of models, by name.
    pub models: BTreeMap<String, ModelFacts>,
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

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A `tracing` filter, `info` for example.
    pub filter: String,
    /// Lines for people or for machines.
    pub format: LogFormat,
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
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not TOML, a misspelt key or a wrong type. The line itself is not shown: it may hold a secret.
    #[error("{path}, line {line}, column {column}: {problem}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What is wrong.
        problem: String,
    },
    /// A value that cannot be, or two that contradict.
    #[error("{key}: {problem}")]
    Invalid {
        /// The key's full name.
        key: String,
        /// What is wrong, and what is allowed.
        problem: String,
    },
}

impl ConfigError {
    fn invalid(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { key: key.into(), problem: problem.into() }
    }
}

/// What flags set over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`, or the port of `--port` on every address.
    pub listen: Option<SocketAddr>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
}

/// Reads a settings file, or takes the defaults where `path` is `None`.
///
/// # Errors
/// [`ConfigError`] with the place or the key of the first mistake.
pub fn load(
    path: Option<&Path>,
    overrides: &Overrides,
    providers: &dyn Providers,
) -> Result<Settings, ConfigError> {
    let Some(path) = path else { return resolve::resolve(raw::File::default(), overrides, providers) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.into(), error })?;
    let raw = toml::from_str(&text).map_err(|error| malformed(path, &text, &error))?;
    let providers = providers.with_own(&text).map_err(|refused| match refused {
        ProvidersRefused::Malformed(error) => malformed(path, &text, &error),
        ProvidersRefused::Invalid { key, problem } => ConfigError::Invalid { key, problem },
    })?;
    resolve::resolve(raw, overrides, &*providers)
}

fn malformed(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let before = text.get(..error.span().map_or(0, |s| s.start)).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    // Of the line, what stands before the equals sign: a key, never a value.
    let line = text[line_start..].lines().next().unwrap_or_default();
    let key = line.split_once('=').map(|(key, _)| format!("{}: ", key.trim())).unwrap_or_default();
    ConfigError::Malformed {
        path: path.into(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        problem: format!("{key}{}", error.message()),
    }
}

/// Says in words what differs between two catalogs, a line each.
pub fn differences(old: &Catalog, new: &Catalog) -> Vec<String> {
    let find = |in_: &Catalog, spec: &ChannelSpec| in_.channels.iter().find(|c| c.name == spec.name).cloned();
    let mut lines = Vec::new();
    for spec in &new.channels {
        match find(old, spec) {
            None => lines.push(format!("channel {}: added", spec.name)),
            Some(before) if before == *spec => {}
            Some(before) => lines.push(format!("channel {}: {}", spec.name, changed_fields(&before, spec))),
        }
    }
    for spec in &old.channels {
        if find(new, spec).is_none() {
            lines.push(format!("channel {}: removed", spec.name));
        }
    }
    if old.aliases != new.aliases {
        lines.push("aliases: changed".to_owned());
    }
    lines
}

/// Names the fields that differ; values only where they are no secret.
fn changed_fields(old: &ChannelSpec, new: &ChannelSpec) -> String {
    let mut fields = Vec::new();
    macro_rules! compare {
        ($($field:ident),*) => { $(if old.$field != new.$field {
            fields.push(format!("{} {:?} -> {:?}", stringify!($field), old.$field, new.$field));
        })* };
    }
    compare!(
        id,
        provider,
        base_url,
        params,
        quirks,
        groups,
        priority,
        weight,
        concurrency,
        enabled,
        timeouts,
        pool,
        transport
    );
    macro_rules! name_only {
        ($($field:ident),*) => { $(if old.$field != new.$field {
            fields.push(concat!(stringify!($field), " changed").to_owned());
        })* };
    }
    name_only!(row, credential, headers, models);
    fields.join(", ")
}

#[cfg(test)]
mod tests;
