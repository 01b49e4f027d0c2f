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
/// Chunks from this length on are kept as they came, shorter ones gathered: each costs a record, in bytes.
const WORTH_KEEPING: usize = 4 << 10;

/// A body that was received to its end.
#[derive(Debug)]
pub struct Spool {
    store: Store,
    _held: Held,
}

#[derive(Debug)]
enum Store {
    Memory(Vec<Bytes>),
    File { file: Arc<File>, len: u64 },
}

/// Takes a body as it comes.
#[derive(Debug)]
pub struct SpoolWriter {
    /// Chunks that came, in order; `gathered` follows them.
    chunks: Vec<Bytes>,
    gathered: BytesMut,
    /// Bytes in both.
    in_memory: usize,
    file: Option<(Arc<File>, u64)>,
    held: Held,
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
    /// Starts an empty body.
    pub fn new(held: Held) -> Self {
        Self { chunks: Vec::new(), gathered: BytesMut::new(), in_memory: 0, file: None, held }
    }

    /// Appends the next bytes.
    ///
    /// # Errors
    /// [`SpoolError`]; the body cannot be finished then.
    pub async fn push(&mut self, chunk: Bytes) -> Result<(), SpoolError> {
        let is_first = self.in_memory == 0 && self.file.is_none();
        if self.file.is_some() || !(is_first || chunk.len() >= WORTH_KEEPING) {
            return self.push_slice(&chunk).await;
        }
        self.grow(chunk.len())?;
        self.keep_gathered();
        self.chunks.push(chunk);
        self.flush_if_much().await
    }

    /// Appends the next bytes from a buffer that is used again.
    ///
    /// # Errors
    /// [`SpoolError`]; the body cannot be finished then.
    pub async fn push_slice(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.grow(bytes.len())?;
        self.gathered.extend_from_slice(bytes);
        self.flush_if_much().await
    }

    fn grow(&mut self, by: usize) -> Result<(), SpoolError> {
        self.in_memory += by;
        if self.held.grow(by as u64) { Ok(()) } else { Err(SpoolError::Full) }
    }

    fn keep_gathered(&mut self) {
        if !self.gathered.is_empty() {
            self.chunks.push(self.gathered.split().freeze());
        }
    }

    /// Ends the body.
    ///
    /// # Errors
    /// [`SpoolError`] where the temporary file fails.
    pub async fn finish(mut self) -> Result<Spool, SpoolError> {
        let store = match self.file {
            None => {
                self.keep_gathered();
                Store::Memory(self.chunks)
            }
            Some(_) => {
                self.flush().await?;
                let (file, len) = self.file.take().ok_or_else(|| io::Error::other("the file is gone"))?;
                Store::File { file, len }
            }
        };
        Ok(Spool { store, _held: self.held })
    }

    async fn flush_if_much(&mut self) -> Result<(), SpoolError> {
        if self.in_memory > MEMORY { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), SpoolError> {
        // All of it comes back: the buffer to be filled again, and none to be freed over there.
        let mut gathered = std::mem::take(&mut self.gathered);
        let chunks = std::mem::take(&mut self.chunks);
        let file = self.file.take();
        let written = spawn_blocking(move || -> io::Result<_> {
            let (file, mut len) = match file {
                Some(known) => known,
                None => (Arc::new(tempfile::tempfile()?), 0),
            };
            for bytes in chunks.iter().map(|chunk| &chunk[..]).chain([&gathered[..]]) {
                file.write_all_at(bytes, len)?;
                len += bytes.len() as u64;
            }
            gathered.clear();
            Ok((file, len, gathered, chunks))
        });
        let (file, len, gathered, _) = written.await.map_err(io::Error::other)??;
        (self.file, self.gathered, self.in_memory) = (Some((file, len)), gathered, 0);
        Ok(())
    }
}

impl Spool {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match &self.store {
            Store::Memory(chunks) => chunks.iter().map(|chunk| chunk.len() as u64).sum(),
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
            Store::Memory(chunks) => Ok(match &chunks[..] {
                [all] => all.clone(),
                several => several.concat().into(),
            }),
            Store::File { file, len } => {
                let (file, len) = (Arc::clone(file), *len);
                spawn_blocking(move || read(&file, 0, len)).await.map_err(io::Error::other)?
            }
        }
    }

    /// The body with some places rewritten; edits are in order and disjoint.
    pub fn edited(&self, edits: &[Edit]) -> OutgoingBody {
        match &self.store {
            Store::Memory(chunks) => OutgoingBody::Pieces(edit_memory(chunks, edits)),
            Store::File { file, len } => {
                let pieces = pieces(edits, *len);
                let len = pieces.iter().map(Piece::len).sum();
                OutgoingBody::Stream { len, chunks: read_pieces(Arc::clone(file), pieces) }
            }
        }
    }
}

fn edit_memory(chunks: &[Bytes], edits: &[Edit]) -> Vec<Bytes> {
    let mut out = Vec::with_capacity(chunks.len() + edits.len() * 2);
    let mut edits = edits.iter().peekable();
    // Where the chunk in hand begins, and up to where everything is in `out` or edited away.
    let (mut from, mut done) = (0, 0);
    for chunk in chunks {
        let until = from + chunk.len();
        while done < until {
            let next = edits.peek().map_or(usize::MAX, |edit| edit.start as usize);
            if done < next {
                out.push(chunk.slice(done - from..next.min(until) - from));
                done = next.min(until);
            } else if let Some(edit) = edits.next() {
                out.push(edit.with.clone());
                done = edit.end as usize;
            }
        }
        from = until;
    }
    out.extend(edits.map(|edit| edit.with.clone()));
    out.retain(|piece| !piece.is_empty());
    out
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
        let mut writer = SpoolWriter::new(ByteBudget::new(u64::MAX).hold());
        for part in parts {
            writer.push(Bytes::copy_from_slice(part)).await.expect("room");
        }
        writer.finish().await.expect("finished")
    }

    async fn sent(body: OutgoingBody) -> Vec<u8> {
        match body {
            OutgoingBody::Pieces(pieces) => pieces.concat(),
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
            let (left, right) = body.split_at(body.len() / 2);
            let single: Vec<&[u8]> = right.chunks(right.len() / 3 + 1).collect();
            let spool = spool(&[&[left], &single[..]].concat()).await;
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
        let mut writer = SpoolWriter::new(budget.hold());
        writer.push(Bytes::from(vec![0; 60])).await.expect("room");
        assert!(matches!(writer.push(Bytes::from(vec![0; 60])).await, Err(SpoolError::Full)));
        drop(writer);
        assert_eq!(budget.used(), 0);
    }
}
