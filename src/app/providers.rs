//! Tells the settings what providers and quirks there are.

use crate::{
    config::{ProviderDefaults, Providers},
    provider::{Quirk, row},
};

/// The providers' rows.
pub(super) struct Rows;

impl Providers for Rows {
    fn provider(&self, id: &str) -> Option<ProviderDefaults> {
        row::by_id(id).map(|row| ProviderDefaults {
            base_url: row.base_url,
            needs_credential: row.needs_credential,
            quirks: row.quirks.iter().map(|q| q.name()).collect(),
        })
    }

    fn provider_ids(&self) -> Vec<&'static str> {
        row::ROWS.iter().map(|row| row.id).collect()
    }

    fn quirk_names(&self) -> Vec<&'static str> {
        Quirk::ALL.iter().map(|q| q.name()).collect()
    }
}
