//! A plain HTTP/1.1 client: one connection a request unless told otherwise, raw bytes where wanted.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// A client with a key.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    headers: String,
}

/// An answer, read to the connection's or the framing's end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
    /// Whether the framing came to its proper end.
    pub complete: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// `error.code` of an error in OpenAI's shape, whose message must end with the call's id.
    pub fn error_code(&self) -> String {
        let error = &self.json()["error"];
        let message = error["message"].as_str().unwrap_or_default();
        let id = self.header("x-request-id").expect("every answer has the call's id");
        assert!(message.ends_with(&format!(" (request id: {id})")), "{message}");
        assert!(error["type"].is_string() && error["fault"].is_string(), "{error}");
        error["code"].as_str().expect("a code").to_owned()
    }
}

impl Answer {
    /// The error inside the last event of a stream.
    pub fn error_event(&self) -> serde_json::Value {
        let last = self.body.trim_end().rsplit("\n\n").next().unwrap_or_default();
        let data = last.lines().find_map(|l| l.strip_prefix("data: ")).unwrap_or_default();
        let event: serde_json::Value = serde_json::from_str(data).unwrap_or_default();
        assert!(event["error"]["message"].is_string(), "no error event: {}", self.body);
        event["error"].clone()
    }
}

impl Client {
    pub fn new(address: SocketAddr, key: &str) -> Self {
        Self::without_key(address).with_header(&format!("authorization: Bearer {key}"))
    }

    /// A client that shows no key.
    pub fn without_key(address: SocketAddr) -> Self {
        Self { address, headers: String::new() }
    }

    /// A client of the same gateway with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self::new(self.address, key)
    }

    /// The same client with one more header line.
    pub fn with_header(&self, line: &str) -> Self {
        Self { headers: format!("{}{line}\r\n", self.headers), ..self.clone() }
    }

    /// A chat completion.
    pub async fn chat(&self, body: &str) -> Answer {
        self.post("/v1/chat/completions", body.as_bytes()).await
    }

    pub async fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.send(&self.request("POST", path, body)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(&self.request("GET", path, b"")).await
    }

    /// The bytes of a request that closes its connection afterwards.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{}content-length: {}\r\n\r\n",
            self.headers,
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    /// Sends raw bytes and reads one answer.
    pub async fn send(&self, bytes: &[u8]) -> Answer {
        let mut tcp = self.connect().await;
        // A refusal may come, and the connection end, before everything is written.
        let _ = tcp.write_all(bytes).await;
        read_answer(&mut tcp).await
    }

    pub async fn connect(&self) -> TcpStream {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp
    }

    /// Sends raw bytes and hands the open connection back.
    pub async fn open(&self, bytes: &[u8]) -> TcpStream {
        let mut tcp = self.connect().await;
        tcp.write_all(bytes).await.unwrap();
        tcp
    }
}

/// Reads one answer, with a generous limit in time.
pub async fn read_answer(tcp: &mut TcpStream) -> Answer {
    timeout(Duration::from_secs(30), read(tcp)).await.expect("an answer within half a minute")
}

async fn read(tcp: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        if more(tcp, &mut bytes).await == 0 {
            let head = String::from_utf8_lossy(&bytes).into_owned();
            return Answer { status: 0, head, body: String::new(), complete: false };
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut rest = bytes.split_off(head_end);
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let mut answer = Answer { status, head, body: String::new(), complete: false };
    let body;
    if let Some(len) = answer.header("content-length").map(|l| l.parse::<usize>().unwrap()) {
        while rest.len() < len && more(tcp, &mut rest).await > 0 {}
        answer.complete = rest.len() >= len;
        rest.truncate(len);
        body = rest;
    } else if answer.header("transfer-encoding").is_some() {
        let mut decoded = Vec::new();
        loop {
            answer.complete = dechunk(&mut rest, &mut decoded);
            if answer.complete || more(tcp, &mut rest).await == 0 {
                break;
            }
        }
        body = decoded;
    } else {
        while more(tcp, &mut rest).await > 0 {}
        answer.complete = true;
        body = rest;
    }
    answer.body = String::from_utf8_lossy(&body).into_owned();
    answer
}

async fn more(tcp: &mut TcpStream, into: &mut Vec<u8>) -> usize {
    tcp.read_buf(into).await.unwrap_or(0)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// Moves what `bytes` hold of chunks to `out`, whole chunks only; true where the last one was there.
fn dechunk(bytes: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
    let mut at = 0;
    let ended = loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else { break false };
        let text = std::str::from_utf8(&bytes[at..at + line]).unwrap();
        let size = usize::from_str_radix(text, 16).unwrap_or_else(|e| panic!("{e}: {text:?}"));
        let start = at + line + 2;
        if bytes.len() < start + size + 2 {
            break false;
        }
        at = start + size + 2;
        if size == 0 {
            break true;
        }
        out.extend_from_slice(&bytes[start..start + size]);
    };
    bytes.drain(..at);
    ended
}
