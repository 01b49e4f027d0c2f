//! `penstock docs`: pages made of the program's own tables.

use clap::Subcommand;

use crate::{config, docs, telemetry};

/// What can be printed.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum Page {
    /// The providers that a channel may name, and the quirks.
    Providers,
    /// The commented settings file: every setting with its default and meaning.
    Config,
    /// One API's variables, and what each does here.
    OneApi,
    /// Every metric of /metrics.
    Metrics,
}

impl Page {
    /// Prints the page.
    pub(super) fn print(self) {
        let page = match self {
            Self::Providers => docs::providers(),
            Self::Config => config::reference(),
            Self::OneApi => config::one_api_table(),
            Self::Metrics => telemetry::table(),
        };
        print!("{page}");
    }
}
