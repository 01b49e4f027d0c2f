//! Reads an answer's head and decides how its body is framed and whether its connection may go on. Pure.
//!
//! Sources: RFC 9110, sections 6.4.1, 8.6 and 15.2; RFC 9112, sections 6.1, 6.3 and 9.3. What the RFC lets a
//! client guess is refused here: a body that is framed wrongly is another answer, or someone else's.

use std::mem::MaybeUninit;

use crate::transport::limits;

/// Longest head, in bytes.
const LONGEST: usize = 128 << 10;
/// Most header lines.
const MOST_LINES: usize = 96;

/// What the bytes at the start of an answer are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The head has not come whole.
    Partial,
    /// An interim answer, this many bytes long; another answer follows.
    Interim(usize),
    /// The final answer's head, this many bytes long.
    Final(usize, Head),
    /// Nothing that can be understood in one way only, or too long.
    Bad(String),
}

/// What matters of a final head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) framing: Framing,
    pub(super) afterwards: Afterwards,
    pub(super) content_type: String,
    /// The `content-encoding`; empty where there is none.
    pub(super) encoding: String,
    pub(super) retry_after_ms: Option<String>,
    pub(super) retry_after: Option<String>,
    /// Headers about limits, a line each.
    pub(super) limits: String,
}

/// What tells a body's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// The connection's end.
    UntilClose,
}

/// What becomes of the connection after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    Keep,
    Close,
}

/// Reads the start of an answer.
pub(super) fn read(bytes: &[u8]) -> Start {
    let mut lines = [const { MaybeUninit::uninit() }; MOST_LINES];
    let mut response = httparse::Response::new(&mut []);
    let mut parser = httparse::ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    let len = match parser.parse_response_with_uninit_headers(&mut response, bytes, &mut lines) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST => return Start::Partial,
        Ok(httparse::Status::Partial) => return Start::Bad("its head is too long".to_owned()),
        Err(error) => return Start::Bad(error.to_string()),
    };
    match (response.code, response.version) {
        (Some(101), _) => Start::Bad("it changes the protocol unasked".to_owned()),
        (Some(100..200), _) => Start::Interim(len),
        (Some(status @ 200..), Some(minor)) => {
            let collected = Lines::collect(response.headers);
            match collected.and_then(|lines| lines.into_head(status, minor)) {
                Ok(head) => Start::Final(len, head),
                Err(problem) => Start::Bad(problem.to_owned()),
            }
        }
        _ => Start::Bad("its status is none".to_owned()),
    }
}

/// The header lines that matter.
#[derive(Default)]
struct Lines<'h> {
    length: Option<u64>,
    coding: Option<&'h [u8]>,
    says_close: bool,
    says_keep: bool,
    content_type: Option<&'h [u8]>,
    encoding: Option<&'h [u8]>,
    retry_after_ms: Option<&'h [u8]>,
    retry_after: Option<&'h [u8]>,
    limits: String,
}

