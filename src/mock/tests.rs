//! Over real sockets: what is on the wire, what a cut leaves of it, and what the account says then.

use std::{net::SocketAddr, time::Duration};

use actix_web::dev::ServerHandle;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Cut, MockLimits, MockSettings, bind, serve_within};

mod drills;
mod limits;
mod shapes;

const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"one two"}]}"#;
const CHAT_STREAM: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"one two"}]}"#;
const MESSAGES: &str = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"one two"}]}"#;
const MESSAGES_STREAM: &str =
    r#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"one two"}]}"#;
const EMBEDDINGS: &str = r#"{"model":"m","input":["a b","c"],"dimensions":4}"#;

/// A mock on a loopback port, stopped when dropped.
struct Mock {
    addr: SocketAddr,
    handle: ServerHandle,
}

impl Drop for Mock {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

/// What a raw answer holds.
struct Wire {
    head: String,
    /// The body, without chunks where there were any.
    body: String,
    /// Whether the body came to its proper end.
    whole: bool,
}

impl Mock {
    fn start() -> Self {
        Self::with(MockSettings::default())
    }

    fn with(settings: MockSettings) -> Self {
        Self::within(settings, MockLimits::default())
    }

    fn within(settings: MockSettings, limits: MockLimits) -> Self {
        let listener = bind(([127, 0, 0, 1], 0).into()).expect("a loopback port");
        let addr = listener.local_addr().expect("an address");
        let server = serve_within(listener, settings, limits, 1).expect("a server");
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { addr, handle }
    }

    /// Sends a request and leaves its connection open.
    async fn open(&self, path: &str, headers: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).await.expect("a connection");
        let auth = if path.starts_with("/v1/messages") {
            "x-api-key: k\r\nanthropic-version: 2023-06-01\r\n"
        } else {
            "authorization: Bearer k\r\n"
        };
        let auth = if headers.starts_with("bare") { "" } else { auth };
        let headers = headers.trim_start_matches("bare");
        let method = if body.is_empty() && path != "/_mock/reset" { "GET" } else { "POST" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: mock\r\ncontent-type: application/json\r\n{auth}{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("a request");
        stream
    }

    /// Sends a request and reads until the mock closes, which it is asked to.
    async fn call(&self, path: &str, headers: &str, body: &str) -> Wire {
        let headers = format!("{headers}connection: close\r\n");
        read(self.open(path, &headers, body).await).await
    }

    async fn json(&self, path: &str, headers: &str, body: &str) -> Value {
        let wire = self.call(path, headers, body).await;
        serde_json::from_str(&wire.body).unwrap_or_else(|e| panic!("{e}: {}", wire.body))
    }

    async fn totals(&self) -> Value {
        self.json("/_mock/calls", "", "").await
    }

    /// Asks for the totals until one of them has the value.
    async fn until(&self, name: &str, value: u64) -> Value {
        let all = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let totals = self.totals().await;
                if totals[name] == value {
                    return totals;
                }
            }
        });
        all.await.unwrap_or_else(|_| panic!("{name} never came to {value}"))
    }
}

/// Reads until the connection closes.
async fn read(mut stream: TcpStream) -> Wire {
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    end.expect("the mock closes the connection").expect("no error but the end");
    parse(&bytes)
}

/// Reads until the bytes so far contain `text`.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains(text) {
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_buf(&mut bytes)).await;
        assert_ne!(read.expect("more bytes in time").expect("more bytes"), 0, "closed before {text}");
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parse(bytes: &[u8]) -> Wire {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, rest)) = text.split_once("\r\n\r\n") else {
        return Wire { head: text.into_owned(), body: String::new(), whole: false };
    };
    let (body, whole) = if head.contains("transfer-encoding: chunked") {
        dechunk(rest)
    } else {
        let (_, length) = head.split_once("content-length: ").expect("a length");
        let length = length.lines().next().and_then(|n| n.parse::<usize>().ok()).expect("a number");
        let got = bytes.len() - head.len() - 4;
        (rest.to_owned(), got == length)
    };
    Wire { head: head.to_owned(), body, whole }
}

/// The content of the chunks, and whether the last one came.
fn dechunk(mut rest: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        if size == 0 {
            return (body, after == "\r\n");
        }
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    (body, false)
}

/// The data of each frame that came whole.
fn frames(body: &str) -> Vec<&str> {
    let whole = body.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
    whole.split("\n\n").filter_map(|frame| frame.split_once("data: ")).map(|(_, data)| data).collect()
}

fn json_frames(body: &str) -> Vec<Value> {
    let json = frames(body).into_iter().filter(|data| *data != "[DONE]");
    json.map(|data| serde_json::from_str(data).unwrap_or_else(|e| panic!("{e}: {data}"))).collect()
}

fn status(wire: &Wire) -> u16 {
    wire.head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line")
}
