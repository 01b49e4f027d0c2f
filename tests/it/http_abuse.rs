//! Abuse of HTTP itself: what is malformed is refused and ends the connection; nothing is smuggled.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::support::{Client, SOON, TestApp, Upstream, app::KEY, chat, read_answer};

async fn start() -> (TestApp, Upstream) {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    (TestApp::start(&upstream.channel("a", "")), upstream)
}

/// A call that an attacker would like to have served.
fn smuggled() -> String {
    let body = chat("m");
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A call with these header lines and this body.
fn call(lines: &str, body: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\n{lines}\r\n\r\n{body}"
    )
}

/// Sends bytes and reads until the gateway closes.
async fn until_closed(client: &Client, bytes: &[u8]) -> String {
    let mut tcp = client.connect().await;
    let _ = tcp.write_all(bytes).await;
    let mut all = Vec::new();
    // A reset is an end, too.
    let _ = timeout(SOON, tcp.read_to_end(&mut all)).await.expect("the connection is closed");
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn malformed_requests_are_refused_and_nothing_after_them_is_served() {
    let (app, upstream) = start().await;
    let body = chat("m");
    let (len, chunk) = (body.len(), format!("{:x}\r\n{}\r\n0\r\n\r\n", body.len(), body));
    let with = |lines: &str| call(lines, &body);
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    for (what, bytes) in [
        ("two lengths alike", with(&format!("content-length: {len}\r\ncontent-length: {len}"))),
        ("two lengths", with(&format!("content-length: {len}\r\ncontent-length: 0"))),
        ("a list of lengths", with(&format!("content-length: {len}, {len}"))),
        ("a length with plus", with(&format!("content-length: +{len}"))),
        ("a negative length", with("content-length: -1")),
        ("a hexadecimal length", with("content-length: 0x10")),
        ("a length in two parts", with("content-length: 1 0")),
        ("a length beyond 64 bits", with("content-length: 99999999999999999999999")),
        ("length and chunks", call(&format!("content-length: {len}\r\ntransfer-encoding: chunked"), &chunk)),
        ("chunks and length", call("transfer-encoding: chunked\r\ncontent-length: 4", &chunk)),
        ("two transfer encodings", call("transfer-encoding: chunked\r\ntransfer-encoding: chunked", &chunk)),
        ("chunked twice", call("transfer-encoding: chunked, chunked", &chunk)),
        ("an unknown transfer encoding", call("transfer-encoding: xchunked", &chunk)),
        ("gzip, chunked", call("transfer-encoding: gzip, chunked", &chunk)),
        ("identity", call(&format!("transfer-encoding: identity\r\ncontent-length: {len}"), &body)),
        ("a space before the colon", call("transfer-encoding : chunked", &chunk)),
        ("a folded header", call("transfer-encoding:\r\n chunked", &chunk)),
        ("a folded foreign header", with(&format!("x-a: b\r\n c: d\r\ncontent-length: {len}"))),
        ("NUL in a value", with(&format!("x-a: b\0c\r\ncontent-length: {len}"))),
        ("NUL in a name", with(&format!("x\0a: b\r\ncontent-length: {len}"))),
        ("a bare CR in a value", with(&format!("x-a: b\rcontent-length: 0\r\ncontent-length: {len}"))),
        ("no colon", with(&format!("x-a\r\ncontent-length: {len}"))),
        ("an empty name", with(&format!(": a\r\ncontent-length: {len}"))),
        ("two hosts", with(&format!("host: u\r\ncontent-length: {len}"))),
        ("many headers", with(&format!("{many}content-length: {len}"))),
        ("no host", with(&format!("content-length: {len}")).replace("host: t\r\n", "")),
        ("chunks in HTTP/1.0", call("transfer-encoding: chunked", &chunk).replace("HTTP/1.1", "HTTP/1.0")),
        ("HTTP/0.9", "GET /v1/models\r\n\r\n".to_owned()),
        ("HTTP/2.0", with(&format!("content-length: {len}")).replace("HTTP/1.1", "HTTP/2.0")),
        ("HTTP/1.2", with(&format!("content-length: {len}")).replace("HTTP/1.1", "HTTP/1.2")),
        ("a space in the path", with(&format!("content-length: {len}")).replace("/v1/", "/v 1/")),
        ("no path", "GET HTTP/1.1\r\nhost: t\r\n\r\n".to_owned()),
        ("the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03".to_owned()),
        (
            "a chunk size beyond 64 bits",
            call("transfer-encoding: chunked", "10000000000000005\r\nabcde\r\n0\r\n\r\n"),
        ),
        ("a chunk longer than its size", call("transfer-encoding: chunked", "1\r\nabc\r\n0\r\n\r\n")),
        ("a negative chunk", call("transfer-encoding: chunked", "-1\r\na\r\n0\r\n\r\n")),
    ] {
        let answer = until_closed(&app.client(), format!("{bytes}{}", smuggled()).as_bytes()).await;
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), usize::from(!answer.is_empty()), "{what}: {answer}");
        assert_eq!(upstream.count(), 0, "{what}");
    }
    assert_eq!(app.client().chat(&body).await.status, 200, "others are served");
}

