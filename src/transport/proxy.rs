//! Connections that lead through a channel's proxy: HTTP CONNECT (RFC 9110, section 9.3.6) and SOCKS5
//! (RFC 1928, RFC 1929). What is asked and what the answers mean; not how the proxy itself is reached.
//!
//! Every upstream is tunnelled, plain `http` ones too: no proxy sees a request as such.

mod connect;
mod socks;

use std::{io, sync::Arc};

use penstock_actors::domain::{Proxy, ProxyKind};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Resolver, TransportError};

/// What went wrong at a proxy. Holds neither its address nor what it was shown.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No connection to it came about, or it ended.
    #[error("could not be reached: {0}")]
    Unreachable(io::Error),
    /// Its name has no address.
    #[error("could not be found: {0}")]
    Unknown(String),
    /// Its TLS handshake failed.
    #[error("failed in the TLS handshake: {0}")]
    Tls(String),
    /// It wants a user name and a password, or other ones.
    #[error("did not accept the user name and password, or wants some")]
    Login,
    /// It does not let the connection through.
    #[error("refused the connection: {0}")]
    Refused(String),
    /// It does not speak its protocol.
    #[error("did not answer as a proxy does: {0}")]
    Garbage(&'static str),
}

/// Has the proxy at the other end of a connection lead it on to a host.
pub(super) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    proxy: &Proxy,
    host: &str,
    port: u16,
    resolver: &Arc<Resolver>,
) -> Result<(), TransportError> {
    let led = match proxy.kind {
        ProxyKind::Http | ProxyKind::Https => connect::tunnel(stream, proxy, host, port).await,
        ProxyKind::Socks5h => {
            let target = socks::Target::of_name(host, port)?;
            socks::tunnel(stream, proxy, &target).await
        }
        ProxyKind::Socks5 => {
            let addresses = resolver.resolve(host, port).await;
            let addresses = addresses.map_err(|e| TransportError::Resolve(e.to_string()))?;
            let first = addresses.first().ok_or_else(|| TransportError::Resolve("no address".to_owned()))?;
            socks::tunnel(stream, proxy, &socks::Target::of_address(*first)).await
        }
    };
    led.map_err(TransportError::Proxy)
}
