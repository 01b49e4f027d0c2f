//! Documents that follow from the code, for `penstock docs`.

use clap::ValueEnum;

use crate::config;

/// A document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// config/penstock.toml: every setting with its default and meaning.
    Config,
    /// docs/one-api.md: One API's variables and what each does here.
    OneApi,
}

impl Document {
    /// The whole text.
    pub fn text(self) -> String {
        match self {
            Self::Config => config::reference(),
            Self::OneApi => config::one_api_table(),
        }
    }
}
