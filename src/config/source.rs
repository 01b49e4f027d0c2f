//! Where settings come from: a file, the environment, flags.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{ConfigError, Environment, environment};

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The settings file.
    pub file: Option<PathBuf>,
    /// What flags set over it.
    pub overrides: Overrides,
    /// What the process was started with.
    pub environment: Environment,
}

/// What flags set over everything else.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--port`
    pub port: Option<u16>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--log-dir`
    pub log_dir: Option<PathBuf>,
    /// Flags of other gateways, which have no effect.
    pub foreign: Vec<&'static str>,
}

/// The settings file that is looked for where Penstock runs.
pub const USUAL_FILE: &str = "penstock.toml";

impl Source {
    /// Takes `PENSTOCK_CONFIG` or the usual file where none is named. Once it was there it is expected: its
    /// absence later is a mistake, not a wish for the defaults.
    ///
    /// # Errors
    /// [`ConfigError`] where the system does not say whether the file is there.
    pub fn find(&mut self) -> Result<(), ConfigError> {
        if self.file.is_none() {
            self.file = self.environment.get(environment::CONFIG).map(PathBuf::from);
        }
        let usual = Path::new(USUAL_FILE);
        let there =
            usual.try_exists().map_err(|error| ConfigError::Unreadable { path: usual.into(), error })?;
        if self.file.is_none() && there {
            self.file = Some(usual.into());
        }
        Ok(())
    }
}
