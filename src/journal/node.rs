//! Which node this is and which of its starts: a small file in the data directory, and a lock on it.
//!
//! The directory can be copied, and the copy started elsewhere; the lock does not see that. So each start has
//! a nonce of its own, and the store keeps, for each node, the nonce of the start that claimed it last. A
//! start may claim the node if the store knows none for it, or one of [`Node::may_follow`]; then it
//! writes its own [`Node::nonce`] and a time of life beside it, in one statement, and calls
//! [`Node::set_claimed`]. Of two copies only the first can claim: the other finds a nonce it never had.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{disk::OsDisk, segment};

/// How many starts without a claim are remembered; so often may a node start while its database is away.
const REMEMBERED: usize = 1_000;

/// How many stay remembered once the store has the last: a power cut may take the store some claims back.
const KEPT: usize = 16;

/// This start of this node. While it lives no other process can open the same data directory.
#[derive(Debug)]
pub struct Node {
    folder: PathBuf,
    facts: Facts,
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Another process has it.
    #[error(
        "another penstock uses the data directory of {0}; stop it, or give this one a data directory of its own"
    )]
    InUse(PathBuf),
    /// The file makes no sense.
    #[error(
        "{0} is damaged ({1}); put back a copy of it, or move the whole folder away to start as a new node"
    )]
    Damaged(PathBuf, String),
    /// There are segments, but no file.
    #[error("{0} is missing though there are journals beside it; put back a copy of it, or move them away")]
    Missing(PathBuf),
    /// The file system fails.
    #[error("{0} cannot be used: {1}")]
    Io(PathBuf, io::Error),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    node: u32,
    /// Counts the starts; the last one's number.
    boot: u32,
    /// The boots up to this one were recovered.
    recovered: u32,
    /// Nonces in hexadecimal: of the last starts that claimed the node, and of those since. The last is this one's.
    nonces: Vec<String>,
}

impl Node {
    /// Opens the journal's folder in a data directory, makes it if it is not there, and counts a start.
    ///
    /// # Errors
    /// [`NodeError`]
    pub fn open(data_dir: &Path) -> Result<Self, NodeError> {
        let folder = data_dir.join("journal");
        let failed = |error| NodeError::Io(folder.clone(), error);
        fs::create_dir_all(&folder).map_err(failed)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock"));
        let lock = lock.map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => NodeError::InUse(folder.clone()),
            TryLockError::Error(error) => failed(error),
        })?;
        let last_boot = segment::list(&OsDisk, &folder).map_err(failed)?.last().map(|name| name.boot);
        let mut facts = read(&folder)?;
        if facts.node == 0 {
            if last_boot.is_some() {
                return Err(NodeError::Missing(path(&folder)));
            }
            facts.node = rand::random_range(1..=i32::MAX as u32);
        }
        // A file put back from an old copy must not have numbers given twice.
        facts.boot = facts.boot.max(last_boot.unwrap_or(0)) + 1;
        facts.nonces.push(format!("{:032x}", rand::random::<u128>()));
        if facts.nonces.len() > REMEMBERED {
            facts.nonces.remove(1);
        }
        let node = Self { folder, facts, _lock: lock };
        node.write().map(|()| node)
    }

    /// Where the segments lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The node's number, drawn when the data directory was first used; never 0.
    pub fn node(&self) -> u32 {
        self.facts.node
    }

    /// The number of this start, from 1.
    pub fn boot(&self) -> u32 {
        self.facts.boot
    }

    /// The boots up to this one have no call open.
    pub fn recovered(&self) -> u32 {
        self.facts.recovered
    }

    /// This start's nonce, which the store writes when it claims the node.
    pub fn nonce(&self) -> &str {
        self.facts.nonces.last().map_or("", String::as_str)
    }

    /// The nonces that the store may have for this node: any other means that a copy of the data directory
    /// was started since.
    pub fn may_follow(&self) -> &[String] {
        let count = self.facts.nonces.len();
        &self.facts.nonces[..count.saturating_sub(1)]
    }

    /// Which directory on which running machine this is: no two processes can have the same place at a time,
    /// since each locks it. Empty where the system does not tell.
    pub fn place(&self) -> String {
        let machine = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let folder = fs::metadata(self.folder.join("lock"));
        match (machine.trim(), folder) {
            ("", _) | (_, Err(_)) => String::new(),
            (machine, Ok(lock)) => format!("{machine}-{:x}-{:x}", lock.dev(), lock.ino()),
        }
    }

    /// The store has this start's nonce.
    ///
    /// # Errors
    /// [`NodeError::Io`]; it does no harm then.
    pub fn set_claimed(&mut self) -> Result<(), NodeError> {
        let count = self.facts.nonces.len();
        self.facts.nonces.drain(..count.saturating_sub(KEPT));
        self.write()
    }

    /// Every call of older starts is settled, durably.
    ///
    /// # Errors
    /// [`NodeError::Io`]; the next start reads the same streams again then.
    pub fn set_recovered(&mut self) -> Result<(), NodeError> {
        self.facts.recovered = self.facts.boot - 1;
        self.write()
    }

    /// Replaces the file, so that a crash leaves the old one or the new one.
    fn write(&self) -> Result<(), NodeError> {
        let write = || -> io::Result<()> {
            let next = self.folder.join("node.json.next");
            let mut file = File::create(&next)?;
            file.write_all(&serde_json::to_vec_pretty(&self.facts)?)?;
            file.sync_all()?;
            fs::rename(&next, path(&self.folder))?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| NodeError::Io(path(&self.folder), error))
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("node.json")
}

