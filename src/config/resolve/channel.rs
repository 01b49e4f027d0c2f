//! One channel: its provider's defaults, secrets, models, deadlines.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use penstock_actors::domain::{
    Adaptive, Care, ChannelName, ChannelSpec, Credential, Credentials, LearningRules, Pacing, PoolSettings,
    Ratio, Served, Timeouts, TransportKind, Turn,
};

use super::{
    DEFAULT_GROUP, Defaults, RESERVED, Resolver, care, header::header_allowed, is_model, is_name,
    server::LONGEST_DURATION,
};
use crate::config::{
    problem::At,
    provider::{self, ProviderDefaults},
    raw,
    raw::MODELS_FORM,
    units::Span,
};

/// In millionths: a channel that costs more than so many times the price is a mistake.
const DEAREST: i64 = 1_000_000_000;
/// Credentials of one channel; more would make looking for a good one long.
const MOST_CREDENTIALS: usize = 1000;

impl Resolver<'_> {
    /// Resolves a channel; `None` where it was refused.
    pub(super) fn channel(
        &mut self,
        index: usize,
        raw: raw::Channel,
        defaults: &Defaults,
    ) -> Option<ChannelSpec> {
        let before = self.problems.len();
        let name = raw.name.clone();
        let at = |field: &str| At::Channel(index, name.clone(), field.to_owned());
        if raw.name == RESERVED {
            self.refuse(&at("name"), "is the name of the built-in mock channel");
        } else if !is_name(&raw.name) {
            self.refuse(&at("name"), "must be 1 to 64 letters, digits, dots, dashes or underscores");
        }
        let provider = self.providers.provider(&raw.provider);
        let provider = provider.map_err(|problem| self.refuse(&at("provider"), problem)).ok();
        let place = provider.as_ref().and_then(|provider| {
            let place = provider::place(&raw, provider, self.providers);
            place.map_err(|(field, problem)| self.refuse(&at(field), problem)).ok()
        });
        let credentials = self.credentials(&at, &raw, provider.as_ref());
        let models = self.models(&at, &raw);
        let groups = raw.groups.clone().unwrap_or_else(|| vec![DEFAULT_GROUP.to_owned()]);
        if groups.is_empty() || groups.iter().any(|g| !is_name(g)) {
            self.refuse(&at("groups"), "must be names; a channel without a group serves nobody");
        }
        if raw.weight > 1_000_000 {
            self.refuse(&at("weight"), "must be at most 1000000");
        }
        let cost_ratio = raw.cost_ratio.map_or(Ratio::ONE, |factor| factor.0);
        if cost_ratio.0 > DEAREST {
            self.refuse(&at("cost_ratio"), "must be at most 1000");
        }
        let mut headers = self.headers(&at("headers"), &raw);
        if let Some(provider) = &provider {
            self.account_headers(&at, &raw, provider, &mut headers);
        }
        let timeouts = timeouts(&raw.timeouts, defaults.timeouts);
        let timeouts = timeouts.map_err(|(f, p)| self.refuse(&at(&format!("timeouts.{f}")), p)).ok();
        let proxy = match &raw.proxy {
            Some(written) => self.proxy(&at("proxy"), written),
            None => defaults.proxy.clone(),
        };
        let pool = pool(&raw.pool);
        if pool.max_connections == 0 {
            let problem = "must be more than 0; use enabled = false instead";
            self.refuse(&at("pool.max_connections"), problem);
        } else if let Some(limit) = raw.concurrency.filter(|limit| *limit > pool.max_connections) {
            let problem = format!("{limit} is more than pool.max_connections ({})", pool.max_connections);
            self.refuse(&at("concurrency"), problem);
        }
        let learning = learning(&raw);
        if learning.longest_pause.is_zero() || learning.longest_pause > LONGEST_DURATION {
            let problem = "must be more than 0 and at most 30 days; pacing = false turns pauses off";
            self.refuse(&at("longest_pause"), problem);
        }
        let quirks = self.quirks(&at("quirks"), &raw, provider.as_ref());
        if self.problems.len() > before {
            return None;
        }
        let (place, provider) = (place?, provider?);
        Some(ChannelSpec {
            models,
            name: ChannelName(raw.name.into()),
            id: raw.id,
            provider: raw.provider.into(),
            row: provider.row,
            base_url: place.base_url.into(),
            params: place.params,
            credentials,
            headers,
            quirks,
            groups: groups.into_iter().map(Arc::from).collect(),
            priority: raw.priority,
            weight: raw.weight,
            concurrency: raw.concurrency,
            learning,
            enabled: raw.enabled,
            timeouts: timeouts?,
            pool,
            transport: match raw.transport {
                raw::Transport::Http1 => TransportKind::Http1,
                raw::Transport::Awc => TransportKind::Awc,
            },
            proxy,
            cost_ratio,
            care: Care {
                uncertain: raw.failover_uncertain.map_or(defaults.care.uncertain, care::uncertain),
                ..defaults.care
            },
        })
    }

    /// What the provider is shown: nothing, one credential, or several in turn.
    fn credentials(
        &mut self,
        at: &dyn Fn(&str) -> At,
        raw: &raw::Channel,
        provider: Option<&ProviderDefaults>,
    ) -> Credentials {
        let mut all = Vec::new();
        match (&raw.credential, &raw.credentials) {
            (Some(_), Some(_)) => {
                self.refuse(&at("credentials"), "contradicts credential; write one of them")
            }
            (Some(written), None) => all.extend(self.secret(&at("credential"), written)),
            (None, Some(written)) if written.is_empty() => {
                self.refuse(&at("credentials"), "must hold at least one");
            }
            (None, Some(written)) => {
                all = self.secrets(&at("credentials"), written);
                if all.len() > MOST_CREDENTIALS {
                    let problem =
                        format!("holds {}; at most {MOST_CREDENTIALS} are shown in turn", all.len());
                    self.refuse(&at("credentials"), problem);
                }
            }
            (None, None) if provider.is_some_and(|p| p.needs_credential) => {
                self.refuse(&at("credential"), format!("provider {} needs one", raw.provider));
            }
            (None, None) => {}
        }
        if (raw.credential.is_some() || raw.credentials.is_some())
            && provider.is_some_and(|p| p.takes_no_credential)
        {
            self.refuse(&at("credential"), format!("provider {} takes none", raw.provider));
        }
        for (n, credential) in all.iter().enumerate() {
            if let Err(problem) = self.providers.check_credential(&raw.provider, credential) {
                let field = if raw.credential.is_some() { "credential" } else { "credentials" };
                let which = if all.len() > 1 { format!("number {}: ", n + 1) } else { String::new() };
                self.refuse(&at(field), format!("{which}{problem}"));
            }
        }
        let turn = match raw.credential_turn {
            raw::Turn::RoundRobin => Turn::RoundRobin,
            raw::Turn::Random => Turn::Random,
        };
        Credentials::new(all.into_iter().map(Credential::new), turn)
    }

    /// What is served by name. A channel whose models are discovered serves at least those in its mapping.
    fn models(&mut self, at: &dyn Fn(&str) -> At, raw: &raw::Channel) -> Vec<Served> {
        let names: Vec<&String> = match &raw.models {
            None => {
                self.refuse(&at("models"), format!("is missing; {MODELS_FORM}"));
                return Vec::new();
            }
            Some(raw::Models::Discovered) => raw.mapping.keys().collect(),
            Some(raw::Models::Listed(names)) => {
                if names.is_empty() {
                    self.refuse(&at("models"), "a channel must serve at least one model");
                }
                if let Some(model) = raw.mapping.keys().find(|m| !names.contains(m)) {
                    let problem = format!("\"{model}\" is not one of the channel's models");
                    self.refuse(&at("mapping"), problem);
                }
                names.iter().collect()
            }
        };
        let mut seen = BTreeSet::new();
        if let Some(model) = names.iter().find(|m| !is_model(m) || !seen.insert(m.as_str())) {
            let problem = format!("\"{model}\" is empty, holds spaces at its ends or stands twice");
            self.refuse(&at("models"), problem);
        }
        if let Some((model, _)) = raw.mapping.iter().find(|(_, upstream)| !is_model(upstream)) {
            self.refuse(&at("mapping"), format!("\"{model}\" is mapped to no name"));
        }
        let upstream = |model: &String| raw.mapping.get(model).unwrap_or(model).as_str().into();
        names.iter().map(|m| Served { model: m.as_str().into(), upstream: upstream(m) }).collect()
    }

    fn headers(&mut self, at: &At, raw: &raw::Channel) -> Vec<(Arc<str>, Arc<str>)> {
        let mut headers = Vec::new();
        for (header, written) in &raw.headers {
            let Some(value) = self.secret(at, written) else { continue };
            match header_allowed(header, &value) {
                Ok(()) => headers.push((header.as_str().into(), value.into())),
                Err(problem) => self.refuse(at, problem),
            }
        }
        headers
    }

    fn quirks(&mut self, at: &At, raw: &raw::Channel, provider: Option<&ProviderDefaults>) -> Vec<Arc<str>> {
        let Some(written) = &raw.quirks else {
            return provider.map(|p| p.quirks.iter().map(|q| Arc::from(*q)).collect()).unwrap_or_default();
        };
        if let Err(problem) = self.providers.check_quirks(written) {
            self.refuse(at, problem);
        }
        written.iter().map(|quirk| Arc::from(quirk.as_str())).collect()
    }

    /// Adds the headers that name organisation and project.
    fn account_headers(
        &mut self,
        at: &dyn Fn(&str) -> At,
        raw: &raw::Channel,
        provider: &ProviderDefaults,
        headers: &mut Vec<(Arc<str>, Arc<str>)>,
    ) {
        for (field, written, header) in [
            ("organisation", &raw.organisation, &provider.organisation_header),
            ("project", &raw.project, &provider.project_header),
        ] {
            let Some(written) = written else { continue };
            let Some(header) = header else {
                let problem = format!("provider {} knows no {field}; use headers if it does", raw.provider);
                self.refuse(&at(field), problem);
                continue;
            };
            if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(header)) {
                self.refuse(&at(field), format!("headers set {header} too"));
                continue;
            }
            let Some(value) = self.secret(&at(field), written) else { continue };
            match header_allowed(header, &value) {
                Ok(()) => headers.push((Arc::clone(header), value.into())),
                Err(problem) => self.refuse(&at(field), problem),
            }
        }
    }

    /// The deadlines of `[defaults.timeouts]`.
    pub(super) fn default_timeouts(&mut self, raw: &raw::Timeouts) -> Timeouts {
        timeouts(raw, Timeouts::default()).unwrap_or_else(|(field, problem)| {
            self.refuse(&At::Setting(format!("defaults.timeouts.{field}")), problem);
            Timeouts::default()
        })
    }
}

