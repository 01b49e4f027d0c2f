//! From what is written to settings in force: layers, defaults, units, secrets, contradictions.

mod books;
mod care;
mod channel;
mod header;
mod key;
mod limits;
mod media;
mod queue;
mod server;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use penstock_actors::domain::{Care, Catalog, ChannelName, ChannelSpec, Proxy, Timeouts};

use super::{
    Discover, Environment, Notice, Place, Problem, Settings, Source, environment,
    known_keys::{self, Made},
    layers::{Document, Layer, Origin},
    lint,
    nearest::did_you_mean,
    one_api, prices,
    problem::At,
    provider::Providers,
    proxy, raw, secret,
};

pub use limits::limit_set;

/// The channel that `[mock]` switches.
pub const RESERVED: &str = "penstock-mock";
const DEFAULT_GROUP: &str = "default";

/// What resolving needs and what it finds.
struct Resolver<'a> {
    document: &'a Document<'a>,
    environment: &'a Environment,
    providers: &'a dyn Providers,
    /// How many channels the file has; those behind them come from the environment.
    written: usize,
    made: Vec<(Place, Place)>,
    problems: Vec<Problem>,
    notices: Vec<Notice>,
    secret_files: BTreeSet<PathBuf>,
}

/// What holds for channels that do not say otherwise.
struct Defaults {
    care: Care,
    timeouts: Timeouts,
    proxy: Option<Arc<Proxy>>,
}

pub(super) fn resolve(
    text: &str,
    source: &Source,
    providers: &dyn Providers,
) -> Result<Settings, Vec<Problem>> {
    let environment = &source.environment;
    let mut document = Document::parse(source.file.as_deref(), text)?;
    let used = document.references("env:").into_iter().map(str::to_owned).collect();
    let mut problems = Vec::new();
    let compatible = one_api::read(environment);
    problems.extend(compatible.problems);
    let own = environment::layers(environment, &used, &mut problems);
    contradictions(&own, &compatible.layers, &mut problems);
    let layers = [compatible.layers, own, flags(source)].concat();
    document.lay(&layers);
    let checked = document.check();
    problems.extend(checked.problems);
    let own = match providers.with_own(text) {
        Ok(own) => own,
        // Whoever names such a provider cannot be judged.
        Err(refused) => {
            problems.push(document.row_refused(refused));
            return Err(in_order(problems));
        }
    };
    let providers = &*own;

    let mut resolver = Resolver {
        document: &document,
        environment,
        providers,
        written: checked.file.channels.len(),
        made: Vec::new(),
        problems,
        notices: [one_api::flags(&source.overrides.foreign), compatible.notices].concat(),
        secret_files: BTreeSet::new(),
    };
    let file = checked.file;
    let limits = resolver.limits(&file);
    let backups = resolver.backups(&file);
    let server = resolver.server(file.server, file.tls, compatible.port, compatible.host, &source.overrides);
    let log = resolver.log(file.log);
    let store = resolver.store(&file.store, &file.journal, &file.retention, &limits);
    let mut channels = file.channels;
    resolver.add_made(&mut channels, &file.discover.local, checked.incomplete);
    let (catalog, discovered) = resolver.catalog(channels, &file.defaults, &file.failover, file.aliases);
    let refresh = resolver.refresh(file.discover.refresh);
    let queue = resolver.queue(file.queue);
    let media = resolver.media(file.media);
    let keys = resolver.keys(file.keys, compatible.root_token);
    let prices = prices::list(text);
    if let Err(error) = &prices {
        resolver.refuse(&At::Setting(error.key.clone()), error.problem.clone());
    }
    let Resolver { problems, mut notices, secret_files, .. } = resolver;
    if !problems.is_empty() {
        return Err(in_order(problems));
    }
    notices.extend(lint::catalog(&catalog, &discovered, &keys));
    notices.extend(lint::limits(&limits, &catalog, &discovered, &keys));
    notices.extend(source.file.as_deref().and_then(|path| lint::permissions(path, &document)));
    Ok(Settings {
        server,
        log,
        store,
        mock: file.mock.enabled.unwrap_or(catalog.channels.is_empty()),
        catalog,
        queue,
        media,
        discover: Discover { channels: discovered, refresh },
        keys,
        backups,
        root_access: compatible.root_access,
        limits,
        prices: Arc::new(prices.unwrap_or_default()),
        models: file.models,
        notices,
        secret_files,
    })
}

