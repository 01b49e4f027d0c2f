//! HTTP CONNECT: one request, one answer without a body, then the tunnel.

use std::io;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use penstock_actors::domain::Proxy;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::ProxyError;

/// Longest head of an answer, in bytes.
const LONGEST: usize = 16 << 10;
/// Most header lines.
const MOST_LINES: usize = 64;

pub(super) async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<(), ProxyError> {
    let asked = request(proxy, host, port);
    stream.write_all(asked.as_bytes()).await.map_err(ProxyError::Unreachable)?;
    stream.flush().await.map_err(ProxyError::Unreachable)?;
    let mut came = Vec::with_capacity(1024);
    loop {
        let read = stream.read_buf(&mut came).await.map_err(ProxyError::Unreachable)?;
        if read == 0 {
            return Err(ProxyError::Unreachable(io::ErrorKind::UnexpectedEof.into()));
        }
        loop {
            match answer(&came)? {
                Answer::Partial => break,
                Answer::Interim(len) => drop(came.drain(..len)),
                Answer::Led(len) if len == came.len() => return Ok(()),
                Answer::Led(_) => return Err(ProxyError::Garbage("it said something into the tunnel")),
            }
        }
    }
}

fn request(proxy: &Proxy, host: &str, port: u16) -> String {
    let login = proxy.login.as_ref().map_or(String::new(), |login| {
        let shown = STANDARD.encode(format!("{}:{}", login.user.expose(), login.password.expose()));
        format!("Proxy-Authorization: Basic {shown}\r\n")
    });
    format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{login}\r\n")
}

/// What the bytes at the start of an answer are.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Partial,
    /// So many bytes of an answer that is not the last.
    Interim(usize),
    /// So many bytes, behind which the tunnel begins.
    Led(usize),
}

fn answer(came: &[u8]) -> Result<Answer, ProxyError> {
    let mut lines = [httparse::EMPTY_HEADER; MOST_LINES];
    let mut response = httparse::Response::new(&mut lines);
    let len = match response.parse(came) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if came.len() < LONGEST => return Ok(Answer::Partial),
        Ok(httparse::Status::Partial) => return Err(ProxyError::Garbage("its head is too long")),
        Err(_) => return Err(ProxyError::Garbage("its answer is no HTTP")),
    };
    match response.code {
        Some(101) | None => Err(ProxyError::Garbage("its status is none")),
        Some(100..200) => Ok(Answer::Interim(len)),
        Some(200..300) => Ok(Answer::Led(len)),
        Some(407) => Err(ProxyError::Login),
        Some(status) => Err(ProxyError::Refused(format!("status {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use penstock_actors::domain::{Credential, ProxyKind, ProxyLogin};

    use super::*;

    #[test]
    fn the_proxy_is_shown_the_login_and_the_host() {
        let mut proxy = Proxy { kind: ProxyKind::Http, host: "p".into(), port: 1, login: None };
        let plain = "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n";
        assert_eq!(request(&proxy, "h", 443), plain);
        let login = ProxyLogin { user: Credential::new("Aladdin"), password: Credential::new("open sesame") };
        proxy.login = Some(login);
        // The example of RFC 7617, section 2.
        let shown = "\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
        assert_eq!(
            request(&proxy, "[::1]", 80),
            format!("CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80{shown}")
        );
    }

    #[test]
    fn answers_are_waited_for_byte_by_byte_and_told_apart() {
        let led = b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n";
        for end in 0..led.len() {
            assert!(matches!(answer(&led[..end]), Ok(Answer::Partial)), "{end}");
        }
        assert!(matches!(answer(led), Ok(Answer::Led(len)) if len == led.len()));
        assert!(matches!(answer(b"HTTP/1.0 204 x\r\n\r\nmore"), Ok(Answer::Led(18))));
        assert!(matches!(answer(b"HTTP/1.1 100 Continue\r\n\r\n"), Ok(Answer::Interim(25))));
        assert!(matches!(answer(b"HTTP/1.1 407 No\r\n\r\n"), Err(ProxyError::Login)));
        assert!(matches!(answer(b"HTTP/1.1 403 No\r\n\r\n"), Err(ProxyError::Refused(_))));
        assert!(matches!(answer(b"HTTP/1.1 302 No\r\nlocation: x\r\n\r\n"), Err(ProxyError::Refused(_))));
        assert!(matches!(answer(b"SSH-2.0\r\n"), Err(ProxyError::Garbage(_))));
        let long = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'a'; LONGEST]].concat();
        assert!(matches!(answer(&long), Err(ProxyError::Garbage(_))));
    }
}
