//! API keys: making, hashing, looking up. Not where they stand in a request; that is `http::auth`.
//!
//! A secret is never kept: only its SHA-256 is. Keys have 256 random bits, so no salt is needed.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use penstock_actors::{
    domain::{AccountChain, KeyId, Money},
    limiter::{LimitSet, Owner, Who},
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// SHA-256 of a key's secret, without its `sk-`.
pub type KeyDigest = [u8; 32];

/// A key declared in the file. The secret is hashed as soon as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Permanent name.
    pub name: String,
    /// SHA-256 of the secret.
    pub digest: [u8; 32],
    /// The group whose channels it may use.
    pub group: String,
    /// Models it may ask for; `None` for all.
    pub models: Option<Vec<String>>,
    /// May pin a channel by number.
    pub may_pin: bool,
    /// Is told which channel served it.
    pub may_see_routing: bool,
    /// What it may spend in all; `None` for without limit.
    pub quota: Option<Money>,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: Option<i64>,
    /// The name of the key it stands under, whose account pays too.
    pub parent: Option<String>,
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key's permanent number.
    pub id: KeyId,
    /// The key's name.
    pub key: String,
    /// Whose money is drawn: the key's own account, its parents', the space's.
    pub accounts: AccountChain,
    /// The group whose channels it may use.
    pub group: Arc<str>,
    /// Models it may ask for; `None` for all.
    pub models: Option<Vec<String>>,
    /// May pin a channel by number.
    pub may_pin: bool,
    /// Is told which channel served it.
    pub may_see_routing: bool,
    /// When the secret stops to open, in milliseconds since 1970.
    pub expires_ms: Option<i64>,
    /// What it may take in a time, where the store says so.
    pub limits: Option<Box<LimitSet>>,
    /// The keys it stands under, the nearest first.
    pub above: Arc<[Owner]>,
}

impl Caller {
    /// The caller as limits see it, asking for a model whose aliases are resolved.
    pub fn who<'a>(&'a self, model: &'a str) -> Who<'a> {
        let Self { id, key, limits, above, group, .. } = self;
        Who { key: *id, name: key, own: limits.as_deref(), above, group, model }
    }

    /// Whether the key's own list allows the model.
    pub fn may_use(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|allowed| allowed.iter().any(|m| m == model))
    }

    /// Whether the secret stopped to open.
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expires_ms.is_some_and(|at| at <= now_ms)
    }
}

const SHARDS: usize = 256;

type Shard = HashMap<KeyDigest, Arc<Caller>, BuildHasherDefault<DigestHasher>>;

/// Every key in force, by digest. Immutable; replaced whole, but for the shards in which nothing changed.
#[derive(Debug)]
pub struct KeyTable {
    shards: Box<[Arc<Shard>; SHARDS]>,
}

impl Default for KeyTable {
    fn default() -> Self {
        let empty = Arc::new(Shard::default());
        Self { shards: Box::new(std::array::from_fn(|_| Arc::clone(&empty))) }
    }
}

/// A digest is uniform already: eight of its bytes are its hash. The first chose the shard.
#[derive(Debug, Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_ne_bytes(*last);
        }
    }
}

impl KeyTable {
    /// Builds the table that follows this one. Callers and shards that stay the same are not copied.
    pub fn next(&self, callers: impl IntoIterator<Item = (KeyDigest, Caller)>) -> Self {
        let mut shards: [Shard; SHARDS] = std::array::from_fn(|_| Shard::default());
        for (digest, caller) in callers {
            let before = self.shard(&digest).get(&digest).filter(|before| ***before == caller);
            let caller = before.cloned().unwrap_or_else(|| Arc::new(caller));
            shards[usize::from(digest[0])].insert(digest, caller);
        }
        let old = self.shards.iter();
        let mut next = shards.into_iter().zip(old).map(|(new, old)| {
            let same = new.len() == old.len()
                && new.iter().all(|(d, c)| old.get(d).is_some_and(|before| Arc::ptr_eq(before, c)));
            if same { Arc::clone(old) } else { Arc::new(new) }
        });
        Self { shards: Box::new(std::array::from_fn(|_| next.next().unwrap_or_default())) }
    }

    fn shard(&self, digest: &KeyDigest) -> &Shard {
        &self.shards[usize::from(digest[0])]
    }

    /// Finds the caller of a secret, with or without `sk-`. It may have expired.
    pub fn find(&self, secret: &str) -> Option<&Arc<Caller>> {
        let digest = digest(secret);
        self.shard(&digest).get(&digest)
    }

    /// Everyone whose secret opens something; twice where two secrets do.
    pub fn callers(&self) -> impl Iterator<Item = &Arc<Caller>> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    /// Everyone, beside whom the same secret opened in the table before.
    pub fn beside<'t>(
        &'t self,
        before: &'t Self,
    ) -> impl Iterator<Item = (&'t Arc<Caller>, Option<&'t Arc<Caller>>)> {
        self.pairs(before, |_, _| true)
    }

    /// The same, of those who are not what they were in the table that this one was built from.
    pub fn changed_since<'t>(
        &'t self,
        before: &'t Self,
    ) -> impl Iterator<Item = (&'t Arc<Caller>, Option<&'t Arc<Caller>>)> {
        let has_changed =
            |now: &Arc<Caller>, then: Option<&Arc<Caller>>| !then.is_some_and(|c| Arc::ptr_eq(c, now));
        self.pairs(before, |new, old| !Arc::ptr_eq(new, old))
            .filter(move |(now, then)| has_changed(now, *then))
    }

    /// Those of the shards that are wanted, by themselves and as they were.
    fn pairs<'t>(
        &'t self,
        before: &'t Self,
        wants: impl Fn(&Arc<Shard>, &Arc<Shard>) -> bool,
    ) -> impl Iterator<Item = (&'t Arc<Caller>, Option<&'t Arc<Caller>>)> {
        let shards = self.shards.iter().zip(before.shards.iter()).filter(move |(new, old)| wants(new, old));
        shards.flat_map(|(new, old)| new.iter().map(|(digest, caller)| (caller, old.get(digest))))
    }

    /// How many secrets open something.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.len()).sum()
    }

    /// Whether no secret opens anything.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|s| s.is_empty())
    }
}

