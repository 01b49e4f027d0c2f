//! Keys that are declared, in the settings file or in the environment: brought to what is written there.

use std::collections::{HashMap, HashSet};

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _};
use diesel_async::{AsyncConnection as _, RunQueryDsl as _, SimpleAsyncConnection as _};

use super::{
    Store, accounts,
    error::{StoreError, Stored},
    keys::{
        DEEPEST, KeyRecord, KeyRow, KeyStatus, NewKey, NewSecret, Origin, SPACE, bump, insert_key, list_text,
        live_key,
    },
    now_ms,
    pool::{query, transaction},
    schema::{account, api_key, ledger_entry, revision},
};
use crate::api_key::{KeySpec, hex};
use penstock_actors::domain::Money;

/// The kind of entry by which a declared quota is raised or lowered.
const DECLARED: &str = "declared";

/// What accounts were given by declaration.
macro_rules! granted {
    ($c:ident, $accounts:expr) => {
        ledger_entry::table
            .filter(ledger_entry::account_id.eq_any($accounts))
            .filter(ledger_entry::kind.eq_any([accounts::OPENING, DECLARED]))
            .select((ledger_entry::account_id, ledger_entry::amount))
            .load::<(i64, i64)>($c)
            .await
    };
}

fn as_new(spec: &KeySpec) -> (NewKey, NewSecret) {
    let key = NewKey {
        group: spec.group.clone(),
        models: spec.models.clone(),
        may_pin: spec.may_pin,
        may_see_routing: spec.may_see_routing,
        expires_ms: spec.expires_ms,
        quota: spec.quota,
        parent: spec.parent.clone(),
        name: spec.name.clone(),
        // The settings say it, and are in force without the store.
        limits: None,
    };
    (key, NewSecret { digest: spec.digest, prefix: String::new() })
}

/// Whether the key stands as it is declared.
fn fits(row: &KeyRow, spec: &KeySpec) -> bool {
    row.status == KeyStatus::Live
        && row.digest == spec.digest
        && row.group == spec.group
        && row.models == spec.models
        && row.may_pin == spec.may_pin
        && row.may_see_routing == spec.may_see_routing
        && row.expires_ms == spec.expires_ms
}

/// Parents before their children; those whose parent is not declared stand first.
fn in_order(declared: &[KeySpec]) -> Vec<&KeySpec> {
    let depth = |spec: &KeySpec| {
        let mut next = spec.parent.as_deref();
        let above = std::iter::from_fn(|| {
            let found = declared.iter().find(|k| Some(k.name.as_str()) == next)?;
            next = found.parent.as_deref();
            Some(())
        });
        above.take(declared.len()).count()
    };
    let mut ordered: Vec<_> = declared.iter().collect();
    ordered.sort_by_cached_key(|spec| depth(spec));
    ordered
}

/// The number of keys that stand above a key of the store, itself counted.
macro_rules! length_of_chain {
    ($c:ident, $record:expr) => {{
        let (mut length, mut next) = (1, $record.parent_id);
        while let Some(id) = next {
            length += 1;
            next = api_key::table.find(id).select(api_key::parent_id).first::<Option<i64>>($c).await?;
        }
        length
    }};
}

