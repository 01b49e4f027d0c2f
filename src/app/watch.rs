//! Notices that files changed: by what the system says of them four times a second, which sees edits, renames,
//! swapped links and new mounts alike.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// How often files are looked at.
pub(super) const EVERY: Duration = Duration::from_millis(250);
/// How many looks a file may be gone while an editor puts a new one in its place.
const PATIENCE: u32 = 8;

/// What tells one state of a file from another; `None` where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

/// Files by what the system says of them.
pub(super) type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// What the system says of these files now. Links are followed.
pub(super) fn look(files: impl IntoIterator<Item = PathBuf>) -> Stamps {
    files.into_iter().map(|path| (stamp(&path), path)).map(|(stamp, path)| (path, stamp)).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(path).ok()?;
    Some(Stamp {
        device: data.dev(),
        inode: data.ino(),
        length: data.len(),
        changed: (data.mtime(), data.mtime_nsec()),
    })
}

/// Decides when changed files are read: once they have stood still for a look.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// What was read last.
    read: Stamps,
    /// What was seen last.
    seen: Stamps,
    /// Looks since one of the files was gone.
    gone: u32,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Rest,
    /// Read the settings.
    Read,
}

impl Watch {
    /// Takes note that the settings are read now; the stamps are from before that.
    pub(super) fn read(&mut self, stamps: Stamps) {
        self.seen = stamps.clone();
        self.read = stamps;
        self.gone = 0;
    }

    /// Watches further files, which were read just now.
    pub(super) fn add(&mut self, stamps: Stamps) {
        for (path, stamp) in stamps {
            self.read.entry(path.clone()).or_insert(stamp);
            self.seen.entry(path).or_insert(stamp);
        }
    }

    /// Takes a look's stamps.
    pub(super) fn look(&mut self, stamps: Stamps) -> Verdict {
        let still = stamps == self.seen;
        self.seen = stamps;
        if !still || self.seen == self.read {
            self.gone = 0;
            return Verdict::Rest;
        }
        let is_gone = |(path, stamp): (&PathBuf, &Option<Stamp>)| {
            stamp.is_none() && self.read.get(path).is_some_and(Option::is_some)
        };
        if self.seen.iter().any(is_gone) && self.gone < PATIENCE {
            self.gone += 1;
            return Verdict::Rest;
        }
        Verdict::Read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(inode: u64) -> Stamps {
        let stamp = Stamp { device: 1, inode, length: 1, changed: (1, 1) };
        [(PathBuf::from("file"), (inode > 0).then_some(stamp))].into()
    }

    /// Looks at a file whose inodes are these, 0 for none, and says after which looks it was read.
    fn reads(looks: &[u64]) -> Vec<usize> {
        let mut watch = Watch::default();
        watch.read(stamps(1));
        let mut reads = Vec::new();
        for (index, inode) in looks.iter().enumerate() {
            if watch.look(stamps(*inode)) == Verdict::Read {
                reads.push(index);
                watch.read(stamps(*inode));
            }
        }
        reads
    }

    #[test]
    fn a_change_is_read_once_when_it_has_stood_still() {
        assert_eq!(reads(&[1, 1, 1]), [] as [usize; 0]);
        assert_eq!(reads(&[1, 2, 2, 2, 2]), [2]);
        assert_eq!(reads(&[2, 3, 4, 5, 5, 5]), [4], "half-written");
        assert_eq!(reads(&[2, 2, 3, 3]), [1, 3]);
        assert_eq!(reads(&[2, 1, 1]), [] as [usize; 0], "changed back in time");
    }

    #[test]
    fn a_file_that_is_gone_for_a_moment_is_waited_for_and_then_missed_once() {
        assert_eq!(reads(&[0, 0, 2, 2]), [3], "an editor that renames");
        assert_eq!(reads(&[0; 13]), [9]);
        assert_eq!(reads(&[[0; 11].as_slice(), &[2, 2]].concat()), [9, 12]);
    }

    #[test]
    fn a_swapped_link_is_seen() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        for (name, text) in [("v1", "a"), ("v2", "b")] {
            std::fs::create_dir(at(name)).expect("made");
            std::fs::write(at(name).join("file"), text).expect("written");
        }
        std::os::unix::fs::symlink("v1", at("data")).expect("linked");
        let file = at("data").join("file");
        let before = look([file.clone()]);
        std::os::unix::fs::symlink("v2", at("new")).expect("linked");
        std::fs::rename(at("new"), at("data")).expect("swapped");
        assert_ne!(look([file.clone()]), before);
        std::fs::remove_file(at("data")).expect("removed");
        assert_eq!(look([file.clone()]), [(file, None)].into());
    }
}
