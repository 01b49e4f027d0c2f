//! What a worker prepares once for a channel: its row, quirks, headers and addresses.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use http::{HeaderName, HeaderValue, Uri, header};
use penstock_actors::{
    channel::ChannelCell,
    domain::{ChannelSpec, Delivery, Fault, ModelName},
    router::Route,
};

use super::{
    Relay,
    fault::{self, Shown},
    showing::Showing,
};
use crate::{
    credential::Vault,
    dialect::{Carrier, Dialect, media::Fetched},
    provider::{
        Adapter, Endpoint, Failure, Next, Quirk, quirk,
        row::{self, Row, Template},
    },
    transport::Target,
};

/// Prepared for one channel's settings.
pub(super) struct Link {
    pub(super) spec: Arc<ChannelSpec>,
    pub(super) row: Arc<Row>,
    pub(super) quirks: Vec<Quirk>,
    pub(super) showing: Showing,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What the provider can be asked.
    endpoints: Vec<EndpointLink>,
    /// Dialects of clients whose requests may name media that the provider wants as bytes.
    fetches_for: Vec<Dialect>,
}

/// How and where one endpoint of a channel is called.
pub(super) struct EndpointLink {
    endpoint: Endpoint,
    dialect: Dialect,
    address: Address,
    stream_address: Option<Address>,
}

impl EndpointLink {
    /// Whether it is called in this dialect.
    pub(super) fn speaks(&self, dialect: Dialect) -> bool {
        self.dialect == dialect || self.dialect.is_of_host_of(dialect)
    }

    /// What must be said of the provider, for a client of this dialect.
    pub(super) fn adapter(&self, face: Dialect, quirks: &[Quirk], media: &Fetched) -> &'static dyn Adapter {
        let writes_anew =
            quirk::writes_anew(quirks) || (!media.is_empty() && self.may_want_bytes(face, quirks));
        match writes_anew && self.endpoint.is_chat() {
            true => row::converter(self.dialect),
            false => row::adapter(self.dialect, face),
        }
    }

    /// Whether requests of clients of this dialect may name media that the provider wants as bytes.
    pub(super) fn may_want_bytes(&self, face: Dialect, quirks: &[Quirk]) -> bool {
        self.endpoint.is_chat() && row::may_want_bytes(self.dialect, face, quirks)
    }

    /// The dialect it is called in.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }
}

enum Address {
    /// The same for every model.
    Fixed(Rc<Target>),
    /// A template, and what was made of it: one target a model that the channel serves.
    ByModel { path: Template, made: RefCell<HashMap<ModelName, Rc<Target>>> },
}

