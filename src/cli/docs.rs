//! `penstock docs`: pages made of the program's own tables.

use clap::Subcommand;

use crate::docs;

/// What can be printed.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum Page {
    /// The providers that a channel may name, and the quirks.
    Providers,
}

impl Page {
    /// Prints the page, in Markdown.
    pub(super) fn print(self) {
        let page = match self {
            Self::Providers => docs::providers(),
        };
        print!("{page}");
    }
}
