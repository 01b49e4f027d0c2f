//! Reads HTTP/1 answers out of a buffer, part by part. No I/O; bodies are slices of what came.

use bytes::{Buf as _, Bytes, BytesMut};

/// Longest head and longest line between chunks, in bytes.
const LONGEST_HEAD: usize = 64 << 10;
const LONGEST_LINE: usize = 4 << 10;
const MOST_HEADERS: usize = 128;

/// The next thing in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The head; interim answers are passed over.
    Head {
        /// The status code.
        status: u16,
    },
    /// Bytes of the body.
    Body(Bytes),
    /// The answer is complete.
    End,
}

/// Why an answer is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// A head that is no HTTP/1.
    #[error("not an HTTP/1 answer")]
    Head,
    /// A length that is no number.
    #[error("a content length that is no number")]
    Length,
    /// Chunks that do not fit together.
    #[error("a broken chunk")]
    Chunk,
    /// Bytes after the end, where nothing more was asked.
    #[error("bytes after the end of the answer")]
    Excess,
    /// The connection closed before the end.
    #[error("cut: the connection closed before the end of the answer")]
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    ToClose,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    Done,
}

/// An answer that is being read.
#[derive(Debug)]
pub struct AnswerParser {
    state: State,
    keeps_alive: bool,
}

impl Default for AnswerParser {
    fn default() -> Self {
        Self { state: State::Head, keeps_alive: true }
    }
}

impl AnswerParser {
    /// Takes the next part out of the buffer; `None` where more bytes are needed.
    ///
    /// # Errors
    /// [`BadAnswer`] where the bytes are no answer.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Part>, BadAnswer> {
        loop {
            match self.state {
                State::Head => match self.head(buffer)? {
                    None => return Ok(None),
                    Some(100..=199) => {}
                    Some(status) => return Ok(Some(Part::Head { status })),
                },
                State::Done if buffer.is_empty() => return Ok(Some(Part::End)),
                State::Done => return Err(BadAnswer::Excess),
                _ if buffer.is_empty() => return Ok(None),
                State::ToClose => return Ok(Some(Part::Body(buffer.split().freeze()))),
                State::Length(left) => {
                    let (body, left) = take(buffer, left);
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Some(Part::Body(body)));
                }
                State::Chunk(left) => {
                    let (body, left) = take(buffer, left);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Some(Part::Body(body)));
                }
                State::ChunkSize | State::ChunkEnd | State::Trailer => {
                    let Some(end) = memchr::memchr(b'\n', buffer) else {
                        return if buffer.len() > LONGEST_LINE { Err(BadAnswer::Chunk) } else { Ok(None) };
                    };
                    let line = buffer.split_to(end + 1);
                    self.line(line.trim_ascii_end())?;
                }
            }
        }
    }

    /// Says that the connection closed.
    ///
    /// # Errors
    /// [`BadAnswer::Cut`] where the answer had not ended.
    pub fn closed(&mut self) -> Result<(), BadAnswer> {
        self.keeps_alive = false;
        match self.state {
            State::ToClose | State::Done => Ok(()),
            _ => Err(BadAnswer::Cut),
        }
    }

    /// Whether the connection may carry another call after this answer.
    pub fn keeps_alive(&self) -> bool {
        self.keeps_alive && self.state == State::Done
    }

    fn head(&mut self, buffer: &mut BytesMut) -> Result<Option<u16>, BadAnswer> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let length = match head.parse(buffer) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if buffer.len() <= LONGEST_HEAD => return Ok(None),
            _ => return Err(BadAnswer::Head),
        };
        let status = head.code.ok_or(BadAnswer::Head)?;
        let (mut size, mut chunked, mut keeps_alive) = (None, false, head.version == Some(1));
        for header in head.headers.iter() {
            let value = header.value.trim_ascii();
            if header.name.eq_ignore_ascii_case("content-length") {
                let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                size = Some(number.ok_or(BadAnswer::Length)?);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.eq_ignore_ascii_case(b"chunked");
            } else if header.name.eq_ignore_ascii_case("connection") {
                keeps_alive = match value {
                    _ if value.eq_ignore_ascii_case(b"close") => false,
                    _ if value.eq_ignore_ascii_case(b"keep-alive") => true,
                    _ => keeps_alive,
                };
            }
        }
        buffer.advance(length);
        if !(100..=199).contains(&status) {
            self.keeps_alive = keeps_alive;
            self.state = match (status, chunked, size) {
                (204 | 304, ..) => State::Done,
                (_, true, _) => State::ChunkSize,
                (_, false, Some(0)) => State::Done,
                (_, false, Some(size)) => State::Length(size),
                (_, false, None) => State::ToClose,
            };
        }
        Ok(Some(status))
    }

    fn line(&mut self, line: &[u8]) -> Result<(), BadAnswer> {
        self.state = match self.state {
            State::ChunkSize => match chunk_size(line)? {
                0 => State::Trailer,
                size => State::Chunk(size),
            },
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::ChunkEnd => return Err(BadAnswer::Chunk),
            State::Trailer if line.is_empty() => State::Done,
            state => state,
        };
        Ok(())
    }
}

