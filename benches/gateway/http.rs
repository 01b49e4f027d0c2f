//! Reads an HTTP/1.1 answer piece by piece: status, length or chunks, and where it ends.
//!
//! No I/O. Lines are copied only where a read cut them; body bytes go straight to the caller's closure.

use std::fmt;

/// An answer that is being read.
#[derive(Debug)]
pub struct AnswerReader {
    state: State,
    line: Vec<u8>,
    status: u16,
    length: Option<u64>,
    chunked: bool,
    keep_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Status,
    Header,
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    Done,
}

/// Why an answer is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAnswer {
    /// The first line is not an HTTP/1 status line.
    StatusLine,
    /// Neither a length nor chunks say where the body ends.
    Unframed,
    /// A content length that is no number.
    Length,
    /// A chunk whose size is no hexadecimal number, or that does not end where it says.
    Chunk,
    /// Bytes after the end, on a connection where nothing more was asked.
    Excess,
}

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StatusLine => "not an HTTP/1 status line",
            Self::Unframed => "neither a length nor chunks",
            Self::Length => "a content length that is no number",
            Self::Chunk => "a broken chunk",
            Self::Excess => "bytes after the end of the answer",
        })
    }
}

impl std::error::Error for BadAnswer {}

impl Default for AnswerReader {
    fn default() -> Self {
        Self {
            state: State::Status,
            line: Vec::new(),
            status: 0,
            length: None,
            chunked: false,
            keep_alive: true,
        }
    }
}

impl AnswerReader {
    /// Takes the next bytes and hands the body's share of them to `body`.
    pub fn feed(&mut self, mut input: &[u8], body: &mut impl FnMut(&[u8])) -> Result<(), BadAnswer> {
        while !input.is_empty() {
            match self.state {
                State::Done => return Err(BadAnswer::Excess),
                State::Length(left) => {
                    let left = pass(&mut input, left, body);
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                }
                State::Chunk(left) => {
                    let left = pass(&mut input, left, body);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                }
                _ => {
                    let Some(end) = memchr::memchr(b'\n', input) else {
                        self.line.extend_from_slice(input);
                        return Ok(());
                    };
                    let (piece, rest) = (&input[..end], &input[end + 1..]);
                    input = rest;
                    if self.line.is_empty() {
                        self.take_line(piece)?;
                    } else {
                        let mut line = std::mem::take(&mut self.line);
                        line.extend_from_slice(piece);
                        self.take_line(&line)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the answer is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The status code, 0 before it is known.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the connection may carry another call.
    pub fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), BadAnswer> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.state = match self.state {
            State::Status => self.status_line(line)?,
            State::Header if line.is_empty() => self.after_head()?,
            State::Header => self.header(line)?,
            State::ChunkSize => match chunk_size(line)? {
                0 => State::Trailer,
                size => State::Chunk(size),
            },
            State::ChunkEnd if line.is_empty() => State::ChunkSize,
            State::ChunkEnd => return Err(BadAnswer::Chunk),
            State::Trailer if line.is_empty() => State::Done,
            State::Trailer => State::Trailer,
            state @ (State::Length(_) | State::Chunk(_) | State::Done) => state,
        };
        Ok(())
    }

    fn status_line(&mut self, line: &[u8]) -> Result<State, BadAnswer> {
        let text = std::str::from_utf8(line).map_err(|_| BadAnswer::StatusLine)?;
        let mut words = text.split(' ');
        let version = words.next().unwrap_or_default();
        let status = words.next().and_then(|word| word.parse().ok());
        match (version, status) {
            ("HTTP/1.1" | "HTTP/1.0", Some(status)) => {
                self.status = status;
                self.keep_alive = version == "HTTP/1.1";
                Ok(State::Header)
            }
            _ => Err(BadAnswer::StatusLine),
        }
    }

    fn header(&mut self, line: &[u8]) -> Result<State, BadAnswer> {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default().trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            self.length = Some(number.ok_or(BadAnswer::Length)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case(b"connection") && value.eq_ignore_ascii_case(b"close") {
            self.keep_alive = false;
        }
        Ok(State::Header)
    }

    fn after_head(&mut self) -> Result<State, BadAnswer> {
        match (self.status, self.chunked, self.length) {
            (100..=199, ..) => {
                *self = Self::default();
                Ok(State::Status)
            }
            (204 | 304, ..) => Ok(State::Done),
            (_, true, _) => Ok(State::ChunkSize),
            (_, false, Some(0)) => Ok(State::Done),
            (_, false, Some(length)) => Ok(State::Length(length)),
            (_, false, None) => Err(BadAnswer::Unframed),
        }
    }
}

fn pass(input: &mut &[u8], left: u64, body: &mut impl FnMut(&[u8])) -> u64 {
    let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    let (piece, rest) = input.split_at(take);
    body(piece);
    *input = rest;
    left - take as u64
}

fn chunk_size(line: &[u8]) -> Result<u64, BadAnswer> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let text = std::str::from_utf8(digits).map_err(|_| BadAnswer::Chunk)?;
    u64::from_str_radix(text, 16).map_err(|_| BadAnswer::Chunk)
}

#[cfg(test)]
mod tests;
