//! A plain client that blocks: one call, one connection, and what came of the answer.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const MOST_HEADERS: usize = 64;

/// What came of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub status: u16,
    /// The call's id.
    pub call: Option<uuid::Uuid>,
    /// Attempts that it took, where the key may know.
    pub attempts: u32,
    pub body: Vec<u8>,
    /// Whether the final byte came.
    pub is_whole: bool,
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    Length(usize),
    Chunks,
}

/// Sends a request. Leaves once so many bytes came, where that is wanted.
pub(super) fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
    leave_after: Option<usize>,
) -> io::Result<Answer> {
    let mut connection = TcpStream::connect_timeout(&address, CONNECT_WITHIN)?;
    connection.set_read_timeout(Some(ANSWER_WITHIN))?;
    connection.set_nodelay(true)?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\
         {headers}\r\n{body}"
    );
    connection.write_all(request.as_bytes())?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 8 << 10]);
    loop {
        let answer = read(&bytes)?;
        let leaves = leave_after.is_some_and(|limit| bytes.len() >= limit);
        if leaves || answer.as_ref().is_some_and(|answer| answer.is_whole) {
            return Ok(answer.unwrap_or_default());
        }
        match connection.read(&mut piece) {
            Ok(0) | Err(_) => return Ok(answer.unwrap_or_default()),
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

/// What is there of an answer; `None` before its head is whole.
fn read(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let framing = match header("content-length") {
        Some(length) => Framing::Length(length.parse().map_err(io::Error::other)?),
        None => Framing::Chunks,
    };
    let attempts = header("x-penstock-attempts").and_then(|n| n.parse().ok()).unwrap_or_default();
    let call = header("x-request-id").and_then(|id| uuid::Uuid::parse_str(id).ok());
    let (body, is_whole) = match framing {
        Framing::Length(expected) => {
            let body = &bytes[length..];
            (body[..body.len().min(expected)].to_vec(), body.len() >= expected)
        }
        Framing::Chunks => chunks(&bytes[length..])?,
    };
    Ok(Some(Answer { status: head.code.unwrap_or_default(), call, attempts, body, is_whole }))
}

/// Joins chunks; says whether the last one came.
fn chunks(mut bytes: &[u8]) -> io::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    loop {
        match httparse::parse_chunk_size(bytes) {
            Ok(httparse::Status::Complete((line, 0))) => return Ok((body, bytes.len() >= line + 2)),
            Ok(httparse::Status::Complete((line, size))) => {
                let Some(chunk) = bytes.get(line..line + size as usize) else {
                    body.extend_from_slice(&bytes[line..]);
                    return Ok((body, false));
                };
                body.extend_from_slice(chunk);
                bytes = bytes.get(line + size as usize + 2..).unwrap_or_default();
            }
            Ok(httparse::Status::Partial) => return Ok((body, false)),
            Err(_) => return Err(io::Error::other("a broken chunk")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &str, status: u16, body: &str, is_whole: bool) {
        let read = read(answer.as_bytes()).expect("an answer").expect("a head");
        assert_eq!((read.status, &read.body[..], read.is_whole), (status, body.as_bytes(), is_whole));
    }

    #[test]
    fn the_final_byte_is_the_last_of_the_length_or_the_end_of_the_last_chunk() {
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na", 200, "a", false);
        check("HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nab", 503, "ab", true);
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        check(&format!("{head}2\r\nab\r\n1\r\n"), 200, "ab", false);
        check(&format!("{head}2\r\nab\r\n0\r\n"), 200, "ab", false);
        check(&format!("{head}2\r\nab\r\n0\r\n\r\n"), 200, "ab", true);
        assert!(read(b"HTTP/1.1 200 OK\r\n").expect("part of a head").is_none());
    }
}
