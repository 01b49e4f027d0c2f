//! Upstream I/O behind a small trait. Only this folder names awc.
//!
//! A transport connects, sends, and gives the answer's head and bytes. First-byte, idle and total
//! deadlines are the relay's; the connect deadline is kept here, where connecting happens.

mod awc_client;
mod choice;
mod control;
mod dial;
mod encoding;
mod http1;
mod limits;
mod pool;
mod proxy;
mod resolve;
mod shared;
mod socket;
mod target;
mod tls;

use std::{pin::Pin, rc::Rc, sync::Arc};

use bytes::Bytes;
use futures_core::{Stream, future::LocalBoxFuture};
use http::{HeaderName, HeaderValue};
use penstock_actors::channel::ChannelCell;

pub use awc_client::AwcTransport;
pub use choice::Transports;
pub use control::{ControlAnswer, ControlClient, ControlLimits};
pub use http1::Http1Transport;
pub use proxy::ProxyError;
pub use resolve::Resolver;
pub use shared::SharedTransport;
pub use target::Target;
pub use tls::TlsRoots;

/// A request as it goes out.
#[derive(Debug)]
pub struct Outgoing {
    /// The address, and the headers that every request to it carries.
    pub target: Rc<Target>,
    /// The headers of this request alone; length and host are added.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: OutgoingBody,
}

/// A body that can be sent; its length is always known.
pub enum OutgoingBody {
    /// In memory; no piece is empty.
    Pieces(Vec<Bytes>),
    /// Read as it is sent.
    Stream {
        /// Bytes in all.
        len: u64,
        /// The bytes.
        chunks: Pin<Box<dyn Stream<Item = std::io::Result<Bytes>>>>,
    },
}

impl std::fmt::Debug for OutgoingBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pieces(pieces) => write!(f, "Pieces({})", pieces.len()),
            Self::Stream { len, .. } => write!(f, "Stream({len})"),
        }
    }
}

/// An answer whose head has come.
pub struct Incoming {
    /// HTTP status.
    pub status: u16,
    /// Whether the body lasts until the connection ends, for want of a length or chunks.
    pub until_close: bool,
    /// The `content-type` header.
    pub content_type: String,
    /// The `retry-after-ms` and `retry-after` headers, as sent.
    pub retry_after_ms: Option<String>,
    /// See above.
    pub retry_after: Option<String>,
    /// Headers about limits, a line each, the names in lower case; empty where there are none.
    pub limits: String,
    /// The body. It ends only where the provider's framing says so; anything else is an error.
    pub body: IncomingBody,
}

/// The bytes of an answer. Dropping it closes the connection unless the answer was complete.
pub type IncomingBody = Pin<Box<dyn Stream<Item = Result<Bytes, TransportError>>>>;

/// On which connection a request goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A kept connection where there is one.
    Pool,
    /// A new one, for the retry after a stale one.
    Fresh,
}

/// Why there is no answer, or no end of one.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The host name has no address.
    #[error("the address of the provider could not be found: {0}")]
    Resolve(String),
    /// No connection came about.
    #[error("the provider could not be reached: {0}")]
    Connect(std::io::Error),
    /// No connection came about in time.
    #[error("the provider could not be reached in time")]
    ConnectTimeout,
    /// Every connection of the channel is in use.
    #[error("every connection of the channel is in use")]
    NoPlace,
    /// The process has no descriptor left.
    #[error("the gateway has no descriptor left for a connection")]
    NoDescriptor,
    /// The TLS handshake failed.
    #[error("the provider's TLS handshake failed: {0}")]
    Tls(String),
    /// The channel's proxy led nowhere.
    #[error("the channel's proxy {0}")]
    Proxy(ProxyError),
    /// A kept connection was closed by the provider before a byte of the answer came.
    #[error("a kept connection was closed as the request arrived")]
    Stale,
    /// The connection was closed before a byte of the answer came.
    #[error("the provider closed the connection without an answer")]
    Closed,
    /// The answer's head or framing is no HTTP.
    #[error("the provider's answer is not valid HTTP: {0}")]
    Protocol(String),
    /// The answer ended before its framing said so.
    #[error("the provider's answer was cut off")]
    Truncated,
    /// A request of the gateway's own was not answered in time.
    #[error("the provider did not answer in time")]
    TimedOut,
    /// The answer to a request of the gateway's own is longer than allowed.
    #[error("the provider's answer is longer than {0} bytes")]
    TooLong(usize),
    /// The request's own body could not be read again.
    #[error("the request body could not be read: {0}")]
    Body(String),
}

/// Sends requests to channels. One a worker; not shared between threads.
pub trait Transport {
    /// Sends a request; the future ends when the answer's head has come. Dropping it cancels.
    fn send<'a>(
        &'a self,
        cell: &'a Arc<ChannelCell>,
        request: Outgoing,
        via: Via,
    ) -> LocalBoxFuture<'a, Result<Incoming, TransportError>>;
}
