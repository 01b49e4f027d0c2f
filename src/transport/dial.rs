//! Opens a channel's connections: a counted place, an address, TCP without delay, a proxy's tunnel and TLS
//! where wanted.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::Uri;
use penstock_actors::{
    channel::{ConnectionSlot, Connections},
    domain::{Proxy, ProxyKind},
};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    SharedTransport, TransportError,
    proxy::{self, ProxyError},
    socket::Socket,
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

/// Opens connections to one peer.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) peer: Peer,
    pub(super) connect_timeout: Duration,
    pub(super) connections: Arc<Connections>,
    pub(super) shared: Arc<SharedTransport>,
    pub(super) proxy: Option<Arc<Proxy>>,
    /// The peer's addresses, where they were found out and checked before.
    pub(super) pinned: Option<Arc<[SocketAddr]>>,
}

impl Dialer {
    /// Opens a connection, where need be when a place for it is free.
    pub(super) async fn open(&self) -> Result<(Socket, ConnectionSlot), TransportError> {
        let waiting = self.connections.open(|| self.shared.ask_to_evict());
        let slot = timeout(self.connect_timeout, waiting).await.map_err(|_| TransportError::NoPlace)?;
        let socket = timeout(self.connect_timeout, self.connect())
            .await
            .map_err(|_| TransportError::ConnectTimeout)??;
        Ok((socket, slot))
    }

    async fn connect(&self) -> Result<Socket, TransportError> {
        let Peer { host, port, tls } = &self.peer;
        let socket = match &self.proxy {
            None => Socket::Plain(self.tcp(host, *port).await?),
            Some(proxy) => self.through(proxy).await?,
        };
        if *tls { self.handshake(socket, host).await.map_err(TransportError::Tls) } else { Ok(socket) }
    }

    /// A connection that the proxy leads on to the peer.
    async fn through(&self, proxy: &Proxy) -> Result<Socket, TransportError> {
        let reached = self.tcp(&proxy.host, proxy.port).await;
        let mut socket = Socket::Plain(reached.map_err(|error| {
            TransportError::Proxy(match error {
                TransportError::Connect(error) => ProxyError::Unreachable(error),
                TransportError::Resolve(problem) => ProxyError::Unknown(problem),
                // Without a descriptor or time, it is no fault of the proxy's.
                other => return other,
            })
        })?);
        if proxy.kind == ProxyKind::Https {
            let secured = self.handshake(socket, &proxy.host).await;
            socket = secured.map_err(|problem| TransportError::Proxy(ProxyError::Tls(problem)))?;
        }
        let Peer { host, port, .. } = &self.peer;
        proxy::tunnel(&mut socket, proxy, host, *port, &self.shared.resolver).await?;
        Ok(socket)
    }

    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, TransportError> {
        let addresses = match &self.pinned {
            Some(pinned) => Arc::clone(pinned),
            None => {
                let resolved = self.shared.resolver.resolve(host, port).await;
                resolved.map_err(|e| TransportError::Resolve(e.to_string()))?
            }
        };
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
                    return Ok(tcp);
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

    /// Speaks TLS with a host; the error is what went wrong.
    async fn handshake(&self, socket: Socket, host: &str) -> Result<Socket, String> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|e| e.to_string())?;
        let connector = TlsConnector::from(Arc::clone(&self.shared.tls));
        match socket {
            Socket::Plain(tcp) => {
                let tls = connector.connect(name, tcp).await.map_err(|e| e.to_string())?;
                Ok(Socket::Tls(Box::new(tls)))
            }
            Socket::Tls(outer) => {
                let tls = connector.connect(name, *outer).await.map_err(|e| e.to_string())?;
                Ok(Socket::Nested(Box::new(tls)))
            }
            Socket::Nested(_) => Err("TLS lies inside TLS already".to_owned()),
        }
    }
}

/// EMFILE, ENFILE and EADDRNOTAVAIL (`errno.h`): this machine has no descriptor or port left.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23 | 99))
}
