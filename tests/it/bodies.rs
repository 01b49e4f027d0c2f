//! Request bodies that are broken, odd, compressed or too large.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{Client, Process, TestApp, Upstream, chat, eventually, read_answer};

const SMALL: &str = "[server]\nmax_body = \"64KiB\"\n";

async fn echo() -> Upstream {
    Upstream::start(|exchange| exchange.answer_well("hi")).await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A chat whose body is exactly this long.
fn sized(len: usize) -> Vec<u8> {
    let body = chat("m");
    format!("{body}{}", " ".repeat(len - body.len())).into_bytes()
}

fn head(client: &Client, headers: &str) -> String {
    let whole = String::from_utf8(client.request("POST", "/v1/chat/completions", b"")).unwrap();
    whole.replace("content-length: 0\r\n", headers)
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_the_reason() {
    let upstream = echo().await;
    let app = TestApp::start(&upstream.channel("a", ""));
    let deep = |n: usize| format!(r#"{{"model":"m","messages":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    let long = format!(r#"{{"model":"{}","messages":[]}}"#, "m".repeat(5000));
    for (body, status, code) in [
        (&b""[..], 400, "invalid_json"),
        (b"  \n", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"{\"model\":\"m\",\"messages\":[]", 400, "invalid_json"),
        (b"{\"model\":\"m\",\"messages\":[],}", 400, "invalid_json"),
        (b"{\"model\":\"m\",\"messages\":[]}{}", 400, "invalid_json"),
        (b"{'model':'m'}", 400, "invalid_json"),
        (b"{\"model\":\"m\",\"messages\":[NaN]}", 400, "invalid_json"),
        (b"{\"model\":\"m\",\"messages\":[\"\xff\"]}", 400, "invalid_json"),
        (b"{\"model\":\"m\",\"messages\":[\"\xed\xa0\x80\"]}", 400, "invalid_json"),
        (b"{\"model\":\"m\",\"messages\":[\"\x00\"]}", 400, "invalid_json"),
        (b"\xef\xbb\xbf{\"model\":\"m\",\"messages\":[]}", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b"\"m\"", 400, "invalid_json"),
        (b"1", 400, "invalid_json"),
        (b"null", 400, "invalid_json"),
        (b"model=m&messages=", 400, "invalid_json"),
        (b"{}", 400, "missing_required_parameter"),
        (b"{\"model\":\"m\"}", 400, "missing_required_parameter"),
        (b"{\"model\":null,\"messages\":[]}", 400, "invalid_type"),
        (b"{\"model\":[\"m\"],\"messages\":[]}", 400, "invalid_type"),
        (b"{\"model\":\"\",\"messages\":[]}", 400, "invalid_value"),
        (b"{\"model\":\"m\",\"messages\":{}}", 400, "invalid_type"),
        (b"{\"model\":\"m\",\"messages\":[],\"stream\":1}", 400, "invalid_type"),
        (b"{\"model\":\"m\",\"messages\":[],\"stream_options\":[]}", 400, "invalid_type"),
        (b"{\"model\":\"m\",\"messages\":[],\"model\":\"m\"}", 400, "duplicate_parameter"),
        (b"{\"model\":\"m\",\"messages\":[],\"mod\\u0065l\":\"x\"}", 400, "duplicate_parameter"),
        (b"{\"model\":\"\\ud800\",\"messages\":[]}", 400, "invalid_value"),
        (deep(1000).as_bytes(), 400, "invalid_json"),
        (long.as_bytes(), 400, "invalid_value"),
        (b"{\"model\":\"\\u0000\",\"messages\":[]}", 404, "model_not_found"),
        (b"{\"model\":\"M\",\"messages\":[]}", 404, "model_not_found"),
    ] {
        let answer = app.client().post("/v1/chat/completions", body).await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!(answer.status, status, "{shown} {}", answer.body);
        assert_eq!(answer.error_code(), code, "{shown} {}", answer.body);
        assert_eq!(answer.header("x-should-retry"), Some("false"), "{shown}");
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(app.client().chat(&deep(100)).await.status, 200);
}

#[tokio::test]
async fn bodies_pass_up_to_the_cap_and_not_beyond() {
    let upstream = echo().await;
    let app = TestApp::start(&format!("{SMALL}{}", upstream.channel("a", "")));
    let at_cap = sized(64 << 10);
    let over = sized((64 << 10) + 1);
    let chunked = |body: &[u8]| {
        let mut bytes = head(&app.client(), "transfer-encoding: chunked\r\n").into_bytes();
        for piece in body.chunks(10_000) {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    };
    let gzipped = app.client().with_header("content-encoding: gzip");
    for (body, status) in [(&at_cap, 200), (&over, 413)] {
        for answer in [
            app.client().post("/v1/chat/completions", body).await,
            app.client().send(&chunked(body)).await,
            gzipped.post("/v1/chat/completions", &gzip(body)).await,
        ] {
            assert_eq!(answer.status, status, "{}", answer.body);
            if status == 413 {
                assert_eq!(answer.error_code(), "request_too_large");
            }
        }
    }
    // What is announced is refused before it comes.
    for announced in [65537, u64::MAX] {
        let mut tcp = app
            .client()
            .open(head(&app.client(), &format!("content-length: {announced}\r\n")).as_bytes())
            .await;
        assert_eq!(read_answer(&mut tcp).await.status, 413);
    }
}

#[tokio::test]
async fn a_client_that_sends_everything_before_it_reads_gets_its_413() {
    let app = TestApp::start(SMALL);
    const BODY: usize = 100 << 20;
    let piece = vec![b' '; 1 << 20];
    for (framing, chunk) in [
        (format!("content-length: {BODY}\r\n"), None),
        ("transfer-encoding: chunked\r\n".to_owned(), Some("100000\r\n")),
    ] {
        let mut tcp = app.client().open(head(&app.client(), &framing).as_bytes()).await;
        for _ in 0..BODY / piece.len() {
            if let Some(size) = chunk {
                tcp.write_all(size.as_bytes()).await.unwrap();
            }
            tcp.write_all(&piece).await.expect("no reset while the client sends");
            if chunk.is_some() {
                tcp.write_all(b"\r\n").await.unwrap();
            }
        }
        if chunk.is_some() {
            tcp.write_all(b"0\r\n\r\n").await.unwrap();
        }
        let answer = read_answer(&mut tcp).await;
        assert_eq!((answer.status, answer.complete), (413, true), "{answer:?}");
    }
}

#[tokio::test]
async fn a_slow_sender_gets_its_413_too() {
    let app = TestApp::start(SMALL);
    let mut tcp = app.client().open(head(&app.client(), "content-length: 300000\r\n").as_bytes()).await;
    // Longer than actix lingers by itself: a second.
    for _ in 0..15 {
        tcp.write_all(&[b' '; 20_000]).await.expect("no reset while the client sends");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(read_answer(&mut tcp).await.status, 413);
}

#[tokio::test]
async fn a_refused_client_that_never_ends_its_body_is_let_go() {
    let app = TestApp::start("[server]\nclient_stall = \"1s\"\n");
    let wrong = app.client().with_key("sk-wrong");
    let mut open = Vec::new();
    for framing in ["transfer-encoding: chunked\r\n", "content-length: 1000\r\n"] {
        for rest in ["", "3\r\nabc\r\n"] {
            let request = head(&wrong, framing).replace("connection: close\r\n", "") + rest;
            let mut tcp = wrong.open(request.as_bytes()).await;
            let answer = read_answer(&mut tcp).await;
            assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));
            open.push(tcp);
        }
    }
    eventually("their connections end", || app.shared().metrics.client_connections.get() == 0).await;
}

#[tokio::test]
async fn encodings_are_known_or_refused() {
    let upstream = echo().await;
    let app = TestApp::start(&upstream.channel("a", ""));
    let plain = chat("m").into_bytes();
    let good = gzip(&plain);
    let half = &good[..good.len() / 2];
    let mut wrong = good.clone();
    let crc = wrong.len() - 8;
    wrong[crc] ^= 1;
    for (encoding, body, status, code) in [
        ("gzip", &good[..], 200, ""),
        ("GZIP", &good, 200, ""),
        ("x-gzip", &good, 200, ""),
        ("identity", &plain, 200, ""),
        ("gzip", &plain, 400, "invalid_body"),
        ("gzip", half, 400, "invalid_body"),
        ("gzip", &wrong, 400, "invalid_body"),
        ("gzip", b"", 400, "invalid_body"),
        ("br", &plain, 415, "unsupported_encoding"),
        ("zstd", &plain, 415, "unsupported_encoding"),
        ("gzip, gzip", &good, 415, "unsupported_encoding"),
    ] {
        let client = app.client().with_header(&format!("content-encoding: {encoding}"));
        let answer = client.post("/v1/chat/completions", body).await;
        assert_eq!(answer.status, status, "{encoding} {}", answer.body);
        if status != 200 {
            assert_eq!(answer.error_code(), code, "{encoding}");
        }
    }
    assert!(upstream.seen().iter().all(|seen| seen.body.as_bytes() == plain), "decompressed");
}

#[tokio::test]
async fn a_gzip_bomb_is_refused_in_little_memory() {
    let process = Process::start("");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(br#"{"model":"m","messages":[""#).unwrap();
    for _ in 0..70 {
        encoder.write_all(&[b'0'; 1 << 20]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let warm = process.client().post("/v1/chat/completions", &sized(8 << 20)).await;
    assert_eq!(warm.status, 404);
    let before = process.peak_memory();
    let client = process.client().with_header("content-encoding: gzip");
    let answer = client.post("/v1/chat/completions", &bomb).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (413, "request_too_large"));
    let grown = process.peak_memory() - before;
    assert!(grown < 16 << 20, "{grown} bytes, of 70 MiB");
}

#[tokio::test]
async fn broken_framing_ends_the_connection_without_a_call() {
    let upstream = echo().await;
    let app = TestApp::start(&upstream.channel("a", ""));
    let body = chat("m");
    let short = format!("{}{body}", head(&app.client(), &format!("content-length: {}\r\n", body.len() + 1)));
    let chunks = |rest: &str| format!("{}{rest}", head(&app.client(), "transfer-encoding: chunked\r\n"));
    for bytes in [
        short,
        chunks("zz\r\nabc\r\n"),
        chunks(&format!("{:x}\r\n{body}XX\r\n0\r\n\r\n", body.len())),
        chunks(&format!("-{:x}\r\n{body}\r\n0\r\n\r\n", body.len())),
        chunks(&format!("fffffffffffffffff\r\n{body}\r\n0\r\n\r\n")),
        chunks(&format!("{:x}\r\n{body}\r\n", body.len())),
    ] {
        let mut tcp = app.client().open(bytes.as_bytes()).await;
        tcp.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let read = tokio::time::timeout(super::support::SOON, tcp.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "the connection ends: {bytes}");
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 400"), "{bytes}\n{rest}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn who_waits_for_100_continue_gets_it() {
    let upstream = echo().await;
    let app = TestApp::start(&upstream.channel("a", ""));
    let body = chat("m");
    let framing = format!("content-length: {}\r\nexpect: 100-continue\r\n", body.len());
    let mut tcp = app.client().open(head(&app.client(), &framing).as_bytes()).await;
    let mut interim = [0; 25];
    tcp.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    tcp.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut tcp).await.status, 200);
}

#[tokio::test]
async fn a_full_budget_of_bytes_refuses_and_recovers() {
    let upstream = echo().await;
    let caps = "[server]\nmax_body = \"1MiB\"\nmax_bytes_in_flight = \"1MiB\"\n";
    let app = TestApp::start(&format!("{caps}{}", upstream.channel("a", "")));
    let body = sized(700 << 10);
    let request = app.client().request("POST", "/v1/chat/completions", &body);
    let mut first = app.client().open(&request[..request.len() - 1]).await;
    eventually("most of the first body is held", || app.shared().relay.bytes.used() > 600 << 10).await;
    let refused = app.client().post("/v1/chat/completions", &body).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "gateway_overloaded"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    first.write_all(&request[request.len() - 1..]).await.unwrap();
    assert_eq!(read_answer(&mut first).await.status, 200);
    drop(first);
    eventually("the bytes come back", || app.shared().relay.bytes.used() == 0).await;
    assert_eq!(app.client().post("/v1/chat/completions", &body).await.status, 200);
}
