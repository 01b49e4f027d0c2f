//! What is said of a setting: where it stands, how it is called, what is wrong with it or worth knowing.

use std::{fmt, path::PathBuf};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of a file, counted from 1.
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command.
    Flag(&'static str),
    /// Nowhere: a default, or something that is missing.
    Nowhere,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was made.
    pub place: Place,
    /// The setting's name; empty where there is none.
    pub key: String,
    /// What is wrong, and what is allowed. Never the value of a secret.
    pub problem: String,
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Worth knowing.
    Info,
    /// Probably not what was meant.
    Warning,
}

/// Something that is allowed and still worth a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub weight: Weight,
    /// The line.
    pub text: String,
}

impl Notice {
    pub(super) fn info(text: impl Into<String>) -> Self {
        Self { weight: Weight::Info, text: text.into() }
    }

    pub(super) fn warning(text: impl Into<String>) -> Self {
        Self { weight: Weight::Warning, text: text.into() }
    }
}

impl Problem {
    /// A mistake in a variable of the environment.
    pub(super) fn variable(name: &str, problem: impl Into<String>) -> Self {
        Self { place: Place::Variable(name.to_owned()), key: String::new(), problem: problem.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
            Self::Nowhere => Ok(()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place != Place::Nowhere {
            write!(f, "{}: ", self.place)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

/// The name of a setting that something is said of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Of a table that stands once: `server.max_body`.
    Setting(String),
    /// Of a channel, by its index: `timeouts.idle`.
    Channel(usize, String, String),
    /// Of a key, by its index.
    Key(usize, String, String),
    /// An alias.
    Alias(String),
}

impl At {
    /// The way to it in the file's tree.
    pub(super) fn path(&self) -> Vec<Step> {
        let fields = |field: &str| field.split('.').map(|key| Step::Key(key.to_owned())).collect::<Vec<_>>();
        let item = |table: &str, index: usize, field: &str| {
            [vec![Step::Key(table.to_owned()), Step::Item(index)], fields(field)].concat()
        };
        match self {
            Self::Setting(name) => fields(name),
            Self::Channel(index, _, field) => item("channel", *index, field),
            Self::Key(index, _, field) => item("key", *index, field),
            Self::Alias(name) => vec![Step::Key("aliases".to_owned()), Step::Key(name.clone())],
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut item = |table: &str, name: &str, field: &str| match name {
            "" => write!(f, "a {table}: {field}"),
            _ => write!(f, "{table} \"{name}\": {field}"),
        };
        match self {
            Self::Channel(_, name, field) => item("channel", name, field),
            Self::Key(_, name, field) => item("key", name, field),
            Self::Setting(name) => f.write_str(name),
            Self::Alias(name) => write!(f, "aliases.\"{name}\""),
        }
    }
}

/// One step into the file's tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(String),
    Item(usize),
}
