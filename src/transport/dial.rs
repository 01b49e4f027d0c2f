//! Opens a channel's connections: a counted place, an address, TCP without delay, TLS where wanted.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use http::Uri;
use penstock_actors::channel::{ConnectionSlot, Connections};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{SharedTransport, TransportError, socket::Socket};

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
