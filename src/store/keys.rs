//! Keys: made, listed, revoked, rotated. Only hashes are kept.

use diesel::{ExpressionMethods as _, Insertable, OptionalExtension as _, QueryDsl as _, Queryable};
use diesel_async::{AsyncConnection as _, RunQueryDsl as _, SimpleAsyncConnection as _};
use penstock_actors::domain::{AccountId, KeyId, Money};

use super::{
    Store, accounts,
    error::{StoreError, Stored},
    next_id, now_ms,
    pool::{query, transaction},
    schema::{account, api_key, ledger_entry, revision},
};
use crate::api_key::{KeyDigest, hex, parse_digest};

/// How many keys may stand in one chain, child to eldest.
pub const DEEPEST: usize = 4;
/// The space that everything belongs to until there are more.
pub(super) const SPACE: i64 = 1;

/// Where a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Declared in the settings file; permanent by its name.
    File,
    /// Made by a command or by the management API.
    Made,
    /// Named in the environment.
    Env,
}

impl Origin {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Made => "made",
            Self::Env => "env",
        }
    }
}

/// Whether a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyStatus {
    /// It opens, until it expires.
    Live,
    /// It does not, and keeps its name: it was taken out of the file.
    Disabled,
    /// It never opens again, and its name is free.
    Revoked,
}

impl KeyStatus {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
        }
    }
}

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeyRow {
    /// Permanent number.
    pub id: i64,
    /// Its name; unique among keys that are not revoked.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether it opens.
    pub status: KeyStatus,
    /// SHA-256 of the secret.
    pub digest: KeyDigest,
    /// The secret before the last rotation, and until when it opens, in milliseconds since 1970.
    pub old: Option<(KeyDigest, i64)>,
    /// The first characters of the secret, for people; empty where only the hash was ever known.
    pub prefix: String,
    /// Its own account.
    pub account: i64,
    /// The key it was made under, whose account pays too.
    pub parent: Option<i64>,
    /// The group whose channels it may use.
    pub group: String,
    /// Models it may ask for; `None` for all.
    pub models: Option<Vec<String>>,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: Option<i64>,
    /// May pin a channel by number.
    pub may_pin: bool,
    /// Is told which channel served it.
    pub may_see_routing: bool,
    /// When it was made.
    pub created_ms: i64,
    /// What it may take in a time, in the words of the settings; `None` where nothing is said. Never of declared keys,
    /// of which the settings say it.
    #[serde(default)]
    pub limits: Option<Vec<String>>,
}

impl KeyRow {
    /// The key's number as the books know it.
    pub fn key_id(&self) -> KeyId {
        KeyId(self.id)
    }

    /// The key's own account as the books know it.
    pub fn account_id(&self) -> AccountId {
        AccountId(self.account)
    }
}

/// A secret, as far as the store may know it.
#[derive(Clone, Debug)]
pub struct NewSecret {
    /// Its hash.
    pub digest: KeyDigest,
    /// Its first characters.
    pub prefix: String,
}

/// What a key is made of.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// A name that no live key has.
    pub name: String,
    /// The group whose channels it may use.
    pub group: String,
    /// Models it may ask for; `None` for all.
    pub models: Option<Vec<String>>,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: Option<i64>,
    /// What it may spend; `None` for without limit.
    pub quota: Option<Money>,
    /// The name of the key it is made under.
    pub parent: Option<String>,
    /// May pin a channel by number.
    pub may_pin: bool,
    /// Is told which channel served it.
    pub may_see_routing: bool,
    /// What it may take in a time, in the words of the settings; `None` for what they say of every key.
    pub limits: Option<Vec<String>>,
}

impl NewKey {
    /// A key without limits.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            group: "default".to_owned(),
            models: None,
            expires_ms: None,
            quota: None,
            parent: None,
            may_pin: false,
            may_see_routing: false,
            limits: None,
        }
    }
}

/// A row of `api_key`, column by column.
#[derive(Clone, Debug, Queryable, Insertable)]
#[diesel(table_name = api_key, treat_none_as_default_value = false)]
pub(super) struct KeyRecord {
    pub(super) id: i64,
    space_id: i64,
    pub(super) name: String,
    live_name: Option<String>,
    pub(super) origin: String,
    pub(super) status: String,
    pub(super) digest: String,
    old_digest: Option<String>,
    old_until_ms: Option<i64>,
    prefix: String,
    account_id: i64,
    pub(super) parent_id: Option<i64>,
    group_name: String,
    models: Option<String>,
    expires_ms: Option<i64>,
    may_pin: bool,
    may_see_routing: bool,
    created_ms: i64,
    updated_ms: i64,
    limits: Option<String>,
}

