//! Puts right what awc misreads in an answer's head, before awc sees it. Pure.
//!
//! awc 3.11 takes an interim answer for the final one; takes an answer without framing for one
//! without a body, and keeps its connection, so that the body would be read as the next answer's
//! head; keeps connections of HTTP/1.0; and waits for the end of an HTTP/1.0 connection although
//! the length is 0. Sources: RFC 9110, section 15.2; RFC 9112, sections 6.3 and 9.3.

use bytes::BytesMut;

/// Heads up to this long are looked at, in bytes; awc refuses longer ones itself.
const LONGEST: usize = 128 << 10;
/// More header lines than this are refused by awc.
const MOST_LINES: usize = 96;

/// What the bytes at the start of an answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The head has not come whole.
    Partial,
    /// An interim answer, this many bytes long; another answer follows.
    Interim(usize),
    /// The final answer's head.
    Final(Facts),
    /// No HTTP, or too long. awc finds the words for it.
    Odd,
}

/// What matters of a final head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Where the version's last digit stands.
    minor_at: usize,
    /// The first byte after the status line.
    lines_at: usize,
    old: bool,
    has_length: bool,
    has_coding: bool,
    says_keep: bool,
    has_no_body: bool,
}

/// Whether a connection may carry another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// If the answer allows it.
    Keep,
    /// Not at all: this request was not written to its end.
    Close,
}

/// Whether these bytes begin with a whole head that awc reads rightly: final, of HTTP/1.1, the body framed.
///
/// Nearly every answer is so, and needs no second parser.
pub(super) fn is_usual(bytes: &[u8]) -> bool {
    let is_final = |status: &[u8]| matches!(status.first(), Some(b'2'..=b'5'));
    if !bytes.strip_prefix(b"HTTP/1.1 ").is_some_and(is_final) {
        return false;
    }
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return false };
    let frames = |line: &[u8]| {
        let named = |name: &[u8]| line.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name));
        named(b"content-length:") || named(b"transfer-encoding:")
    };
    bytes[..end].split(|b| *b == b'\n').skip(1).any(frames)
}

/// Reads the start of an answer.
pub(super) fn read(bytes: &[u8]) -> Start {
    let mut lines = [httparse::EMPTY_HEADER; MOST_LINES];
    let mut response = httparse::Response::new(&mut lines);
    let mut parser = httparse::ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    let len = match parser.parse_response(&mut response, bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST => return Start::Partial,
        _ => return Start::Odd,
    };
    let (Some(status), Some(minor)) = (response.code, response.version) else { return Start::Odd };
    if (100..200).contains(&status) && status != 101 {
        return Start::Interim(len);
    }
    let Some(version_at) = memchr::memmem::find(&bytes[..len], b"HTTP/1.") else { return Start::Odd };
    let Some(line_end) = memchr::memchr(b'\n', &bytes[version_at..len]) else { return Start::Odd };
    let has = |name: &str| response.headers.iter().any(|h| h.name.eq_ignore_ascii_case(name));
    Start::Final(Facts {
        minor_at: version_at + b"HTTP/1.".len(),
        lines_at: version_at + line_end + 1,
        old: minor == 0,
        has_length: has("content-length"),
        has_coding: has("transfer-encoding"),
        says_keep: response.headers.iter().any(|h| {
            h.name.eq_ignore_ascii_case("connection")
                && h.value.split(|b| *b == b',').any(|v| v.trim_ascii().eq_ignore_ascii_case(b"keep-alive"))
        }),
        has_no_body: matches!(status, 101 | 204 | 304),
    })
}

/// Rewrites a final head, so that awc frames the body and treats the connection as it should.
pub(super) fn correct(bytes: &mut BytesMut, facts: Facts, afterwards: Afterwards) {
    let Facts { minor_at, lines_at, old, has_length, has_coding, says_keep, has_no_body } = facts;
    if !old && !has_length && !has_coding && !has_no_body {
        // awc reads to the end of the connection where the version is 1.0, and only there.
        bytes[minor_at] = b'0';
    } else if old && !has_coding && (has_length || has_no_body) {
        bytes[minor_at] = b'1';
    }
    if afterwards == Afterwards::Close || (old && !says_keep) {
        let rest = bytes.split_off(lines_at);
        bytes.extend_from_slice(b"connection: close\r\n");
        bytes.extend_from_slice(&rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corrected(head: &str, afterwards: Afterwards) -> String {
        let mut bytes = BytesMut::from(head);
        let Start::Final(facts) = read(&bytes) else { panic!("{head}: {:?}", read(&bytes)) };
        correct(&mut bytes, facts, afterwards);
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[test]
    fn usual_heads_stay_as_they_are() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n",
        ] {
            assert_eq!(corrected(head, Afterwards::Keep), head);
        }
    }

    #[test]
    fn usual_heads_are_known_at_sight_and_no_others() {
        for (head, wanted) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", true),
            ("HTTP/1.1 500 X\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", false),
            ("HTTP/1.1 200 OK\r\na: b\r\n\r\ncontent-length: 5\r\n", false),
            ("HTTP/1.1 103 X\r\ncontent-length: 5\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n", false),
            ("\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", false),
        ] {
            assert_eq!(is_usual(head.as_bytes()), wanted, "{head}");
        }
    }

    #[test]
    fn what_awc_misreads_is_put_right() {
        for (head, wanted) in [
            ("HTTP/1.1 200 OK\r\na: b\r\n\r\nbody", "HTTP/1.0 200 OK\r\na: b\r\n\r\nbody"),
            ("HTTP/1.1 200\na: b\n\nbody", "HTTP/1.0 200\na: b\n\nbody"),
            ("HTTP/1.0 200 OK\r\na: b\r\n\r\n", "HTTP/1.0 200 OK\r\nconnection: close\r\na: b\r\n\r\n"),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            ),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 1\r\nConnection: x, Keep-Alive\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nConnection: x, Keep-Alive\r\n\r\n",
            ),
        ] {
            assert_eq!(corrected(head, Afterwards::Keep), wanted);
        }
        assert_eq!(
            corrected("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n", Afterwards::Close),
            "HTTP/1.1 401 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
    }

    #[test]
    fn interim_answers_are_measured_and_pieces_waited_for() {
        let interim = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
        assert_eq!(read(format!("{interim}HTTP/1.1 2").as_bytes()), Start::Interim(interim.len()));
        for end in 0..interim.len() {
            assert_eq!(read(&interim.as_bytes()[..end]), Start::Partial, "{end}");
        }
        assert_eq!(read(b"SSH-2.0\r\n"), Start::Odd);
        assert_eq!(read(&[b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &vec![b'a'; LONGEST]].concat()), Start::Odd);
        let many = "a: b\r\n".repeat(MOST_LINES + 1);
        assert_eq!(read(format!("HTTP/1.1 200 OK\r\n{many}\r\n").as_bytes()), Start::Odd);
    }
}