#[tokio::test]
async fn a_refused_body_is_never_read_as_the_next_request() {
    let (app, upstream) = start().await;
    for lines in ["authorization: Bearer wrong", "x-a: b"] {
        let hidden = smuggled();
        let refused = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\n{lines}\r\ncontent-length: {}\r\n\r\n{hidden}",
            hidden.len()
        );
        let chunked = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\n{lines}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
            hidden.len()
        );
        for bytes in [refused, chunked] {
            // In one piece, and with the body behind the head.
            let (first, rest) = bytes.split_at(bytes.find("\r\n\r\n").unwrap() + 4);
            let mut tcp = app.client().open(first.as_bytes()).await;
            let answer = read_answer(&mut tcp).await;
            assert_eq!(answer.status, 401);
            let _ = tcp.write_all(rest.as_bytes()).await;
            let _ = tcp.shutdown().await;
            let mut all = Vec::new();
            let _ = timeout(SOON, tcp.read_to_end(&mut all)).await.expect("the connection is closed");
            assert!(all.is_empty(), "{}", String::from_utf8_lossy(&all));
            assert_eq!(app.client().send(bytes.as_bytes()).await.status, 401);
        }
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (app, upstream) = start().await;
    let body = chat("m");
    let bytes = [
        "GET /health HTTP/1.1\r\nhost: t\r\n\r\n".to_owned(),
        call(&format!("content-length: {}", body.len()), &body),
        call("content-length: 1", "x"),
        call("transfer-encoding: chunked", &format!("{:x};ext=1\r\n{body}\r\n0\r\n\r\n", body.len())),
        "GET /nowhere HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n".to_owned(),
    ];
    let answers = until_closed(&app.client(), bytes.concat().as_bytes()).await;
    let statuses: Vec<_> =
        answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "400", "200", "404"], "{answers}");
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn what_is_sent_during_a_call_is_answered_after_it() {
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let told = go.clone();
    let upstream = Upstream::start(move |exchange| {
        let told = told.clone();
        async move {
            told.notified().await;
            exchange.answer_well("hi").await
        }
    })
    .await;
    let app = TestApp::start(&upstream.channel("a", ""));
    let body = chat("m");
    let mut tcp = app.client().open(call(&format!("content-length: {}", body.len()), &body).as_bytes()).await;
    super::support::eventually("the upstream is asked", || upstream.count() == 1).await;
    const MORE: usize = 1_500;
    let next = "GET /health HTTP/1.1\r\nhost: t\r\n\r\n".repeat(MORE);
    let last = "GET /health HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    tcp.write_all(next.as_bytes()).await.unwrap();
    tcp.write_all(last.as_bytes()).await.unwrap();
    go.notify_one();
    let mut all = Vec::new();
    timeout(SOON, tcp.read_to_end(&mut all)).await.expect("the connection is closed").unwrap();
    let all = String::from_utf8(all).unwrap();
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), MORE + 2);
}

#[tokio::test]
async fn old_and_odd_but_valid_forms_are_served() {
    let (app, upstream) = start().await;
    let body = chat("m");
    let usual = call(&format!("content-length: {}\r\nconnection: close", body.len()), &body);
    for (what, bytes) in [
        ("HTTP/1.0", usual.replace("HTTP/1.1", "HTTP/1.0")),
        ("HTTP/1.0 without host", usual.replace("HTTP/1.1", "HTTP/1.0").replace("host: t\r\n", "")),
        ("absolute form", usual.replace("/v1/", "http://elsewhere.example/v1/")),
        ("an empty host", usual.replace("host: t", "host:")),
        ("upper-case names", usual.replace("content-length", "CONTENT-LENGTH")),
        ("blank lines before", format!("\r\n\r\n{usual}")),
        (
            "trailers",
            call(
                "connection: close\r\ntransfer-encoding: chunked",
                &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
            ),
        ),
        (
            "chunks in capitals",
            call(
                "connection: close\r\nTransfer-Encoding: Chunked",
                &format!("{:X}\r\n{body}\r\n0\r\n\r\n", body.len()),
            ),
        ),
    ] {
        let answer = app.client().send(bytes.as_bytes()).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
    }
    assert_eq!(upstream.count(), 8);
    assert!(upstream.seen().iter().all(|s| s.head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n")));
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let (app, _upstream) = start().await;
    let long = "x".repeat(1 << 20);
    for (bytes, statuses) in [
        (call(&format!("x-long: {long}"), ""), &["431", "400"][..]),
        (format!("GET /{long} HTTP/1.1\r\nhost: t\r\n\r\n"), &["431", "400"]),
        (format!("GET /health?{long} HTTP/1.1\r\nhost: t\r\n\r\n"), &["431", "400"]),
    ] {
        let answer = until_closed(&app.client(), bytes.as_bytes()).await;
        assert!(
            statuses.iter().any(|s| answer.starts_with(&format!("HTTP/1.1 {s}"))) || answer.is_empty(),
            "{answer}"
        );
    }
    let long = "x".repeat(30 << 10);
    let unknown = app.client().get(&format!("/{long}?{long}")).await;
    assert_eq!((unknown.status, unknown.error_code().as_str()), (404, "unknown_url"));
    assert!(unknown.body.len() < 1000, "{}", unknown.body);
    assert_eq!(app.client().with_header(&format!("x-request-id: {long}")).get("/health").await.status, 200);
}
