//! The transport that sends by awc.
//!
//! An awc client is made for each connection and never holds two, so that what is idle is ours to see
//! and to close. awc is held on a short lead (see `docs/adr/0001-awc-behind-a-trait.md`): no limit of
//! its own, no redirects, no decompression, no default headers, no timeouts.

mod connector;
mod guard;
mod head;

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{body::SizedStream, error::ParseError};
use awc::{
    Client,
    error::{ConnectError, PayloadError, SendRequestError},
    http::{
        Method,
        header::{self, HeaderName},
    },
};
use bytes::Bytes;
use futures_core::{Stream, future::LocalBoxFuture};
use penstock_actors::{channel::ChannelCell, domain::PoolSettings};

use self::{
    connector::{Carried, Connector},
    guard::Ended,
};
use super::{
    Incoming, Outgoing, OutgoingBody, SharedTransport, Transport, TransportError, Via,
    dial::Dialer,
    encoding::plain,
    limits,
    pool::{Idle, Line, Pool, Tag},
};

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The transport of one worker.
pub struct AwcTransport {
    shared: Arc<SharedTransport>,
    pool: Pool<Lead>,
}

/// A client for one connection. Dropping it closes an idle connection; a busy one ends with its request.
pub(super) struct Lead {
    client: Client,
    open: Rc<Cell<bool>>,
}

impl AwcTransport {
    /// Makes the transport of the calling worker, and the task that closes what is idle for too long.
    pub fn new(shared: Arc<SharedTransport>) -> Self {
        Self { pool: Pool::new(&shared), shared }
    }

    /// What opens a new connection.
    fn line(&self, cell: &Arc<ChannelCell>, uri: &http::Uri) -> Result<Line<Lead>, TransportError> {
        let (tag, dialer) = Tag::and_dialer(cell, uri, &self.shared)?;
        let lead = Lead::new(dialer, tag.limits());
        Ok(Line::new(lead, tag))
    }
}

impl Lead {
    /// Makes a client that opens a connection when it is first used.
    pub(super) fn new(dialer: Dialer, limits: PoolSettings) -> Self {
        // Waiting for a place and connecting have the connect timeout each; this one never fires.
        let never = dialer.connect_timeout * 2 + Duration::from_secs(60);
        let open = Rc::default();
        let connector = awc::Connector::new()
            .connector(Connector { dialer, open: Rc::clone(&open) })
            .limit(0)
            .timeout(never)
            .conn_keep_alive(limits.idle)
            .conn_lifetime(limits.lifetime);
        let builder = Client::builder().connector(connector);
        Self { client: builder.no_default_headers().disable_redirects().disable_timeout().finish(), open }
    }
}

impl Idle for Lead {
    fn is_open(&mut self) -> bool {
        self.open.get()
    }
}

impl Transport for AwcTransport {
    fn send<'a>(
        &'a self,
        cell: &'a Arc<ChannelCell>,
        request: Outgoing,
        via: Via,
    ) -> LocalBoxFuture<'a, Result<Incoming, TransportError>> {
        Box::pin(async move {
            let uri = request.target.uri();
            let kept = match via {
                Via::Pool => self.pool.take(cell, uri),
                Via::Fresh => None,
            };
            let line = kept.map_or_else(|| self.line(cell, uri), Ok)?;
            let answer = ask(&line.connection, Method::POST, request).await?;
            let text = |name: &HeaderName| {
                answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
            };
            let encoding = text(&header::CONTENT_ENCODING).unwrap_or_default();
            Ok(Incoming {
                status: answer.status().as_u16(),
                until_close: is_close_delimited(answer.headers()),
                content_type: text(&header::CONTENT_TYPE).unwrap_or_default(),
                retry_after_ms: text(&RETRY_AFTER_MS),
                retry_after: text(&header::RETRY_AFTER),
                limits: limits_of(answer.headers()),
                body: match answer.status().as_u16() {
                    // RFC 9110, section 6.4.1: these have no body, whatever their head says.
                    204 | 304 => Box::pin(Nothing),
                    _ => {
                        let (bytes, line) = (AnswerBytes::of(answer), Some((line, Arc::clone(cell))));
                        plain(&encoding, Box::pin(Body { bytes, line, pool: self.pool.clone() }))?
                    }
                },
            })
        })
    }
}

