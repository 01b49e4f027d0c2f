//! Fetches media that clients name by address, through the guard: a name's addresses are asked for here, checked, and
//! pinned for the connection; each redirect is checked anew.
//!
//! Each fetch goes out by awc on a connection of its own, without credentials, cookies or a proxy.

use std::{
    future::poll_fn,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use awc::http::{Method, header as awc_header};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, header};
use penstock_actors::{channel::Connections, domain::PoolSettings};
use tokio::sync::Semaphore;

use super::{
    Outgoing, OutgoingBody, SharedTransport, Target, TransportError,
    awc_client::{self, AnswerBytes, Lead},
    dial::{Dialer, Peer},
    guard::{Allowed, Forbidden, Host, Place},
};

/// Fetches at once, over all workers; more wait.
const AT_ONCE: u32 = 64;
/// A place that does not answer in this time is not there.
const CONNECT: Duration = Duration::from_secs(5);

/// What one fetch may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// Longest medium, in bytes.
    pub max_bytes: u64,
    /// Redirects that are followed.
    pub max_redirects: u32,
    /// What is allowed beside public addresses.
    pub allowed: Allowed,
}

/// A medium as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedMedium {
    /// Its bytes.
    pub bytes: Bytes,
    /// What the server calls it.
    pub content_type: String,
}

/// Why there is no medium.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It must not be fetched.
    #[error("{0}")]
    Forbidden(Forbidden),
    /// Its host has no address.
    #[error("names a host that has no address")]
    Unknown,
    /// Its server cannot be reached, or broke off.
    #[error("could not be fetched: {0}")]
    Failed(&'static str),
    /// Its server answered with another status.
    #[error("could not be fetched: its server answered with status {0}")]
    Status(u16),
    /// Its server sends it somewhere else, again and again.
    #[error("is redirected too often")]
    Redirects,
    /// It is longer than allowed.
    #[error("is longer than the {0} bytes that are allowed")]
    TooLong(u64),
    /// The gateway holds as much as it may.
    #[error("cannot be held: the gateway holds as many bytes as it may")]
    NoRoom,
}

/// Fetches for all workers.
#[derive(Debug)]
pub struct MediaFetcher {
    shared: Arc<SharedTransport>,
    connections: Arc<Connections>,
    turns: Semaphore,
    lookup: Lookup,
}

/// Who knows the addresses of names.
#[derive(Clone, Copy, Debug)]
enum Lookup {
    /// The system; not through the cache of providers, which would keep every name a client thinks of.
    System,
    #[cfg(test)]
    Told(fn(&str) -> Vec<IpAddr>),
}

impl MediaFetcher {
    /// Makes a fetcher that trusts as the transports do.
    pub fn new(shared: Arc<SharedTransport>) -> Self {
        let turns = Semaphore::new(AT_ONCE as usize);
        Self { shared, connections: Connections::new(AT_ONCE), turns, lookup: Lookup::System }
    }

    /// Fetches what is at a URL. `room` is asked for each piece's bytes before it is kept.
    ///
    /// # Errors
    /// [`FetchError`], which shows nothing of what a private place said.
    pub async fn fetch(
        &self,
        url: &str,
        limits: &FetchLimits,
        mut room: impl FnMut(u64) -> bool,
    ) -> Result<FetchedMedium, FetchError> {
        let mut place = Place::read(url).map_err(FetchError::Forbidden)?;
        let _turn = self.turns.acquire().await.map_err(|_| FetchError::Failed("the gateway ends"))?;
        for _ in 0..=limits.max_redirects {
            let addresses = self.addresses(&place).await?;
            let ips: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
            place.admit(&ips, &limits.allowed).map_err(FetchError::Forbidden)?;
            // The lead holds the connection until the answer is read.
            let (answer, _lead) = self.ask(&place, addresses).await.map_err(|error| failed(&error))?;
            let said = |name: awc_header::HeaderName| {
                answer
                    .headers()
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default()
                    .to_owned()
            };
            match answer.status().as_u16() {
                200 => {
                    let coding = said(awc_header::CONTENT_ENCODING);
                    if !coding.is_empty() && !coding.eq_ignore_ascii_case("identity") {
                        return Err(FetchError::Failed("its server compressed it unasked"));
                    }
                    let length = said(awc_header::CONTENT_LENGTH).parse().unwrap_or(0);
                    if length > limits.max_bytes {
                        return Err(FetchError::TooLong(limits.max_bytes));
                    }
                    let content_type = said(awc_header::CONTENT_TYPE);
                    let bytes = read(answer, limits.max_bytes, &mut room).await?;
                    return Ok(FetchedMedium { bytes, content_type });
                }
                301 | 302 | 303 | 307 | 308 => {
                    place = place.follow(&said(awc_header::LOCATION)).map_err(FetchError::Forbidden)?;
                }
                status => return Err(FetchError::Status(status)),
            }
        }
        Err(FetchError::Redirects)
    }