impl Link {
    fn new(spec: &Arc<ChannelSpec>, at: (&Vault, &ChannelCell)) -> Result<Self, String> {
        let row: Arc<Row> = spec.row.downcast().ok_or("its provider has no row")?;
        let mut headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::USER_AGENT, HeaderValue::from_static(concat!("penstock/", env!("CARGO_PKG_VERSION")))),
        ];
        let showing = Showing::new(spec, &row, at, &mut headers)?;
        for (name, value) in &spec.headers {
            let name = header_name(name)?;
            let mut value = HeaderValue::from_str(value).map_err(|e| e.to_string())?;
            value.set_sensitive(true);
            headers.push((name, value));
        }
        let quirks = spec.quirks.iter().filter_map(|name| Quirk::by_name(name)).collect();
        let (spec, endpoints, fetches_for) = (Arc::clone(spec), Vec::new(), Vec::new());
        let mut link = Self { spec, row, quirks, showing, headers, endpoints, fetches_for };
        let row = Arc::clone(&link.row);
        for speech in &row.speaks {
            let address = |path: &Template| {
                Ok::<_, String>(match path.names_model() {
                    true => Address::ByModel { path: path.clone(), made: RefCell::default() },
                    false => Address::Fixed(link.make(speech.dialect, path, "")?),
                })
            };
            let (address, stream_address) =
                (address(&speech.path)?, speech.stream_path.as_ref().map(address).transpose()?);
            let (endpoint, dialect) = (speech.endpoint, speech.dialect);
            link.endpoints.push(EndpointLink { endpoint, dialect, address, stream_address });
        }
        let faces = Dialect::ALL.into_iter().filter(|dialect| dialect.face().is_some());
        let fetches = |face: &Dialect| link.endpoints.iter().any(|at| at.may_want_bytes(*face, &link.quirks));
        link.fetches_for = faces.filter(fetches).collect();
        Ok(link)
    }

    /// Whether requests of clients of this dialect may name media that the provider wants as bytes.
    pub(super) fn fetches_for(&self, face: Dialect) -> bool {
        self.fetches_for.contains(&face)
    }

    /// How an endpoint is called for clients of a dialect; `None` where the provider has it not.
    pub(super) fn endpoint(&self, endpoint: Endpoint, face: Dialect) -> Option<&EndpointLink> {
        let speech = self.row.speech(endpoint, face)?;
        self.endpoints.iter().find(|e| e.endpoint == speech.endpoint)
    }

    /// Where requests to an endpoint for a model go, with the channel's own headers.
    pub(super) fn target(
        &self,
        at: &EndpointLink,
        model: &ModelName,
        delivery: Delivery,
    ) -> Result<Rc<Target>, String> {
        let streamed = at.stream_address.as_ref().filter(|_| delivery == Delivery::Stream);
        match streamed.unwrap_or(&at.address) {
            Address::Fixed(target) => Ok(Rc::clone(target)),
            Address::ByModel { path, made } => {
                if let Some(target) = made.borrow().get(model) {
                    return Ok(Rc::clone(target));
                }
                let target = self.make(at.dialect, path, self.row.path_name(model))?;
                made.borrow_mut().insert(Arc::clone(model), Rc::clone(&target));
                Ok(target)
            }
        }
    }

    fn make(&self, dialect: Dialect, path: &Template, model: &str) -> Result<Rc<Target>, String> {
        let (spec, upstream) = (&self.spec, dialect.upstream());
        let param =
            |name: &str| spec.params.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value);
        let filled = path
            .fill(param, upstream.in_path(model))
            .ok_or_else(|| format!("{path} cannot be filled for \"{model}\""))?;
        let uri = format!("{}{}{filled}", spec.base_url, self.row.prefix_for(&spec.base_url));
        let uri: Uri = uri.parse().map_err(|e| format!("{uri}: {e}"))?;
        let headers = self.headers.clone();
        Ok(Rc::new(match upstream.carrier() {
            Carrier::Http => Target::new(uri, headers),
            Carrier::WebSocket => Target::of_websocket(uri, headers),
        }))
    }

    /// Makes a failure fit to leave the building.
    pub(super) fn cleanse(&self, failure: &mut Failure) {
        if (failure.status, failure.fault) == (401, Fault::Upstream) {
            let retry_after = failure.retry_after;
            *failure = Failure { retry_after, ..fault::of_refused_credential(self.shown(), failure.next) };
        }
        let secrets = self.showing.secrets();
        let headers = self.spec.headers.iter().map(|(_, value)| &**value);
        // Short values are words of the trade, not secrets: local servers are shown "x" or "none".
        let shown = headers.chain(secrets.iter().map(String::as_str));
        failure.cleanse(shown.filter(|value| value.len() >= 8));
    }

    fn shown(&self) -> Shown {
        let by_row = self.row.auth.header_name();
        // An operator may write the credential as a header.
        let by_hand =
            |name: &str| name.eq_ignore_ascii_case(by_row) || name.eq_ignore_ascii_case("authorization");
        match self.spec.credentials.first().is_some()
            || self.spec.headers.iter().any(|(name, _)| by_hand(name))
        {
            true => Shown::Credential,
            false => Shown::Nothing,
        }
    }
}

