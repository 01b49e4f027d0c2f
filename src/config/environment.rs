//! The environment as a value, and the settings that it names: `PENSTOCK_SECTION__KEY`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt,
    path::Path,
};

use super::{
    ConfigError, dotenv,
    layers::{Layer, Origin},
    nearest::did_you_mean,
    problem::{Place, Problem},
    reference::{self, Kind},
};

/// Names that are no settings of the file.
pub const CONFIG: &str = "PENSTOCK_CONFIG";
/// Where the guides have clients keep their key; a gateway may well be started from the same shell.
const CLIENT_KEY: &str = "PENSTOCK_KEY";

/// The variables that a process was started with. Prints names only: values may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    values: BTreeMap<String, String>,
    /// Variables whose values are no UTF-8.
    not_text: BTreeSet<String>,
}

impl Environment {
    /// Takes the process's variables; names that are no UTF-8 are nobody's.
    pub fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(environment.values.insert(name, value)),
                Err(_) => drop(environment.not_text.insert(name)),
            }
        }
        environment
    }

    /// Adds what a `.env` file says; what is set already wins.
    ///
    /// # Errors
    /// [`ConfigError`] with the line of the first mistake.
    pub fn with_file(mut self, path: &Path, text: &str) -> Result<Self, ConfigError> {
        let lines = dotenv::parse(text).map_err(|(line, problem)| {
            let place = Place::Line { path: path.to_owned(), line };
            ConfigError::Refused(vec![Problem { place, key: String::new(), problem: problem.to_owned() }])
        })?;
        for (name, value) in lines {
            if !self.not_text.contains(&name) {
                self.values.entry(name).or_insert(value);
            }
        }
        Ok(self)
    }

    /// The value of a variable; an empty one counts as not set, as containers pass it on.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether a variable is set to bytes that are no UTF-8.
    pub(super) fn is_not_text(&self, name: &str) -> bool {
        self.not_text.contains(name)
    }

    /// Whether a variable is set to nothing.
    pub(super) fn is_empty(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(String::is_empty)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().chain(&self.not_text).map(String::as_str)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// The variable of a setting: `server.max_body` is `PENSTOCK_SERVER__MAX_BODY`.
pub(super) fn variable(setting: &str) -> String {
    format!("PENSTOCK_{}", setting.replace('.', "__").to_ascii_uppercase())
}

/// The settings that the environment names. `used` are variables that the file refers to by `env:`.
pub(super) fn layers(
    environment: &Environment,
    used: &BTreeSet<String>,
    problems: &mut Vec<Problem>,
) -> Vec<Layer> {
    let known: Vec<_> = reference::scalars().map(|(path, kind)| (variable(&path), path, kind)).collect();
    let mut layers = Vec::new();
    for name in environment.names().filter(|name| name.starts_with("PENSTOCK_")) {
        let Some((_, path, kind)) = known.iter().find(|(variable, ..)| variable == name) else {
            let is_other = name == CONFIG || name == CLIENT_KEY || is_service_link(name);
            if !is_other && !used.contains(name) {
                problems.push(Problem::variable(name, unknown(name, &known)));
            }
            continue;
        };
        if environment.is_not_text(name) {
            problems.push(Problem::variable(name, format!("{path}: the value is no UTF-8")));
            continue;
        }
        let Some(value) = environment.get(name) else { continue };
        match literal(*kind, value) {
            Ok(literal) => {
                let origin = Origin::Variable(name.to_owned());
                layers.push(Layer { setting: path.clone(), literal, origin });
            }
            Err(problem) => problems.push(Problem::variable(name, format!("{path}: {problem}"))),
        }
    }
    layers
}

fn unknown(name: &str, known: &[(String, String, Kind)]) -> String {
    for (section, instead) in [
        ("CHANNEL", "channels are written in the file, or made of a provider's own variable, OPENAI_API_KEY"),
        ("KEY", "keys are written in the file, or in API_KEYS"),
        ("ALIASES", "aliases are written in the file"),
    ] {
        if name.strip_prefix("PENSTOCK_").and_then(|n| n.strip_prefix(section)).is_some_and(is_part) {
            return format!("names no setting: {instead}");
        }
    }
    let known = known.iter().map(|(variable, ..)| variable.as_str()).chain([CONFIG]);
    format!("names no setting{}", did_you_mean(name, known))
}

fn is_part(rest: &str) -> bool {
    rest.starts_with('_') || rest.starts_with("S_")
}

/// What Kubernetes and Docker set for a service or container that is called penstock.
fn is_service_link(name: &str) -> bool {
    ["PENSTOCK_SERVICE_HOST", "PENSTOCK_PORT", "PENSTOCK_NAME"].contains(&name)
        || ["PENSTOCK_SERVICE_PORT", "PENSTOCK_PORT_", "PENSTOCK_ENV_"].iter().any(|p| name.starts_with(p))
}

/// The value as the settings file would write it.
fn literal(kind: Kind, value: &str) -> Result<String, &'static str> {
    let value = value.trim();
    let text = |text: &str| toml::Value::from(text).to_string();
    match kind {
        Kind::Text => Ok(text(value)),
        Kind::Number => match value.parse::<i64>() {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err("must be a whole number"),
        },
        Kind::Switch => match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok("true".to_owned()),
            "false" | "0" | "no" | "off" => Ok("false".to_owned()),
            _ => Err("must be true or false"),
        },
        Kind::List => {
            let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(format!("[{}]", items.map(text).collect::<Vec<_>>().join(", ")))
        }
        Kind::Map => Err("cannot be set by the environment"),
    }
}
