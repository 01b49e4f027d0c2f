//! A proxy that follows a script: HTTP CONNECT, also inside TLS, or SOCKS5.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use super::upstream::{RUNTIME, acceptor};

/// What the proxy does with a request to be led on.
#[derive(Clone, Copy)]
pub enum Way {
    /// Leads on, as it should.
    Lead,
    /// Says this instead, and waits until the gateway has left.
    Say(&'static [u8]),
    /// Says nothing.
    Stall,
    /// Closes the connection.
    Close,
}

/// What it speaks.
#[derive(Clone, Copy)]
enum Tongue {
    Http,
    /// With the login that it wants, if it wants one.
    Socks(Option<(&'static str, &'static str)>),
}

/// A scripted proxy, ended when it is dropped.
pub struct ScriptedProxy {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl ScriptedProxy {
    /// Speaks HTTP CONNECT.
    pub async fn http(way: Way) -> Self {
        Self::listen(Tongue::Http, way, None).await
    }

    /// Speaks HTTP CONNECT inside TLS, as `localhost`; gives the certificate to trust.
    pub async fn https(way: Way) -> (Self, CertificateDer<'static>) {
        let (acceptor, certificate) = acceptor();
        (Self::listen(Tongue::Http, way, Some(acceptor)).await, certificate)
    }

    /// Speaks SOCKS5.
    pub async fn socks(login: Option<(&'static str, &'static str)>, way: Way) -> Self {
        Self::listen(Tongue::Socks(login), way, None).await
    }

    async fn listen(tongue: Tongue, way: Way, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let listener = RUNTIME.spawn(TcpListener::bind("127.0.0.1:0")).await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let task = RUNTIME.spawn({
            let seen = seen.clone();
            async move {
                while let Ok((tcp, _)) = listener.accept().await {
                    let (seen, tls) = (seen.clone(), tls.clone());
                    tokio::spawn(async move {
                        tcp.set_nodelay(true).unwrap();
                        let _ = match tls {
                            None => serve(tcp, tongue, way, &seen).await,
                            Some(tls) => match tls.accept(tcp).await {
                                Ok(stream) => serve(stream, tongue, way, &seen).await,
                                Err(error) => Err(error),
                            },
                        };
                    });
                }
            }
        });
        Self { address, seen, task }
    }

    /// Everything it was asked, a line each for SOCKS5, a head each for HTTP.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for ScriptedProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    tongue: Tongue,
    way: Way,
    seen: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let (target, led): (String, &[u8]) = match tongue {
        Tongue::Http => (http(&mut stream, seen).await?, b"HTTP/1.1 200 Connection established\r\n\r\n"),
        Tongue::Socks(login) => match socks(&mut stream, login, seen).await? {
            None => return Ok(()),
            Some(target) => (target, b"\x05\0\0\x03\x01h\0\x01"),
        },
    };
    match way {
        Way::Close => return Ok(()),
        Way::Stall => {}
        Way::Say(bytes) => {
            stream.write_all(bytes).await?;
            stream.flush().await?;
        }
        Way::Lead => {
            let mut upstream = TcpStream::connect(target.replace("localhost", "127.0.0.1")).await?;
            upstream.set_nodelay(true)?;
            stream.write_all(led).await?;
            stream.flush().await?;
            copy_bidirectional(&mut stream, &mut upstream).await?;
            return Ok(());
        }
    }
    while stream.read_u8().await.is_ok() {}
    Ok(())
}

/// Reads a CONNECT; gives where to.
async fn http<S: AsyncRead + Unpin>(stream: &mut S, seen: &Mutex<Vec<String>>) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    seen.lock().unwrap().push(head.clone());
    Ok(head.split(' ').nth(1).unwrap().to_owned())
}

/// Reads methods, login and request; `None` where the login is refused.
async fn socks<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    login: Option<(&str, &str)>,
    seen: &Mutex<Vec<String>>,
) -> io::Result<Option<String>> {
    assert_eq!(stream.read_u8().await?, 5);
    let methods = text(stream).await?.into_bytes();
    let wanted = if login.is_some() { 2 } else { 0 };
    if !methods.contains(&wanted) {
        stream.write_all(&[5, 0xFF]).await?;
        return Ok(None);
    }
    stream.write_all(&[5, wanted]).await?;
    if let Some(login) = login {
        assert_eq!(stream.read_u8().await?, 1);
        let (user, password) = (text(stream).await?, text(stream).await?);
        let right = (user.as_str(), password.as_str()) == login;
        stream.write_all(&[1, if right { 0 } else { 9 }]).await?;
        if !right {
            return Ok(None);
        }
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    assert_eq!(request[..3], [5, 1, 0]);
    let host = match request[3] {
        1 => std::net::Ipv4Addr::from(stream.read_u32().await?).to_string(),
        3 => text(stream).await?,
        other => panic!("kind of address {other}"),
    };
    let target = format!("{host}:{}", stream.read_u16().await?);
    seen.lock().unwrap().push(target.clone());
    Ok(Some(target))
}

/// Bytes behind their length.
async fn text<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<String> {
    let mut bytes = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(String::from_utf8(bytes).unwrap())
}
