//! Opens a channel's connections: a counted place, an address, TCP without delay, TLS where wanted.

use std::{
    cell::Cell,
    fmt, io,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use futures_core::future::LocalBoxFuture;
use http::Uri;
use penstock_actors::channel::Connections;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    SharedTransport, TransportError,
    io::{GuardedIo, Socket},
};

/// Where a channel's provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Host name or address.
    pub(super) host: String,
    /// TCP port.
    pub(super) port: u16,
    /// Whether TLS is spoken.
    pub(super) tls: bool,
}

impl Peer {
    /// Reads scheme, host and port of an address.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Some(Self { host: uri.host()?.to_owned(), port, tls })
    }
}

/// Opens one connection to a channel.
#[derive(Clone)]
pub(super) struct ChannelConnector {
    pub(super) peer: Peer,
    pub(super) connect_timeout: Duration,
    pub(super) connections: Arc<Connections>,
    pub(super) shared: Arc<SharedTransport>,
    /// Whether a connection that was opened is still of use.
    pub(super) open: Rc<Cell<bool>>,
}

impl Service<ConnectInfo<Uri>> for ChannelConnector {
    type Response = Connection<Uri, GuardedIo>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let me = self.clone();
        let uri = info.request().clone();
        Box::pin(async move {
            let io = me.open().await.map_err(|e| ConnectError::Io(io::Error::other(Carried(e))))?;
            Ok(Connection::new(uri, ()).replace_io(io).1)
        })
    }
}

impl ChannelConnector {
    async fn open(&self) -> Result<GuardedIo, TransportError> {
        let waiting = self.connections.open(|| self.shared.ask_to_evict());
        let slot = timeout(self.connect_timeout, waiting).await.map_err(|_| TransportError::NoPlace)?;
        let socket = timeout(self.connect_timeout, self.connect())
            .await
            .map_err(|_| TransportError::ConnectTimeout)??;
        Ok(GuardedIo::new(socket, slot, Rc::clone(&self.open)))
    }

    async fn connect(&self) -> Result<Socket, TransportError> {
        let Peer { host, port, tls } = &self.peer;
        let addresses = self
            .shared
            .resolver
            .resolve(host, *port)
            .await
            .map_err(|e| TransportError::Resolve(e.to_string()))?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let deadline = Instant::now() + self.connect_timeout;
        for (tried, address) in addresses.iter().enumerate() {
            // Each address gets its share of what is left, so that a silent one does not use up the others'.
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / (addresses.len() - tried) as u32;
            let connected = timeout(share, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(tcp) => {
                    tcp.set_nodelay(true).map_err(TransportError::Connect)?;
                    return if *tls { self.handshake(tcp).await } else { Ok(Socket::Plain(tcp)) };
                }
                Err(error) if is_out_of_descriptors(&error) => return Err(TransportError::NoDescriptor),
                Err(error) => last = error,
            }
        }
        Err(match last.kind() {
            io::ErrorKind::TimedOut => TransportError::ConnectTimeout,
            _ => TransportError::Connect(last),
        })
    }

    async fn handshake(&self, tcp: TcpStream) -> Result<Socket, TransportError> {
        let host = self.peer.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|e| TransportError::Tls(e.to_string()))?;
        let tls = TlsConnector::from(Arc::clone(&self.shared.tls))
            .connect(name, tcp)
            .await
            .map_err(|e| TransportError::Tls(e.to_string()))?;
        Ok(Socket::Tls(Box::new(tls)))
    }
}

/// EMFILE, ENFILE and EADDRNOTAVAIL (`errno.h`): this machine has no descriptor or port left.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23 | 99))
}

/// A [`TransportError`] on its way through awc.
#[derive(Debug)]
pub(super) struct Carried(pub(super) TransportError);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {}
