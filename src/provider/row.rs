//! Providers as rows: what differs between them is data, and only what data cannot say is an adapter.

use super::{Adapter, Endpoint, Quirk, anthropic::Anthropic, openai::OpenAi};

/// How a provider wants to be shown the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer ...`, if there is a credential.
    Bearer,
    /// A header of its own.
    Header(&'static str),
}

/// One provider.
pub struct Row {
    /// The name in settings.
    pub id: &'static str,
    /// Where it is, unless the channel says otherwise.
    pub base_url: Option<&'static str>,
    /// How it is shown the credential.
    pub auth: Auth,
    /// Whether it serves nobody without one.
    pub needs_credential: bool,
    /// What it can be asked.
    pub endpoints: &'static [Endpoint],
    /// Rewrites it needs.
    pub quirks: &'static [Quirk],
    /// Whether it is our mock: it is told the call's id and the client's `x-penstock-mock-*` headers.
    pub is_mock: bool,
    /// Builds its requests and reads its answers.
    pub adapter: &'static dyn Adapter,
}

/// Every provider.
pub const ROWS: &[Row] = &[
    Row {
        id: "openai",
        base_url: Some("https://api.openai.com"),
        auth: Auth::Bearer,
        needs_credential: true,
        endpoints: &Endpoint::ALL,
        quirks: &[Quirk::RequestStreamUsage],
        is_mock: false,
        adapter: &OpenAi,
    },
    Row {
        id: "openai-compatible",
        base_url: None,
        auth: Auth::Bearer,
        needs_credential: false,
        endpoints: &Endpoint::ALL,
        quirks: &[Quirk::RequestStreamUsage],
        is_mock: false,
        adapter: &OpenAi,
    },
    Row {
        id: "anthropic",
        base_url: Some("https://api.anthropic.com"),
        auth: Auth::Header("x-api-key"),
        needs_credential: true,
        endpoints: &[Endpoint::ChatCompletions],
        quirks: &[],
        is_mock: false,
        adapter: &Anthropic,
    },
    Row {
        id: "mock",
        base_url: None,
        auth: Auth::Bearer,
        needs_credential: false,
        endpoints: &Endpoint::ALL,
        quirks: &[Quirk::RequestStreamUsage],
        is_mock: true,
        adapter: &OpenAi,
    },
];

/// The row of a provider.
pub fn by_id(id: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.id == id)
}

/// The address of a path below a base URL. A base that names a version of its own (`.../api/v3`) gets no
/// second one.
pub fn address(base_url: &str, path: &str) -> String {
    let below = match has_version(base_url) {
        true => path.strip_prefix("/v1").unwrap_or(path),
        false => path,
    };
    format!("{base_url}{below}")
}

/// Whether a part of an address' path is a version: `v3`, `v1beta`.
fn has_version(base_url: &str) -> bool {
    let is_version = |part: &str| {
        part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    base_url.split('/').skip(3).any(is_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_a_base_url_are_seen() {
        for (base, wanted) in [
            ("https://api.openai.com", false),
            ("http://v1.example.com:8000", false),
            ("https://host/api/paas/v4", true),
            ("https://host/v1beta/openai", true),
            ("https://host/openai", false),
            ("https://host/video", false),
        ] {
            assert_eq!(has_version(base), wanted, "{base}");
        }
    }
}
