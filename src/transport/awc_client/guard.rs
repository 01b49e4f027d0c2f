//! A connection that tells the truth about its end.
//!
//! awc reads an early end of the bytes as the end of the answer, does not read while it sends a large
//! body, and misreads some heads. So this layer, above TLS too, turns every end into an error that
//! says what it means, looks for an early answer while a write stalls, and holds each answer's head
//! until it is whole and put right.

use std::{
    cell::Cell,
    fmt, io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_rt::net::{ActixStream, Ready};
use bytes::{Buf, BytesMut};
use penstock_actors::channel::ConnectionSlot;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::head::{self, Afterwards, Start};
use crate::transport::socket::Socket;

/// A kept connection that ends later than this after its request was not closed for being idle: the
/// provider may have worked on the request, and asking again may be billed again.
const STALE_WITHIN: Duration = Duration::from_secs(1);

/// What an end of the bytes means. Travels inside [`io::Error`] through awc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ended {
    /// A kept connection ended before the answer to this request began.
    #[error("kept connection closed")]
    Stale,
    /// A new connection ended before an answer began.
    #[error("connection closed without an answer")]
    NoAnswer,
    /// The peer closed properly after a part of the answer: the end of a close-delimited one.
    #[error("connection closed")]
    Closed,
}

impl Ended {
    fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::UnexpectedEof, self)
    }

    /// Finds the meaning inside an error that came back through awc.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()).copied()
    }
}

/// A counted connection.
pub(super) struct GuardedIo {
    socket: Socket,
    exchange: Exchange,
    /// Bytes of the answer that came and awc has not read.
    held: BytesMut,
    /// Told when the connection is no longer of use.
    open: Rc<Cell<bool>>,
    _slot: ConnectionSlot,
}

/// How far the request in hand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exchange {
    /// Answers before this one.
    served: u32,
    /// Bytes of this request written.
    written: u64,
    /// When the first of them was.
    began: Option<Instant>,
    /// How much of the answer came.
    answer: Progress,
    /// The request's rest is thrown away: the answer came early, or the peer takes no more.
    swallow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Not a byte.
    Nothing,
    /// A part of the head, or interim answers.
    Head,
    /// The whole head.
    Body,
}

impl Exchange {
    fn after(served: u32) -> Self {
        Self { served, written: 0, began: None, answer: Progress::Nothing, swallow: false }
    }
}

impl GuardedIo {
    pub(super) fn new(socket: Socket, slot: ConnectionSlot, open: Rc<Cell<bool>>) -> Self {
        open.set(true);
        Self { socket, exchange: Exchange::after(0), held: BytesMut::new(), open, _slot: slot }
    }

    /// Ready when the answer's head is held whole, or what is held can be none.
    fn poll_head(&mut self, cx: &mut Context<'_>, afterwards: Afterwards) -> Poll<io::Result<()>> {
        while self.exchange.answer != Progress::Body {
            let mut space = [0; 4096];
            let mut buf = ReadBuf::new(&mut space);
            match (ready!(self.poll_socket_read(cx, &mut buf)), self.exchange.answer) {
                (Ok(()), _) if !buf.filled().is_empty() => {}
                (_, Progress::Nothing) => return Poll::Ready(Err(self.end_before_answer().into_io())),
                (Ok(()), _) => return Poll::Ready(Err(Ended::Closed.into_io())),
                (Err(error), _) => return Poll::Ready(Err(error)),
            }
            self.held.extend_from_slice(buf.filled());
            self.exchange.answer = Progress::Head;
            self.look_for_head(afterwards);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the start of an answer straight into awc's buffer, if it is a whole head that awc reads rightly;
    /// otherwise it is held. True where awc may read it.
    fn poll_usual(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        let read = ready!(self.poll_socket_read(cx, buf));
        let came = &buf.filled()[before..];
        if read.is_err() || came.is_empty() {
            return Poll::Ready(Err(self.end_before_answer().into_io()));
        }
        if head::is_usual(came) {
            self.exchange.answer = Progress::Body;
            return Poll::Ready(Ok(true));
        }
        self.held.extend_from_slice(came);
        buf.set_filled(before);
        self.exchange.answer = Progress::Head;
        self.look_for_head(Afterwards::Keep);
        Poll::Ready(Ok(false))
    }

    fn look_for_head(&mut self, afterwards: Afterwards) {
        loop {
            match head::read(&self.held) {
                Start::Partial => return,
                Start::Interim(len) => self.held.advance(len),
                Start::Final(facts) => {
                    head::correct(&mut self.held, facts, afterwards);
                    break;
                }
                Start::Odd => break,
            }
        }
        self.exchange.answer = Progress::Body;
    }

    fn poll_socket_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }

    fn poll_socket_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn end_before_answer(&self) -> Ended {
        let soon = self.exchange.began.is_none_or(|began| began.elapsed() < STALE_WITHIN);
        if self.exchange.served > 0 && soon { Ended::Stale } else { Ended::NoAnswer }
    }
}

impl AsyncRead for GuardedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.exchange.answer == Progress::Nothing
            && !self.exchange.swallow
            && ready!(self.poll_usual(cx, buf))?
        {
            return Poll::Ready(Ok(()));
        }
        if self.exchange.answer != Progress::Body {
            let afterwards = if self.exchange.swallow { Afterwards::Close } else { Afterwards::Keep };
            ready!(self.poll_head(cx, afterwards))?;
        }
        if !self.held.is_empty() {
            let n = self.held.len().min(buf.remaining());
            buf.put_slice(&self.held[..n]);
            self.held.advance(n);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        Poll::Ready(match ready!(self.poll_socket_read(cx, buf)) {
            Ok(()) if buf.filled().len() == before => Err(Ended::Closed.into_io()),
            read => read,
        })
    }
}

impl AsyncWrite for GuardedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.exchange.answer == Progress::Body && !self.exchange.swallow {
            self.exchange = Exchange::after(self.exchange.served.saturating_add(1));
        }
        if self.exchange.swallow {
            return Poll::Ready(Ok(buf.len()));
        }
        match self.poll_socket_write(cx, buf) {
            Poll::Ready(Ok(n)) => {
                self.exchange.written += n as u64;
                self.exchange.began.get_or_insert_with(Instant::now);
                Poll::Ready(Ok(n))
            }
            // What the peer sent before it closed can still be read; reading tells the rest.
            Poll::Ready(Err(_)) => {
                self.exchange.swallow = true;
                Poll::Ready(Ok(buf.len()))
            }
            // An early answer, or an early end: the rest of the request is of no interest to anyone.
            Poll::Pending if self.exchange.written > 0 => {
                let _ = ready!(self.poll_head(cx, Afterwards::Close));
                self.exchange.swallow = true;
                Poll::Ready(Ok(buf.len()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.exchange.swallow {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.open.set(false);
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Drop for GuardedIo {
    fn drop(&mut self) {
        self.open.set(false);
    }
}

impl ActixStream for GuardedIo {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        readiness(self.socket.tcp().poll_read_ready(cx), Interest::READABLE)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        readiness(self.socket.tcp().poll_write_ready(cx), Interest::WRITABLE)
    }
}

fn readiness(polled: Poll<io::Result<()>>, interest: Interest) -> Poll<io::Result<Ready>> {
    polled.map_ok(|()| if interest == Interest::READABLE { Ready::READABLE } else { Ready::WRITABLE })
}

impl fmt::Debug for GuardedIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedIo").field("exchange", &self.exchange).finish_non_exhaustive()
    }
}