impl KeyRecord {
    pub(super) fn new(key: &NewKey, secret: &NewSecret, origin: Origin, parent_id: Option<i64>) -> Self {
        let (id, now) = (next_id(), now_ms());
        Self {
            id,
            space_id: SPACE,
            name: key.name.clone(),
            live_name: Some(key.name.clone()),
            origin: origin.as_str().to_owned(),
            status: KeyStatus::Live.as_str().to_owned(),
            digest: hex(&secret.digest),
            old_digest: None,
            old_until_ms: None,
            prefix: secret.prefix.clone(),
            account_id: id,
            parent_id,
            group_name: key.group.clone(),
            models: list_text(key.models.as_deref()),
            expires_ms: key.expires_ms,
            may_pin: key.may_pin,
            may_see_routing: key.may_see_routing,
            created_ms: now,
            updated_ms: now,
            limits: list_text(key.limits.as_deref()),
        }
    }
}

pub(super) fn list_text(names: Option<&[String]>) -> Option<String> {
    names.map(|names| serde_json::to_string(names).unwrap_or_default())
}

impl TryFrom<KeyRecord> for KeyRow {
    type Error = StoreError;

    fn try_from(row: KeyRecord) -> Stored<Self> {
        let damaged = |what: &str| StoreError::Failed(format!("key {}: its {what} is damaged", row.id));
        let old = row.old_digest.as_deref().zip(row.old_until_ms);
        let list = |text: &Option<String>| text.as_deref().map(serde_json::from_str).transpose();
        let (models, limits) = (list(&row.models), list(&row.limits));
        Ok(Self {
            origin: match row.origin.as_str() {
                "file" => Origin::File,
                "env" => Origin::Env,
                _ => Origin::Made,
            },
            // What is not known to open does not.
            status: match row.status.as_str() {
                "live" => KeyStatus::Live,
                "revoked" => KeyStatus::Revoked,
                _ => KeyStatus::Disabled,
            },
            digest: parse_digest(&row.digest).ok_or_else(|| damaged("digest"))?,
            old: old.and_then(|(hex, until)| Some((parse_digest(hex)?, until))),
            models: models.map_err(|_| damaged("list of models"))?,
            limits: limits.map_err(|_| damaged("list of limits"))?,
            id: row.id,
            name: row.name,
            prefix: row.prefix,
            account: row.account_id,
            parent: row.parent_id,
            group: row.group_name,
            expires_ms: row.expires_ms,
            may_pin: row.may_pin,
            may_see_routing: row.may_see_routing,
            created_ms: row.created_ms,
        })
    }
}

/// Says that something changed. It is the first statement of every change of keys and accounts, and its
/// lock lets one of them happen at a time, so that what the change reads stays true until its commit.
macro_rules! bump {
    ($c:ident) => {
        diesel::update(revision::table).set(revision::number.eq(revision::number + 1)).execute($c).await?
    };
}

/// Inserts a key with its account, and what it may spend.
macro_rules! insert_key {
    ($c:ident, $record:expr, $quota:expr) => {{
        let (record, quota): (&KeyRecord, Option<Money>) = ($record, $quota);
        let balance = quota.unwrap_or_default().nanos();
        diesel::insert_into(account::table)
            .values((
                account::id.eq(record.account_id()),
                account::space_id.eq(SPACE),
                account::kind.eq("key"),
                account::balance.eq(balance),
                account::is_limited.eq(quota.is_some()),
                account::created_ms.eq(now_ms()),
                account::updated_ms.eq(now_ms()),
            ))
            .execute($c)
            .await?;
        if balance != 0 {
            diesel::insert_into(ledger_entry::table)
                .values((
                    ledger_entry::account_id.eq(record.account_id()),
                    ledger_entry::kind.eq(accounts::OPENING),
                    ledger_entry::amount.eq(balance),
                    ledger_entry::note.eq(""),
                    ledger_entry::at_ms.eq(now_ms()),
                ))
                .execute($c)
                .await?;
        }
        diesel::insert_into(api_key::table).values(record.clone()).execute($c).await?;
    }};
}

/// The live key of a name.
macro_rules! live_key {
    ($c:ident, $name:expr) => {
        api_key::table
            .filter(api_key::space_id.eq(SPACE))
            .filter(api_key::live_name.eq($name))
            .first::<KeyRecord>($c)
            .await
            .optional()?
    };
}

pub(super) use {bump, insert_key, live_key};

impl KeyRecord {
    pub(super) fn account_id(&self) -> i64 {
        self.account_id
    }
}

