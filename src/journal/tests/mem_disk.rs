//! A disk in memory that fails as it is told, counts its room, and can be copied as a crash would leave it.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::journal::disk::{Disk, DiskFile};

#[derive(Clone, Debug)]
pub struct MemDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    files: Mutex<BTreeMap<PathBuf, Arc<Data>>>,
    /// Names that a power cut leaves; a name that was never synced goes with its file.
    durable: Mutex<Vec<PathBuf>>,
    faults: Mutex<Faults>,
    /// Microseconds.
    clock: AtomicU64,
    began: Instant,
}

#[derive(Debug, Default)]
struct Faults {
    writes: VecDeque<WriteFault>,
    syncs: VecDeque<bool>,
    /// Bytes that still fit.
    room: Option<u64>,
    is_read_only: bool,
}

/// What happens to the next write.
#[derive(Clone, Copy, Debug)]
pub enum WriteFault {
    /// Only so many bytes are taken.
    Short(usize),
    /// An error, and nothing is taken.
    Fails,
    /// An error, though everything was taken.
    FailsAfterwards,
    /// It takes as long as this.
    Slow(Duration),
}

#[derive(Debug, Default)]
struct Data {
    content: Mutex<Content>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
}

#[derive(Debug)]
struct MemFile {
    data: Arc<Data>,
    shared: Arc<Shared>,
    at: AtomicU64,
}

impl MemDisk {
    pub fn new() -> Self {
        Self::with(BTreeMap::new())
    }

    fn with(files: BTreeMap<PathBuf, Arc<Data>>) -> Self {
        let durable = Mutex::new(files.keys().cloned().collect());
        Self {
            shared: Arc::new(Shared {
                files: Mutex::new(files),
                durable,
                faults: Mutex::default(),
                clock: AtomicU64::new(0),
                began: Instant::now(),
            }),
        }
    }

    pub fn next_writes(&self, faults: impl IntoIterator<Item = WriteFault>) {
        self.shared.faults.lock().unwrap().writes.extend(faults);
    }

    pub fn next_sync_fails(&self) {
        self.shared.faults.lock().unwrap().syncs.push_back(false);
    }

    pub fn set_room(&self, room: Option<u64>) {
        self.shared.faults.lock().unwrap().room = room;
    }

    pub fn set_read_only(&self, is_read_only: bool) {
        self.shared.faults.lock().unwrap().is_read_only = is_read_only;
    }

    pub fn pass_time(&self, time: Duration) {
        self.shared.clock.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// What a dead process leaves: every byte that was written.
    pub fn after_kill(&self) -> Self {
        let files = self.shared.files.lock().unwrap();
        let left = |(path, data): (&PathBuf, &Arc<Data>)| {
            (path.clone(), Arc::new(Data { content: Mutex::new(data.content.lock().unwrap().clone()) }))
        };
        let next = Self::with(files.iter().map(left).collect());
        next.shared.durable.lock().unwrap().clone_from(&self.shared.durable.lock().unwrap());
        next
    }

    /// What a dead machine leaves: files whose names were synced, with a part of what was not.
    pub fn after_power_cut(&self, mut kept: impl FnMut(usize) -> usize) -> Self {
        let files = self.shared.files.lock().unwrap();
        let durable = self.shared.durable.lock().unwrap();
        let left = files.iter().filter(|(path, _)| durable.contains(path));
        Self::with(
            left.map(|(path, data)| {
                let mut keep = |c: &Content| c.synced + kept(c.bytes.len().saturating_sub(c.synced));
                (path.clone(), copy(data, &mut keep))
            })
            .collect(),
        )
    }

    pub fn names(&self) -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        self.shared.files.lock().unwrap().keys().map(name).collect()
    }

    /// The names of segments.
    pub fn segments(&self) -> Vec<String> {
        self.names().into_iter().filter(|name| name.ends_with(".journal")).collect()
    }

    pub fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = Path::new(super::FOLDER).join(name);
        let data = self.shared.files.lock().unwrap()[&path].clone();
        change(&mut data.content.lock().unwrap().bytes);
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.change(name, |b| bytes = b.clone());
        bytes
    }
}