/// The facts as they were left; of a node that never started where there is no file.
fn read(folder: &Path) -> Result<Facts, NodeError> {
    let path = path(folder);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Facts { node: 0, boot: 0, recovered: 0, nonces: Vec::new() });
        }
        Err(error) => return Err(NodeError::Io(path, error)),
    };
    let facts: Facts = match serde_json::from_slice(&text) {
        Ok(facts) => facts,
        Err(error) => return Err(NodeError::Damaged(path, error.to_string())),
    };
    let is_sound = facts.node != 0 && facts.boot > facts.recovered && facts.boot < 99_999_999;
    if is_sound { Ok(facts) } else { Err(NodeError::Damaged(path, "its numbers cannot be".into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(data: &Path) -> String {
        fs::read_to_string(data.join("journal/node.json")).unwrap()
    }

    #[test]
    fn a_node_keeps_its_number_and_counts_its_starts() {
        let data = tempfile::tempdir().unwrap();
        let first = Node::open(data.path()).unwrap();
        let (node, nonce) = (first.node(), first.nonce().to_owned());
        assert_eq!((first.boot(), first.recovered()), (1, 0));
        assert!(first.may_follow().is_empty());
        drop(first);
        let second = Node::open(data.path()).unwrap();
        assert_eq!((second.node(), second.boot()), (node, 2));
        assert_eq!(second.may_follow(), [nonce]);
        assert!(!second.may_follow().contains(&second.nonce().to_owned()));
    }

    #[test]
    fn a_second_process_on_the_same_directory_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let _first = Node::open(data.path()).unwrap();
        let refused = Node::open(data.path()).unwrap_err();
        assert!(matches!(refused, NodeError::InUse(_)), "{refused}");
        assert!(text(data.path()).contains(r#""boot": 1"#), "nothing was counted");
    }

    #[test]
    fn of_two_copies_only_the_first_can_claim() {
        let data = tempfile::tempdir().unwrap();
        let mut original = Node::open(data.path()).unwrap();
        original.set_claimed().unwrap();
        let mut in_store = original.nonce().to_owned();
        drop(original);
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir(copy.path().join("journal")).unwrap();
        fs::write(copy.path().join("journal/node.json"), text(data.path())).unwrap();

        let mut first = Node::open(copy.path()).unwrap();
        assert!(first.may_follow().contains(&in_store));
        in_store = first.nonce().to_owned();
        first.set_claimed().unwrap();
        let second = Node::open(data.path()).unwrap();
        assert!(!second.may_follow().contains(&in_store));
    }

    #[test]
    fn a_claim_that_was_not_noted_before_a_crash_is_known_again() {
        let data = tempfile::tempdir().unwrap();
        let claimed = Node::open(data.path()).unwrap().nonce().to_owned();
        drop(Node::open(data.path()).unwrap());
        let third = Node::open(data.path()).unwrap();
        assert!(third.may_follow().contains(&claimed));
    }

    #[test]
    fn what_was_recovered_is_remembered() {
        let data = tempfile::tempdir().unwrap();
        drop(Node::open(data.path()).unwrap());
        Node::open(data.path()).unwrap().set_recovered().unwrap();
        assert_eq!(Node::open(data.path()).unwrap().recovered(), 1);
    }

    #[test]
    fn a_damaged_file_is_refused_and_left_as_it_is() {
        let data = tempfile::tempdir().unwrap();
        drop(Node::open(data.path()).unwrap());
        let path = data.path().join("journal/node.json");
        for text in ["", "{", "[]", r#"{"node":0,"boot":1,"recovered":0,"nonces":[]}"#] {
            fs::write(&path, text).unwrap();
            let refused = Node::open(data.path()).unwrap_err();
            assert!(matches!(refused, NodeError::Damaged(..)), "{text}: {refused}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn journals_without_their_node_are_refused() {
        let data = tempfile::tempdir().unwrap();
        drop(Node::open(data.path()).unwrap());
        fs::remove_file(data.path().join("journal/node.json")).unwrap();
        fs::write(data.path().join("journal/00000001-00000-00000001.journal"), "").unwrap();
        assert!(matches!(Node::open(data.path()).unwrap_err(), NodeError::Missing(_)));
    }

    #[test]
    fn an_old_copy_of_the_file_does_not_have_a_boot_counted_twice() {
        let data = tempfile::tempdir().unwrap();
        drop(Node::open(data.path()).unwrap());
        fs::write(data.path().join("journal/00000007-00000-00000001.journal"), "").unwrap();
        assert_eq!(Node::open(data.path()).unwrap().boot(), 8);
    }
}
