//! What the settings must know of providers, which somebody else keeps, and what a channel takes from its own.

use std::sync::Arc;

use penstock_actors::domain::Attached;

use super::raw;

/// A field of a channel, and what is wrong with it.
pub(super) type FieldProblem = (&'static str, String);

/// What is known of a provider when its channels are resolved.
#[derive(Clone, Debug, Default)]
pub struct ProviderDefaults {
    /// Used where the channel names none; may hold places such as `{account}`.
    pub base_url: Option<String>,
    /// Names of the values that a channel may give, each with its default.
    pub params: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// Whether the provider wants a credential.
    pub needs_credential: bool,
    /// Whether there is no way to show it one.
    pub takes_no_credential: bool,
    /// The header for a channel's organisation.
    pub organisation_header: Option<Arc<str>>,
    /// The header for a channel's project.
    pub project_header: Option<Arc<str>>,
    /// The row's quirks, by name.
    pub quirks: Vec<&'static str>,
    /// The row itself, for whoever calls the provider.
    pub row: Attached,
}

/// Why an operator's own providers were refused.
#[derive(Debug)]
pub enum ProvidersRefused {
    /// A misspelt key or a wrong type, with its place in the text.
    Malformed(toml::de::Error),
    /// A value that cannot be.
    Invalid {
        /// The key's full name.
        key: String,
        /// What is wrong, and what is allowed.
        problem: String,
    },
}

/// Knows providers and quirks by name.
pub trait Providers {
    /// These and an operator's own, the tables `[[provider]]` of a settings file's text.
    ///
    /// # Errors
    /// [`ProvidersRefused`] with the place or the key of the first mistake.
    fn with_own(&self, text: &str) -> Result<Box<dyn Providers>, ProvidersRefused>;

    /// The provider's defaults.
    ///
    /// # Errors
    /// A sentence, where there is no such provider.
    fn provider(&self, id: &str) -> Result<ProviderDefaults, String>;

    /// Checks the form of a credential, where the provider wants one of a form.
    ///
    /// # Errors
    /// A sentence that does not hold it.
    fn check_credential(&self, provider: &str, credential: &str) -> Result<(), String>;

    /// Checks names of quirks.
    ///
    /// # Errors
    /// A sentence, where one is none or two contradict.
    fn check_quirks(&self, names: &[String]) -> Result<(), String>;

    /// Checks the value of a parameter.
    ///
    /// # Errors
    /// A sentence, where it could change the shape of an address.
    fn check_param(&self, value: &str) -> Result<(), String>;
}

/// Where a channel's provider is.
pub(super) struct Place {
    pub(super) base_url: String,
    pub(super) params: Vec<(Arc<str>, Arc<str>)>,
}

/// Finds address and parameters of a channel: its own, or the provider's.
pub(super) fn place(
    channel: &raw::Channel,
    provider: &ProviderDefaults,
    providers: &dyn Providers,
) -> Result<Place, FieldProblem> {
    for (name, value) in &channel.params {
        if !provider.params.iter().any(|(known, _)| **known == **name) {
            let known: Vec<_> = provider.params.iter().map(|(name, _)| &**name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let problem = format!("provider {} has no \"{name}\"; known are: {known}", channel.provider);
            return Err(("params", problem));
        }
        providers.check_param(value).map_err(|problem| ("params", problem))?;
    }
    // A place of the default address is no gap where the channel has an address of its own.
    let in_address = |name: &str| {
        let address = provider.base_url.as_deref().unwrap_or_default();
        address.contains(&format!("{{{name}}}"))
    };
    let mut params = Vec::new();
    for (name, default) in &provider.params {
        match (channel.params.get(&**name), default) {
            (Some(value), _) => params.push((Arc::clone(name), value.as_str().into())),
            (None, Some(default)) => params.push((Arc::clone(name), Arc::clone(default))),
            (None, None) if channel.base_url.is_some() && in_address(name) => {}
            (None, None) => {
                let problem =
                    format!("provider {} needs {name}: params = {{ {name} = \"...\" }}", channel.provider);
                return Err(("params", problem));
            }
        }
    }
    let base_url = match (channel.base_url.as_deref(), provider.base_url.as_deref()) {
        (Some(written), _) => base_url(written).map_err(|problem| ("base_url", problem))?,
        (None, Some(default)) => params
            .iter()
            .fold(default.to_owned(), |url, (name, value)| url.replace(&format!("{{{name}}}"), value)),
        (None, None) => return Err(("base_url", format!("provider {} needs one", channel.provider))),
    };
    Ok(Place { base_url, params })
}

/// Checks an upstream address and drops trailing slashes.
fn base_url(written: &str) -> Result<String, String> {
    let uri: http::Uri = written.parse().map_err(|e| format!("\"{}\" is no address: {e}", shown(written)))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if !authority.as_str().contains('@') => {}
        (Some("http" | "https"), Some(_)) => return Err("must not hold a user name".into()),
        _ => {
            return Err(format!(
                "\"{}\" must start with http:// or https:// and name a host",
                shown(written)
            ));
        }
    }
    if uri.query().is_some() || written.contains('#') {
        return Err("must not hold a query or a fragment".into());
    }
    if written.contains(['{', '}']) {
        return Err("must not hold braces; only a provider's own address has places to fill".into());
    }
    Ok(written.trim_end_matches('/').to_owned())
}

/// An address as far as it can be told: what a name and a password might stand in is left out.
fn shown(written: &str) -> &str {
    written.rsplit_once('@').map_or(written, |(_, host)| host)
}
