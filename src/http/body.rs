//! Receiving a request body: capped, decompressed, scanned as it comes, spooled.

use std::{
    io::Write as _,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use actix_web::{HttpRequest, http::header, web};
use bytes::Bytes;
use flate2::write::GzDecoder;
use futures_core::Stream as _;

use crate::{
    provider::Failure,
    relay::{
        admit,
        budget::Held,
        deadline::within,
        spool::{Spool, SpoolError, SpoolWriter},
    },
    wire::json::{JsonError, Scanner, TopLevel, Watch},
};

/// A client that sends nothing of its body for this long is refused.
const STALLED: Duration = Duration::from_secs(60);
/// A body that has not come whole after this long is refused.
const LONGEST: Duration = Duration::from_secs(900);
/// Compressed bytes are inflated this many at a time; deflate swells them 1032-fold at most.
const INFLATE: usize = 256;

/// A body that was received and is a JSON object.
pub(super) struct Received {
    pub(super) spool: Spool,
    pub(super) top: TopLevel,
}

/// Receives the body of a request.
///
/// # Errors
/// 400 for what is no JSON object, 408 for a client that stalls, 413 over the cap, 415 for an unknown
/// encoding, 503 where too much is held already.
pub(super) async fn receive(
    request: &HttpRequest,
    payload: &mut web::Payload,
    cap: u64,
    held: Held,
    watches: &'static [Watch],
) -> Result<Received, Failure> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let announced: u64 = announced.unwrap_or(0);
    if announced > cap {
        return Err(admit::too_large(cap));
    }
    let writer = SpoolWriter::new(held);
    let mut sink = Sink { scanner: Scanner::new(watches), writer, len: 0, cap };
    let mut inflate = encoding(request)?.map(|()| GzDecoder::new(Vec::new()));
    let began = Instant::now();
    let mut payload = std::pin::Pin::new(payload);
    loop {
        // actix decodes a body in the task that runs this handler, and polls the handler whenever it has: to be
        // woken as well would have it go through everything once more.
        let next =
            std::future::poll_fn(|_| payload.as_mut().poll_next(&mut Context::from_waker(Waker::noop())));
        let patience = STALLED.min(LONGEST.saturating_sub(began.elapsed()));
        let chunk = match within(patience, next).await {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(error))) => {
                return Err(Failure::invalid_request(
                    "invalid_body",
                    None,
                    format!("The body cannot be read: {error}."),
                ));
            }
            Ok(None) => break,
            Err(_) => return Err(stalled()),
        };
        match &mut inflate {
            None => sink.push(chunk).await?,
            Some(decoder) => {
                for piece in chunk.chunks(INFLATE) {
                    decoder.write_all(piece).map_err(|_| not_gzip())?;
                    sink.push_slice(decoder.get_ref()).await?;
                    decoder.get_mut().clear();
                }
            }
        }
    }
    if let Some(decoder) = inflate {
        let rest = decoder.finish().map_err(|_| not_gzip())?;
        sink.push_slice(&rest).await?;
    }
    sink.finish().await
}

/// Scans and keeps what comes.
struct Sink {
    scanner: Scanner,
    writer: SpoolWriter,
    len: u64,
    cap: u64,
}

impl Sink {
    async fn push(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.check(&chunk)?;
        self.writer.push(chunk).await.map_err(not_spooled)
    }

    async fn push_slice(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.check(bytes)?;
        self.writer.push_slice(bytes).await.map_err(not_spooled)
    }

    fn check(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.len += bytes.len() as u64;
        if self.len > self.cap {
            return Err(admit::too_large(self.cap));
        }
        self.scanner.push(bytes).map_err(not_json)
    }

    async fn finish(self) -> Result<Received, Failure> {
        let top = self.scanner.finish().map_err(not_json)?;
        Ok(Received { spool: self.writer.finish().await.map_err(not_spooled)?, top })
    }
}

/// `Some` where the body is compressed with gzip, `None` where it is plain.
fn encoding(request: &HttpRequest) -> Result<Option<()>, Failure> {
    let encoding = request.headers().get(header::CONTENT_ENCODING).map(|v| v.to_str().unwrap_or("?").trim());
    match encoding.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "identity") => Ok(None),
        Some("gzip" | "x-gzip") => Ok(Some(())),
        Some(_) => {
            let message = "The Content-Encoding is not supported; use gzip or none.";
            let mut failure = Failure::invalid_request("unsupported_encoding", None, message);
            failure.status = 415;
            Err(failure)
        }
    }
}

fn not_json(error: JsonError) -> Failure {
    let (code, param) = match error {
        JsonError::Duplicate(name) => ("duplicate_parameter", Some(name)),
        JsonError::TooLong(name) => ("invalid_value", Some(name)),
        _ => ("invalid_json", None),
    };
    let text = error.to_string();
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase()).unwrap_or_default();
    Failure::invalid_request(code, param, format!("{first}{}.", chars.as_str()))
}

fn not_gzip() -> Failure {
    Failure::invalid_request("invalid_body", None, "The body is not valid gzip.")
}

fn not_spooled(error: SpoolError) -> Failure {
    match error {
        SpoolError::Full => admit::too_many_bytes(),
        SpoolError::File(error) => {
            tracing::error!(%error, "request body could not be spooled");
            let message = "The gateway cannot hold the request body at the moment.";
            let mut failure = Failure::gateway(503, "gateway_overloaded", message);
            failure.retry_after = Some(Duration::from_secs(1));
            failure
        }
    }
}

fn stalled() -> Failure {
    let mut failure = Failure::invalid_request("request_timeout", None, "The body did not come in time.");
    failure.status = 408;
    failure
}
