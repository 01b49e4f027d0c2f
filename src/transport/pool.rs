//! A worker's clients, one a channel, made lazily and dropped when idle, old or in others' way.
//!
//! awc is held on a short lead (see `docs/adr/0001-awc-behind-a-trait.md`): no limit of its own, no
//! redirects, no decompression, no default headers, no timeouts.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
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
use penstock_actors::channel::ChannelCell;

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
    clients: Rc<RefCell<HashMap<u32, ChannelClient>>>,
}

struct ChannelClient {
    client: Client,
    cell: Arc<ChannelCell>,
    generation: u64,
    pressure: u64,
    last_used: Instant,
    in_flight: Rc<Cell<u32>>,
}

impl AwcTransport {
    /// Makes the transport of the calling worker, and the task that sweeps it.
    pub fn new(shared: Arc<SharedTransport>) -> Self {
        let clients: Rc<RefCell<HashMap<u32, ChannelClient>>> = Rc::default();
        let mut evict = shared.evictions();
        let weak = Rc::downgrade(&clients);
        actix_rt::spawn(async move {
            while let Some(clients) = weak.upgrade() {
                clients.borrow_mut().retain(|_, client| client.should_stay(Instant::now()));
                drop(clients);
                let _ = tokio::time::timeout(SWEEP, evict.changed()).await;
            }
        });
        Self { shared, clients }
    }

    fn client(&self, cell: &Arc<ChannelCell>, uri: &http::Uri) -> Option<(Client, InFlight)> {
        let mut clients = self.clients.borrow_mut();
        if let Some(known) = clients.get_mut(&cell.slot)
            && known.generation == cell.generation()
        {
            known.last_used = Instant::now();
            return Some((known.client.clone(), InFlight::new(&known.in_flight)));
        }
        let client = self.make(cell, uri)?;
        let entry = ChannelClient {
            client: client.clone(),
            cell: Arc::clone(cell),
            generation: cell.generation(),
            pressure: cell.connections.pressure(),
            last_used: Instant::now(),
            in_flight: Rc::default(),
        };
        let in_flight = InFlight::new(&entry.in_flight);
        clients.insert(cell.slot, entry);
        Some((client, in_flight))
    }

    fn make(&self, cell: &Arc<ChannelCell>, uri: &http::Uri) -> Option<Client> {
        let spec = cell.spec();
        let connector = ChannelConnector {
            peer: Peer::of(uri)?,
            connect_timeout: spec.timeouts.connect,
            connections: Arc::clone(&cell.connections),
            shared: Arc::clone(&self.shared),
        };
        let connector = Connector::new()
            .connector(connector)
            .limit(0)
            // Waiting for a place and connecting have the connect timeout each; this one never fires.
            .timeout(spec.timeouts.connect * 2 + Duration::from_secs(60))
            .conn_keep_alive(spec.pool.idle)
            .conn_lifetime(spec.pool.lifetime);
        let builder = Client::builder().connector(connector);
        Some(builder.no_default_headers().disable_redirects().disable_timeout().finish())
    }
}

impl ChannelClient {
    fn should_stay(&mut self, now: Instant) -> bool {
        let pressure = std::mem::replace(&mut self.pressure, self.cell.connections.pressure());
        let idle = self.in_flight.get() == 0 && now - self.last_used >= self.cell.spec().pool.idle;
        self.generation == self.cell.generation() && pressure == self.pressure && !idle
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
            let (client, in_flight) = match via {
                Via::Pool => self.client(cell, &request.uri).ok_or_else(no_host)?,
                Via::Fresh => (self.make(cell, &request.uri).ok_or_else(no_host)?, InFlight::default()),
            };
            let answer = post(&client, request).await?;
            let text = |name: &HeaderName| {
                answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
            };
            Ok(Incoming {
                status: answer.status().as_u16(),
                content_type: text(&header::CONTENT_TYPE).unwrap_or_default(),
                retry_after_ms: text(&RETRY_AFTER_MS),
                retry_after: text(&header::RETRY_AFTER),
                body: Box::pin(Body {
                    close_delimited: is_close_delimited(answer.headers()),
                    answer,
                    _in_flight: in_flight,
                }),
            })
        })
    }
}

type Answer = awc::ClientResponse<Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>>;

async fn post(client: &Client, request: Outgoing) -> Result<Answer, TransportError> {
    // The connector speaks TLS itself, so that its guard sits above it: awc sees plain HTTP always.
    let host = request.uri.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
    let mut out = client.request(Method::POST, as_plain(request.uri));
    let headers = out.headers_mut();
    if let Ok(host) = header::HeaderValue::from_str(&host) {
        headers.insert(header::HOST, host);
    }
    for (name, value) in request.headers {
        headers.insert(name, value);
    }
    let sent = match request.body {
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
struct Body {
    answer: Answer,
    close_delimited: bool,
    _in_flight: InFlight,
}

impl Stream for Body {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.answer).poll_next(cx);
        polled.map(|next| match next? {
            Ok(bytes) => Some(Ok(bytes)),
            Err(PayloadError::Io(e) | PayloadError::Incomplete(Some(e)))
                if self.close_delimited && Ended::of(&e) == Some(Ended::Closed) =>
            {
                None
            }
            Err(PayloadError::Io(_) | PayloadError::Incomplete(_)) => Some(Err(TransportError::Truncated)),
            Err(other) => Some(Err(TransportError::Protocol(other.to_string()))),
        })
    }
}

/// Counts the requests of a client, so that it is not dropped while it works.
#[derive(Default)]
struct InFlight(Rc<Cell<u32>>);

impl InFlight {
    fn new(count: &Rc<Cell<u32>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
