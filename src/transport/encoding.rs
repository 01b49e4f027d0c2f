//! Undoes what an answer is compressed with. Requests ask for none, but some proxies in front of providers compress
//! all the same.

use std::{
    io::Write as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures_core::Stream;

use super::{IncomingBody, TransportError};

/// Compressed bytes are inflated this many at a time; deflate swells them 1032-fold at most.
const PIECE: usize = 256;

/// The body as it was before it was compressed.
///
/// # Errors
/// [`TransportError::Protocol`] for an encoding that is not known.
pub(super) fn plain(encoding: &str, body: IncomingBody) -> Result<IncomingBody, TransportError> {
    match encoding {
        "" => Ok(body),
        named if named.eq_ignore_ascii_case("identity") => Ok(body),
        named if named.eq_ignore_ascii_case("gzip") || named.eq_ignore_ascii_case("x-gzip") => {
            Ok(Box::pin(Inflated::of(body)))
        }
        other => {
            let name: String = other.chars().take(32).filter(|c| !c.is_control()).collect();
            Err(TransportError::Protocol(format!("it is compressed with '{name}', which was not asked for")))
        }
    }
}

/// A body that comes compressed with gzip.
struct Inflated {
    body: IncomingBody,
    came: Bytes,
    /// Gone behind the end.
    decoder: Option<MultiGzDecoder<Vec<u8>>>,
}

impl Inflated {
    fn of(body: IncomingBody) -> Self {
        Self { body, came: Bytes::new(), decoder: Some(MultiGzDecoder::new(Vec::new())) }
    }
}

impl Stream for Inflated {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let damaged = |_| TransportError::Protocol("its gzip is damaged".to_owned());
        loop {
            let Some(decoder) = &mut this.decoder else { return Poll::Ready(None) };
            if !decoder.get_ref().is_empty() {
                return Poll::Ready(Some(Ok(std::mem::take(decoder.get_mut()).into())));
            }
            if !this.came.is_empty() {
                let piece = this.came.split_to(PIECE.min(this.came.len()));
                // Flushed, so that an event goes on as soon as it is there.
                let inflated = decoder.write_all(&piece).and_then(|()| decoder.flush());
                if let Err(error) = inflated.map_err(damaged) {
                    this.decoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                continue;
            }
            match ready!(this.body.as_mut().poll_next(cx)) {
                Some(Ok(bytes)) => this.came = bytes,
                Some(Err(error)) => {
                    this.decoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    let ended = this.decoder.take().map(MultiGzDecoder::finish);
                    return Poll::Ready(match ended {
                        Some(Ok(rest)) if rest.is_empty() => None,
                        Some(Ok(rest)) => Some(Ok(rest.into())),
                        _ => Some(Err(TransportError::Truncated)),
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    /// A body that comes in these pieces.
    struct Pieces(std::vec::IntoIter<Bytes>);

    impl Stream for Pieces {
        type Item = Result<Bytes, TransportError>;

        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.get_mut().0.next().map(Ok))
        }
    }

    fn body(pieces: Vec<&[u8]>) -> IncomingBody {
        let pieces: Vec<_> = pieces.into_iter().map(Bytes::copy_from_slice).collect();
        Box::pin(Pieces(pieces.into_iter()))
    }

    async fn read(encoding: &str, pieces: Vec<&[u8]>) -> Result<Vec<u8>, TransportError> {
        let mut body = plain(encoding, body(pieces))?;
        let mut all = Vec::new();
        while let Some(bytes) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            all.extend_from_slice(&bytes?);
        }
        Ok(all)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[tokio::test]
    async fn a_body_is_inflated_wherever_it_is_cut() {
        let text = "data: {\"a\":1}\n\n".repeat(40);
        let whole = gzip(text.as_bytes());
        for cut in 0..=whole.len() {
            let got = read("GZIP", vec![&whole[..cut], &whole[cut..]]).await.expect("a body");
            assert_eq!(got, text.as_bytes(), "cut at {cut}");
        }
        let twice = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(read("x-gzip", vec![&twice]).await.expect("members"), b"one two");
        assert_eq!(read("identity", vec![b"as it is"]).await.expect("a body"), b"as it is");
    }

    #[tokio::test]
    async fn what_was_flushed_goes_on_before_the_rest_comes() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"data: 1\n\n").and_then(|()| encoder.flush()).expect("memory");
        let first = encoder.get_ref().clone();
        let mut body = plain("gzip", body(vec![&first])).expect("known");
        let came = poll_fn(|cx| body.as_mut().poll_next(cx)).await;
        assert_eq!(came.expect("a piece").expect("inflated"), &b"data: 1\n\n"[..]);
    }

    #[tokio::test]
    async fn what_is_cut_or_damaged_or_unknown_is_an_error() {
        let whole = gzip(b"a body of some length");
        for cut in 1..whole.len() {
            assert!(read("gzip", vec![&whole[..cut]]).await.is_err(), "cut at {cut}");
        }
        assert!(matches!(read("gzip", vec![b"{\"plain\":1}"]).await, Err(TransportError::Protocol(_))));
        let unknown = read("br", vec![b"x"]).await.expect_err("unknown").to_string();
        assert!(unknown.contains("'br'"), "{unknown}");
    }
}
