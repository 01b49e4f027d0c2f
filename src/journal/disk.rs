//! What the journal asks of the machine: files, a folder, two clocks. Tests put a faulty one in its place.

use std::{
    fmt, fs,
    fs::{File, OpenOptions},
    io::{self, Seek, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// A folder of files and the time. One implementation is the operating system's, [`OsDisk`].
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a file that does not exist yet.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// The names of a folder's files, in no order.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// When a file was last written, in milliseconds since 1970.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn modified_ms(&self, path: &Path) -> io::Result<i64>;

    /// Gives a file another name in the same folder.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file away.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the folder's names survive the machine.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Monotonic time, for durations.
    fn now(&self) -> Instant;

    /// Wall time in milliseconds since 1970, for what is stored.
    fn wall_ms(&self) -> i64;
}

/// An open file.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes at the file's own position: one `write(2)`, which may be short.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Reads at a position; less than asked only near the end.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;

    /// Goes to the front for the next write.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn rewind(&self) -> io::Result<()>;

    /// Makes what was written survive the machine.
    ///
    /// # Errors
    /// Whatever the file system says; what was not yet durable may be lost then, and another try proves nothing.
    fn sync(&self) -> io::Result<()>;
}

/// The operating system's files and clocks.
#[derive(Clone, Copy, Debug)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).create_new(true).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(File::open(path)?))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        // A name that is not UTF-8 is none of ours.
        fs::read_dir(folder)?
            .filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        Ok(epoch_ms(fs::metadata(path)?.modified()?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall_ms(&self) -> i64 {
        epoch_ms(SystemTime::now())
    }
}

impl DiskFile for File {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut &*self, bytes)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match FileExt::read_at(self, &mut bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn rewind(&self) -> io::Result<()> {
        Seek::rewind(&mut &*self)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

fn epoch_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    i64::try_from(since).unwrap_or(i64::MAX)
}
