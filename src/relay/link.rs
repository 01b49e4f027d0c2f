//! What a worker prepares once for a channel: its row, quirks, headers and addresses.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use http::{HeaderName, HeaderValue, Uri, header};
use penstock_actors::{domain::ChannelSpec, router::Route};

use super::Relay;
use crate::{
    provider::{
        Failure, Next, Quirk,
        row::{self, Auth, Row},
    },
    transport::Target,
};

/// Prepared for one channel's settings.
pub(super) struct Link {
    pub(super) spec: Arc<ChannelSpec>,
    pub(super) row: &'static Row,
    pub(super) quirks: Vec<Quirk>,
    headers: Vec<(HeaderName, HeaderValue)>,
    targets: RefCell<Vec<(&'static str, Rc<Target>)>>,
}

impl Link {
    fn new(spec: &Arc<ChannelSpec>) -> Result<Self, String> {
        let row = row::by_id(&spec.provider).ok_or_else(|| format!("no provider {}", spec.provider))?;
        let mut headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::USER_AGENT, HeaderValue::from_static(concat!("penstock/", env!("CARGO_PKG_VERSION")))),
        ];
        if let Some(credential) = &spec.credential {
            let (name, value) = match row.auth {
                Auth::Bearer => (header::AUTHORIZATION, format!("Bearer {}", credential.expose())),
                Auth::Header(name) => (HeaderName::from_static(name), credential.expose().to_owned()),
            };
            let mut value = HeaderValue::try_from(value).map_err(|_| "the credential fits no header")?;
            value.set_sensitive(true);
            headers.push((name, value));
        }
        for (name, value) in &spec.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())?;
            let mut value = HeaderValue::from_str(value).map_err(|e| e.to_string())?;
            value.set_sensitive(true);
            headers.push((name, value));
        }
        let quirks = spec.quirks.iter().filter_map(|name| Quirk::by_name(name)).collect();
        Ok(Self { spec: Arc::clone(spec), row, quirks, headers, targets: RefCell::default() })
    }

    /// Where requests for a path below the base URL go, with the channel's own headers.
    pub(super) fn target(&self, path: &'static str) -> Result<Rc<Target>, http::uri::InvalidUri> {
        if let Some((_, target)) = self.targets.borrow().iter().find(|(known, _)| *known == path) {
            return Ok(Rc::clone(target));
        }
        // A base that names a version of its own (`.../api/v3`) gets no second one.
        let below = match has_version(&self.spec.base_url) {
            true => path.strip_prefix("/v1").unwrap_or(path),
            false => path,
        };
        let uri: Uri = format!("{}{below}", self.spec.base_url).parse()?;
        let target = Rc::new(Target::new(uri, self.headers.clone()));
        self.targets.borrow_mut().push((path, Rc::clone(&target)));
        Ok(target)
    }

    /// Makes a failure fit to leave the building.
    pub(super) fn cleanse(&self, failure: &mut Failure) {
        let headers = self.spec.headers.iter().map(|(_, value)| &**value);
        // Short values are words of the trade, not secrets.
        let secrets =
            headers.filter(|v| v.len() >= 8).chain(self.spec.credential.as_ref().map(|c| c.expose()));
        failure.cleanse(secrets);
    }
}

/// Whether a part of an address' path is a version: `v3`, `v1beta`.
fn has_version(base_url: &str) -> bool {
    let is_version = |part: &str| {
        part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    base_url.split('/').skip(3).any(is_version)
}

impl Relay {
    /// The link of a route's channel, made anew when its settings changed.
    pub(super) fn link(&self, route: &Route) -> Result<Rc<Link>, Failure> {
        let mut links = self.links.borrow_mut();
        if let Some(link) = links.get(&route.cell.slot)
            && Arc::ptr_eq(&link.spec, &route.spec)
        {
            return Ok(Rc::clone(link));
        }
        let link = Link::new(&route.spec).map_err(|problem| {
            tracing::error!(channel = %route.spec.name, problem, "channel cannot be used");
            let message = "A channel for this model is set up wrongly.";
            Failure { next: Next::Failover, ..Failure::gateway(500, "channel_misconfigured", message) }
        })?;
        let link = Rc::new(link);
        // Links of channels that are gone are dropped when a new one is made.
        links.retain(|_, l| Arc::strong_count(&l.spec) > 1);
        links.insert(route.cell.slot, Rc::clone(&link));
        Ok(link)
    }
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
