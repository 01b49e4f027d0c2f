//! A signal to stop: the listener closes, streams finish or are told why not, the process ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
};

use super::support::{
    Process, Upstream, chat, chat_stream, eventually, read_answer,
    upstream::{After, STREAM_END, completion, event},
};

/// An upstream that begins streams and ends every answer only when it is told to.
async fn held() -> (Upstream, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let gone = go.clone();
    let upstream = Upstream::start(move |mut exchange| {
        let go = gone.clone();
        async move {
            if exchange.wants_stream() {
                exchange.begin_stream().await;
                exchange.chunk(&event("begun")).await;
                go.notified().await;
                exchange.chunk(STREAM_END).await;
                exchange.end_stream().await;
            } else {
                go.notified().await;
                exchange.answer(200, "application/json", &completion("whole", "m")).await;
            }
            After::Keep(exchange)
        }
    })
    .await;
    (upstream, go)
}

async fn open(process: &Process, body: &str) -> TcpStream {
    process.client().open(&process.client().request("POST", "/v1/chat/completions", body.as_bytes())).await
}

#[tokio::test]
async fn running_calls_finish_within_the_drain_and_new_ones_are_refused() {
    let (upstream, go) = held().await;
    let mut process = Process::start(&format!("[server]\ndrain = \"8s\"\n{}", upstream.channel("a", "")));
    let mut stream = open(&process, &chat_stream("m")).await;
    let mut whole = open(&process, &chat("m")).await;
    let mut idle = process.client().connect().await;
    idle.write_all(b"GET /health/ready HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    assert_eq!(read_answer(&mut idle).await.status, 200);
    eventually("both calls run", || upstream.count() == 2).await;
    process.signal("TERM");
    let address = process.address;
    eventually("the listener closes", || std::net::TcpStream::connect(address).is_err()).await;
    // A kept connection is closed, or told that the gateway is not ready.
    let _ = idle.write_all(b"GET /health/ready HTTP/1.1\r\nhost: t\r\n\r\n").await;
    let answer = read_answer(&mut idle).await;
    assert!(matches!(answer.status, 0 | 503), "{answer:?}");
    go.notify_waiters();
    let (stream, whole) = (read_answer(&mut stream).await, read_answer(&mut whole).await);
    assert!(stream.complete && stream.body.ends_with("data: [DONE]\n\n"), "{stream:?}");
    assert_eq!((whole.status, whole.complete), (200, true), "{whole:?}");
    let since = Instant::now();
    assert_eq!(process.ended().await, Some(0));
    assert!(since.elapsed() < Duration::from_secs(4), "the rest of the drain is not waited for");
}

#[tokio::test]
async fn what_outlasts_the_drain_is_told_and_cut() {
    let (upstream, _go) = held().await;
    let flowing = Upstream::start(|mut exchange| async move {
        exchange.begin_stream().await;
        while exchange.chunk(&event("flows")).await {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        After::Close
    })
    .await;
    let flood = Upstream::start(|mut exchange| async move {
        exchange.begin_stream().await;
        while exchange.chunk(&event(&"x".repeat(10_000))).await {}
        After::Close
    })
    .await;
    let channels = [
        upstream.channel("a", ""),
        flowing.channel("b", "models = [\"flowing\"]\n"),
        flood.channel("c", "models = [\"flood\"]\n"),
    ];
    let mut process = Process::start(&format!("[server]\ndrain = \"300ms\"\n{}", channels.concat()));
    let mut silent = open(&process, &chat_stream("m")).await;
    let mut flowing = open(&process, &chat_stream("flowing")).await;
    let mut fast = open(&process, &chat_stream("flood")).await;
    let mut whole = open(&process, &chat("m")).await;
    let _unread = open(&process, &chat_stream("flood")).await;
    eventually("calls run", || upstream.count() == 2 && flood.count() == 2).await;
    process.signal("TERM");
    let since = Instant::now();
    let (silent, flowing, fast, whole) = tokio::join!(
        read_answer(&mut silent),
        read_answer(&mut flowing),
        read_answer(&mut fast),
        read_answer(&mut whole)
    );
    for (what, stream) in [("silent", silent), ("flowing", flowing), ("fast", fast)] {
        let last = stream.body.trim_end().rsplit("\n\n").next().unwrap().to_owned();
        assert!(last.contains("gateway_shutting_down"), "{what}: {last}");
        assert!(!stream.body.contains("[DONE]"), "{what}");
        let error: serde_json::Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
        let id = stream.header("x-request-id").unwrap();
        assert!(error["error"]["message"].as_str().unwrap().ends_with(&format!("(request id: {id})")));
    }
    assert_eq!((whole.status, whole.error_code().as_str()), (503, "gateway_shutting_down"));
    assert_eq!(whole.header("retry-after"), Some("1"));
    assert_eq!(process.ended().await, Some(0));
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn nobody_waits_for_idle_clients() {
    let mut process = Process::start("");
    let mut idle = process.client().connect().await;
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    assert_eq!(read_answer(&mut idle).await.status, 200);
    let mut silent = process.client().connect().await;
    let since = Instant::now();
    process.signal("INT");
    assert_eq!(process.ended().await, Some(0));
    assert!(since.elapsed() < Duration::from_secs(4));
    for tcp in [&mut idle, &mut silent] {
        assert_eq!(tcp.read(&mut [0; 16]).await.unwrap_or(0), 0);
    }
}