impl Store {
    /// Brings the keys of one origin to what is declared: new ones are made, changed ones changed, those
    /// that are gone disabled. Permanent by name: a key that comes back has its number and its account.
    ///
    /// # Errors
    /// Refused, with nothing changed, where a key of another origin has the name or the secret.
    pub async fn declare_keys(&self, origin: Origin, declared: &[KeySpec]) -> Stored<()> {
        let names: HashSet<&str> = declared.iter().map(|k| k.name.as_str()).collect();
        let known: HashMap<String, KeyRow> = self
            .list_keys()
            .await?
            .into_iter()
            .filter(|k| k.origin == origin && k.status != KeyStatus::Revoked)
            .map(|k| (k.name.clone(), k))
            .collect();
        let stays = |k: &KeyRow| names.contains(k.name.as_str()) || k.status == KeyStatus::Disabled;
        if known.values().all(stays)
            && declared.iter().all(|s| known.get(&s.name).is_some_and(|k| fits(k, s)))
            && self.stand_as_declared(&known, declared).await?
        {
            return Ok(());
        }
        transaction!(&self.main, c => {
            bump!(c);
            let present = api_key::table
                .filter(api_key::origin.eq(origin.as_str()))
                .filter(api_key::status.eq(KeyStatus::Live.as_str()))
                .load::<KeyRecord>(c)
                .await?;
            for gone in present.iter().filter(|k| !names.contains(k.name.as_str())) {
                diesel::update(api_key::table.find(gone.id))
                    .set((
                        api_key::status.eq(KeyStatus::Disabled.as_str()),
                        api_key::updated_ms.eq(now_ms()),
                    ))
                    .execute(c)
                    .await?;
            }
            // Two keys may have swapped their secrets: each is moved out of the way first.
            for present in &present {
                let wanted = declared.iter().find(|s| s.name == present.name);
                if wanted.is_some_and(|s| hex(&s.digest) != present.digest) {
                    diesel::update(api_key::table.find(present.id))
                        .set(api_key::digest.eq(format!("replaced {}", present.id)))
                        .execute(c)
                        .await?;
                }
            }
            for spec in in_order(declared) {
                let (key, secret) = as_new(spec);
                let digest = hex(&secret.digest);
                let same = api_key::table
                    .filter(api_key::digest.eq(&digest))
                    .first::<KeyRecord>(c)
                    .await
                    .optional()?;
                if let Some(other) = same.filter(|other| other.name != spec.name) {
                    return refuse(spec, &format!("the key \"{}\" has the same secret", other.name));
                }
                let mut parent_id = None;
                if let Some(name) = &spec.parent {
                    let Some(parent) = live_key!(c, name) else {
                        return refuse(spec, &format!("parent: there is no key named \"{name}\""));
                    };
                    if length_of_chain!(c, parent) >= DEEPEST {
                        return refuse(spec, &format!("parent: a chain holds at most {DEEPEST} keys"));
                    }
                    parent_id = Some(parent.id);
                }
                let Some(found) = live_key!(c, &spec.name) else {
                    let record = KeyRecord::new(&key, &secret, origin, parent_id);
                    insert_key!(c, &record, spec.quota);
                    continue;
                };
                if found.origin != origin.as_str() {
                    return refuse(spec, &format!(
                        "a key of this name exists already (origin {}); give another name, or end it with \
                         `penstock key revoke`", found.origin
                    ));
                }
                if found.parent_id != parent_id {
                    return refuse(spec, "parent: was another when the key was made, and is never changed");
                }
                // Locked by this update, so that no usage is entered between reading and correcting.
                let mine = || account::table.find(found.account_id());
                diesel::update(mine()).set(account::is_limited.eq(spec.quota.is_some())).execute(c).await?;
                if let Some(quota) = spec.quota {
                    let granted = granted!(c, vec![found.account_id()])?;
                    let granted: i64 = granted.iter().map(|(_, amount)| amount).sum();
                    let difference = quota.nanos().saturating_sub(granted);
                    if difference != 0 {
                        accounts::enter!(c, found.account_id(), DECLARED, difference, "quota");
                    }
                }
                diesel::update(api_key::table.find(found.id))
                    .set((
                        api_key::expires_ms.eq(spec.expires_ms),
                        api_key::status.eq(KeyStatus::Live.as_str()),
                        api_key::digest.eq(&digest),
                        api_key::group_name.eq(&spec.group),
                        api_key::models.eq(list_text(spec.models.as_deref())),
                        api_key::may_pin.eq(spec.may_pin),
                        api_key::may_see_routing.eq(spec.may_see_routing),
                        api_key::updated_ms.eq(now_ms()),
                    ))
                    .execute(c)
                    .await?;
            }
            Stored::Ok(())
        })
    }

    /// Whether accounts and parents of keys are as they are declared.
    async fn stand_as_declared(&self, known: &HashMap<String, KeyRow>, declared: &[KeySpec]) -> Stored<bool> {
        let keys = || declared.iter().filter_map(|spec| Some((known.get(&spec.name)?, spec)));
        let accounts: Vec<i64> = keys().map(|(key, _)| key.account).collect();
        let limited = query!(&self.main, c => account::table
            .filter(account::id.eq_any(accounts.clone()))
            .filter(account::is_limited.eq(true))
            .select(account::id)
            .load::<i64>(c)
            .await)?;
        let limits: HashSet<i64> = limited.into_iter().collect();
        let granted = query!(&self.main, c => granted!(c, accounts.clone()))?;
        let mut sums = HashMap::<i64, i64>::new();
        granted.into_iter().for_each(|(account, amount)| *sums.entry(account).or_default() += amount);
        let above: HashMap<i64, &str> = known.values().map(|k| (k.id, k.name.as_str())).collect();
        Ok(keys().all(|(key, spec)| {
            let granted = sums.get(&key.account).copied().unwrap_or_default();
            let parent = key.parent.map(|id| above.get(&id).copied());
            limits.contains(&key.account) == spec.quota.is_some()
                && spec.quota.is_none_or(|quota| quota.nanos() == granted)
                // A parent of another origin is looked up where it can be.
                && parent == spec.parent.as_deref().map(Some)
        }))
    }

    /// Takes keys over that were made before there was a store. Those whose secret is known are left.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn import_keys(&self, keys: &[(String, NewSecret)]) -> Stored<()> {
        for (name, secret) in keys {
            let digest = hex(&secret.digest);
            let known = query!(&self.main, c => api_key::table
                .filter(api_key::digest.eq(&digest))
                .count()
                .get_result::<i64>(c)
                .await)?;
            if known > 0 {
                continue;
            }
            // Names could be given twice then.
            let mut free = name.clone();
            for number in 2.. {
                match self.create_key(&NewKey::named(&free), secret).await {
                    Err(StoreError::Refused(_)) if number < 10_000 => free = format!("{name}-{number}"),
                    Err(error) => return Err(error),
                    Ok(_) => break,
                }
            }
        }
        Ok(())
    }
}

fn refuse<T>(spec: &KeySpec, problem: &str) -> Stored<T> {
    StoreError::refused(format!("key \"{}\": {problem}", spec.name))
}