fn take(buffer: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
    (buffer.split_to(length).freeze(), left - length as u64)
}

fn chunk_size(line: &[u8]) -> Result<u64, BadAnswer> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let text = std::str::from_utf8(digits).map_err(|_| BadAnswer::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| BadAnswer::Chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Read {
        status: u16,
        body: String,
        ended: bool,
        reusable: bool,
    }

    fn read(pieces: &[&[u8]]) -> Result<Read, BadAnswer> {
        let (mut parser, mut buffer) = (AnswerParser::default(), BytesMut::new());
        let mut read = Read { status: 0, body: String::new(), ended: false, reusable: false };
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Some(part) = parser.next(&mut buffer)? {
                match part {
                    Part::Head { status } => read.status = status,
                    Part::Body(bytes) => read.body.push_str(&String::from_utf8_lossy(&bytes)),
                    Part::End => {
                        read.ended = true;
                        break;
                    }
                }
            }
        }
        read.reusable = parser.keeps_alive();
        if !read.ended {
            parser.closed()?;
        }
        Ok(read)
    }

    /// Reads `answer` whole and cut in two at every byte.
    fn check(answer: &str, expected: Result<(u16, &str, bool), BadAnswer>) {
        for cut in 0..=answer.len() {
            let (left, right) = answer.as_bytes().split_at(cut);
            let got = read(&[left, right]).map(|read| (read.status, read.body, read.reusable));
            let expected = expected.map(|(status, body, reusable)| (status, body.to_owned(), reusable));
            assert_eq!(got, expected, "cut at {cut}: {answer}");
        }
    }

    #[test]
    fn the_end_is_where_the_framing_says() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Ok((200, "hello", true)));
        check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Ok((200, "", true)));
        check("HTTP/1.1 204 No Content\r\n\r\n", Ok((204, "", true)));
        check("HTTP/1.1 200 OK\r\n\r\nto the close", Ok((200, "to the close", false)));
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(
            &format!("{head}3\r\nabc\r\nA;x=1\r\n0123456789\r\n0\r\nt: 1\r\n\r\n"),
            Ok((200, "abc0123456789", true)),
        );
    }

    #[test]
    fn a_closing_answer_ends_the_connection() {
        check("HTTP/1.1 503 No\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx", Ok((503, "x", false)));
        check("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", Ok((200, "x", false)));
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            Ok((200, "ok", true)),
        );
    }

    #[test]
    fn a_cut_answer_is_known_as_cut() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for answer in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello"] {
            check(answer, Err(BadAnswer::Cut));
        }
        for tail in ["", "3", "3\r\nab", "3\r\nabc\r\n", "3\r\nabc\r\n0\r\n"] {
            check(&format!("{head}{tail}"), Err(BadAnswer::Cut));
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        check("garbage\r\n\r\n", Err(BadAnswer::Head));
        check("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", Err(BadAnswer::Length));
        check("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab", Err(BadAnswer::Excess));
        check(&format!("{head}zz\r\n"), Err(BadAnswer::Chunk));
        check(&format!("{head}1\r\nab\r\n"), Err(BadAnswer::Chunk));
    }
}