impl<'h> Lines<'h> {
    fn collect(headers: &[httparse::Header<'h>]) -> Result<Self, &'static str> {
        let mut lines = Self::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            match header.name.len() {
                10 if is("connection") => {
                    for word in header.value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                        lines.says_close |= word.eq_ignore_ascii_case(b"close");
                        lines.says_keep |= word.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                11 if is("retry-after") => lines.retry_after = lines.retry_after.or(Some(header.value)),
                12 if is("content-type") => lines.content_type = lines.content_type.or(Some(header.value)),
                14 if is("content-length") => lines.add_length(header.value)?,
                14 if is("retry-after-ms") => {
                    lines.retry_after_ms = lines.retry_after_ms.or(Some(header.value));
                }
                16 if is("content-encoding") => lines.encoding = lines.encoding.or(Some(header.value)),
                17 if is("transfer-encoding") => {
                    let known = lines.coding.replace(header.value);
                    known.map_or(Ok(()), |_| Err("it has several transfer codings"))?;
                }
                _ if limits::is_about(header.name) => {
                    limits::add(&mut lines.limits, header.name, header.value);
                }
                _ => {}
            }
        }
        Ok(lines)
    }

    /// The same length twice is one length (RFC 9110, section 8.6).
    fn add_length(&mut self, value: &[u8]) -> Result<(), &'static str> {
        for digits in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err("its length is no number");
            }
            let parsed = std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok());
            let length = parsed.ok_or("its length is too large")?;
            if self.length.replace(length).is_some_and(|known| known != length) {
                return Err("it has several lengths");
            }
        }
        Ok(())
    }

    fn into_head(self, status: u16, minor: u8) -> Result<Head, &'static str> {
        let framing = match (self.coding, self.length) {
            _ if matches!(status, 204 | 304) => Framing::Length(0),
            (Some(_), Some(_)) => return Err("it has both a length and a transfer coding"),
            (Some(_), None) if minor == 0 => {
                return Err("it has a transfer coding, which HTTP/1.0 does not know");
            }
            (Some(coding), None) if coding.trim_ascii().eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
            (Some(_), None) => return Err("it has a transfer coding that nobody asked for"),
            (None, Some(length)) => Framing::Length(length),
            (None, None) => Framing::UntilClose,
        };
        let keeps = !self.says_close && (minor > 0 || self.says_keep) && framing != Framing::UntilClose;
        let text = |value: Option<&[u8]>| std::str::from_utf8(value?.trim_ascii()).ok().map(str::to_owned);
        Ok(Head {
            status,
            framing,
            afterwards: if keeps { Afterwards::Keep } else { Afterwards::Close },
            content_type: text(self.content_type).unwrap_or_default(),
            encoding: text(self.encoding).unwrap_or_default(),
            retry_after_ms: text(self.retry_after_ms),
            retry_after: text(self.retry_after),
            limits: self.limits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<(u16, Framing, Afterwards), String> {
        match read(text.as_bytes()) {
            Start::Final(len, head) => {
                assert_eq!(&text[len - 2..len], "\r\n", "{text}");
                Ok((head.status, head.framing, head.afterwards))
            }
            Start::Bad(problem) => Err(problem),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn framing_and_the_connections_future_are_read_from_every_legal_head() {
        use {Afterwards::*, Framing::*};
        for (lines, wanted) in [
            ("1.1 200 OK\r\ncontent-length: 5", (200, Length(5), Keep)),
            ("1.1 200 OK\r\ncontent-length: 5, 5\r\nContent-Length: 05", (200, Length(5), Keep)),
            ("1.1 200 OK\r\ncontent-length: 5\r\nconnection: a, Close", (200, Length(5), Close)),
            ("1.1 200\r\nTransfer-Encoding : Chunked ", (200, Chunked, Keep)),
            ("1.1 200 OK\r\nx: y", (200, UntilClose, Close)),
            ("1.1 200 OK\r\nconnection: keep-alive", (200, UntilClose, Close)),
            ("1.0 200 OK\r\ncontent-length: 5", (200, Length(5), Close)),
            ("1.0 200 OK\r\ncontent-length: 5\r\nconnection: Keep-Alive", (200, Length(5), Keep)),
            ("1.0 200 OK\r\nx: y", (200, UntilClose, Close)),
            ("1.1 204 No\r\nx: y", (204, Length(0), Keep)),
            ("1.1 304 No\r\ncontent-length: 1000\r\ntransfer-encoding: chunked", (304, Length(0), Keep)),
            ("1.1 599 Odd\r\ncontent-length: 18446744073709551615", (599, Length(u64::MAX), Keep)),
        ] {
            assert_eq!(head(&format!("HTTP/{lines}\r\n\r\nrest\r\n")), Ok(wanted), "{lines}");
        }
    }

    #[test]
    fn what_can_be_understood_in_two_ways_is_refused() {
        for lines in [
            "1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6",
            "1.1 200 OK\r\ncontent-length: 5, 6",
            "1.1 200 OK\r\ncontent-length: +5",
            "1.1 200 OK\r\ncontent-length: -1",
            "1.1 200 OK\r\ncontent-length: 0x5",
            "1.1 200 OK\r\ncontent-length: ",
            "1.1 200 OK\r\ncontent-length: 5,",
            "1.1 200 OK\r\ncontent-length: 18446744073709551616",
            "1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
            "1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "1.1 200 OK\r\ntransfer-encoding: gzip, chunked",
            "1.1 200 OK\r\ntransfer-encoding: identity",
            "1.0 200 OK\r\ntransfer-encoding: chunked",
            "1.1 101 Switching\r\nupgrade: x",
            "1.1 099 Odd\r\nx: y",
            "2.0 200 OK\r\nx: y",
            "1.1 200 OK\r\n: y",
            "1.1 200 OK\r\nx: y\r\n folded: z",
        ] {
            let read = head(&format!("HTTP/{lines}\r\n\r\n"));
            assert!(read.is_err(), "{lines}: {read:?}");
        }
        assert!(head("SSH-2.0\r\n").is_err());
    }

    #[test]
    fn a_head_is_waited_for_byte_by_byte_and_interim_answers_are_measured() {
        let interim = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
        let last = "HTTP/1.1 429 Too Many\r\ncontent-type: text/html; charset=x \r\nretry-after: 5\r\nretry-after-ms: 4500\r\nContent-Encoding: gzip\r\nX-RateLimit-Limit-Requests: 60 \r\ncontent-length: 0\r\n\r\n";
        for text in [interim, last] {
            for end in 0..text.len() {
                assert_eq!(read(&text.as_bytes()[..end]), Start::Partial, "{end}");
            }
        }
        assert_eq!(read(format!("{interim}{last}").as_bytes()), Start::Interim(interim.len()));
        let wanted = Head {
            status: 429,
            framing: Framing::Length(0),
            afterwards: Afterwards::Keep,
            content_type: "text/html; charset=x".to_owned(),
            encoding: "gzip".to_owned(),
            retry_after_ms: Some("4500".to_owned()),
            retry_after: Some("5".to_owned()),
            limits: "x-ratelimit-limit-requests:60\n".to_owned(),
        };
        assert_eq!(read(last.as_bytes()), Start::Final(last.len(), wanted));
    }

    #[test]
    fn heads_are_bounded() {
        let long = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'a'; LONGEST]].concat();
        assert!(matches!(read(&long), Start::Bad(_)));
        let many = "a: b\r\n".repeat(MOST_LINES + 1);
        assert!(matches!(read(format!("HTTP/1.1 200 OK\r\n{many}\r\n").as_bytes()), Start::Bad(_)));
    }
}
