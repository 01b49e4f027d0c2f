//! API keys: making, hashing, looking up. Not where they stand in a request; that is `http::auth`.
//!
//! A secret is never kept: only its SHA-256 is. Keys have 256 random bits, so no salt is needed.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
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
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key's name.
    pub key: String,
    /// The group whose channels it may use.
    pub group: Arc<str>,
    /// Models it may ask for; `None` for all.
    pub models: Option<Vec<String>>,
    /// May pin a channel by number.
    pub may_pin: bool,
    /// Is told which channel served it.
    pub may_see_routing: bool,
}

impl Caller {
    /// Whether the key's own list allows the model.
    pub fn may_use(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|allowed| allowed.iter().any(|m| m == model))
    }
}

/// Every key in force, by digest. Immutable; replaced whole.
#[derive(Debug, Default)]
pub struct KeyTable {
    callers: HashMap<KeyDigest, Arc<Caller>, BuildHasherDefault<DigestHasher>>,
}

/// A digest is uniform already: its first bytes are its hash.
#[derive(Debug, Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }
}

impl KeyTable {
    /// Builds the table of the keys declared in the file and of those in the data directory.
    pub fn build(declared: &[KeySpec], stored: &KeyFile) -> Self {
        let stored = stored.keys.iter().filter_map(|key| {
            let caller = Caller {
                key: key.name.clone(),
                group: "default".into(),
                models: None,
                may_pin: false,
                may_see_routing: false,
            };
            Some((parse_digest(&key.sha256)?, Arc::new(caller)))
        });
        let declared = declared.iter().map(|key| {
            let caller = Caller {
                key: key.name.clone(),
                group: key.group.as_str().into(),
                models: key.models.clone(),
                may_pin: key.may_pin,
                may_see_routing: key.may_see_routing,
            };
            (key.digest, Arc::new(caller))
        });
        Self { callers: stored.chain(declared).collect() }
    }

    /// Finds the caller of a secret, with or without `sk-`.
    pub fn find(&self, secret: &str) -> Option<&Arc<Caller>> {
        self.callers.get(&digest(secret))
    }
}

/// Makes a key from 256 bits of the system's generator.
pub fn generate() -> String {
    let mut secret = String::from("sk-");
    for byte in rand::random::<[u8; 32]>() {
        secret.push_str(&format!("{byte:02x}"));
    }
    secret
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

/// Keys made by `penstock` itself, in the data directory: names and hashes only.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    keys: Vec<StoredKey>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    name: String,
    sha256: String,
}

impl KeyFile {
    /// Reads the file; a missing one is empty.
    ///
    /// # Errors
    /// Where it cannot be read or is damaged; it is never silently replaced.
    pub fn load(data_dir: &Path) -> io::Result<Self> {
        match std::fs::read(path(data_dir)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", path(data_dir).display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// How many keys were made.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key was made yet.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Makes a key, writes its hash down and gives the secret, which is not kept.
    ///
    /// # Errors
    /// Where the data directory cannot be written.
    pub fn create(data_dir: &Path, name: &str) -> io::Result<String> {
        std::fs::create_dir_all(data_dir)?;
        // Two at once would each write the file without the other's key.
        let lock = std::fs::File::create(data_dir.join("keys.lock"))?;
        lock.lock()?;
        let mut keys = Self::load(data_dir)?;
        let secret = generate();
        let sha256 = digest(&secret).iter().map(|b| format!("{b:02x}")).collect();
        keys.keys.push(StoredKey { name: name.to_owned(), sha256 });
        // Written beside and renamed, so that a crash leaves the old file or the new one.
        let mut file = tempfile::NamedTempFile::new_in(data_dir)?;
        file.write_all(&serde_json::to_vec_pretty(&keys)?)?;
        file.as_file().sync_all()?;
        file.persist(path(data_dir)).map_err(|e| e.error)?;
        Ok(secret)
    }
}

/// Where the keys of a data directory are.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("keys.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_key_is_found_after_a_restart_and_its_secret_is_not_in_the_file() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let secret = KeyFile::create(dir.path(), "first").expect("written");
        assert_eq!(secret.len(), 3 + 64);
        let stored = KeyFile::load(dir.path()).expect("readable");
        let table = KeyTable::build(&[], &stored);
        assert_eq!(table.find(&secret).map(|c| c.key.as_str()), Some("first"));
        assert!(table.find(&secret[3..]).is_some(), "sk- is no part of it");
        assert!(table.find("sk-other").is_none());
        let text = std::fs::read_to_string(dir.path().join("keys.json")).expect("readable");
        assert!(!text.contains(&secret[3..]));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_stays() {
        let dir = tempfile::tempdir().expect("temporary folder");
        std::fs::write(dir.path().join("keys.json"), "{\"keys\":[").expect("written");
        assert!(KeyFile::load(dir.path()).is_err());
    }

    #[test]
    fn digests_are_read_as_hexadecimal() {
        assert_eq!(parse_digest(&"0a".repeat(32)), Some([10; 32]));
        assert_eq!(parse_digest("0a"), None);
        assert_eq!(parse_digest(&"é".repeat(32)), None);
    }
}
