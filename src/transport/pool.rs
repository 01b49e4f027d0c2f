//! A worker's connections: kept between requests, dropped when idle, old or in others' way.
//!
//! An awc client is made for each connection and never holds two, so that what is idle is ours to see
//! and to close. awc is held on a short lead (see `docs/adr/0001-awc-behind-a-trait.md`): no limit of
//! its own, no redirects, no decompression, no default headers, no timeouts.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_web::{body::SizedStream, error::ParseError};
use awc::{
    Client, Connector,
    error::{ConnectError, PayloadError, SendRequestError},
    http::{
        Method,
        header::{self, HeaderName},
    },
};
use bytes::Bytes;
use futures_core::{Stream, future::LocalBoxFuture};
use penstock_actors::channel::{ChannelCell, SlotMap};

use super::{
    Incoming, Outgoing, OutgoingBody, SharedTransport, Transport, TransportError, Via,
    connector::{Carried, ChannelConnector, Peer},
    io::Ended,
};

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// How often a worker looks for idle clients when nothing asks it to.
const SWEEP: Duration = Duration::from_secs(2);

/// The transport of one worker.
pub struct AwcTransport {
    shared: Arc<SharedTransport>,
    kept: Rc<RefCell<SlotMap<Kept>>>,
}

/// A channel's connections that no request uses, the last used at the end.
struct Kept {
    cell: Arc<ChannelCell>,
    lines: Vec<Line>,
}

/// A client for one connection. Dropping it closes an idle connection; a busy one ends with its request.
struct Line {
    client: Client,
    /// Where the connection leads: a call may still hold the address of older settings.
    origin: Origin,
    generation: u64,
    last_used: Instant,
    open: Rc<Cell<bool>>,
}

impl AwcTransport {
    /// Makes the transport of the calling worker, and the task that sweeps it.
    pub fn new(shared: Arc<SharedTransport>) -> Self {
        let kept: Rc<RefCell<SlotMap<Kept>>> = Rc::default();
        let mut evict = shared.evictions();
        let weak = Rc::downgrade(&kept);
        actix_rt::spawn(async move {
            while let Some(kept) = weak.upgrade() {
                kept.borrow_mut().retain(|_, channel| channel.sweep(Instant::now()));
                drop(kept);
                let _ = tokio::time::timeout(SWEEP, evict.changed()).await;
            }
        });
        Self { shared, kept }
    }

    /// A kept connection of the channel, or what opens a new one.
    fn line(&self, cell: &Arc<ChannelCell>, uri: &http::Uri, via: Via) -> Option<Line> {
        let kept = || {
            let mut kept = self.kept.borrow_mut();
            let lines = &mut kept.get_mut(&cell.slot)?.lines;
            std::iter::from_fn(|| lines.pop()).find(|line| line.is_usable(cell) && line.origin.is_of(uri))
        };
        match via {
            Via::Pool => kept().or_else(|| self.make(cell, uri)),
            Via::Fresh => self.make(cell, uri),
        }
    }

    fn make(&self, cell: &Arc<ChannelCell>, uri: &http::Uri) -> Option<Line> {
        let spec = cell.spec();
        let open = Rc::default();
        let connector = ChannelConnector {
            peer: Peer::of(uri)?,
            connect_timeout: spec.timeouts.connect,
            connections: Arc::clone(&cell.connections),
            shared: Arc::clone(&self.shared),
            open: Rc::clone(&open),
        };
        let client = client(connector, spec.pool.idle, spec.pool.lifetime);
        let origin = Origin(uri.scheme().cloned(), uri.authority().cloned());
        Some(Line { client, origin, generation: cell.generation(), last_used: Instant::now(), open })
    }
}

