//! A connection to a target and what one call on it gave.

use super::http::{AnswerReader, BadAnswer};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Why a call failed.
#[derive(Debug)]
pub enum CallError {
    /// The connection did.
    Io(io::Error),
    /// What came is no answer.
    Bad(BadAnswer),
    /// It ended before the answer did.
    Cut,
    /// Another status than 200, and the start of the body.
    Status(u16, String),
    /// An answer of 200 that is not what was asked for.
    Content(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "connection: {error}"),
            Self::Bad(error) => write!(f, "{error}"),
            Self::Cut => f.write_str("connection closed before the end of the answer"),
            Self::Status(status, body) => write!(f, "status {status}: {body}"),
            Self::Content(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for CallError {}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<BadAnswer> for CallError {
    fn from(error: BadAnswer) -> Self {
        Self::Bad(error)
    }
}

/// Bytes of a body that are kept to tell why a call failed.
const KEPT: usize = 300;

/// A connection that carries one call after the other.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: Vec<u8>,
}

impl Connection {
    /// Connects; each read takes at most `buffer` bytes.
    pub async fn open(address: SocketAddr, buffer: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; buffer], start: Vec::new() })
    }

    /// Sends a request and reads its answer to the end. `body` gets the pieces of the body, `arrived` is called
    /// after each read, both with `state`. Tells whether the connection may be used again.
    pub async fn call<S>(
        &mut self,
        request: &[u8],
        state: &mut S,
        body: impl Fn(&mut S, &[u8]),
        arrived: impl Fn(&mut S),
    ) -> Result<bool, CallError> {
        let mut reader = AnswerReader::default();
        self.start.clear();
        self.stream.write_all(request).await?;
        while !reader.is_done() {
            let length = self.stream.read(&mut self.buffer).await?;
            if length == 0 {
                return Err(CallError::Cut);
            }
            reader.feed(&self.buffer[..length], &mut |bytes| {
                let room = KEPT.saturating_sub(self.start.len());
                self.start.extend_from_slice(&bytes[..bytes.len().min(room)]);
                body(state, bytes);
            })?;
            arrived(state);
        }
        match reader.status() {
            200 => Ok(reader.keeps_alive()),
            status => Err(CallError::Status(status, String::from_utf8_lossy(&self.start).into_owned())),
        }
    }
}

/// One blocking GET.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, Vec<u8>), CallError> {
    exchange(address, format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").as_bytes())
}

/// One blocking call on a connection of its own.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Result<(u16, Vec<u8>), CallError> {
    let patience = Duration::from_secs(30);
    let mut stream = std::net::TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(request)?;
    let (mut reader, mut body, mut buffer) = (AnswerReader::default(), Vec::new(), [0; 16 * 1024]);
    while !reader.is_done() {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Err(CallError::Cut);
        }
        reader.feed(&buffer[..length], &mut |bytes| body.extend_from_slice(bytes))?;
    }
    Ok((reader.status(), body))
}
