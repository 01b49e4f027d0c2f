//! SOCKS5: methods, a login where the proxy wants one, a request. Reads exactly what it must.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use penstock_actors::domain::{Proxy, ProxyLogin};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::ProxyError;
use crate::transport::TransportError;

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xFF;
/// RFC 1929 has a version of its own.
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Where the tunnel leads, as the protocol writes it.
pub(super) struct Target(Vec<u8>);

impl Target {
    pub(super) fn of_address(address: SocketAddr) -> Self {
        let mut bytes = match address.ip() {
            IpAddr::V4(ip) => [&[IPV4], &ip.octets()[..]].concat(),
            IpAddr::V6(ip) => [&[IPV6], &ip.octets()[..]].concat(),
        };
        bytes.extend_from_slice(&address.port().to_be_bytes());
        Self(bytes)
    }

    /// A host that the proxy finds; addresses need not be found.
    pub(super) fn of_name(host: &str, port: u16) -> Result<Self, TransportError> {
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = literal.parse() {
            return Ok(Self::of_address(SocketAddr::new(ip, port)));
        }
        let len = u8::try_from(host.len())
            .map_err(|_| TransportError::Resolve("the host's name is too long".to_owned()))?;
        Ok(Self([&[NAME, len], host.as_bytes(), &port.to_be_bytes()].concat()))
    }
}

pub(super) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    proxy: &Proxy,
    target: &Target,
) -> Result<(), ProxyError> {
    let methods: &[u8] = match proxy.login {
        None => &[VERSION, 1, NO_LOGIN],
        Some(_) => &[VERSION, 2, NO_LOGIN, USER_AND_PASSWORD],
    };
    write(stream, methods).await?;
    match (read(stream).await?, &proxy.login) {
        ([VERSION, NO_LOGIN], _) => {}
        ([VERSION, USER_AND_PASSWORD], Some(login)) => log_in(stream, login).await?,
        ([VERSION, NO_METHOD], _) => return Err(ProxyError::Login),
        ([VERSION, _], _) => return Err(ProxyError::Garbage("it chose what was not offered")),
        _ => return Err(ProxyError::Garbage("it does not speak SOCKS5")),
    }
    write(stream, &[&[VERSION, CONNECT, 0], &target.0[..]].concat()).await?;
    let [version, reply, _, kind] = read(stream).await?;
    if version != VERSION {
        return Err(ProxyError::Garbage("it does not speak SOCKS5"));
    }
    if reply != 0 {
        return Err(ProxyError::Refused(meaning(reply).to_owned()));
    }
    // Where the proxy connects from, which nobody needs.
    let len = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => {
            let [len] = read(stream).await?;
            usize::from(len)
        }
        _ => return Err(ProxyError::Garbage("it tells an address of no known kind")),
    };
    let mut address = [0; 255 + 2];
    fill(stream, &mut address[..len + 2]).await
}

async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    login: &ProxyLogin,
) -> Result<(), ProxyError> {
    let mut shown = vec![LOGIN_VERSION];
    for word in [login.user.expose(), login.password.expose()] {
        shown.push(u8::try_from(word.len()).map_err(|_| ProxyError::Login)?);
        shown.extend_from_slice(word.as_bytes());
    }
    write(stream, &shown).await?;
    match read(stream).await? {
        [_, 0] => Ok(()),
        [_, _] => Err(ProxyError::Login),
    }
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), ProxyError> {
    stream.write_all(bytes).await.map_err(ProxyError::Unreachable)?;
    stream.flush().await.map_err(ProxyError::Unreachable)
}

async fn read<const N: usize, S: AsyncRead + Unpin>(stream: &mut S) -> Result<[u8; N], ProxyError> {
    let mut bytes = [0; N];
    fill(stream, &mut bytes).await?;
    Ok(bytes)
}

async fn fill<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut [u8]) -> Result<(), ProxyError> {
    let read: io::Result<usize> = stream.read_exact(bytes).await;
    read.map(drop).map_err(ProxyError::Unreachable)
}

/// RFC 1928, section 6.
fn meaning(reply: u8) -> &'static str {
    match reply {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused by the provider",
        6 => "it took too long",
        7 => "command not supported",
        8 => "kind of address not supported",
        _ => "unknown reason",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_written_as_addresses_or_names() {
        let name = |host: &str| Target::of_name(host, 443).map(|t| t.0).ok();
        assert_eq!(name("h.x"), Some(b"\x03\x03h.x\x01\xbb".to_vec()));
        assert_eq!(name("10.0.0.1"), Some(b"\x01\x0a\x00\x00\x01\x01\xbb".to_vec()));
        assert_eq!(name("[::1]").map(|bytes| (bytes[0], bytes.len())), Some((IPV6, 19)));
        assert_eq!(name(&"h".repeat(256)), None);
    }
}