    async fn addresses(&self, place: &Place) -> Result<Arc<[SocketAddr]>, FetchError> {
        let ips: Vec<IpAddr> = match (&place.host, self.lookup) {
            (Host::Address(address), _) => vec![*address],
            (Host::Name(name), Lookup::System) => {
                let found = tokio::net::lookup_host((name.as_str(), place.port)).await;
                found.map_err(|_| FetchError::Unknown)?.map(|found| found.ip()).collect()
            }
            #[cfg(test)]
            (Host::Name(name), Lookup::Told(told)) => told(name),
        };
        if ips.is_empty() {
            return Err(FetchError::Unknown);
        }
        Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, place.port)).collect())
    }

    /// Asks one place, at these addresses and no others.
    async fn ask(
        &self,
        place: &Place,
        addresses: Arc<[SocketAddr]>,
    ) -> Result<(awc_client::Answer, Lead), TransportError> {
        let authority = place.authority();
        let scheme = if place.tls { "https" } else { "http" };
        let uri: http::Uri = format!("{scheme}://{authority}{}", place.path)
            .parse()
            .map_err(|_| TransportError::Protocol("its address is no URI".to_owned()))?;
        let peer = Peer::of(&uri).ok_or_else(|| TransportError::Resolve("it names no host".to_owned()))?;
        let dialer = Dialer {
            peer,
            connect_timeout: CONNECT,
            connections: Arc::clone(&self.connections),
            shared: Arc::clone(&self.shared),
            proxy: None,
            pinned: Some(addresses),
        };
        let headers = vec![
            (header::ACCEPT, HeaderValue::from_static("*/*")),
            (header::ACCEPT_ENCODING, HeaderValue::from_static("identity")),
            (header::USER_AGENT, HeaderValue::from_static(concat!("penstock/", env!("CARGO_PKG_VERSION")))),
        ];
        let request = Outgoing {
            target: Rc::new(Target::new(uri, headers)),
            headers: Vec::new(),
            body: OutgoingBody::Pieces(Vec::new()),
        };
        let lead = Lead::new(dialer, PoolSettings::default());
        let answer = awc_client::ask(&lead, Method::GET, request).await?;
        Ok((answer, lead))
    }
}

async fn read(
    answer: awc_client::Answer,
    max_bytes: u64,
    room: &mut impl FnMut(u64) -> bool,
) -> Result<Bytes, FetchError> {
    let mut bytes = AnswerBytes::of(answer);
    let mut body = BytesMut::new();
    while let Some(chunk) = poll_fn(|cx| bytes.poll_next(cx)).await {
        let chunk = chunk.map_err(|error| failed(&error))?;
        if (body.len() + chunk.len()) as u64 > max_bytes {
            return Err(FetchError::TooLong(max_bytes));
        }
        if !room(chunk.len() as u64) {
            return Err(FetchError::NoRoom);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// What a client is told of an error: nothing of what was said at the other end.
fn failed(error: &TransportError) -> FetchError {
    FetchError::Failed(match error {
        TransportError::ConnectTimeout | TransportError::TimedOut => "its server did not answer in time",
        TransportError::Tls(_) => "its server's TLS handshake failed",
        TransportError::Truncated | TransportError::Closed | TransportError::Stale => "its server broke off",
        TransportError::Protocol(_) => "its server does not speak HTTP",
        TransportError::NoPlace | TransportError::NoDescriptor => "the gateway has no connection left",
        _ => "its server could not be reached",
    })
}

#[cfg(test)]
mod tests;
