//! What differs between two settings, in words; of secrets, only that they differ.

use std::{collections::BTreeMap, fmt::Display, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use penstock_actors::domain::{
    Adaptive, Catalog, ChannelSpec, Money, Pacing, Ratio, Served, SwitchRule, TransportKind, Uncertain,
};

use super::{Log, LogFormat, Queue, Rotation, Server, Settings, Store, Tls};
use crate::api_key::KeySpec;

/// A line for each thing that differs; empty where nothing does. `in_force` is what a reload cannot change.
pub fn differences(old: &Settings, new: &Settings, in_force: (&Server, &Log, &Store)) -> Vec<String> {
    let mut lines = catalog(&old.catalog, &new.catalog);
    lines.extend(keys(&old.keys, &new.keys));
    if old.models != new.models {
        lines.push("models: changed".to_owned());
    }
    lines.extend(queue(&old.queue, &new.queue));
    if old.media != new.media {
        lines.push("media: changed".to_owned());
    }
    if old.backups != new.backups {
        lines.push("backup models: changed".to_owned());
    }
    if old.limits != new.limits {
        lines.push("limits: changed".to_owned());
    }
    if old.mock != new.mock {
        lines.push(format!("mock: {} -> {}", said(&old.mock), said(&new.mock)));
    }
    if old.discover.refresh != new.discover.refresh {
        let (old, new) = (old.discover.refresh, new.discover.refresh);
        lines.push(format!("discover.refresh: {} -> {}", said(&old), said(&new)));
    }
    lines.extend(restart(in_force.0, &new.server, in_force.1, &new.log));
    let (store, wanted) = (in_force.2, &new.store);
    for (name, differs) in [
        ("journal", store.journal != wanted.journal),
        ("retention", store.retention != wanted.retention),
        (
            "store",
            (&store.url, &store.log_url, store.max_staleness)
                != (&wanted.url, &wanted.log_url, wanted.max_staleness),
        ),
    ] {
        if differs {
            lines.push(format!("{name}: changed; in force after a restart"));
        }
    }
    lines
}

/// What differs between two catalogs.
fn catalog(old: &Catalog, new: &Catalog) -> Vec<String> {
    fn by_name(catalog: &Catalog) -> BTreeMap<&str, &Arc<ChannelSpec>> {
        catalog.channels.iter().map(|c| (c.name.as_str(), c)).collect()
    }
    let (before, after) = (by_name(old), by_name(new));
    let mut lines = Vec::new();
    for spec in &new.channels {
        match before.get(spec.name.as_str()) {
            None => lines.push(format!("channel \"{}\": added", spec.name)),
            Some(before) if *before == spec => {}
            Some(before) => lines.push(format!("channel \"{}\": {}", spec.name, fields(before, spec))),
        }
    }
    for spec in old.channels.iter().filter(|spec| !after.contains_key(spec.name.as_str())) {
        lines.push(format!("channel \"{}\": removed", spec.name));
    }
    for (alias, target) in &new.aliases {
        match old.aliases.get(alias) {
            None => lines.push(format!("alias \"{alias}\": added, {target}")),
            Some(before) if before != target => {
                lines.push(format!("alias \"{alias}\": {before} -> {target}"))
            }
            Some(_) => {}
        }
    }
    for alias in old.aliases.keys().filter(|alias| !new.aliases.contains_key(*alias)) {
        lines.push(format!("alias \"{alias}\": removed"));
    }
    lines
}

/// Names the fields that differ; values only where they are no secret.
fn fields(old: &ChannelSpec, new: &ChannelSpec) -> String {
    let mut lines = Vec::new();
    macro_rules! compare {
        ($($($field:ident).+),*) => { $(if old.$($field).+ != new.$($field).+ {
            let name = stringify!($($field).+).replace(' ', "");
            lines.push(format!("{name} {} -> {}", said(&old.$($field).+), said(&new.$($field).+)));
        })* };
    }
    compare!(
        id,
        provider,
        base_url,
        quirks,
        groups,
        priority,
        weight,
        concurrency,
        learning.adaptive,
        learning.pacing,
        learning.longest_pause,
        enabled,
        timeouts.connect,
        timeouts.first_byte_stream,
        timeouts.first_byte,
        timeouts.idle,
        timeouts.total,
        pool.max_connections,
        pool.idle,
        pool.lifetime,
        transport,
        cost_ratio,
        care.retry_percent,
        care.breaker.percent,
        care.breaker.least,
        care.breaker.window,
        care.breaker.open,
        care.switch
    );
    if old.care.uncertain != new.care.uncertain {
        let fails_over = |spec: &ChannelSpec| spec.care.uncertain == Uncertain::FailsOver;
        lines.push(format!("failover_uncertain {} -> {}", fails_over(old), fails_over(new)));
    }
    if old.models != new.models {
        lines.push(format!("models {}", models(&old.models, &new.models)));
    }
    if old.credentials != new.credentials {
        lines.push("credential changed".to_owned());
    }
    for (name, differs) in
        [("row", old.row != new.row), ("params", old.params != new.params), ("proxy", old.proxy != new.proxy)]
    {
        if differs {
            lines.push(format!("{name} changed"));
        }
    }
    if old.headers != new.headers {
        lines.push("headers changed".to_owned());
    }
    lines.join(", ")
}

fn models(old: &[Served], new: &[Served]) -> String {
    const SHOWN: usize = 20;
    let shown = |served: &Served| match served.model == served.upstream {
        true => served.model.to_string(),
        false => format!("{} ({})", served.model, served.upstream),
    };
    let gone = old.iter().filter(|served| !new.contains(served)).map(|served| format!("-{}", shown(served)));
    let come = new.iter().filter(|served| !old.contains(served)).map(|served| format!("+{}", shown(served)));
    let all: Vec<_> = gone.chain(come).collect();
    match all.len() {
        0 => "in another order".to_owned(),
        1..=SHOWN => all.join(" "),
        n => format!("{} and {} more", all[..SHOWN].join(" "), n - SHOWN),
    }
}

fn queue(old: &Queue, new: &Queue) -> Vec<String> {
    let mut lines = Vec::new();
    macro_rules! compare {
        ($($($field:ident).+),*) => { $(if old.$($field).+ != new.$($field).+ {
            let (old, new) = (said(&old.$($field).+), said(&new.$($field).+));
            let name = stringify!($($field).+).replace(' ', "");
            lines.push(format!("queue.{name}: {old} -> {new}"));
        })* };
    }
    compare!(
        max_wait,
        longest_wait,
        overflow_after,
        comments_after,
        max_calls,
        max_calls_of_key,
        max_bytes,
        shed_above,
        space.concurrency
    );
    for (name, differs) in [
        ("model", old.models != new.models),
        ("group", old.groups != new.groups),
        ("key", old.keys != new.keys),
    ] {
        if differs {
            lines.push(format!("queue.{name}: changed"));
        }
    }
    lines
}

fn keys(old: &[KeySpec], new: &[KeySpec]) -> Vec<String> {
    let mut lines = Vec::new();
    for key in new {
        let Some(before) = old.iter().find(|k| k.name == key.name) else {
            lines.push(format!("key \"{}\": added", key.name));
            continue;
        };
        let mut changed = Vec::new();
        macro_rules! compare {
            ($($field:ident),*) => { $(if before.$field != key.$field {
                changed.push(format!("{} {} -> {}", stringify!($field), said(&before.$field), said(&key.$field)));
            })* };
        }
        compare!(group, models, may_pin, may_see_routing, quota, parent);
        if before.expires_ms != key.expires_ms {
            changed.push("expires changed".to_owned());
        }
        if before.digest != key.digest {
            changed.push("secret changed".to_owned());
        }
        if !changed.is_empty() {
            lines.push(format!("key \"{}\": {}", key.name, changed.join(", ")));
        }
    }
    let gone = old.iter().filter(|key| new.iter().all(|k| k.name != key.name));
    lines.extend(gone.map(|key| format!("key \"{}\": removed", key.name)));
    lines
}

fn restart(old: &Server, new: &Server, old_log: &Log, new_log: &Log) -> Vec<String> {
    let mut lines = Vec::new();
    macro_rules! compare {
        ($section:literal, $old:ident, $new:ident: $($field:ident),*) => { $(if $old.$field != $new.$field {
            let (old, new) = (said(&$old.$field), said(&$new.$field));
            let name = concat!($section, ".", stringify!($field));
            lines.push(format!("{name}: {old} -> {new}; in force after a restart"));
        })* };
    }
    compare!("server", old, new: listen, data_dir, workers, max_body, max_whole_body, max_bytes_in_flight,
        max_event, client_stall, drain, watch, tls);
    compare!("log", old_log, new_log: filter, format, dir, rotation);
    lines
}

/// A value in the words of the settings file.
trait Said {
    fn said(&self) -> String;
}

fn said(value: &dyn Said) -> String {
    value.said()
}

macro_rules! said_as_shown {
    ($($type:ty),*) => { $(impl Said for $type {
        fn said(&self) -> String {
            self.to_string()
        }
    })* };
}
said_as_shown!(bool, i32, u32, u64, usize, Arc<str>, String, SocketAddr, Money);

macro_rules! said_as_written {
    ($($type:ty),*) => { $(impl Said for $type {
        fn said(&self) -> String {
            format!("{self:?}").to_lowercase()
        }
    })* };
}
said_as_written!(Adaptive, Pacing, SwitchRule, TransportKind, LogFormat, Rotation);

impl Said for PathBuf {
    fn said(&self) -> String {
        self.display().to_string()
    }
}

impl Said for Tls {
    fn said(&self) -> String {
        format!("{} with {} and {}", self.listen, self.certificate.display(), self.key.display())
    }
}

impl Said for Duration {
    fn said(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

impl Said for Ratio {
    fn said(&self) -> String {
        format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl<T: Said> Said for Option<T> {
    fn said(&self) -> String {
        self.as_ref().map_or("none".to_owned(), Said::said)
    }
}

impl<T: Display> Said for Vec<T> {
    fn said(&self) -> String {
        format!("[{}]", self.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }
}
