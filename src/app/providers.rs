//! Tells the settings what providers and quirks there are.

use std::{borrow::Cow, sync::Arc};

use penstock_actors::domain::Attached;

use crate::{
    config::{ProviderDefaults, Providers, ProvidersRefused},
    provider::{
        OwnRowsError, Quirk, Registry,
        row::{Auth, PARAM_VALUE, is_param_value},
    },
};

/// The providers' rows: Penstock's own, or those with an operator's.
pub(super) struct Rows(Cow<'static, Registry>);

impl Rows {
    /// Penstock's own.
    pub(super) fn builtin() -> Self {
        Self(Cow::Borrowed(Registry::builtin()))
    }
}

impl Providers for Rows {
    fn with_own(&self, text: &str) -> Result<Box<dyn Providers>, ProvidersRefused> {
        let rows = self.0.with_own(text).map_err(|refused| match refused {
            OwnRowsError::Malformed(error) => ProvidersRefused::Malformed(error),
            OwnRowsError::Invalid(error) => ProvidersRefused::Invalid {
                key: format!("provider \"{}\": {}", error.id, error.field),
                problem: error.problem,
            },
        })?;
        Ok(Box::new(Self(Cow::Owned(rows))))
    }

    fn provider(&self, id: &str) -> Result<ProviderDefaults, String> {
        let Some(row) = self.0.row(id) else {
            let near = self.0.near(id).map(|near| format!(" did you mean {near}?")).unwrap_or_default();
            return Err(format!("there is no provider \"{id}\";{near} `penstock docs providers` lists them"));
        };
        Ok(ProviderDefaults {
            base_url: row.base_url.as_ref().map(ToString::to_string),
            params: row.params.iter().map(|p| (Arc::clone(&p.name), p.default.clone())).collect(),
            needs_credential: row.needs_credential,
            takes_no_credential: row.auth == Auth::None,
            organisation_header: row.organisation_header.clone(),
            project_header: row.project_header.clone(),
            quirks: row.quirks.iter().map(|q| q.name()).collect(),
            row: Attached::new(Arc::clone(row)),
        })
    }

    fn check_credential(&self, provider: &str, credential: &str) -> Result<(), String> {
        let auth = self.0.row(provider).map(|row| &row.auth);
        match auth {
            Some(Auth::Signed(scheme)) => scheme.check(credential).map_err(|error| error.to_string()),
            Some(Auth::Token(grant)) => grant.check(credential).map_err(|error| error.to_string()),
            _ => Ok(()),
        }
    }

    fn check_quirks(&self, names: &[String]) -> Result<(), String> {
        Quirk::by_names(names.iter().map(String::as_str)).map(|_| ())
    }

    fn check_param(&self, value: &str) -> Result<(), String> {
        if is_param_value(value) { Ok(()) } else { Err(format!("\"{value}\" {PARAM_VALUE}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn each_variable_that_is_known_makes_a_channel_named_as_its_row() {
        for (variable, id) in config::variables_of_providers() {
            assert!(Rows::builtin().provider(id).is_ok(), "{variable}: there is no row {id}");
            let value = if variable.ends_with("_URL") { "http://127.0.0.1:9" } else { "sk-0123456789abcdef" };
            let environment = config::Environment::of([(variable.into(), value.into())]);
            let source = config::Source { environment, ..Default::default() };
            let settings = config::load(&source, &Rows::builtin()).expect(variable);
            let names: Vec<_> = settings.catalog.channels.iter().map(|c| c.name.as_str()).collect();
            assert_eq!(names, [id], "{variable}");
            let told: Vec<_> = settings.notices.iter().map(|n| (&*n.text, n.weight)).collect();
            let made = format!("{variable} makes the channel {id}");
            assert_eq!(told, [(&*made, config::Weight::Info)]);
        }
    }
}
