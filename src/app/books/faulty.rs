//! The operating system's disk, which is slow or takes nothing when a test says so.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::journal::disk::{Disk, DiskFile, OsDisk};

/// Above what a writer takes for quick.
const SLOW: Duration = Duration::from_millis(6);

#[derive(Clone, Debug)]
pub(super) struct FaultyDisk(Arc<Mood>);

#[derive(Debug)]
struct Mood {
    /// So many writes and new files are taken.
    takes: AtomicU64,
    is_slow: AtomicBool,
}

#[derive(Debug)]
struct FaultyFile(Arc<dyn DiskFile>, FaultyDisk);

impl Default for FaultyDisk {
    fn default() -> Self {
        Self(Arc::new(Mood { takes: AtomicU64::new(u64::MAX), is_slow: AtomicBool::new(false) }))
    }
}

impl FaultyDisk {
    /// From now on it takes so many writes and new files.
    pub fn takes(&self, writes: u64) {
        self.0.takes.store(writes, Ordering::SeqCst);
    }

    /// From now on each write is slow.
    pub fn is_slow(&self) {
        self.0.is_slow.store(true, Ordering::SeqCst);
    }

    fn take(&self) -> io::Result<()> {
        if self.0.is_slow.load(Ordering::SeqCst) {
            thread::sleep(SLOW);
        }
        let taken = self.0.takes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        taken.map(drop).map_err(|_| io::ErrorKind::StorageFull.into())
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.take()?;
        Ok(Arc::new(FaultyFile(OsDisk.create(path)?, self.clone())))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        OsDisk.open(path)
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
        OsDisk.sync_folder(folder)
    }
    fn now(&self) -> Instant {
        OsDisk.now()
    }
    fn wall_ms(&self) -> i64 {
        OsDisk.wall_ms()
    }
}

impl DiskFile for FaultyFile {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.1.take()?;
        self.0.write(bytes)
    }
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(bytes, at)
    }
    fn rewind(&self) -> io::Result<()> {
        self.0.rewind()
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}
