//! Request bodies: in memory while small, in an unlinked temporary file when large, read once an attempt.

use std::{fs::File, io, os::unix::fs::FileExt as _, pin::Pin, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use tokio::task::spawn_blocking;

use super::budget::Held;
use crate::{provider::Edit, transport::OutgoingBody};

/// A body up to this long stays in memory, in bytes.
pub const MEMORY: usize = 256 << 10;
/// How much is read from a file at a time, in bytes.
const PIECE: u64 = 64 << 10;

/// A body that was received to its end.
#[derive(Debug)]
pub struct Spool {
    store: Store,
    _held: Held,
}

#[derive(Debug)]
enum Store {
    Memory(Bytes),
    File { file: Arc<File>, len: u64 },
}

/// Takes a body as it comes.
#[derive(Debug)]
pub struct SpoolWriter {
    memory: BytesMut,
    /// The only chunk so far: most bodies are one, and need no copy.
    single: Option<Bytes>,
    file: Option<(Arc<File>, u64)>,
    held: Held,
    announced: u64,
}

/// Why a body cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Too many bytes are held already.
    #[error("too many bytes of request bodies are held")]
    Full,
    /// The temporary file failed.
    #[error("temporary file: {0}")]
    File(#[from] io::Error),
}

impl SpoolWriter {
    /// Starts an empty body of which `announced` bytes are expected.
    pub fn new(held: Held, announced: u64) -> Self {
        Self { memory: BytesMut::new(), single: None, file: None, held, announced }
    }

    /// Appends the next bytes.
    ///
    /// # Errors
    /// [`SpoolError`]; the body cannot be finished then.
    pub async fn push(&mut self, chunk: Bytes) -> Result<(), SpoolError> {
        if !self.held.grow(chunk.len() as u64) {
            return Err(SpoolError::Full);
        }
        if self.single.is_none() && self.memory.is_empty() && self.file.is_none() && chunk.len() <= MEMORY {
            self.single = Some(chunk);
            return Ok(());
        }
        self.copy(&chunk).await
    }

    /// Appends the next bytes from a buffer that is used again.
    ///
    /// # Errors
    /// [`SpoolError`]; the body cannot be finished then.
    pub async fn push_slice(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        if !self.held.grow(bytes.len() as u64) {
            return Err(SpoolError::Full);
        }
        self.copy(bytes).await
    }

    async fn copy(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        if let Some(first) = self.single.take() {
            self.memory.reserve(self.announced.min(MEMORY as u64) as usize);
            self.memory.extend_from_slice(&first);
        }
        self.memory.extend_from_slice(bytes);
        if self.memory.len() > MEMORY {
            self.flush().await?;
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// [`SpoolError`] where the temporary file fails.
    pub async fn finish(mut self) -> Result<Spool, SpoolError> {
        let store = match self.file {
            None => Store::Memory(self.single.take().unwrap_or_else(|| self.memory.freeze())),
            Some(_) => {
                self.flush().await?;
                let (file, len) = self.file.take().ok_or_else(|| io::Error::other("the file is gone"))?;
                Store::File { file, len }
            }
        };
        Ok(Spool { store, _held: self.held })
    }

    async fn flush(&mut self) -> Result<(), SpoolError> {
        // The buffer comes back, to be filled again: a new one each time would be freed over there.
        let mut bytes = std::mem::take(&mut self.memory);
        let file = self.file.take();
        let written = spawn_blocking(move || -> io::Result<_> {
            let (file, len) = match file {
                Some(known) => known,
                None => (Arc::new(tempfile::tempfile()?), 0),
            };
            file.write_all_at(&bytes, len)?;
            let len = len + bytes.len() as u64;
            bytes.clear();
            Ok((file, len, bytes))
        });
        let (file, len, bytes) = written.await.map_err(io::Error::other)??;
        (self.file, self.memory) = (Some((file, len)), bytes);
        Ok(())
    }
}

impl Spool {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match &self.store {
            Store::Memory(bytes) => bytes.len() as u64,
            Store::File { len, .. } => *len,
        }
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes in memory.
    ///
    /// # Errors
    /// Where the temporary file cannot be read.
    pub async fn whole(&self) -> io::Result<Bytes> {
        match &self.store {
            Store::Memory(bytes) => Ok(bytes.clone()),
            Store::File { file, len } => {
                let (file, len) = (Arc::clone(file), *len);
                spawn_blocking(move || read(&file, 0, len)).await.map_err(io::Error::other)?
            }
        }
    }

    /// The body with some places rewritten; edits are in order and disjoint.
    pub fn edited(&self, edits: &[Edit]) -> OutgoingBody {
        match &self.store {
            Store::Memory(bytes) => OutgoingBody::Bytes(edit_memory(bytes, edits)),
            Store::File { file, len } => {
                let pieces = pieces(edits, *len);
                let len = pieces.iter().map(Piece::len).sum();
                OutgoingBody::Stream { len, chunks: read_pieces(Arc::clone(file), pieces) }
            }
        }
    }
}

fn edit_memory(bytes: &Bytes, edits: &[Edit]) -> Bytes {
    if edits.is_empty() {
        return bytes.clone();
    }
    let grown: usize = edits.iter().map(|e| e.with.len()).sum();
    let mut out = BytesMut::with_capacity(bytes.len() + grown);
    let mut at = 0;
    for edit in edits {
        out.extend_from_slice(&bytes[at..edit.start as usize]);
        out.extend_from_slice(&edit.with);
        at = edit.end as usize;
    }
    out.extend_from_slice(&bytes[at..]);
    out.freeze()
}

/// A part of a body that is sent: from the file, or instead of what is there.
#[derive(Debug)]
enum Piece {
    File { start: u64, end: u64 },
    Instead(Bytes),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::File { start, end } => end - start,
            Self::Instead(bytes) => bytes.len() as u64,
        }
    }
}

fn pieces(edits: &[Edit], len: u64) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(edits.len() * 2 + 1);
    let mut at = 0;
    for edit in edits {
        pieces.push(Piece::File { start: at, end: edit.start });
        pieces.push(Piece::Instead(edit.with.clone()));
        at = edit.end;
    }
    pieces.push(Piece::File { start: at, end: len });
    pieces.retain(|p| p.len() > 0);
    pieces
}

