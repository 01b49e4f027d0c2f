//! A disk that notes what it was asked to keep, so that a drill can take the rest away.
//!
//! A line a fact: `sync NAME BYTES` when so many bytes of a file were synced, `names A B C` when the folder was,
//! `log SALT BYTES` when so much of SQLite's log was, which begins anew with another salt.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::journal::disk::{Disk, DiskFile, OsDisk};

/// The operating system's disk, with notes.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    notes: Arc<File>,
}

#[derive(Debug)]
struct Recorded {
    file: Arc<dyn DiskFile>,
    name: String,
    /// Bytes from the front.
    written: AtomicU64,
    recorder: Recorder,
}

/// What is durable, by the notes.
#[derive(Debug, Default)]
pub(super) struct Durable {
    bytes: HashMap<String, u64>,
    names: Vec<String>,
    log: Option<(String, u64)>,
}

/// What comes after SQLite's log in the name of its database.
pub(super) const LOG: &str = "-wal";

/// The salt of a log of SQLite, by its head.
pub(super) fn salt(head: &[u8]) -> String {
    head.get(16..24).unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Recorder {
    /// Adds to notes that may be there.
    pub fn open(notes: &Path) -> io::Result<Self> {
        let notes = OpenOptions::new().create(true).append(true).open(notes)?;
        Ok(Self { notes: Arc::new(notes) })
    }

    /// Notes that SQLite's log is synced as long as it is now.
    pub fn note_log(&self, database: &Path) -> io::Result<()> {
        let mut path = database.as_os_str().to_owned();
        path.push(LOG);
        match std::fs::read(path) {
            Ok(log) => self.note(&format!("log {} {}\n", salt(&log), log.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One write, so that a kill leaves whole lines.
    fn note(&self, line: &str) -> io::Result<()> {
        (&*self.notes).write_all(line.as_bytes())
    }

    fn recorded(&self, file: Arc<dyn DiskFile>, path: &Path, written: u64) -> Arc<dyn DiskFile> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Arc::new(Recorded { file, name, written: AtomicU64::new(written), recorder: self.clone() })
    }
}

impl Disk for Recorder {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.recorded(OsDisk.create(path)?, path, 0))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.recorded(OsDisk.open(path)?, path, std::fs::metadata(path)?.len()))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(folder)
    }

    fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        OsDisk.modified_ms(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let names = OsDisk.list(folder)?;
        OsDisk.sync_folder(folder)?;
        self.note(&format!("names {}\n", names.join(" ")))
    }

    fn now(&self) -> Instant {
        OsDisk.now()
    }

    fn wall_ms(&self) -> i64 {
        OsDisk.wall_ms()
    }
}

impl DiskFile for Recorded {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written.fetch_add(written as u64, Ordering::AcqRel);
        Ok(written)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(bytes, at)
    }

    fn rewind(&self) -> io::Result<()> {
        self.written.store(0, Ordering::Release);
        self.file.rewind()
    }

    fn sync(&self) -> io::Result<()> {
        let written = self.written.load(Ordering::Acquire);
        self.file.sync()?;
        self.recorder.note(&format!("sync {} {written}\n", self.name))
    }
}

impl Durable {
    /// Reads notes.
    pub fn read(notes: &Path) -> io::Result<Self> {
        let mut durable = Self::default();
        for line in std::fs::read_to_string(notes)?.lines() {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("sync"), Some(name), Some(bytes)) => {
                    durable.bytes.insert(name.to_owned(), bytes.parse().map_err(io::Error::other)?);
                }
                (Some("log"), Some(salt), Some(bytes)) => {
                    durable.log = Some((salt.to_owned(), bytes.parse().map_err(io::Error::other)?));
                }
                (Some("names"), ..) => {
                    durable.names = line.split(' ').skip(1).map(str::to_owned).collect();
                }
                _ => return Err(io::Error::other(format!("a note is none: {line}"))),
            }
        }
        Ok(durable)
    }

    /// How many bytes of a file a power cut leaves; `None` where it leaves no file.
    pub fn bytes(&self, name: &str) -> Option<u64> {
        let is_named = self.names.iter().any(|known| known == name);
        is_named.then(|| self.bytes.get(name).copied().unwrap_or_default())
    }

    /// How much of SQLite's log with that salt is known to be synced.
    pub fn log(&self, salt: &str) -> u64 {
        self.log.as_ref().filter(|(known, _)| known == salt).map_or(0, |(_, bytes)| *bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_leaves_what_was_synced_of_files_whose_names_were() {
        let dir = tempfile::tempdir().expect("a folder");
        let notes = dir.path().join("notes");
        let folder = dir.path().join("journal");
        std::fs::create_dir(&folder).expect("a folder");
        let disk = Recorder::open(&notes).expect("notes");
        let file = disk.create(&folder.join("a")).expect("a file");
        file.write(b"abc").expect("written");
        let left = |name| Durable::read(&notes).expect("notes").bytes(name);
        assert_eq!(left("a"), None);
        disk.sync_folder(&folder).expect("synced");
        assert_eq!(left("a"), Some(0));
        file.sync().expect("synced");
        file.write(b"de").expect("written");
        assert_eq!(left("a"), Some(3));
        disk.open(&folder.join("a")).expect("there").sync().expect("synced");
        assert_eq!(left("a"), Some(5), "whoever opens a file syncs what others wrote");
    }
}