fn limits_of(headers: &header::HeaderMap) -> String {
    let mut lines = String::new();
    for (name, value) in headers.iter().filter(|(name, _)| limits::is_about(name.as_str())) {
        limits::add(&mut lines, name.as_str(), value.as_bytes());
    }
    lines
}

/// An answer as awc gives it.
pub(super) type Answer = awc::ClientResponse<Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>>;

/// Sends a request; ends when the answer's head has come.
pub(super) async fn ask(lead: &Lead, method: Method, request: Outgoing) -> Result<Answer, TransportError> {
    // The connector speaks TLS itself, so that its guard sits above it: awc sees plain HTTP always.
    let host = request.target.uri().authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
    let mut out = lead.client.request(method, as_plain(request.target.uri().clone()));
    let headers = out.headers_mut();
    if let Ok(host) = header::HeaderValue::from_str(&host) {
        headers.insert(header::HOST, host);
    }
    for (name, value) in request.target.headers().iter().chain(&request.headers) {
        headers.append(name.clone(), value.clone());
    }
    let sent = match request.body {
        OutgoingBody::Pieces(pieces) if pieces.is_empty() => out.send().await,
        OutgoingBody::Pieces(pieces) => out.send_body(pieces.concat()).await,
        OutgoingBody::Stream { len, chunks } => out.send_body(SizedStream::new(len, chunks)).await,
    };
    sent.map_err(explain)
}

/// The same address with the scheme `http`, which changes nothing on the wire of HTTP/1.1.
fn as_plain(uri: http::Uri) -> http::Uri {
    if uri.scheme_str() == Some("http") {
        return uri;
    }
    let mut parts = uri.into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    http::Uri::from_parts(parts).unwrap_or_default()
}

/// RFC 9112, section 6.3: without a length and without chunks, the body lasts until the connection ends.
fn is_close_delimited(headers: &header::HeaderMap) -> bool {
    !headers.contains_key(header::CONTENT_LENGTH) && !headers.contains_key(header::TRANSFER_ENCODING)
}

fn explain(error: SendRequestError) -> TransportError {
    match error {
        SendRequestError::Connect(ConnectError::Io(error)) => match error.downcast::<Carried>() {
            Ok(Carried(error)) => error,
            Err(error) => TransportError::Connect(error),
        },
        SendRequestError::Connect(ConnectError::Timeout) => TransportError::ConnectTimeout,
        SendRequestError::Connect(ConnectError::Disconnected) => TransportError::Closed,
        SendRequestError::Send(error) | SendRequestError::Response(ParseError::Io(error)) => {
            match Ended::of(&error) {
                Some(Ended::Stale) => TransportError::Stale,
                Some(Ended::NoAnswer) => TransportError::Closed,
                Some(Ended::Closed) | None => TransportError::Truncated,
            }
        }
        SendRequestError::Body(error) => TransportError::Body(error.to_string()),
        other => TransportError::Protocol(other.to_string()),
    }
}

/// An answer's bytes, whose end is believed only where the framing says so.
pub(super) struct AnswerBytes {
    answer: Answer,
    close_delimited: bool,
}

impl AnswerBytes {
    pub(super) fn of(answer: Answer) -> Self {
        Self { close_delimited: is_close_delimited(answer.headers()), answer }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TransportError>>> {
        Pin::new(&mut self.answer).poll_next(cx).map(|next| match next {
            None => None,
            Some(Ok(bytes)) => Some(Ok(bytes)),
            Some(Err(PayloadError::Io(e) | PayloadError::Incomplete(Some(e))))
                if self.close_delimited && Ended::of(&e) == Some(Ended::Closed) =>
            {
                None
            }
            Some(Err(PayloadError::Io(_) | PayloadError::Incomplete(_))) => {
                Some(Err(TransportError::Truncated))
            }
            Some(Err(other)) => Some(Err(TransportError::Protocol(other.to_string()))),
        })
    }
}

/// The bytes of a kept connection's answer.
struct Body {
    bytes: AnswerBytes,
    line: Option<(Line<Lead>, Arc<ChannelCell>)>,
    pool: Pool<Lead>,
}

impl Stream for Body {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.bytes.poll_next(cx));
        // A close-delimited answer ends with its connection, which is not open any more.
        if next.is_none()
            && let Some((line, cell)) = self.line.take()
        {
            self.pool.keep(cell, line);
        }
        Poll::Ready(next)
    }
}

/// No bytes.
struct Nothing;

impl Stream for Nothing {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}
