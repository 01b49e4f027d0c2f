//! Clients that ask and do not read: they hold little, for a while, and hurt nobody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use super::support::{TestApp, Upstream, chat, chat_stream, eventually, upstream::event};

const STALL: &str = "[server]\nclient_stall = \"1s\"\n";
const FLOOD: usize = 200 << 20;

/// An upstream that writes as much as it may; the count of bytes that it could write.
async fn flood() -> (Upstream, Arc<AtomicUsize>) {
    let written = Arc::new(AtomicUsize::new(0));
    let counter = written.clone();
    let upstream = Upstream::start(move |mut exchange| {
        let written = counter.clone();
        async move {
            let text = event(&"x".repeat(16 << 10));
            if exchange.wants_stream() {
                exchange.begin_stream().await;
            } else {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {FLOOD}\r\n\r\n"
                );
                exchange.write(format!("{head}{{\"model\":\"m\",\"x\":\"")).await;
            }
            let stream = exchange.wants_stream();
            while written.load(Ordering::SeqCst) < FLOOD {
                let more = if stream {
                    exchange.chunk(&text).await
                } else {
                    exchange.write(&[b'x'; 16 << 10]).await
                };
                if !more {
                    break;
                }
                written.fetch_add(16 << 10, Ordering::SeqCst);
            }
            exchange.until_left().await
        }
    })
    .await;
    (upstream, written)
}

/// A client that asks and has little room for an answer.
async fn ask(app: &TestApp, body: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    send(socket.connect(app.address).await.unwrap(), app, body).await
}

async fn send(mut tcp: TcpStream, app: &TestApp, body: &str) -> TcpStream {
    tcp.write_all(&app.client().request("POST", "/v1/chat/completions", body.as_bytes())).await.unwrap();
    tcp
}

async fn check(body: &str) {
    let (upstream, written) = flood().await;
    let app = TestApp::start(&format!("{STALL}{}", upstream.channel("a", "concurrency = 1\n")));
    let tcp = ask(&app, body).await;
    eventually("the upstream is cut off", || upstream.left() == 1).await;
    let written = written.load(Ordering::SeqCst);
    assert!(written < 16 << 20, "the upstream could write {written} bytes");
    eventually("the permit returns", || app.cell("a").gate.in_flight() == 0).await;
    eventually("the connection ends", || app.shared().metrics.client_connections.get() == 0).await;
    drop(tcp);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_cut_off() {
    check(&chat_stream("m")).await;
}

#[tokio::test]
async fn a_whole_answer_that_nobody_reads_is_cut_off() {
    check(&chat("m")).await;
}

#[tokio::test]
async fn a_client_that_half_closes_and_does_not_read_is_left_at_once() {
    let (upstream, written) = flood().await;
    let settings = "[server]\nclient_stall = \"60s\"\n";
    let app = TestApp::start(&format!("{settings}{}", upstream.channel("a", "")));
    let mut tcp = ask(&app, &chat_stream("m")).await;
    let (mut last, mut since) = (0, Instant::now());
    eventually("the answer is stuck", || {
        let now = written.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        now > 0 && since.elapsed() > Duration::from_millis(100)
    })
    .await;
    tcp.shutdown().await.unwrap();
    eventually("the upstream is left", || upstream.left() == 1).await;
    drop(tcp);
}

#[tokio::test]
async fn a_slow_reader_gets_everything() {
    const PIECES: usize = 4000;
    let upstream = Upstream::start(|mut exchange| async move {
        exchange.begin_stream().await;
        let text = event(&"x".repeat(4 << 10));
        for _ in 0..PIECES {
            exchange.chunk(&text).await;
        }
        exchange.chunk(super::support::upstream::STREAM_END).await;
        exchange.end_stream().await;
        super::support::upstream::After::Keep(exchange)
    })
    .await;
    let app = TestApp::start(&format!("{STALL}{}", upstream.channel("a", "")));
    let mut tcp = send(app.client().connect().await, &app, &chat_stream("m")).await;
    let mut all = Vec::new();
    let mut some = vec![0; 256 << 10];
    // Slower than the stall timeout altogether, never silent for as long as it.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let n = tcp.read(&mut some).await.unwrap();
        all.extend_from_slice(&some[..n]);
    }
    tcp.read_to_end(&mut all).await.unwrap();
    assert!(all.ends_with(b"data: [DONE]\n\n\r\n0\r\n\r\n"), "{} bytes", all.len());
    assert!(all.len() > PIECES * (4 << 10));
}

#[tokio::test]
async fn an_unread_stream_leaves_others_alone() {
    let (upstream, _) = flood().await;
    let good = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let channels = [upstream.channel("a", "models = [\"flood\"]\n"), good.channel("b", "")].concat();
    let app = TestApp::start(&format!("[server]\nworkers = 1\nclient_stall = \"60s\"\n{channels}"));
    let mut unread = Vec::new();
    for _ in 0..5 {
        unread.push(ask(&app, &chat_stream("flood")).await);
    }
    eventually("all flow", || app.cell("a").gate.in_flight() == 5).await;
    for _ in 0..20 {
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    }
    drop(unread);
}
