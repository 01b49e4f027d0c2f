//! A client's connection as actix sees it.
//!
//! actix reads on while a call runs, for requests that may follow. When it has read as much as it
//! takes it asks to be woken at once, for as long as the call lasts, and sees no end of the connection
//! behind what it has read. So what a client sends during its call is kept here until the call ends.
//! One who closes its side, or sends much, has left: nothing more is written then, since actix would
//! wait with the call in hand until all is taken.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::io::poll_read_buf;

/// How much is handed to actix before a call can begin; well below the 128 KiB that it takes.
const TURN: usize = 64 << 10;
/// How much a client may send during a call. Its leaving cannot be seen behind what is not read.
const AHEAD: usize = 64 << 10;

/// What the requests of one connection know of it.
#[derive(Debug, Default)]
pub(super) struct Connection {
    calls: Cell<u32>,
    /// Wakes the connection when it may be read again.
    reader: RefCell<Option<Waker>>,
}

impl Connection {
    /// Notes that a call has come in whole and runs, until what is given back is dropped.
    pub(super) fn run(self: &Rc<Self>) -> Running {
        self.calls.set(self.calls.get() + 1);
        Running(Rc::clone(self))
    }
}

/// A call of a connection is running.
#[derive(Debug)]
pub(super) struct Running(Rc<Connection>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.calls.set(self.0.calls.get() - 1);
        if let Some(reader) = self.0.reader.take() {
            reader.wake();
        }
    }
}

/// See the module's sentences.
#[derive(Debug)]
pub struct ClientIo {
    tcp: TcpStream,
    connection: Rc<Connection>,
    /// Bytes read in this turn.
    taken: usize,
    /// What came during a call.
    ahead: BytesMut,
    /// Whether the client left during a call.
    left: bool,
}

impl ClientIo {
    /// Takes an accepted connection.
    pub fn new(tcp: TcpStream) -> Self {
        Self { tcp, connection: Rc::default(), taken: 0, ahead: BytesMut::new(), left: false }
    }

    /// The socket.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// What its requests know of it.
    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Keeps what comes; ends the reading when the client leaves or sends too much.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        *self.connection.reader.borrow_mut() = Some(cx.waker().clone());
        while self.ahead.len() < AHEAD {
            let read = ready!(poll_read_buf(Pin::new(&mut self.tcp), cx, &mut self.ahead))?;
            if read == 0 {
                break;
            }
        }
        self.left = true;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.connection.calls.get() > 0 {
            return self.poll_left(cx);
        }
        if self.taken >= TURN {
            self.taken = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.ahead.is_empty() {
            let n = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(n));
            self.taken += n;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.tcp).poll_read(cx, buf);
        match polled {
            Poll::Ready(_) => self.taken += buf.filled().len() - before,
            Poll::Pending => self.taken = 0,
        }
        polled
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.left {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