fn unknown<T>(name: &str) -> Stored<T> {
    StoreError::refused(format!("there is no key named \"{name}\"; `penstock key list` shows every key"))
}

fn of_the_file<T>(name: &str) -> Stored<T> {
    StoreError::refused(format!("the key \"{name}\" is declared in the settings file; change it there"))
}

impl Store {
    /// Makes a key with an account of its own.
    ///
    /// # Errors
    /// Refused where the name is taken, the parent is unknown or the chain would be too long.
    pub async fn create_key(&self, key: &NewKey, secret: &NewSecret) -> Stored<KeyRow> {
        if key.quota.is_some_and(Money::is_negative) {
            return StoreError::refused("a quota cannot be below zero");
        }
        let record = transaction!(&self.main, c => {
            bump!(c);
            if let Some(taken) = live_key!(c, &key.name) {
                return StoreError::refused(format!(
                    "a key named \"{}\" exists already (number {}, origin {})",
                    key.name, taken.id, taken.origin
                ));
            }
            let mut parent_id = None;
            if let Some(name) = &key.parent {
                let Some(parent) = live_key!(c, name) else { return unknown(name) };
                parent_id = Some(parent.id);
                // Parents are given at birth and never changed, so that no chain bites its tail.
                let (mut length, mut next) = (2, parent.parent_id);
                while let Some(id) = next {
                    length += 1;
                    next = api_key::table.find(id).select(api_key::parent_id).first(c).await?;
                }
                if length > DEEPEST {
                    return StoreError::refused(format!(
                        "\"{name}\" has {} keys above it; a chain holds at most {DEEPEST}", length - 2
                    ));
                }
            }
            let record = KeyRecord::new(key, secret, Origin::Made, parent_id);
            insert_key!(c, &record, key.quota);
            Stored::Ok(record)
        })?;
        KeyRow::try_from(record)
    }

    /// Every key, those that no longer open too, by number.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn list_keys(&self) -> Stored<Vec<KeyRow>> {
        let rows = query!(&self.main, c => api_key::table.order(api_key::id).load::<KeyRecord>(c).await)?;
        rows.into_iter().map(KeyRow::try_from).collect()
    }

    /// Ends a key for good and frees its name.
    ///
    /// # Errors
    /// Refused where no such key is live, or the settings file declares it.
    pub async fn revoke_key(&self, name: &str) -> Stored<()> {
        transaction!(&self.main, c => {
            bump!(c);
            let Some(key) = live_key!(c, name) else { return unknown(name) };
            if key.origin == Origin::File.as_str() && key.status == KeyStatus::Live.as_str() {
                return of_the_file(name);
            }
            diesel::update(api_key::table.find(key.id))
                .set((
                    api_key::status.eq(KeyStatus::Revoked.as_str()),
                    api_key::live_name.eq(None::<String>),
                    api_key::updated_ms.eq(now_ms()),
                ))
                .execute(c)
                .await?;
            Stored::Ok(())
        })
    }

    /// Says what a key may take in a time, in the words of the settings; `None` for what they say of every key.
    ///
    /// # Errors
    /// Refused where no such key is live, or the settings file declares it.
    pub async fn limit_key(&self, name: &str, limits: Option<&[String]>) -> Stored<()> {
        let limits = list_text(limits);
        transaction!(&self.main, c => {
            bump!(c);
            let Some(key) = live_key!(c, name) else { return unknown(name) };
            if key.origin == Origin::File.as_str() {
                return of_the_file(name);
            }
            diesel::update(api_key::table.find(key.id))
                .set((api_key::limits.eq(&limits), api_key::updated_ms.eq(now_ms())))
                .execute(c)
                .await?;
            Stored::Ok(())
        })
    }

    /// Gives a key a new secret; the old one opens until `old_until_ms`.
    ///
    /// # Errors
    /// Refused where no such key is live, or the settings file declares it.
    pub async fn rotate_key(&self, name: &str, secret: &NewSecret, old_until_ms: i64) -> Stored<()> {
        let digest = hex(&secret.digest);
        transaction!(&self.main, c => {
            bump!(c);
            let Some(key) = live_key!(c, name) else { return unknown(name) };
            if key.origin == Origin::File.as_str() {
                return of_the_file(name);
            }
            diesel::update(api_key::table.find(key.id))
                .set((
                    api_key::digest.eq(&digest),
                    api_key::prefix.eq(&secret.prefix),
                    api_key::old_digest.eq(Some(key.digest)),
                    api_key::old_until_ms.eq(Some(old_until_ms)),
                    api_key::updated_ms.eq(now_ms()),
                ))
                .execute(c)
                .await?;
            Stored::Ok(())
        })
    }
}
