//! Where a channel's requests go, and the part of their head that is the same each time.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, Uri, header};

/// Made once a channel and path.
pub struct Target {
    manner: Manner,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Request line, host and headers, as HTTP/1.1 writes them.
    opening: Bytes,
}

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// A body is posted.
    Post,
    /// Nothing is sent.
    Get,
    /// A websocket is opened, and the body sent over it.
    WebSocket,
}

impl Target {
    /// Prepares posting to an address with these headers; length and host are added.
    pub fn new(uri: Uri, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self::made(Manner::Post, uri, headers)
    }

    /// Prepares getting what is at an address.
    pub fn to_get(uri: Uri, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self::made(Manner::Get, uri, headers)
    }

    /// Prepares opening a websocket at an address, whose scheme is that of HTTP.
    pub fn of_websocket(uri: Uri, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self::made(Manner::WebSocket, uri, headers)
    }

    /// The same at another address.
    pub fn moved(&self, uri: Uri) -> Self {
        Self::made(self.manner, uri, self.headers.clone())
    }

    fn made(manner: Manner, uri: Uri, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        let mut opening = BytesMut::with_capacity(512);
        opening.put_slice(manner.method().as_str().as_bytes());
        opening.put_slice(b" ");
        opening.put_slice(uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
        opening.put_slice(b" HTTP/1.1\r\nhost: ");
        opening.put_slice(uri.authority().map_or("", |authority| authority.as_str()).as_bytes());
        opening.put_slice(b"\r\n");
        if !headers.iter().any(|(name, _)| name == header::ACCEPT_ENCODING) {
            // Answers are read, so they must not come compressed.
            opening.put_slice(b"accept-encoding: identity\r\n");
        }
        write_headers(&mut opening, &headers);
        Self { manner, uri, headers, opening: opening.freeze() }
    }

    /// How it is asked.
    pub(super) fn manner(&self) -> Manner {
        self.manner
    }

    /// The address.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The headers that every request carries.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Request line, host and these headers.
    pub(super) fn opening(&self) -> &[u8] {
        &self.opening
    }
}

impl Manner {
    pub(super) fn method(self) -> Method {
        match self {
            Self::Post => Method::POST,
            Self::Get | Self::WebSocket => Method::GET,
        }
    }
}

/// Writes header lines.
pub(super) fn write_headers(out: &mut BytesMut, headers: &[(HeaderName, HeaderValue)]) {
    for (name, value) in headers {
        out.reserve(name.as_str().len() + value.len() + 4);
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The opening holds the credential, and the query may.
        f.debug_struct("Target").field("path", &self.uri.path()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_begins_with_the_request_line_the_host_and_the_channels_headers() {
        let headers = |value| vec![(header::ACCEPT_ENCODING, HeaderValue::from_static(value))];
        for (uri, headers, wanted) in [
            (
                "http://h/a/b?c=d",
                vec![],
                "POST /a/b?c=d HTTP/1.1\r\nhost: h\r\naccept-encoding: identity\r\n",
            ),
            ("https://h:1", headers("x"), "POST / HTTP/1.1\r\nhost: h:1\r\naccept-encoding: x\r\n"),
            ("http://[::1]:8/", headers(""), "POST / HTTP/1.1\r\nhost: [::1]:8\r\naccept-encoding: \r\n"),
        ] {
            let target = Target::new(uri.parse().expect("a uri"), headers);
            assert_eq!(String::from_utf8_lossy(target.opening()), wanted);
        }
        let got = Target::to_get("http://h/a".parse().expect("a uri"), vec![])
            .moved("http://h/b".parse().expect("a uri"));
        assert!(got.opening().starts_with(b"GET /b HTTP/1.1\r\n"));
    }
}
