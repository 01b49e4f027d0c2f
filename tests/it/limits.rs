//! Limits: gates that are full, tiers that overflow, descriptors that run out.

use std::time::Duration;

use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use super::support::{
    Process, TestApp, Upstream, chat, chat_stream, eventually, read_answer, upstream::event,
};

/// What finds no room is refused, not kept waiting.
const AT_ONCE: &str = "[queue]\nmax_wait = 0\n";

/// An upstream that begins streams and never ends them, and answers others at once.
async fn endless() -> Upstream {
    Upstream::start(|mut exchange| async move {
        if !exchange.wants_stream() {
            return exchange.answer_well("hi").await;
        }
        exchange.begin_stream().await;
        exchange.chunk(&event("begun")).await;
        exchange.until_left().await
    })
    .await
}

#[tokio::test]
async fn a_full_gate_refuses_until_its_permit_returns() {
    let upstream = endless().await;
    let app = TestApp::start(&format!("{AT_ONCE}{}", upstream.channel("a", "concurrency = 1\n")));
    let request = app.client().request("POST", "/v1/chat/completions", chat_stream("m").as_bytes());
    let held = app.client().open(&request).await;
    eventually("the stream runs", || upstream.count() == 1).await;
    for body in [chat("m"), chat_stream("m")] {
        let refused = app.client().chat(&body).await;
        assert_eq!((refused.status, refused.error_code().as_str()), (429, "channels_saturated"));
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert_eq!(refused.header("x-should-retry"), None, "a retry helps");
        assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    }
    assert_eq!(upstream.count(), 1);
    assert_eq!(app.metric("penstock_saturated_total"), 2.0);
    drop(held);
    eventually("the permit returns", || app.cell("a").gate.in_flight() == 0).await;
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
}

#[tokio::test]
async fn a_limit_of_none_refuses_always() {
    let upstream = endless().await;
    let app = TestApp::start(&upstream.channel("a", "concurrency = 0\n"));
    let refused = app.client().chat(&chat("m")).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "channels_saturated"));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_full_tier_overflows_to_the_next() {
    let tiers = [endless().await, endless().await, endless().await];
    let settings: Vec<_> = tiers
        .iter()
        .enumerate()
        .map(|(n, u)| u.channel(&format!("t{n}"), &format!("concurrency = 1\npriority = {}\n", -(n as i32))))
        .collect();
    let app = TestApp::start(&format!("{AT_ONCE}{}", settings.concat()));
    let request = app.client().request("POST", "/v1/chat/completions", chat_stream("m").as_bytes());
    let mut held: Vec<TcpStream> = Vec::new();
    for n in 0..3 {
        held.push(app.client().open(&request).await);
        eventually("the next tier serves", || tiers[n].count() == 1).await;
        assert_eq!(tiers.iter().map(Upstream::count).sum::<usize>(), n + 1);
    }
    assert_eq!(app.client().chat(&chat("m")).await.status, 429);
    held.remove(0);
    eventually("the first tier has room", || app.cell("t0").gate.in_flight() == 0).await;
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!(answer.header("x-penstock-channel"), Some("t0"));
    assert_eq!(answer.header("x-penstock-attempts"), Some("1"), "a full gate is no attempt");
}

#[tokio::test]
async fn few_descriptors_refuse_or_delay_and_nothing_breaks() {
    let upstream = endless().await;
    let process = Process::start_after(
        "ulimit -n 96",
        &format!("[server]\nworkers = 2\n{}", upstream.channel("a", "")),
    );
    let request = process.client().request("POST", "/v1/chat/completions", chat_stream("m").as_bytes());
    for _ in 0..2 {
        let mut open = Vec::new();
        for _ in 0..100 {
            open.push(process.client().open(&request).await);
        }
        let (mut streaming, mut refused, mut waiting) = (0, 0, 0);
        for tcp in &mut open {
            let mut head = [0; 12];
            match timeout(Duration::from_millis(if waiting > 0 { 5 } else { 500 }), tcp.read_exact(&mut head))
                .await
            {
                Err(_) => waiting += 1,
                Ok(Ok(_)) if &head == b"HTTP/1.1 200" => streaming += 1,
                Ok(Ok(_)) if &head == b"HTTP/1.1 503" => refused += 1,
                Ok(other) => panic!("{other:?} {}", String::from_utf8_lossy(&head)),
            }
        }
        assert!(streaming >= 10, "{streaming} streams, {refused} refused, {waiting} wait\n{}", process.log());
        assert!(refused + waiting > 0);
        drop(open);
        eventually("the streams are left", || upstream.connections() == 0).await;
        // Those that waited are accepted and let go first.
        let mut served = 0;
        for _ in 0..20 {
            let mut tcp = process
                .client()
                .open(&process.client().request("POST", "/v1/chat/completions", chat("m").as_bytes()))
                .await;
            served += usize::from(read_answer(&mut tcp).await.status == 200);
        }
        assert!(served >= 15, "{served} of 20 served\n{}", process.log());
        eventually("connections are let go", || upstream.connections() < 20).await;
    }
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(process.client().connect().await);
    }
    drop(idle);
    assert_eq!(process.client().chat(&chat("m")).await.status, 200);
    assert!(!process.log().contains("panicked"), "{}", process.log());
}
