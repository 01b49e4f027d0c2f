//! The thread that writes for a worker whose disk has become slow or takes nothing, so that the worker
//! does not wait. Its queue is bounded by bytes; [`super::writer`] says what happens when it is full.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use penstock_actors::domain::CallId;

use super::{
    Inner,
    record::Kind,
    sink::{Frame, Need, Sink},
    stream::lock,
};

/// After so many quick writes in a row the worker writes for itself again.
const CALM: u32 = 8;

#[derive(Debug)]
pub(super) struct Lane {
    /// `None` only while the lane is dropped.
    queue: Option<mpsc::Sender<Queued>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Queued {
    kind: Kind,
    call: CallId,
    bytes: Box<[u8]>,
}

#[derive(Debug, Default)]
struct Shared {
    sink: Mutex<Option<Box<Sink>>>,
    /// Frames and bytes that are not written yet, the one in hand included.
    frames: AtomicU64,
    bytes: AtomicU64,
    calm: AtomicU32,
    is_closing: AtomicBool,
    closing: Mutex<()>,
    closed: Condvar,
}

impl Lane {
    pub fn start(inner: Arc<Inner>) -> io::Result<Self> {
        let (queue, frames) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = thread::Builder::new().name("journal-lane".into());
        let thread = thread.spawn(move || run(&inner, &theirs, frames))?;
        Ok(Self { queue: Some(queue), shared, thread: Some(thread) })
    }

    /// From here on the thread writes.
    pub fn hand_over(&self, sink: Box<Sink>) {
        self.shared.calm.store(0, Ordering::Release);
        *lock(&self.shared.sink) = Some(sink);
    }

    /// The sink, if everything is written and the disk has been quick.
    pub fn take_back(&self) -> Option<Box<Sink>> {
        // Only the worker pushes, so that nothing can come in between.
        let is_idle = self.shared.frames.load(Ordering::Acquire) == 0;
        let is_calm = self.shared.calm.load(Ordering::Acquire) >= CALM;
        if is_idle && is_calm { lock(&self.shared.sink).take() } else { None }
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Acquire)
    }

    pub fn push(&self, frame: &Frame<'_>) {
        self.shared.frames.fetch_add(1, Ordering::AcqRel);
        self.shared.bytes.fetch_add(frame.bytes.len() as u64, Ordering::AcqRel);
        let queued = Queued { kind: frame.kind, call: frame.call, bytes: frame.bytes.into() };
        if let Some(queue) = &self.queue {
            // The thread ends only after this sender is gone.
            let _ = queue.send(queued);
        }
    }
}

/// Waits until each record that is queued was tried once more.
impl Drop for Lane {
    fn drop(&mut self) {
        self.queue = None;
        let held = lock(&self.shared.closing);
        self.shared.is_closing.store(true, Ordering::Release);
        self.shared.closed.notify_all();
        drop(held);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(inner: &Inner, shared: &Shared, frames: mpsc::Receiver<Queued>) {
    for queued in frames {
        let frame = Frame { kind: queued.kind, call: queued.call, bytes: &queued.bytes };
        while !write(inner, shared, &frame) {
            if shared.is_closing.load(Ordering::Acquire) {
                inner.counters.lost.add(1);
                tracing::error!(call = %format_args!("{:032x}", frame.call.0), "the journal lost a record");
                break;
            }
            let held = lock(&shared.closing);
            if !shared.is_closing.load(Ordering::Acquire) {
                let waited = shared.closed.wait_timeout(held, inner.settings.retry);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
        shared.bytes.fetch_sub(frame.bytes.len() as u64, Ordering::AcqRel);
        shared.frames.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Writes one frame; `false` where nothing on disk takes it.
fn write(inner: &Inner, shared: &Shared, frame: &Frame<'_>) -> bool {
    let mut sink = lock(&shared.sink);
    let Some(sink) = sink.as_mut() else {
        return false;
    };
    let began = inner.disk.now();
    let written = sink.write(frame, Need::Must, began).is_ok();
    let took = inner.disk.now().saturating_duration_since(began);
    if written && took <= inner.settings.slow_write {
        shared.calm.fetch_add(1, Ordering::AcqRel);
    } else {
        shared.calm.store(0, Ordering::Release);
        inner.counters.slow_writes.add(u64::from(written));
    }
    written
}