/// What a client is told of a channel that cannot be used as it is; another may serve.
pub(super) fn misconfigured() -> Failure {
    let message = "A channel for this model is set up wrongly.";
    Failure { next: Next::Failover, ..Failure::gateway(500, "channel_misconfigured", message) }
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())
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
        let link = Link::new(&route.spec, (&self.shared.vault, &route.cell)).map_err(|problem| {
            tracing::error!(channel = %route.spec.name, problem, "channel cannot be used");
            misconfigured()
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
    use penstock_actors::domain::{
        Attached, ChannelName, Credentials, PoolSettings, Timeouts, TransportKind,
    };

    use super::*;
    use crate::provider::Registry;

    fn link(provider: &str, base_url: &str, params: &[(&str, &str)]) -> Link {
        let row = Registry::builtin().row(provider).expect(provider);
        let spec = ChannelSpec {
            name: ChannelName("a".into()),
            id: None,
            provider: provider.into(),
            row: Attached::new(Arc::clone(row)),
            base_url: base_url.into(),
            params: params.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            credentials: Credentials::default(),
            headers: Vec::new(),
            quirks: Vec::new(),
            models: Vec::new(),
            groups: Vec::new(),
            priority: 0,
            weight: 1,
            concurrency: None,
            learning: Default::default(),
            enabled: true,
            timeouts: Timeouts::default(),
            pool: PoolSettings::default(),
            transport: TransportKind::default(),
            proxy: None,
            cost_ratio: Default::default(),
            care: Default::default(),
        };
        let spec = Arc::new(spec);
        let cell = ChannelCell::new(0, Arc::clone(&spec));
        Link::new(&spec, (&Vault::default(), &cell)).expect("a link")
    }

    fn address(link: &Link, endpoint: Endpoint, model: &str) -> Option<String> {
        let at = link.endpoint(endpoint, Dialect::OpenAi)?;
        let target = link.target(at, &model.into(), Delivery::Whole).ok()?;
        Some(target.uri().to_string())
    }

    #[test]
    fn addresses_are_put_together_of_base_prefix_and_path() {
        for (provider, base, wanted) in [
            ("openai", "https://h", "https://h/v1/chat/completions"),
            ("openai", "https://h/v1", "https://h/v1/chat/completions"),
            ("openai-compatible", "https://h/api/v3", "https://h/api/v3/chat/completions"),
            ("anthropic", "https://h", "https://h/v1/messages"),
            ("anthropic", "https://h/anthropic/v1", "https://h/anthropic/v1/messages"),
            ("perplexity", "https://h", "https://h/chat/completions"),
            ("perplexity", "https://h/v1", "https://h/v1/chat/completions"),
            ("groq", "https://h/openai", "https://h/openai/v1/chat/completions"),
            ("zhipu", "https://h", "https://h/api/paas/v4/chat/completions"),
            ("gemini-openai", "https://h/v1beta/openai", "https://h/v1beta/openai/chat/completions"),
        ] {
            let link = link(provider, base, &[]);
            let got = address(&link, Endpoint::ChatCompletions, "m");
            assert_eq!(got.as_deref(), Some(wanted), "{provider} at {base}");
        }
        assert_eq!(address(&link("anthropic", "https://h", &[]), Endpoint::Embeddings, "m"), None);
    }

    #[test]
    fn a_models_name_in_a_path_stays_one_segment() {
        let link = link("azure", "https://h", &[("api_version", "2024-10-21")]);
        let wanted = |encoded: &str| {
            format!("https://h/openai/deployments/{encoded}/chat/completions?api-version=2024-10-21")
        };
        for (model, encoded) in [
            ("gpt-4.1", Some("gpt-4.1")),
            ("../../admin", Some("..%2F..%2Fadmin")),
            ("m?api-version=1#", Some("m%3Fapi-version%3D1%23")),
            ("a b", Some("a%20b")),
            ("模", Some("%E6%A8%A1")),
            ("..", None),
        ] {
            for _ in ["made", "remembered"] {
                let got = address(&link, Endpoint::ChatCompletions, model);
                assert_eq!(got, encoded.map(wanted), "{model}");
            }
        }
    }

    #[test]
    fn every_built_in_address_can_be_parsed() {
        for row in Registry::builtin().rows() {
            let params: Vec<_> =
                row.params.iter().map(|p| (&*p.name, p.default.as_deref().unwrap_or("x"))).collect();
            let base = row.base_url.as_ref().and_then(|b| b.fill(|_| Some("x"), ""));
            let link = link(&row.id, base.as_deref().unwrap_or("https://host"), &params);
            for speech in &row.speaks {
                assert!(address(&link, speech.endpoint, "m").is_some(), "{}", row.id);
            }
        }
    }
}
