//! The background thread of the journal: groups the syncs of all streams, and keeps their spares ready.

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Instant,
};

use penstock_actors::domain::StreamId;

use super::{
    Inner,
    disk::DiskFile,
    stream::{Spare, StreamState, Written, lock},
};

/// How the names of spares begin.
pub(super) const SPARE: &str = "spare-";
/// How much is written at a time when a spare is allocated, in bytes.
const PIECE: usize = 64 << 10;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    inner: Arc<Inner>,
    kick: Arc<Kick>,
    thread: Option<JoinHandle<()>>,
}

/// Wakes the keeper before its time.
#[derive(Debug, Default)]
pub(super) struct Kick {
    state: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Wanted {
    #[default]
    Nothing,
    Pass,
    End,
}

impl Kick {
    pub fn kick(&self) {
        let mut state = lock(&self.state);
        if *state == Wanted::Nothing {
            *state = Wanted::Pass;
            self.changed.notify_one();
        }
    }

    /// Waits for the interval or a kick; `false` at the end.
    fn wait(&self, inner: &Inner) -> bool {
        let mut state = lock(&self.state);
        if *state == Wanted::Nothing {
            let waited = self.changed.wait_timeout(state, inner.settings.sync_interval);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if *state == Wanted::Pass {
            *state = Wanted::Nothing;
        }
        *state != Wanted::End
    }
}

impl Keeper {
    pub fn start(inner: Arc<Inner>, kick: Arc<Kick>) -> io::Result<Self> {
        let theirs = (inner.clone(), kick.clone());
        let thread = thread::Builder::new().name("journal-keeper".into()).spawn(move || {
            let (inner, kick) = theirs;
            let mut tried = HashMap::new();
            while kick.wait(&inner) {
                pass(&inner, &mut tried);
            }
        })?;
        Ok(Self { inner, kick, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        *lock(&self.kick.state) = Wanted::End;
        self.kick.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // The next start would do it too.
        let _ = remove_spares(&self.inner);
    }
}

/// Syncs every stream once and makes the spares that are missing. `tried` remembers when that failed.
pub(super) fn pass(inner: &Inner, tried: &mut HashMap<StreamId, Instant>) {
    let _one_at_a_time = lock(&inner.passing);
    let streams = lock(&inner.streams).clone();
    for state in &streams {
        sync(inner, state);
        let now = inner.disk.now();
        let is_due = tried.get(&state.stream()).is_none_or(|at| *at + inner.settings.retry <= now);
        if is_due && state.stream().worker != StreamId::RECOVERY && lock(&state.spare).is_none() {
            tried.insert(state.stream(), now);
            if let Err(error) = make_spare(inner, state) {
                inner.counters.errors.add(1);
                tracing::warn!(%error, "no spare segment can be allocated");
            }
        }
    }
}

/// Makes durable what a stream has written so far.
fn sync(inner: &Inner, state: &StreamState) {
    // The head before the files: every record below it lies in a file that is listed by now.
    let head = state.written();
    let mut files = lock(&state.files).clone();
    let has_new_names = files.iter().any(|file| !file.is_entered);
    if head == state.durable().upto && !has_new_names {
        return;
    }
    for file in files.iter_mut().filter(|file| !file.has_failed) {
        if sync_file(inner, file.file.as_ref()).is_err() {
            file.has_failed = true;
            state.give_up(file.segment);
        }
    }
    let names = if has_new_names { inner.disk.sync_folder(&inner.settings.folder) } else { Ok(()) };
    if names.is_ok() {
        files.iter_mut().for_each(|file| file.is_entered = true);
        let anchor = files.iter().rfind(|file| file.is_anchor && !file.has_failed);
        anchor.inspect(|file| state.publish_needed_from(file.segment));
    } else {
        inner.counters.errors.add(1);
    }
    state.publish_durable(|durable| match files.iter().rposition(|file| file.has_failed) {
        _ if names.is_err() => {}
        None => durable.upto = head,
        // The writer has gone on elsewhere: what it wrote before that, since the last good sync, is in doubt.
        Some(failed) if failed + 1 < files.len() => {
            durable.doubt(files[failed + 1].base);
            durable.upto = head;
        }
        Some(_) => durable.doubt(head),
    });
    keep_what_is_open(state, &files);
}

/// Takes over what a pass has found, and forgets the files that will not be written again.
fn keep_what_is_open(state: &StreamState, passed: &[Written]) {
    let last = passed.last().map_or(0, |file| file.segment);
    lock(&state.files).retain_mut(|file| {
        let Some(found) = passed.iter().find(|found| found.segment == file.segment) else {
            return true;
        };
        (file.has_failed, file.is_entered) = (found.has_failed, found.is_entered);
        file.segment == last || !file.is_entered
    });
}

fn sync_file(inner: &Inner, file: &dyn DiskFile) -> io::Result<()> {
    let began = inner.disk.now();
    let result = file.sync();
    let took = inner.disk.now().saturating_duration_since(began);
    inner.counters.syncs.add(1);
    inner.counters.sync_micros.add(took.as_micros() as u64);
    result.inspect_err(|error| {
        inner.counters.errors.add(1);
        tracing::error!(%error, "a segment could not be synced and is given up");
    })
}

/// Allocates a spare by writing zeros: a promise of room that every file system keeps.
pub(super) fn make_spare(inner: &Inner, state: &StreamState) -> io::Result<()> {
    let stream = state.stream();
    let number = inner.spares_made.fetch_add(1, Ordering::Relaxed);
    let name = format!("{SPARE}{:08}-{:05}-{number:08}", stream.boot, stream.worker);
    let path = inner.settings.folder.join(name);
    let file = fill(inner, &path).inspect_err(|_| drop(inner.disk.remove(&path)))?;
    *lock(&state.spare) = Some(Spare { file, path });
    Ok(())
}

fn fill(inner: &Inner, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
    let file = inner.disk.create(path)?;
    let mut left = inner.settings.spare_bytes as usize;
    while left > 0 {
        match file.write(&[0; PIECE][..left.min(PIECE)])? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => left -= written,
        }
    }
    file.sync()?;
    file.rewind()?;
    Ok(file)
}

/// Takes away the spares that are not in use.
pub(super) fn remove_spares(inner: &Inner) -> io::Result<()> {
    for state in lock(&inner.streams).iter() {
        lock(&state.spare).take();
    }
    for name in inner.disk.list(&inner.settings.folder)? {
        if name.starts_with(SPARE) {
            inner.disk.remove(&inner.settings.folder.join(name))?;
        }
    }
    Ok(())
}