fn copy(data: &Data, keep: impl FnOnce(&Content) -> usize) -> Arc<Data> {
    let mut content = data.content.lock().unwrap().clone();
    let kept = keep(&content).min(content.bytes.len());
    content.bytes.truncate(kept);
    content.synced = kept;
    Arc::new(Data { content: Mutex::new(content) })
}

impl Shared {
    /// How many of the bytes a write takes, and whether it fails afterwards.
    fn admit(&self, wanted: usize, growth: usize) -> io::Result<(usize, bool)> {
        let mut faults = self.faults.lock().unwrap();
        if faults.is_read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let (mut taken, mut fails) = (wanted, false);
        match faults.writes.pop_front() {
            None => {}
            Some(WriteFault::Short(bytes)) => taken = bytes.min(wanted.saturating_sub(1)),
            Some(WriteFault::Fails) => return Err(io::Error::other("drill")),
            Some(WriteFault::FailsAfterwards) => fails = true,
            Some(WriteFault::Slow(time)) => {
                self.clock.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
            }
        }
        if let Some(room) = &mut faults.room {
            let grown = growth.saturating_sub(wanted - taken).min(*room as usize);
            taken -= growth.saturating_sub(wanted - taken) - grown;
            *room -= grown as u64;
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        Ok((taken, fails))
    }
}

impl Disk for MemDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if self.shared.faults.lock().unwrap().is_read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let mut files = self.shared.files.lock().unwrap();
        if files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let data = Arc::new(Data::default());
        files.insert(path.to_owned(), data.clone());
        Ok(Arc::new(MemFile { data, shared: self.shared.clone(), at: AtomicU64::new(0) }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let files = self.shared.files.lock().unwrap();
        let data = files.get(path).ok_or(io::ErrorKind::NotFound)?.clone();
        Ok(Arc::new(MemFile { data, shared: self.shared.clone(), at: AtomicU64::new(0) }))
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn modified_ms(&self, _: &Path) -> io::Result<i64> {
        Ok(self.wall_ms())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.shared.files.lock().unwrap();
        let data = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), data);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.shared.files.lock().unwrap().remove(path).ok_or(io::ErrorKind::NotFound)?;
        if let Some(room) = &mut self.shared.faults.lock().unwrap().room {
            *room += removed.content.lock().unwrap().bytes.len() as u64;
        }
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        *self.shared.durable.lock().unwrap() = self.shared.files.lock().unwrap().keys().cloned().collect();
        Ok(())
    }

    fn now(&self) -> Instant {
        self.shared.began + Duration::from_micros(self.shared.clock.load(Ordering::Relaxed))
    }

    fn wall_ms(&self) -> i64 {
        (self.shared.clock.load(Ordering::Relaxed) / 1_000) as i64
    }
}

impl DiskFile for MemFile {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let at = self.at.load(Ordering::Relaxed) as usize;
        let mut content = self.data.content.lock().unwrap();
        let growth = (at + bytes.len()).saturating_sub(content.bytes.len().max(at));
        let (taken, fails) = self.shared.admit(bytes.len(), growth)?;
        let end = content.bytes.len().max(at + taken);
        content.bytes.resize(end, 0);
        content.bytes[at..at + taken].copy_from_slice(&bytes[..taken]);
        content.synced = content.synced.min(at);
        self.at.store((at + taken) as u64, Ordering::Relaxed);
        if fails { Err(io::Error::other("drill")) } else { Ok(taken) }
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let content = self.data.content.lock().unwrap();
        let from = content.bytes.get(at as usize..).unwrap_or_default();
        let count = from.len().min(bytes.len());
        bytes[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn rewind(&self) -> io::Result<()> {
        self.at.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.shared.faults.lock().unwrap().syncs.pop_front() == Some(false) {
            return Err(io::Error::other("drill"));
        }
        let mut content = self.data.content.lock().unwrap();
        content.synced = content.bytes.len();
        Ok(())
    }
}
