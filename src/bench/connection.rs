//! A connection to the target, plain or TLS, and its address.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::BytesMut;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Room for one read, in bytes.
const READ: usize = 32 << 10;

/// Where calls go.
#[derive(Clone)]
pub struct Target {
    /// The whole address, for the report.
    pub url: String,
    /// What stands in `host`.
    pub authority: String,
    /// The path of chat completions.
    pub path: String,
    addresses: Vec<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Target {
    /// Reads a base address and resolves its host, once.
    ///
    /// # Errors
    /// A sentence, where the address is none, its host is unknown or the certificate file cannot be read.
    pub fn find(url: &str, ca: Option<&Path>) -> Result<Self, String> {
        let bad = |why: &str| format!("--url {url}: {why}");
        let uri: http::Uri = url.parse().map_err(|_| bad("not an address"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad("must begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("must hold no credential; use --key"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let addresses: Vec<SocketAddr> =
            (host.as_str(), port).to_socket_addrs().map_err(|error| bad(&error.to_string()))?.collect();
        if addresses.is_empty() {
            return Err(bad("the host has no address"));
        }
        let tls = if is_tls {
            let name = ServerName::try_from(host).map_err(|_| bad("the host is no name for TLS"))?;
            Some((TlsConnector::from(tls_config(ca)?), name))
        } else {
            None
        };
        let path = chat_path(uri.path());
        let scheme = if is_tls { "https" } else { "http" };
        Ok(Self {
            url: format!("{scheme}://{authority}{path}"),
            authority: authority.to_string(),
            path,
            addresses,
            tls,
        })
    }
}

/// The path of chat completions under a base, which may name them already.
fn chat_path(base: &str) -> String {
    match base.trim_end_matches('/') {
        "" => "/v1/chat/completions".to_owned(),
        whole if whole.ends_with("/chat/completions") => whole.to_owned(),
        base => format!("{base}/chat/completions"),
    }
}

fn tls_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = ca {
        let bad = |error: String| format!("--ca {}: {error}", file.display());
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| bad(error.to_string()))? {
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// An open connection, and what came on it that was not read yet.
pub struct Connection {
    socket: Socket,
    /// Bytes that came.
    pub buffer: BytesMut,
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// Connects to the first address that answers.
    ///
    /// # Errors
    /// What the last address said.
    pub async fn open(target: &Target) -> io::Result<Self> {
        let stream = TcpStream::connect(&target.addresses[..]).await?;
        stream.set_nodelay(true)?;
        let socket = match &target.tls {
            None => Socket::Plain(stream),
            Some((connector, name)) => Socket::Tls(Box::new(connector.connect(name.clone(), stream).await?)),
        };
        Ok(Self { socket, buffer: BytesMut::with_capacity(READ) })
    }

    /// Writes all.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }

    /// Reads what there is into the buffer; 0 is the end.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn read(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ);
        self.socket.read_buf(&mut self.buffer).await
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, to),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_chat_is_found_under_every_base() {
        for (base, path) in [
            ("", "/v1/chat/completions"),
            ("/", "/v1/chat/completions"),
            ("/v1", "/v1/chat/completions"),
            ("/v1/", "/v1/chat/completions"),
            ("/api/v3", "/api/v3/chat/completions"),
            ("/v1/chat/completions", "/v1/chat/completions"),
        ] {
            assert_eq!(chat_path(base), path);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_in_words() {
        for (url, words) in [
            ("127.0.0.1:3000", "http://"),
            ("ftp://127.0.0.1", "http://"),
            ("http://", "--url"),
            ("http://key@127.0.0.1/", "--key"),
        ] {
            let said = Target::find(url, None).err().unwrap();
            assert!(said.contains(words), "{url}: {said}");
        }
        let said = Target::find("https://127.0.0.1", Some(Path::new("/no/such.pem"))).err().unwrap();
        assert!(said.contains("/no/such.pem"), "{said}");
        assert_eq!(Target::find("http://[::1]:8080/v1", None).unwrap().authority, "[::1]:8080");
    }
}
