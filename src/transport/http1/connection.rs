//! One connection to a provider: its socket, its place in the channel's count, and what was read ahead.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf as _, BytesMut};
use penstock_actors::channel::ConnectionSlot;
use tokio_util::io::poll_read_buf;

use super::head::{self, Head, Start};
use crate::transport::{TransportError, pool::Idle, socket::Socket};

/// A kept connection that ends later than this after its request was not closed for being idle: the
/// provider may have worked on the request, and asking again may be billed again.
const STALE_WITHIN: Duration = Duration::from_secs(1);
/// How much is read at a time,
const ROOM: usize = 8 << 10;
/// and where the last read took all that it had room for, in bytes.
const LARGE_ROOM: usize = 64 << 10;

/// A counted connection.
pub(super) struct Connection {
    pub(super) socket: Socket,
    /// Bytes of the answer that came and were not taken. Without any, no memory is held while nothing comes.
    pub(super) came: BytesMut,
    /// How much the next read has room for.
    room: usize,
    /// Answers before this one.
    served: u32,
    /// When the request in hand began to be written.
    began: Option<Instant>,
    answer: Answer,
    _slot: ConnectionSlot,
}

/// How much of the answer's head came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Nothing,
    /// Something, of which so many bytes were searched for an end of a line.
    Head {
        searched: usize,
    },
}

impl Connection {
    pub(super) fn new(socket: Socket, slot: ConnectionSlot) -> Self {
        Self {
            socket,
            came: BytesMut::new(),
            room: ROOM,
            served: 0,
            began: None,
            answer: Answer::Nothing,
            _slot: slot,
        }
    }

    /// Notes that a request begins.
    pub(super) fn begin(&mut self) {
        self.began = Some(Instant::now());
        self.answer = Answer::Nothing;
    }

    /// Has what came already looked at as the beginning of a head.
    pub(super) fn look_again(&mut self) {
        self.answer = Answer::Head { searched: 0 };
    }

    /// Notes that its answer ended; false where something came behind it.
    pub(super) fn end(&mut self) -> bool {
        self.served = self.served.saturating_add(1);
        let clean = self.came.is_empty();
        self.came = BytesMut::new();
        clean
    }

    /// Reads on until the final answer's head is there.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, TransportError>> {
        loop {
            if let Answer::Head { searched } = self.answer {
                // A head is parsed again only where a line of it has ended since.
                if memchr::memchr(b'\n', &self.came[searched..]).is_some()
                    || self.came.len() > searched + ROOM
                {
                    match head::read(&self.came) {
                        Start::Partial => {}
                        Start::Interim(len) => {
                            self.came.advance(len);
                            self.answer = Answer::Head { searched: 0 };
                            continue;
                        }
                        Start::Final(len, head) => {
                            self.came.advance(len);
                            return Poll::Ready(Ok(head));
                        }
                        Start::Bad(problem) => return Poll::Ready(Err(TransportError::Protocol(problem))),
                    }
                    self.answer = Answer::Head { searched: self.came.len() };
                }
            }
            match ready!(self.poll_fill(cx)) {
                Ok(n) if n > 0 => {
                    if self.answer == Answer::Nothing {
                        self.answer = Answer::Head { searched: 0 };
                    }
                }
                _ => return Poll::Ready(Err(self.end_of_head())),
            }
        }
    }

    /// Reads once; 0 at the end of the bytes.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.came.capacity() == 0 {
            ready!(self.socket.poll_readable(cx))?;
        }
        if self.came.capacity() - self.came.len() < self.room / 4 {
            self.came.reserve(self.room);
        }
        let space = self.came.capacity() - self.came.len();
        let read = poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.came);
        match &read {
            Poll::Ready(Ok(n)) => self.room = if *n == space { LARGE_ROOM } else { ROOM },
            Poll::Ready(Err(_)) => {}
            Poll::Pending if self.came.is_empty() => self.came = BytesMut::new(),
            Poll::Pending => {}
        }
        read
    }

    fn end_of_head(&self) -> TransportError {
        let soon = self.began.is_none_or(|began| began.elapsed() < STALE_WITHIN);
        match self.answer {
            Answer::Head { .. } => TransportError::Truncated,
            Answer::Nothing if self.served > 0 && soon => TransportError::Stale,
            Answer::Nothing => TransportError::Closed,
        }
    }
}

impl Idle for Connection {
    /// A provider that says something unasked, be it that it closes, is not asked again here.
    fn is_open(&mut self) -> bool {
        let read = self.poll_fill(&mut Context::from_waker(std::task::Waker::noop()));
        self.came = BytesMut::new();
        read.is_pending()
    }
}
