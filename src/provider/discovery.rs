//! Which models a provider says it has: what it is asked, and what its answer means.

use std::{collections::BTreeSet, sync::Arc};

use http::{HeaderName, HeaderValue, Uri, header};
use penstock_actors::domain::ChannelSpec;
use serde::Deserialize;

use super::row::Row;
use crate::dialect::{Dialect, anthropic_messages};

/// More models than this are left out.
pub const MOST_MODELS: usize = 10_000;
const LONGEST_NAME: usize = 256;

/// What a provider is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where its list is.
    pub uri: Uri,
    /// With which headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a provider said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The models, in its order, each once.
    pub models: Vec<String>,
    /// How many were left out: too many, or no names.
    pub left_out: usize,
}

/// What to ask for a channel's models.
///
/// # Errors
/// Why the channel cannot be asked.
pub fn question(spec: &ChannelSpec) -> Result<Question, String> {
    let row: Arc<Row> = spec.row.downcast().ok_or("its provider has no row")?;
    let mut headers =
        vec![(header::USER_AGENT, HeaderValue::from_static(concat!("penstock/", env!("CARGO_PKG_VERSION"))))];
    if let Some(credential) = spec.credentials.first()
        && let Some((name, value)) = row.auth.header(credential.expose())
    {
        headers.push((name, value.try_into().map_err(|_| "the credential fits no header")?));
    }
    let mut path = "/models";
    if row.speaks.iter().all(|speech| speech.dialect == Dialect::AnthropicMessages) {
        path = "/models?limit=1000";
        let version = HeaderValue::from_static(anthropic_messages::API_VERSION);
        headers.push((HeaderName::from_static("anthropic-version"), version));
    }
    for (name, value) in &spec.headers {
        headers.push((header_name(name)?, HeaderValue::from_str(value).map_err(|e| e.to_string())?));
    }
    let uri = format!("{}{}{path}", spec.base_url, row.prefix_for(&spec.base_url));
    let uri = uri.parse().map_err(|e| format!("{uri}: {e}"))?;
    Ok(Question { uri, headers })
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Object { data: Vec<Item> },
    Bare(Vec<Item>),
}

#[derive(Deserialize)]
struct Item {
    id: serde_json::Value,
}

/// Reads a provider's answer.
///
/// # Errors
/// A clause that says what the provider did instead.
pub fn listing(status: u16, body: &[u8]) -> Result<Listing, String> {
    match status {
        200 => {}
        401 | 403 => return Err(format!("refuses the credential (status {status})")),
        404 | 405 => return Err(format!("has no list of models (status {status})")),
        _ => return Err(format!("answered with status {status}")),
    }
    let (Answer::Object { data } | Answer::Bare(data)) =
        serde_json::from_slice(body).map_err(|_| "answered with something that is no list of models")?;
    let mut listing = Listing::default();
    let mut seen = BTreeSet::new();
    for item in data {
        match item.id.as_str() {
            Some(name) if !is_name(name) || listing.models.len() == MOST_MODELS => listing.left_out += 1,
            Some(name) if seen.insert(name.to_owned()) => listing.models.push(name.to_owned()),
            Some(_) => {}
            None => listing.left_out += 1,
        }
    }
    Ok(listing)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.trim() == name
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_both_shapes_each_name_once() {
        let listed = |models: &[&str], left_out| {
            Ok(Listing { models: models.iter().map(ToString::to_string).collect(), left_out })
        };
        for (body, wanted) in [
            (
                r#"{"object":"list","data":[{"id":"b","owned_by":"x"},{"id":"a"},{"id":"b"}]}"#,
                listed(&["b", "a"], 0),
            ),
            (r#"[{"id":"a"}]"#, listed(&["a"], 0)),
            (r#"{"data":[]}"#, listed(&[], 0)),
            (r#"{"data":[{"id":7},{"id":" a"},{"id":""},{"id":"a\nb"},{"id":"ok"}]}"#, listed(&["ok"], 4)),
        ] {
            assert_eq!(listing(200, body.as_bytes()), wanted, "{body}");
        }
        let many: Vec<_> = (0..MOST_MODELS + 5).map(|n| format!(r#"{{"id":"m{n}"}}"#)).collect();
        let read = listing(200, format!(r#"{{"data":[{}]}}"#, many.join(",")).as_bytes()).expect("a list");
        assert_eq!((read.models.len(), read.left_out), (MOST_MODELS, 5));
    }

    #[test]
    fn what_is_no_list_is_told() {
        for (status, body, words) in [
            (401, "", "refuses the credential"),
            (404, "", "has no list of models"),
            (500, "", "status 500"),
            (302, "", "status 302"),
            (200, "<html>", "no list of models"),
            (200, "", "no list of models"),
            (200, "{}", "no list of models"),
            (200, r#"{"data":[{"name":"x"}]}"#, "no list of models"),
            (200, "\u{0}\u{1}", "no list of models"),
        ] {
            let said = listing(status, body.as_bytes()).expect_err(body);
            assert!(said.contains(words), "{said}");
        }
    }
}
