//! A client's connection as actix sees it.
//!
//! actix reads on while a call runs, for requests that may follow. When it has read as much as it
//! takes it asks to be woken at once, for as long as the call lasts, and sees no end of the connection
//! behind what it has read. So what a client sends during its call is kept here until the call ends.
//! One who closes its side, or sends much, has left: nothing more is written then, since actix would
//! wait with the call in hand until all is taken.
//!
//! actix limits the time for a connection's first head only, so the others' is limited here.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};
use tokio_util::io::poll_read_buf;

use super::socket::ClientSocket;

/// How much is handed to actix before a call can begin; well below the 128 KiB that it takes.
const TURN: usize = 64 << 10;
/// How much a client may send during a call. Its leaving cannot be seen behind what is not read.
const AHEAD: usize = 64 << 10;

/// What the requests of one connection know of it.
#[derive(Debug)]
pub(super) struct Connection {
    handlers: Cell<u32>,
    calls: Cell<u32>,
    /// When the last of them ended.
    idle_since: Cell<Instant>,
    /// Wakes the connection when it may be read again, where something was kept from it.
    reader: RefCell<Option<Waker>>,
}

impl Connection {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            handlers: Cell::default(),
            calls: Cell::default(),
            idle_since: Cell::new(Instant::now()),
            reader: RefCell::default(),
        })
    }

    /// How long nobody has been at work for this connection.
    fn idle_for(&self) -> Duration {
        match self.handlers.get() + self.calls.get() {
            0 => self.idle_since.get().elapsed(),
            _ => Duration::ZERO,
        }
    }

    /// Notes that someone has left; only when nobody is at work any more does the time matter.
    fn left(&self) {
        if self.handlers.get() + self.calls.get() == 0 {
            self.idle_since.set(Instant::now());
        }
    }

    /// Notes that a handler is at work, until what is given back is dropped.
    pub(super) fn handle(self: &Rc<Self>) -> Handling {
        self.handlers.set(self.handlers.get() + 1);
        Handling(Rc::clone(self))
    }

    /// Notes that a call has come in whole and runs, until what is given back is dropped.
    pub(super) fn run(self: &Rc<Self>) -> Running {
        self.calls.set(self.calls.get() + 1);
        Running(Rc::clone(self))
    }
}

/// A handler is at work for a connection.
#[derive(Debug)]
pub(super) struct Handling(Rc<Connection>);

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.handlers.set(self.0.handlers.get() - 1);
        self.0.left();
    }
}

/// A call of a connection is running.
#[derive(Debug)]
pub(super) struct Running(Rc<Connection>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.calls.set(self.0.calls.get() - 1);
        self.0.left();
        if let Some(reader) = self.0.reader.take() {
            reader.wake();
        }
    }
}

/// See the module's sentences.
#[derive(Debug)]
pub struct ClientIo {
    socket: ClientSocket,
    connection: Rc<Connection>,
    /// Bytes read in this turn.
    taken: usize,
    /// What came during a call.
    ahead: BytesMut,
    /// Whether the client left during a call.
    left: bool,
    /// How long a client may take to ask again.
    patience: Duration,
    /// Fires when that has passed; set again where it fires early.
    timer: Option<Pin<Box<Sleep>>>,
}

impl ClientIo {
    /// Takes an accepted connection, which ends where no request has come in whole for `patience`.
    pub fn new(socket: ClientSocket, patience: Duration) -> Self {
        Self {
            socket,
            connection: Connection::new(),
            taken: 0,
            ahead: BytesMut::new(),
            left: false,
            patience,
            timer: None,
        }
    }

    /// The TCP socket.
    pub(super) fn tcp(&self) -> &TcpStream {
        self.socket.tcp()
    }

    /// What its requests know of it.
    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Whether the client has taken too long to ask again; otherwise arranges to be woken then.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let rest = self.patience.saturating_sub(self.connection.idle_for());
            if rest.is_zero() {
                return Poll::Ready(());
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(rest)));
            ready!(timer.as_mut().poll(cx));
            self.timer = None;
        }
    }

    /// Keeps what comes; ends the reading when the client leaves or sends too much.
    fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < AHEAD {
            match poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.ahead) {
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(read) => drop(read?),
                Poll::Pending => {
                    if !self.ahead.is_empty() {
                        *self.connection.reader.borrow_mut() = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                }
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
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        match polled {
            Poll::Ready(_) => self.taken += buf.filled().len() - before,
            Poll::Pending => {
                self.taken = 0;
                // Read as the end of the bytes.
                ready!(self.poll_overdue(cx));
                return Poll::Ready(Ok(()));
            }
        }
        polled
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.left {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        time::timeout,
    };

    use super::*;

    async fn pair(patience: Duration) -> (TcpStream, ClientIo) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let socket = ClientSocket::Plain(listener.accept().await.expect("accepted").0);
        (client, ClientIo::new(socket, patience))
    }

    async fn read(io: &mut ClientIo) -> Option<usize> {
        timeout(Duration::from_millis(200), io.read(&mut [0; 8])).await.ok().map(|r| r.expect("readable"))
    }

    #[actix_web::test]
    async fn half_a_head_does_not_hold_a_connection() {
        let (mut client, mut io) = pair(Duration::from_millis(50)).await;
        client.write_all(b"GET /").await.expect("written");
        assert_eq!(read(&mut io).await, Some(5));
        assert_eq!(read(&mut io).await, Some(0), "ended by us");
    }

    #[actix_web::test]
    async fn a_handler_at_work_is_waited_for() {
        let (mut client, mut io) = pair(Duration::from_millis(50)).await;
        let handling = io.connection().handle();
        assert_eq!(read(&mut io).await, None);
        client.write_all(b"rest").await.expect("written");
        assert_eq!(read(&mut io).await, Some(4));
        drop(handling);
        assert_eq!(read(&mut io).await, Some(0));
    }

    #[actix_web::test]
    async fn what_comes_during_a_call_is_read_after_it() {
        let (mut client, mut io) = pair(Duration::from_secs(60)).await;
        let running = io.connection().run();
        client.write_all(b"next").await.expect("written");
        assert_eq!(read(&mut io).await, None);
        drop(running);
        assert_eq!(read(&mut io).await, Some(4));
        let _running = io.connection().run();
        client.write_all(&vec![0; AHEAD]).await.expect("written");
        assert_eq!(read(&mut io).await, Some(0), "who sends so much is taken for gone");
        assert!(io.write(b"x").await.is_err());
    }
}