/// An awc client on a short lead; see the module's sentences.
pub(super) fn client(connector: ChannelConnector, idle: Duration, lifetime: Duration) -> Client {
    // Waiting for a place and connecting have the connect timeout each; this one never fires.
    let never = connector.connect_timeout * 2 + Duration::from_secs(60);
    let connector = Connector::new()
        .connector(connector)
        .limit(0)
        .timeout(never)
        .conn_keep_alive(idle)
        .conn_lifetime(lifetime);
    let builder = Client::builder().connector(connector);
    builder.no_default_headers().disable_redirects().disable_timeout().finish()
}

/// Scheme, host and port.
struct Origin(Option<http::uri::Scheme>, Option<http::uri::Authority>);

impl Origin {
    fn is_of(&self, uri: &http::Uri) -> bool {
        self.0.as_ref() == uri.scheme() && self.1.as_ref() == uri.authority()
    }
}

impl Line {
    fn is_usable(&self, cell: &ChannelCell) -> bool {
        self.open.get() && self.generation == cell.generation()
    }
}

impl Kept {
    /// Closes what is idle for too long, of old settings, or in the way of who waits for a place.
    fn sweep(&mut self, now: Instant) -> bool {
        let idle = self.cell.spec().pool.idle;
        self.lines.retain(|line| line.is_usable(&self.cell) && now - line.last_used < idle);
        let wanted = (self.cell.connections.waiting() as usize).min(self.lines.len());
        self.lines.drain(..wanted);
        !self.lines.is_empty()
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
            let no_host = || TransportError::Resolve("the base URL names no host".to_owned());
            let line = self.line(cell, &request.uri, via).ok_or_else(no_host)?;
            let answer = ask(&line.client, Method::POST, request).await?;
            let text = |name: &HeaderName| {
                answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
            };
            Ok(Incoming {
                status: answer.status().as_u16(),
                until_close: is_close_delimited(answer.headers()),
                content_type: text(&header::CONTENT_TYPE).unwrap_or_default(),
                retry_after_ms: text(&RETRY_AFTER_MS),
                retry_after: text(&header::RETRY_AFTER),
                body: match answer.status().as_u16() {
                    // RFC 9110, section 6.4.1: these have no body, whatever their head says.
                    204 | 304 => Box::pin(Nothing),
                    _ => Box::pin(Body {
                        bytes: AnswerBytes::of(answer),
                        line: Some((line, Arc::clone(cell))),
                        kept: Rc::clone(&self.kept),
                    }),
                },
            })
        })
    }
}

/// An answer as awc gives it.
pub(super) type Answer = awc::ClientResponse<Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>>;

/// Sends a request; ends when the answer's head has come.
pub(super) async fn ask(
    client: &Client,
    method: Method,
    request: Outgoing,
) -> Result<Answer, TransportError> {
    // The connector speaks TLS itself, so that its guard sits above it: awc sees plain HTTP always.
    let host = request.uri.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
    let mut out = client.request(method, as_plain(request.uri));
    let headers = out.headers_mut();
    if let Ok(host) = header::HeaderValue::from_str(&host) {
        headers.insert(header::HOST, host);
    }
    for (name, value) in request.headers {
        headers.append(name, value);
    }
    let sent = match request.body {
        OutgoingBody::Bytes(bytes) if bytes.is_empty() => out.send().await,
        OutgoingBody::Bytes(bytes) => out.send_body(bytes).await,
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
    line: Option<(Line, Arc<ChannelCell>)>,
    kept: Rc<RefCell<SlotMap<Kept>>>,
}

impl Body {
    /// Keeps the connection for the next request, unless someone waits for its place.
    fn keep(&mut self) {
        let Some((mut line, cell)) = self.line.take() else { return };
        if !line.is_usable(&cell) || cell.connections.waiting() > 0 {
            return;
        }
        line.last_used = Instant::now();
        let mut kept = self.kept.borrow_mut();
        kept.entry(cell.slot).or_insert_with(|| Kept { cell, lines: Vec::new() }).lines.push(line);
    }
}

impl Stream for Body {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.bytes.poll_next(cx));
        // A close-delimited answer ends with its connection, which is not open any more.
        if next.is_none() {
            self.keep();
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
