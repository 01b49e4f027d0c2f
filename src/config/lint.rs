//! What is allowed and probably not meant.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt as _, path::Path};

use penstock_actors::{
    domain::{Catalog, ChannelName, Served, Unpriced},
    limiter::{Kind, Rules},
};

use super::{Notice, Settings, layers::Document, nearest::did_you_mean};
use crate::api_key::KeySpec;

/// Channels, aliases and keys that serve nobody.
pub(super) fn catalog(
    catalog: &Catalog,
    discovered: &BTreeSet<ChannelName>,
    keys: &[KeySpec],
) -> Vec<Notice> {
    let mut found = Vec::new();
    let mut warn = |text: String| found.push(Notice::warning(text));
    for channel in &catalog.channels {
        let name = &channel.name;
        if !channel.enabled {
            warn(format!("channel \"{name}\": enabled = false: it serves nobody"));
        } else if channel.concurrency == Some(0) {
            warn(format!("channel \"{name}\": concurrency = 0 lets nothing through"));
        }
    }
    let served: BTreeSet<&str> =
        catalog.channels.iter().flat_map(|c| &c.models).map(|served| &*served.model).collect();
    // What a provider will say that it has is not known yet.
    let all_known = discovered.is_empty() && !catalog.channels.is_empty();
    for (alias, target) in &catalog.aliases {
        if all_known && !served.contains(&**target) {
            let near = did_you_mean(target, served.iter().copied());
            warn(format!("aliases.\"{alias}\": no channel serves \"{target}\"{near}"));
        }
    }
    for key in keys {
        let reach = catalog.channels.iter().filter(|c| c.groups.iter().any(|g| **g == key.group));
        let reached: BTreeSet<&str> = reach.clone().flat_map(|c| &c.models).map(|s| &*s.model).collect();
        if !catalog.channels.is_empty() && reach.count() == 0 {
            warn(format!("key \"{}\": group: no channel serves the group \"{}\"", key.name, key.group));
            continue;
        }
        let is_reached = |name: &str| {
            let target = catalog.aliases.get(name).map_or(name, |target| target);
            reached.contains(target)
        };
        for model in key.models.iter().flatten() {
            if all_known && !is_reached(model) {
                let near = did_you_mean(model, reached.iter().copied());
                warn(format!(
                    "key \"{}\": models: no channel of its group serves \"{model}\"{near}",
                    key.name
                ));
            }
        }
    }
    found
}

/// Limits that bind nobody, and those that let nothing through.
pub(super) fn limits(
    rules: &Rules,
    catalog: &Catalog,
    discovered: &BTreeSet<ChannelName>,
    keys: &[KeySpec],
) -> Vec<Notice> {
    let mut found = Vec::new();
    let mut warn = |text: String| found.push(Notice::warning(text));
    let served: BTreeSet<&str> =
        catalog.channels.iter().flat_map(|c| &c.models).map(|served| &*served.model).collect();
    let all_known = discovered.is_empty() && !catalog.channels.is_empty();
    let mut models: Vec<_> = rules.models.keys().collect();
    models.sort();
    for model in models {
        if all_known && !served.contains(model.as_str()) {
            let near = did_you_mean(model, served.iter().copied());
            warn(format!("model_limits.\"{model}\": cannot bind: no channel serves this model{near}"));
        }
    }
    let groups: BTreeSet<&str> = catalog.channels.iter().flat_map(|c| &c.groups).map(|g| &**g).collect();
    let mut limited: Vec<_> = rules.groups.keys().collect();
    limited.sort();
    for group in limited {
        if !catalog.channels.is_empty() && !groups.contains(group.as_str()) {
            let near = did_you_mean(group, groups.iter().copied());
            warn(format!("group_limits.{group}: cannot bind: no channel serves this group{near}"));
        }
    }
    let mut sets =
        vec![("limits.key".to_owned(), &rules.every_key), ("limits.space".to_owned(), &rules.space)];
    for key in keys {
        sets.extend(rules.keys.get(&key.name).map(|set| (format!("key \"{}\": limits", key.name), set)));
    }
    for channel in &catalog.channels {
        let set = rules.channels.get(channel.name.as_str());
        sets.extend(set.map(|set| (format!("channel \"{}\": limits", channel.name), set)));
    }
    sets.extend(rules.groups.iter().map(|(name, set)| (format!("group_limits.{name}"), set)));
    sets.extend(rules.models.iter().map(|(name, set)| (format!("model_limits.\"{name}\""), set)));
    for (name, set) in sets {
        for (kind, limit) in set.limits() {
            if limit == 0 {
                warn(format!("{name}: {} of 0 lets nothing through", kind.as_str()));
            }
            // A shorter time's limit that the longer one's never lets be reached.
            let longer = Kind::ALL.into_iter().filter(|k| k.measure == kind.measure && k.span > kind.span);
            if let Some(tighter) = longer.into_iter().find(|k| set.of(*k).is_some_and(|l| l < limit)) {
                let (kind, tighter) = (kind.as_str(), tighter.as_str());
                warn(format!("{name}: {kind} cannot bind: {tighter} is lower"));
            }
        }
    }
    found
}