/// Reads pieces in order, a little at a time, off the worker.
fn read_pieces(file: Arc<File>, pieces: Vec<Piece>) -> Pin<Box<dyn Stream<Item = io::Result<Bytes>>>> {
    let mut left = std::collections::VecDeque::from(pieces);
    let mut reading: Option<tokio::task::JoinHandle<io::Result<Bytes>>> = None;
    Box::pin(PollFn(move |cx: &mut std::task::Context<'_>| {
        use std::task::{Poll, ready};
        if reading.is_none() {
            match left.front_mut() {
                None => return Poll::Ready(None),
                Some(Piece::Instead(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    left.pop_front();
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Piece::File { start, end }) => {
                    let (from, to) = (*start, (*start + PIECE).min(*end));
                    *start = to;
                    if *start == *end {
                        left.pop_front();
                    }
                    let file = Arc::clone(&file);
                    reading = Some(spawn_blocking(move || read(&file, from, to - from)));
                }
            }
        }
        let Some(task) = reading.as_mut() else { return Poll::Ready(None) };
        let read = ready!(Pin::new(task).poll(cx));
        reading = None;
        Poll::Ready(Some(read.map_err(io::Error::other).and_then(|r| r)))
    }))
}

/// A stream made of a closure.
struct PollFn<F>(F);

impl<F, T> Stream for PollFn<F>
where
    F: FnMut(&mut std::task::Context<'_>) -> std::task::Poll<Option<T>> + Unpin,
{
    type Item = T;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        (self.0)(cx)
    }
}

fn read(file: &File, from: u64, len: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::budget::ByteBudget;

    async fn spool(parts: &[&[u8]]) -> Spool {
        let mut writer = SpoolWriter::new(ByteBudget::new(u64::MAX).hold(), 0);
        for part in parts {
            writer.push(Bytes::copy_from_slice(part)).await.expect("room");
        }
        writer.finish().await.expect("finished")
    }

    async fn sent(body: OutgoingBody) -> Vec<u8> {
        match body {
            OutgoingBody::Bytes(bytes) => bytes.to_vec(),
            OutgoingBody::Stream { len, mut chunks } => {
                let mut all = Vec::new();
                while let Some(chunk) = std::future::poll_fn(|cx| chunks.as_mut().poll_next(cx)).await {
                    all.extend_from_slice(&chunk.expect("readable"));
                }
                assert_eq!(all.len() as u64, len, "the announced length is the length");
                all
            }
        }
    }

    #[actix_web::test]
    async fn small_and_large_bodies_are_edited_alike_and_as_often_as_wanted() {
        for size in [10, MEMORY, MEMORY + 1, 3 * MEMORY + 17] {
            let body: Vec<u8> = (0..size).map(|i| b'a' + (i % 23) as u8).collect();
            let middle = body.len() / 2;
            let spool = spool(&[&body[..middle], &body[middle..]]).await;
            let edits = || {
                let edit = |start: usize, end: usize, with: &'static str| Edit {
                    start: start as u64,
                    end: end as u64,
                    with: Bytes::from_static(with.as_bytes()),
                };
                vec![edit(0, 0, "FIRST"), edit(2, 4, ""), edit(size - 1, size, "LAST")]
            };
            let mut wanted = b"FIRST".to_vec();
            wanted.extend_from_slice(&body[..2]);
            wanted.extend_from_slice(&body[4..size - 1]);
            wanted.extend_from_slice(b"LAST");
            for _ in 0..2 {
                assert!(sent(spool.edited(&edits())).await == wanted, "size {size}");
            }
            assert!(spool.whole().await.expect("readable") == body);
            assert!(sent(spool.edited(&[])).await == body);
        }
    }

    #[actix_web::test]
    async fn a_body_over_the_budget_is_refused_and_gives_everything_back() {
        let budget = ByteBudget::new(100);
        let mut writer = SpoolWriter::new(budget.hold(), 0);
        writer.push(Bytes::from(vec![0; 60])).await.expect("room");
        assert!(matches!(writer.push(Bytes::from(vec![0; 60])).await, Err(SpoolError::Full)));
        drop(writer);
        assert_eq!(budget.used(), 0);
    }
}
