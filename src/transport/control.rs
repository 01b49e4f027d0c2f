//! Requests of the gateway's own, beside the calls it relays: which models a provider has, new tokens.
//!
//! They are rare and small, so each goes out by awc on a connection of its own and is read whole.

use std::{future::poll_fn, rc::Rc, sync::Arc, time::Duration};

use awc::http::Method;
use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Uri};
use penstock_actors::{
    channel::Connections,
    domain::{PoolSettings, Proxy},
};

use super::{
    Outgoing, OutgoingBody, SharedTransport, Target, TransportError,
    awc_client::{self, AnswerBytes, Lead},
    dial::{Dialer, Peer},
};

/// Requests of this kind at once; more wait.
const AT_ONCE: u32 = 64;

/// Asks providers on the gateway's own behalf. Redirects are answers like others: they are not followed.
#[derive(Debug)]
pub struct ControlClient {
    shared: Arc<SharedTransport>,
    connections: Arc<Connections>,
    proxy: Option<Arc<Proxy>>,
}

/// What one request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlLimits {
    /// From its start to the answer's last byte.
    pub timeout: Duration,
    /// Longest answer, in bytes.
    pub max_body: usize,
}

/// An answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlAnswer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl ControlClient {
    /// Makes a client that trusts and resolves as the transports do.
    pub fn new(shared: Arc<SharedTransport>) -> Self {
        Self { shared, connections: Connections::new(AT_ONCE), proxy: None }
    }

    /// The same client, whose connections lead through a proxy.
    pub fn through(&self, proxy: Option<Arc<Proxy>>) -> Self {
        Self { shared: Arc::clone(&self.shared), connections: Arc::clone(&self.connections), proxy }
    }

    /// Gets a resource.
    ///
    /// # Errors
    /// [`TransportError`] where there is no whole answer within the limits; a bad status is an answer.
    pub async fn get(
        &self,
        uri: &Uri,
        headers: &[(HeaderName, HeaderValue)],
        limits: ControlLimits,
    ) -> Result<ControlAnswer, TransportError> {
        self.ask(Method::GET, uri, headers, Bytes::new(), limits).await
    }

    /// Posts a body.
    ///
    /// # Errors
    /// [`TransportError`] where there is no whole answer within the limits; a bad status is an answer.
    pub async fn post(
        &self,
        uri: &Uri,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        limits: ControlLimits,
    ) -> Result<ControlAnswer, TransportError> {
        self.ask(Method::POST, uri, headers, body, limits).await
    }

    async fn ask(
        &self,
        method: Method,
        uri: &Uri,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        limits: ControlLimits,
    ) -> Result<ControlAnswer, TransportError> {
        let no_host = || TransportError::Resolve("the address names no host".to_owned());
        let dialer = Dialer {
            peer: Peer::of(uri).ok_or_else(no_host)?,
            connect_timeout: limits.timeout,
            connections: Arc::clone(&self.connections),
            shared: Arc::clone(&self.shared),
            proxy: self.proxy.clone(),
            pinned: None,
        };
        let lead = Lead::new(dialer, PoolSettings::default());
        let target = Rc::new(Target::new(uri.clone(), headers.to_vec()));
        let pieces = if body.is_empty() { vec![] } else { vec![body] };
        let request = Outgoing { target, headers: Vec::new(), body: OutgoingBody::Pieces(pieces) };
        let work = async {
            let answer = awc_client::ask(&lead, method, request).await?;
            let status = answer.status().as_u16();
            Ok(ControlAnswer { status, body: read(answer, limits.max_body).await? })
        };
        tokio::time::timeout(limits.timeout, work).await.unwrap_or(Err(TransportError::TimedOut))
    }
}

async fn read(answer: awc_client::Answer, max_body: usize) -> Result<Bytes, TransportError> {
    if matches!(answer.status().as_u16(), 204 | 304) {
        return Ok(Bytes::new());
    }
    let mut bytes = AnswerBytes::of(answer);
    let mut body = BytesMut::new();
    while let Some(chunk) = poll_fn(|cx| bytes.poll_next(cx)).await {
        body.extend_from_slice(&chunk?);
        if body.len() > max_body {
            return Err(TransportError::TooLong(max_body));
        }
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::transport::TlsRoots;

    const LIMITS: ControlLimits = ControlLimits { timeout: Duration::from_secs(5), max_body: 100 };

    /// What a provider that answers with these bytes and closes is asked, and what becomes of its answer.
    async fn asked(
        answer: &'static str,
        body: &'static str,
        limits: ControlLimits,
    ) -> (String, Result<ControlAnswer, TransportError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let uri: Uri =
            format!("http://{}/v1/models", listener.local_addr().expect("bound")).parse().expect("uri");
        let provider = actix_rt::spawn(async move {
            let (mut tcp, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            let end = if body.is_empty() { "\r\n\r\n" } else { body };
            while !request.ends_with(end.as_bytes()) {
                request.push(tcp.read_u8().await.expect("a request"));
            }
            tcp.write_all(answer.as_bytes()).await.expect("written");
            if answer.is_empty() {
                let _ = tcp.read_u8().await;
            }
            String::from_utf8(request).expect("text")
        });
        let client = ControlClient::new(SharedTransport::new(TlsRoots::default()).expect("TLS"));
        let headers = [(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer x"))];
        let answer = match body {
            "" => client.get(&uri, &headers, limits).await,
            body => client.post(&uri, &headers, Bytes::from_static(body.as_bytes()), limits).await,
        };
        (provider.await.expect("no panic"), answer)
    }

    #[actix_web::test]
    async fn answers_of_every_framing_and_status_are_read_whole() {
        for (answer, status, body) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", 200, "hi"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200, "hi"),
            ("HTTP/1.1 404 No\r\n\r\nuntil the end", 404, "until the end"),
            ("HTTP/1.1 204 No\r\n\r\n", 204, ""),
            ("HTTP/1.1 302 No\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", 302, ""),
        ] {
            let (_, got) = asked(answer, "", LIMITS).await;
            let wanted = ControlAnswer { status, body: Bytes::from_static(body.as_bytes()) };
            assert_eq!(got.expect("an answer"), wanted, "{answer}");
        }
    }

    #[actix_web::test]
    async fn requests_carry_their_headers_and_body() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let (got, _) = asked(ok, "", LIMITS).await;
        assert!(got.starts_with("GET /v1/models HTTP/1.1\r\n"), "{got}");
        assert!(got.contains("\r\nauthorization: Bearer x\r\n"), "{got}");
        let (got, _) = asked(ok, "{\"a\":1}", LIMITS).await;
        assert!(
            got.starts_with("POST /v1/models HTTP/1.1\r\n") && got.ends_with("\r\n\r\n{\"a\":1}"),
            "{got}"
        );
    }

    #[actix_web::test]
    async fn what_is_cut_off_too_long_or_late_is_an_error() {
        let soon = ControlLimits { timeout: Duration::from_millis(100), ..LIMITS };
        let short = ControlLimits { max_body: 1, ..LIMITS };
        let (_, cut) = asked("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", "", LIMITS).await;
        assert!(matches!(cut, Err(TransportError::Truncated)), "{cut:?}");
        let (_, long) = asked("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", "", short).await;
        assert!(matches!(long, Err(TransportError::TooLong(1))), "{long:?}");
        let (_, late) = asked("", "", soon).await;
        assert!(matches!(late, Err(TransportError::TimedOut)), "{late:?}");
    }
}