/// What only a check tells: models that some keys are refused for want of a price, channels that no declared key
/// reaches, and backups that no channel serves.
pub fn only_checked(settings: &Settings) -> Vec<Notice> {
    const SHOWN: usize = 10;
    let mut found = Vec::new();
    let prices = &settings.prices;
    let refused = match prices.unpriced {
        Unpriced::RefuseQuota => "are refused to keys with a quota, and free for others",
        Unpriced::Refuse => "are refused",
        Unpriced::Free | Unpriced::Default(_) => "",
    };
    // The mock costs nothing.
    let paid = settings.catalog.channels.iter().filter(|channel| *channel.provider != *"mock");
    let served = paid.flat_map(|channel| &channel.models);
    let has_none = |s: &&Served| [&s.model, &s.upstream].iter().all(|n| !prices.prices.contains_key(&***n));
    let unpriced: BTreeSet<&str> = served.filter(has_none).map(|s| &*s.model).collect();
    if !refused.is_empty() && !unpriced.is_empty() {
        let more = unpriced.len().saturating_sub(SHOWN);
        let names: Vec<_> = unpriced.into_iter().take(SHOWN).collect();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        found.push(Notice::warning(format!("models without a price {refused}: {}{more}", names.join(", "))));
    }
    let groups: BTreeSet<&str> = settings.keys.iter().map(|key| key.group.as_str()).collect();
    for channel in settings.catalog.channels.iter().filter(|_| !groups.is_empty()) {
        if channel.groups.iter().all(|group| !groups.contains(&**group)) {
            let (name, groups) = (&channel.name, channel.groups.join(", "));
            let text = format!("channel \"{name}\": no declared key is of its groups ({groups})");
            found.push(Notice::warning(text));
        }
    }
    found.extend(unserved_backups(settings));
    found
}

fn unserved_backups(settings: &Settings) -> Vec<Notice> {
    let (catalog, backups) = (&settings.catalog, &settings.backups);
    // What discovered channels serve is not known before they are asked.
    if !settings.discover.channels.is_empty() {
        return Vec::new();
    }
    let served: BTreeSet<&str> =
        catalog.channels.iter().flat_map(|channel| &channel.models).map(|served| &*served.model).collect();
    let is_known = |name: &str| served.contains(name) || catalog.aliases.contains_key(name);
    let of_models =
        backups.of_models.iter().map(|(model, names)| (format!("backup_models.\"{model}\""), names));
    let of_keys = backups.of_keys.iter().map(|(key, names)| (format!("key \"{key}\": backup_models"), names));
    let unknown = of_models.chain(of_keys).flat_map(|(place, names)| {
        let unknown = names.iter().filter(|name| !is_known(name));
        unknown.map(move |name| format!("{place}: no channel serves \"{name}\"")).collect::<Vec<_>>()
    });
    let texts: BTreeSet<String> = unknown.collect();
    texts.into_iter().map(Notice::warning).collect()
}

/// Secrets in clear text in a file that others may read.
pub(super) fn permissions(path: &Path, document: &Document<'_>) -> Option<Notice> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return None;
    }
    let clear = document.clear_secrets();
    let first = clear.first()?;
    Some(Notice::warning(format!(
        "{first}: holds a secret in clear text, and users other than its owner may read the file (mode {mode:o}); \
         use env:NAME or file:PATH, or chmod 600"
    )))
}
