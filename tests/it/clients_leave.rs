//! Clients that close, half-close or reset, in every phase: everything is given back at once.

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::support::{
    TestApp, Upstream, chat, chat_stream, eventually,
    upstream::{After, event},
};

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    Close,
    HalfClose,
    Reset,
}

const ALL: [Leaving; 3] = [Leaving::Close, Leaving::HalfClose, Leaving::Reset];

impl Leaving {
    /// Leaves; the half that stays open is given back.
    async fn leave(self, mut tcp: TcpStream) -> Option<TcpStream> {
        match self {
            Self::Close => None,
            Self::HalfClose => {
                tcp.shutdown().await.unwrap();
                Some(tcp)
            }
            Self::Reset => {
                SockRef::from(&tcp).set_linger(Some(std::time::Duration::ZERO)).unwrap();
                None
            }
        }
    }
}

/// Has clients leave once the upstream was asked, or has answered in part, and sees that nothing stays.
async fn check(upstream: Upstream, body: &str, bytes_first: bool) {
    let app = TestApp::start(&upstream.channel("a", "concurrency = 1\n"));
    for (n, leaving) in ALL.into_iter().enumerate() {
        let request = app.client().request("POST", "/v1/chat/completions", body.as_bytes());
        let mut tcp = app.client().open(&request).await;
        eventually("the upstream is asked", || upstream.count() == n + 1).await;
        if bytes_first {
            let mut some = [0; 16];
            tcp.read_exact(&mut some).await.unwrap();
        }
        assert_eq!(app.cell("a").gate.in_flight(), 1);
        let _half = leaving.leave(tcp).await;
        eventually(&format!("{leaving:?}: the permit returns"), || app.cell("a").gate.in_flight() == 0).await;
        eventually(&format!("{leaving:?}: the upstream is left"), || upstream.left() == n + 1).await;
        eventually("the upstream connection is closed", || upstream.connections() == 0).await;
    }
    let abandoned = "penstock_calls_total{endpoint=\"chat_completions\",outcome=\"abandoned\"}";
    eventually("each is counted as abandoned", || app.metric(abandoned) == 3.0).await;
}

#[tokio::test]
async fn before_a_whole_answer() {
    check(Upstream::start(|exchange| exchange.until_left()).await, &chat("m"), false).await;
}

#[tokio::test]
async fn before_a_stream_begins() {
    check(Upstream::start(|exchange| exchange.until_left()).await, &chat_stream("m"), false).await;
}

#[tokio::test]
async fn in_a_stream_that_has_fallen_silent() {
    let upstream = Upstream::start(|mut exchange| async move {
        exchange.begin_stream().await;
        exchange.chunk(&event("hi")).await;
        exchange.until_left().await
    })
    .await;
    check(upstream, &chat_stream("m"), true).await;
}

#[tokio::test]
async fn in_a_large_whole_answer() {
    let upstream = Upstream::start(|mut exchange| async move {
        exchange
            .write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n")
            .await;
        exchange.write(format!(r#"{{"model":"m","x":"{}"#, "x".repeat(500_000))).await;
        exchange.until_left().await
    })
    .await;
    check(upstream, &chat("m"), true).await;
}

#[tokio::test]
async fn in_a_stream_that_flows() {
    let upstream = Upstream::start(|mut exchange| async move {
        exchange.begin_stream().await;
        while exchange.chunk(&event("hi")).await {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        exchange.until_left().await
    })
    .await;
    check(upstream, &chat_stream("m"), true).await;
}

#[tokio::test]
async fn while_it_sends_its_body() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let app = TestApp::start(&upstream.channel("a", ""));
    for size in [1000, 1_000_000] {
        for leaving in ALL {
            let request = app.client().request("POST", "/v1/chat/completions", &vec![b' '; size]);
            let tcp = app.client().open(&request[..request.len() - 10]).await;
            eventually("the body is held", || app.shared().relay.bytes.used() > 0).await;
            let _half = leaving.leave(tcp).await;
            eventually("the bytes are given back", || app.shared().relay.bytes.used() == 0).await;
            eventually("the call ended", || app.shared().metrics.calls_in_flight.get() == 0).await;
        }
    }
    eventually("connections end", || app.shared().metrics.client_connections.get() == 0).await;
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_stream_that_was_left_leaves_its_worker_well() {
    let upstream = Upstream::start(|mut exchange| async move {
        if exchange.wants_stream() {
            exchange.begin_stream().await;
            exchange.chunk(&event("hi")).await;
            return exchange.until_left().await;
        }
        exchange.answer(200, "application/json", r#"{"model":"m"}"#).await;
        After::Keep(exchange)
    })
    .await;
    let app = TestApp::start(&format!("[server]\nworkers = 1\n{}", upstream.channel("a", "")));
    let request = app.client().request("POST", "/v1/chat/completions", chat_stream("m").as_bytes());
    let mut left = Vec::new();
    for _ in 0..50 {
        let mut tcp = app.client().open(&request).await;
        tcp.read_exact(&mut [0; 16]).await.unwrap();
        left.push(tcp);
    }
    assert_eq!(app.cell("a").gate.in_flight(), 50);
    drop(left);
    eventually("all permits return", || app.cell("a").gate.in_flight() == 0).await;
    for _ in 0..5 {
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    }
}

/// Who sends far more than its request during a call is taken for gone, since its leaving cannot be
/// seen behind what is not read.
#[tokio::test]
async fn with_more_sent_than_was_asked_for() {
    let upstream = Upstream::start(|exchange| exchange.until_left()).await;
    let app = TestApp::start(&format!("[server]\nworkers = 1\n{}", upstream.channel("a", "")));
    let next = "GET /health HTTP/1.1\r\nhost: t\r\n\r\n".repeat(8_000);
    for (n, leaving) in ALL.into_iter().enumerate() {
        let mut request = app.client().request("POST", "/v1/chat/completions", chat("m").as_bytes());
        request.extend_from_slice(next.as_bytes());
        let tcp = app.client().open(&request).await;
        let _half = leaving.leave(tcp).await;
        eventually(&format!("{leaving:?}: the connection ends"), || {
            app.shared().metrics.client_connections.get() == 0
        })
        .await;
        eventually(&format!("{leaving:?}: the permit returns"), || app.cell("a").gate.in_flight() == 0).await;
        eventually(&format!("{leaving:?}: the upstream is left"), || upstream.left() == upstream.count())
            .await;
        assert!(upstream.count() <= n + 1);
    }
}

#[tokio::test]
async fn while_its_large_body_goes_to_an_upstream_that_does_not_read() {
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", deaf.local_addr().unwrap());
    let app = TestApp::start(&super::support::upstream::channel("a", &url, ""));
    let body = format!(r#"{{"model":"m","messages":["{}"]}}"#, "x".repeat(20 << 20));
    let request = app.client().request("POST", "/v1/chat/completions", body.as_bytes());
    for leaving in ALL {
        let tcp = app.client().open(&request).await;
        eventually("the call runs", || app.cell("a").gate.in_flight() == 1).await;
        let _half = leaving.leave(tcp).await;
        eventually(&format!("{leaving:?}: the permit returns"), || app.cell("a").gate.in_flight() == 0).await;
        eventually("the upstream connection ends", || app.cell("a").connections.count() == 0).await;
        eventually("the body is let go", || app.shared().relay.bytes.used() == 0).await;
    }
}