/// The file's mistakes from the top, then those of the environment and of flags.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    problems
}

/// Flags as layers; `--port` is not one, since it changes a part of a setting.
fn flags(source: &Source) -> Vec<Layer> {
    let overrides = &source.overrides;
    let layer = |setting: &str, flag, value: String| Layer {
        setting: setting.to_owned(),
        literal: toml::Value::from(value).to_string(),
        origin: Origin::Flag(flag),
    };
    let folder = |path: &PathBuf| path.display().to_string();
    [
        overrides.listen.map(|listen| layer("server.listen", "--listen", listen.to_string())),
        overrides.data_dir.as_ref().map(|dir| layer("server.data_dir", "--data-dir", folder(dir))),
        overrides.log_dir.as_ref().map(|dir| layer("log.dir", "--log-dir", folder(dir))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Two variables that set one thing to different values are refused: neither is the nearer wish.
fn contradictions(own: &[Layer], others: &[Layer], problems: &mut Vec<Problem>) {
    let name = |layer: &Layer| match &layer.origin {
        Origin::Variable(name) => name.clone(),
        Origin::Flag(name) => (*name).to_owned(),
    };
    for other in others {
        if let Some(mine) = own.iter().find(|l| l.setting == other.setting && l.literal != other.literal) {
            let problem = format!("{} sets {} to something else; leave one", name(mine), other.setting);
            problems.push(Problem::variable(&name(other), problem));
        }
    }
}

impl Resolver<'_> {
    fn refuse(&mut self, at: &At, problem: impl Into<String>) {
        let made = match at {
            At::Channel(index, _, field) if *index >= self.written => self
                .made
                .get(index - self.written)
                .map(|(from, address)| if field == "base_url" { address } else { from }.clone()),
            _ => None,
        };
        let place = made.unwrap_or_else(|| self.document.place(&at.path()));
        self.problems.push(Problem { place, key: at.to_string(), problem: problem.into() });
    }

    /// Finds the secret that is written at a setting.
    fn secret(&mut self, at: &At, written: &str) -> Option<String> {
        if let Some(path) = written.strip_prefix("file:") {
            self.secret_files.insert(path.into());
        }
        match secret::resolve(written, self.environment) {
            Ok(secret) => Some(secret),
            Err(problem) => {
                self.refuse(at, problem);
                None
            }
        }
    }

    /// Finds the secrets that are written at a setting, one a line of each.
    fn secrets(&mut self, at: &At, written: &[String]) -> Vec<String> {
        let mut all = Vec::new();
        for written in written {
            if let Some(path) = written.strip_prefix("file:") {
                self.secret_files.insert(path.into());
            }
            match secret::several(written, self.environment) {
                Ok(secrets) => all.extend(secrets),
                Err(problem) => self.refuse(at, problem),
            }
        }
        all
    }

    /// Finds the proxy that is written at a setting.
    fn proxy(&mut self, at: &At, written: &str) -> Option<Arc<Proxy>> {
        if written == proxy::NONE {
            return None;
        }
        let address = self.secret(at, written)?;
        proxy::parse(&address).map_err(|problem| self.refuse(at, problem)).ok().map(Arc::new)
    }

    /// Adds the channels of the environment. Those of providers' variables only where the file has none, so
    /// that nothing appears by surprise; local servers that are named, always.
    fn add_made(&mut self, channels: &mut Vec<raw::Channel>, local: &[String], incomplete: bool) {
        let known = known_keys::local_names();
        if let Some(odd) = local.iter().find(|name| !known.contains(&name.as_str())) {
            let near = did_you_mean(odd, known.iter().copied());
            let problem = format!("there is no local server \"{odd}\"; known are {}{near}", known.join(", "));
            self.refuse(&At::Setting("discover.local".into()), problem);
        }
        let mut found = known_keys::local(local, self.environment);
        if channels.is_empty() && !incomplete {
            let mut usual = known_keys::providers(self.environment, self.providers);
            usual.made.retain(|made| found.made.iter().all(|m| m.channel.name != made.channel.name));
            usual.notices.retain(|notice| !found.notices.contains(notice));
            found.made.extend(usual.made);
            found.notices.extend(usual.notices);
            found.problems.extend(usual.problems);
        } else if !incomplete {
            let used = self.document.references("env:");
            let unused = known_keys::any_set(self.environment);
            for name in unused.into_iter().filter(|name| !used.contains(name)) {
                let text = format!("{name} is set, but makes no channel: the file has channels of its own");
                found.notices.push(Notice::info(text));
            }
        }
        self.notices.extend(found.notices);
        self.problems.extend(found.problems);
        for Made { channel, from, address_from } in found.made {
            let from = match from {
                Place::Nowhere => self.document.place(&At::Setting("discover.local".into()).path()),
                from => from,
            };
            let address_from = if address_from == Place::Nowhere { from.clone() } else { address_from };
            self.made.push((from, address_from));
            channels.push(channel);
        }
    }

    fn catalog(
        &mut self,
        channels: Vec<raw::Channel>,
        defaults: &raw::Defaults,
        failover: &raw::Failover,
        aliases: BTreeMap<String, String>,
    ) -> (Catalog, BTreeSet<ChannelName>) {
        let proxy = defaults.proxy.as_deref();
        let proxy = proxy.and_then(|written| self.proxy(&At::Setting("defaults.proxy".to_owned()), written));
        let care = self.care(failover);
        let defaults = Defaults { care, timeouts: self.default_timeouts(&defaults.timeouts), proxy };
        let mut specs: Vec<Arc<ChannelSpec>> = Vec::new();
        let mut discovered = BTreeSet::new();
        let (mut names, mut ids) = (BTreeSet::new(), BTreeMap::new());
        for (index, written) in channels.into_iter().enumerate() {
            let at = |field: &str| At::Channel(index, written.name.clone(), field.to_owned());
            if !names.insert(written.name.clone()) {
                self.refuse(&at("name"), "another channel has this name");
            }
            if let Some(id) = written.id
                && let Some(other) = ids.insert(id, written.name.clone())
            {
                self.refuse(&at("id"), format!("channel \"{other}\" has this id already"));
            }
            let by_discovery = matches!(written.models, Some(raw::Models::Discovered));
            if let Some(spec) = self.channel(index, written, &defaults) {
                if by_discovery {
                    discovered.insert(spec.name.clone());
                }
                specs.push(Arc::new(spec));
            }
        }
        let aliases = self.aliases(aliases, &specs);
        (Catalog { revision: 0, channels: specs, aliases }, discovered)
    }

    fn aliases(
        &mut self,
        raw: BTreeMap<String, String>,
        channels: &[Arc<ChannelSpec>],
    ) -> BTreeMap<Arc<str>, Arc<str>> {
        let served: BTreeSet<&str> = channels.iter().flat_map(|c| &c.models).map(|m| &*m.model).collect();
        for (alias, target) in &raw {
            let at = At::Alias(alias.clone());
            if !is_model(alias) || !is_model(target) {
                self.refuse(&at, "an alias and its target must be names");
            }
            if raw.contains_key(target) {
                self.refuse(&at, format!("\"{target}\" is an alias itself"));
            } else if served.contains(alias.as_str()) {
                self.refuse(&at, "a channel serves a model of this name");
            }
        }
        raw.into_iter().map(|(alias, target)| (alias.into(), target.into())).collect()
    }
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn is_model(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && text.trim() == text && !text.chars().any(char::is_control)
}