fn timeouts(raw: &raw::Timeouts, default: Timeouts) -> Result<Timeouts, (&'static str, String)> {
    let or = |written: Option<Span>, default: Duration| written.map_or(default, |s| s.0);
    let total = or(raw.total, default.total);
    // A default gives way to a shorter total; only what is written can contradict it.
    let timeouts = Timeouts {
        connect: or(raw.connect, default.connect.min(total)),
        first_byte_stream: or(raw.first_byte_stream, default.first_byte_stream.min(total)),
        first_byte: or(raw.first_byte, default.first_byte.min(total)),
        idle: or(raw.idle, default.idle.min(total)),
        total,
    };
    for (field, value) in [
        ("total", timeouts.total),
        ("connect", timeouts.connect),
        ("first_byte_stream", timeouts.first_byte_stream),
        ("first_byte", timeouts.first_byte),
        ("idle", timeouts.idle),
    ] {
        if value.is_zero() || value > LONGEST_DURATION {
            return Err((field, "must be more than 0 and at most 30 days".into()));
        }
        if value > total {
            return Err((field, format!("{value:?} is more than timeouts.total ({total:?})")));
        }
    }
    Ok(timeouts)
}

fn learning(raw: &raw::Channel) -> LearningRules {
    LearningRules {
        adaptive: match raw.adaptive {
            raw::Adaptive::Fixed => Adaptive::Fixed,
            raw::Adaptive::Aimd => Adaptive::Aimd,
            raw::Adaptive::Gradient => Adaptive::Gradient,
        },
        pacing: if raw.pacing { Pacing::On } else { Pacing::Off },
        longest_pause: raw.longest_pause.map_or(LearningRules::default().longest_pause, |span| span.0),
    }
}

fn pool(raw: &raw::Pool) -> PoolSettings {
    let default = PoolSettings::default();
    PoolSettings {
        max_connections: raw.max_connections.unwrap_or(default.max_connections),
        idle: raw.idle.map_or(default.idle, |s| s.0),
        lifetime: raw.lifetime.map_or(default.lifetime, |s| s.0),
    }
}
