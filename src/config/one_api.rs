//! The variables that One API is set up by: each one is honoured, or a line says what becomes of it.

mod list;

use std::net::IpAddr;

pub(super) use list::NAMES;

use super::{
    Environment,
    layers::{Layer, Origin},
    problem::{Notice, Problem},
};
use crate::api_key::{self, KeyDigest};

/// One of One API's variables.
pub(super) struct Name {
    pub(super) name: &'static str,
    pub(super) secrecy: Secrecy,
    pub(super) does: Does,
}

/// Whether a value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    Plain,
    Secret,
}

/// What a variable does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// What it does in One API, by this means.
    Honoured(Act, &'static str),
    /// Nothing: this does it instead.
    Replaced(&'static str),
    /// Nothing yet: this part of Penstock is not built.
    Awaits(&'static str),
    /// Nothing, for this reason.
    Needless(&'static str),
}

/// Variables that are acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Port,
    Host,
    Debug,
    GinMode,
    RelayTimeout,
    RelayProxy,
    IncludeUsage,
    RootToken,
    RootAccessToken,
    OneLogFile,
    SqlDsn,
    LogSqlDsn,
    SqlitePath,
}

/// What One API's variables come to.
#[derive(Debug, Default)]
pub(super) struct Compatible {
    /// `PORT`.
    pub(super) port: Option<u16>,
    /// `HOST`.
    pub(super) host: Option<IpAddr>,
    /// Settings that the others set.
    pub(super) layers: Vec<Layer>,
    /// `INITIAL_ROOT_TOKEN`.
    pub(super) root_token: Option<String>,
    /// The digest of `INITIAL_ROOT_ACCESS_TOKEN`.
    pub(super) root_access: Option<KeyDigest>,
    /// A line for each that is set.
    pub(super) notices: Vec<Notice>,
    pub(super) problems: Vec<Problem>,
}

/// Reads the variables.
pub(super) fn read(environment: &Environment) -> Compatible {
    let mut found = Compatible::default();
    for name in NAMES {
        if environment.is_not_text(name.name) {
            found.problems.push(Problem::variable(name.name, "the value is no UTF-8"));
        }
        let Some(value) = environment.get(name.name) else { continue };
        let value = value.trim();
        let shown = match name.secrecy {
            Secrecy::Plain => format!("{}={}", name.name, printable(value)),
            Secrecy::Secret => name.name.to_owned(),
        };
        let notice = match name.does {
            Does::Honoured(act, by) => match found.act(act, name.name, value) {
                Ok(Effect::Done) => Notice::info(format!("{shown}: {by}")),
                Ok(Effect::Unused(why)) => Notice::warning(format!("{shown}: {why}")),
                Err(problem) => {
                    let problem = match name.secrecy {
                        Secrecy::Plain => format!("{} {problem}", printable(value)),
                        Secrecy::Secret => problem,
                    };
                    found.problems.push(Problem::variable(name.name, problem));
                    continue;
                }
            },
            Does::Replaced(by) => Notice::warning(format!("{shown}: has no effect; instead, {by}")),
            Does::Awaits(room) => Notice::warning(format!("{shown}: has no effect yet: {room}")),
            Does::Needless(why) => Notice::warning(format!("{shown}: has no effect: {why}")),
        };
        found.notices.push(notice);
    }
    found
}

/// A line for each flag of another gateway.
pub(super) fn flags(given: &[&'static str]) -> Vec<Notice> {
    let why = |flag: &str| match flag {
        "--skip-auth" => "has no effect: it is about signing in to the console, which is not built",
        "--server" => "has no effect: there is one program at one address; see --listen",
        _ => "has no effect yet: signing in is not built",
    };
    given.iter().map(|flag| Notice::warning(format!("{flag}: {}", why(flag)))).collect()
}

enum Effect {
    Done,
    Unused(String),
}

impl Compatible {
    fn act(&mut self, act: Act, name: &str, value: &str) -> Result<Effect, String> {
        match act {
            Act::Port => {
                let port = value.parse().map_err(|_| "is no port; a port is a number from 0 to 65535")?;
                self.port = Some(port);
            }
            Act::Host => match value {
                "localhost" => self.host = Some(std::net::Ipv4Addr::LOCALHOST.into()),
                // Shells set HOST to the machine's name; that is no wish.
                _ => match value.trim_matches(['[', ']']).parse() {
                    Ok(host) => self.host = Some(host),
                    Err(_) => {
                        return Ok(Effect::Unused(
                            "is no IP address and has no effect; set server.listen".into(),
                        ));
                    }
                },
            },
            Act::Debug => match switch(value) {
                Some(true) => self.set("log.filter", DEBUG_FILTER, name),
                Some(false) => {}
                // Other programs give DEBUG other values.
                None => {
                    return Ok(Effect::Unused(
                        "is neither true nor false and has no effect; set log.filter".into(),
                    ));
                }
            },
            Act::GinMode => match value {
                "debug" => self.set("log.filter", DEBUG_FILTER, name),
                "release" | "test" => {}
                _ => return Err("is no mode; use debug or release".into()),
            },
            Act::RelayTimeout => {
                let seconds: u64 =
                    value.parse().map_err(|_| "must be a whole number of seconds, or 0 for the default")?;
                if seconds > 0 {
                    self.set("defaults.timeouts.total", &seconds.to_string(), name);
                }
            }
            Act::RelayProxy => self.set("defaults.proxy", value, name),
            Act::IncludeUsage => drop(switch(value).ok_or("must be true or false")?),
            Act::RootToken => self.root_token = Some(value.to_owned()),
            Act::RootAccessToken => {
                if !api_key::is_strong(value) {
                    return Err("must have at least 16 characters without spaces".into());
                }
                self.root_access = Some(api_key::digest(value));
            }
            Act::SqlDsn => self.set("store.url", value, name),
            Act::LogSqlDsn => self.set("store.log_url", value, name),
            Act::SqlitePath if self.layers.iter().any(|l| l.setting == "store.url") => {
                return Ok(Effect::Unused("has no effect: SQL_DSN names the database".into()));
            }
            Act::SqlitePath => self.set("store.url", &format!("sqlite:{value}"), name),
            Act::OneLogFile => {
                if switch(value).ok_or("must be true or false")? {
                    self.set("log.rotation", "never", name);
                }
            }
        }
        Ok(Effect::Done)
    }

    fn set(&mut self, setting: &str, value: &str, name: &str) {
        let literal = toml::Value::from(value).to_string();
        let origin = Origin::Variable(name.to_owned());
        self.layers.push(Layer { setting: setting.to_owned(), literal, origin });
    }
}

/// Ours only: the libraries' own lines could hold headers.
const DEBUG_FILTER: &str = "info,actix_server=warn,penstock=debug,penstock_actors=debug";

fn switch(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "t" => Some(true),
        "false" | "0" | "f" => Some(false),
        _ => None,
    }
}

/// A value that fits into a line.
fn printable(value: &str) -> String {
    let short: String = value.chars().take(60).collect();
    let more = if short.len() < value.len() { "..." } else { "" };
    format!("{}{more}", short.escape_debug())
}

/// The table for the documents.
pub fn table() -> String {
    let mut text = String::from(
        "# One API's variables\n\nEach that is set is named in the log at the start; values of secrets are not shown.\n\
         Printed by `penstock docs one-api`.\n\n| name | what it does here |\n|---|---|\n",
    );
    for name in NAMES {
        let does = match name.does {
            Does::Honoured(_, by) => by.to_owned(),
            Does::Replaced(by) => format!("no effect; instead, {by}"),
            Does::Awaits(room) => format!("no effect yet: {room}"),
            Does::Needless(why) => format!("no effect: {why}"),
        };
        text.push_str(&format!("| `{}` | {does} |\n", name.name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(name: &str, value: &str) -> Compatible {
        read(&Environment::of([(name.into(), value.into())]))
    }

    #[test]
    fn every_name_that_is_set_is_answered_with_one_line_that_hides_secrets() {
        for name in NAMES {
            for value in ["0", "odd-value-\n\u{1b}[31m"] {
                let found = reading(name.name, value);
                assert_eq!(found.notices.len() + found.problems.len(), 1, "{}={value:?}", name.name);
                let notices = found.notices.iter().map(|n| n.text.clone());
                let line: String = notices.chain(found.problems.iter().map(ToString::to_string)).collect();
                assert!(line.starts_with(name.name) && !line.contains(['\n', '\u{1b}']), "{line}");
                assert_eq!(
                    line.contains("odd-value"),
                    value != "0" && name.secrecy == Secrecy::Plain,
                    "{line}"
                );
            }
            let found = reading(name.name, "");
            assert!(found.notices.is_empty() && found.problems.is_empty(), "empty is not set");
        }
    }

    #[test]
    fn odd_values_are_refused_or_explained() {
        for (name, value, words) in [
            ("PORT", "abc", "PORT: abc is no port"),
            ("PORT", "99999", "PORT: 99999 is no port"),
            ("PORT", "-1", "PORT: -1 is no port"),
            ("RELAY_TIMEOUT", "-1", "RELAY_TIMEOUT: -1 must be a whole number of seconds"),
            ("RELAY_TIMEOUT", "30s", "RELAY_TIMEOUT: 30s must be a whole number of seconds"),
            ("DEBUG", "maybe", "DEBUG=maybe: is neither true nor false"),
            ("GIN_MODE", "loud", "GIN_MODE: loud is no mode"),
            ("HOST", "my-machine", "HOST=my-machine: is no IP address"),
            ("TZ", "Nowhere", "TZ=Nowhere: has no effect yet"),
            ("ONLY_ONE_LOG_FILE", "perhaps", "ONLY_ONE_LOG_FILE: perhaps must be true or false"),
            ("ENFORCE_INCLUDE_USAGE", "yes!", "ENFORCE_INCLUDE_USAGE: yes! must be true or false"),
        ] {
            let found = reading(name, value);
            let lines = found.problems.iter().map(ToString::to_string);
            let all: Vec<_> = lines.chain(found.notices.into_iter().map(|n| n.text)).collect();
            assert!(all.len() == 1 && all[0].starts_with(words), "{all:?}");
        }
    }

    #[test]
    fn the_table_in_the_documents_is_what_the_code_says() {
        let file = include_str!("../../docs/one-api.md");
        assert!(file == table(), "docs/one-api.md is old: penstock docs one-api > docs/one-api.md");
    }
}
