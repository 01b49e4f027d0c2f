//! Keys that are declared, in the settings file or in the environment: brought to what is written there.

use std::collections::{HashMap, HashSet};

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _};
use diesel_async::{AsyncConnection as _, RunQueryDsl as _, SimpleAsyncConnection as _};

use super::{
    Store, accounts,
    error::{StoreError, Stored},
    keys::{
        KeyRecord, KeyRow, KeyStatus, NewKey, NewSecret, Origin, SPACE, bump, insert_key, live_key,
        models_text,
    },
    now_ms,
    pool::{query, transaction},
    schema::{account, api_key, ledger_entry, revision},
};
use crate::api_key::{KeySpec, hex};
use penstock_actors::domain::Money;

fn as_new(spec: &KeySpec) -> (NewKey, NewSecret) {
    let key = NewKey {
        group: spec.group.clone(),
        models: spec.models.clone(),
        may_pin: spec.may_pin,
        may_see_routing: spec.may_see_routing,
        ..NewKey::named(&spec.name)
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
            for spec in declared {
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
                let Some(found) = live_key!(c, &spec.name) else {
                    let record = KeyRecord::new(&key, &secret, origin, None);
                    insert_key!(c, &record, None);
                    continue;
                };
                if found.origin != origin.as_str() {
                    return refuse(spec, &format!(
                        "a key of this name exists already (origin {}); give another name, or end it with \
                         `penstock key revoke`", found.origin
                    ));
                }
                diesel::update(api_key::table.find(found.id))
                    .set((
                        api_key::status.eq(KeyStatus::Live.as_str()),
                        api_key::digest.eq(&digest),
                        api_key::group_name.eq(&spec.group),
                        api_key::models.eq(models_text(spec.models.as_deref())),
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