/// Makes a key from 256 bits of the system's generator.
pub fn generate() -> String {
    format!("sk-{}", hex(&rand::random::<[u8; 32]>()))
}

/// The first eight characters of a secret, by which people tell keys apart; `sk-` is no part of it.
pub fn prefix(secret: &str) -> String {
    secret.strip_prefix("sk-").unwrap_or(secret).chars().take(8).collect()
}

/// A digest as 64 hexadecimal digits.
pub fn hex(digest: &KeyDigest) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// Hashes a secret; `sk-` is no part of it.
pub fn digest(secret: &str) -> KeyDigest {
    Sha256::digest(secret.strip_prefix("sk-").unwrap_or(secret)).into()
}

/// Whether a secret chosen by an operator is long enough to be a key.
pub fn is_strong(secret: &str) -> bool {
    let body = secret.strip_prefix("sk-").unwrap_or(secret);
    body.len() >= 16 && body.len() <= 256 && body.bytes().all(|b| b.is_ascii_graphic())
}

/// Reads a digest as 64 hexadecimal digits.
pub fn parse_digest(hex: &str) -> Option<KeyDigest> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// Keys made before there was a store, in the data directory: names and hashes only. Read once, and moved
/// into the store.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    keys: Vec<FiledKey>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FiledKey {
    name: String,
    sha256: String,
}

impl KeyFile {
    /// Reads the file; `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read or is damaged; it is never silently replaced.
    pub fn load(data_dir: &Path) -> io::Result<Option<Self>> {
        let damaged = |what: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", Self::path(data_dir).display()))
        };
        match std::fs::read(Self::path(data_dir)) {
            Ok(bytes) => {
                let file: Self = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
                match file.keys.iter().find(|k| parse_digest(&k.sha256).is_none()) {
                    Some(key) => Err(damaged(format!("the sha256 of \"{}\" is damaged", key.name))),
                    None => Ok(Some(file)),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Names and hashes.
    pub fn keys(&self) -> impl Iterator<Item = (&str, KeyDigest)> {
        self.keys.iter().filter_map(|k| Some((k.name.as_str(), parse_digest(&k.sha256)?)))
    }

    /// Where the file is.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("keys.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Caller {
        /// One that may do nothing beyond calling, for tests.
        pub fn named(name: &str) -> Self {
            Self {
                id: KeyId(1),
                key: name.to_owned(),
                accounts: AccountChain(Vec::new()),
                group: "default".into(),
                models: None,
                may_pin: false,
                may_see_routing: false,
                expires_ms: Some(5),
                limits: None,
                above: Arc::default(),
            }
        }
    }

    #[test]
    fn a_secret_is_found_with_and_without_its_sk() {
        let table = KeyTable::default().next([(digest("sk-first"), Caller::named("first"))]);
        assert_eq!(table.find("sk-first").map(|c| c.key.as_str()), Some("first"));
        assert!(table.find("first").is_some(), "sk- is no part of it");
        assert!(table.find("sk-other").is_none());
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn shards_and_callers_that_stay_are_shared_with_the_table_before() {
        let keys = |n: usize| (0..n).map(|i| (digest(&format!("key {i}")), Caller::named(&i.to_string())));
        let before = KeyTable::default().next(keys(1_000));
        let after = before.next(keys(1_001));
        let shared = before.shards.iter().zip(after.shards.iter()).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!((shared, after.len()), (SHARDS - 1, 1_001));
        let changed: Vec<_> = after.changed_since(&before).map(|(c, old)| (&*c.key, old.is_none())).collect();
        assert_eq!((changed, after.beside(&before).count()), (vec![("1000", true)], 1_001));
        assert!(after.next([]).is_empty());
    }

    #[test]
    fn a_key_ends_at_its_moment() {
        assert!(!Caller::named("x").is_expired(4));
        assert!(Caller::named("x").is_expired(5));
        assert!(!Caller { expires_ms: None, ..Caller::named("x") }.is_expired(i64::MAX));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_an_absent_one_is_none() {
        let dir = tempfile::tempdir().expect("temporary folder");
        assert!(KeyFile::load(dir.path()).expect("no file").is_none());
        for text in ["{\"keys\":[", r#"{"keys":[{"name":"x","sha256":"abc"}]}"#] {
            std::fs::write(KeyFile::path(dir.path()), text).expect("written");
            assert!(KeyFile::load(dir.path()).is_err(), "{text}");
        }
    }

    #[test]
    fn digests_are_read_as_hexadecimal() {
        assert_eq!(parse_digest(&"0a".repeat(32)), Some([10; 32]));
        assert_eq!(parse_digest(&hex(&[0xfe; 32])), Some([0xfe; 32]));
        assert_eq!(parse_digest("0a"), None);
        assert_eq!(parse_digest(&"é".repeat(32)), None);
    }
}
