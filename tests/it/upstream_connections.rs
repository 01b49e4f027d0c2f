//! Kept connections: used again, found stale, capped over all workers, drained when settings change.

use super::support::{
    Exchange, TestApp, Upstream, chat, chat_stream, eventually,
    fault::{CHUNKED, chunk, stream_head},
    upstream::{After, STREAM_END, event},
};

/// A gateway with this many workers.
fn app(workers: usize, channel: &str) -> TestApp {
    TestApp::start(&format!("[server]\nworkers = {workers}\n{channel}"))
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hello")).await;
    let app = app(1, &upstream.channel("up", ""));
    for body in [chat("m"), chat_stream("m"), chat("m")] {
        assert_eq!(app.client().chat(&body).await.status, 200);
        eventually("the connection is kept", || upstream.connections() == 1).await;
    }
    assert_eq!(app.cell("up").connections.opened(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_is_not_used() {
    let upstream = Upstream::start(|exchange: Exchange| async {
        let After::Keep(exchange) = exchange.answer_well("hello").await else { unreachable!() };
        exchange.finish().await
    })
    .await;
    let mut app = app(1, &upstream.channel("up", ""));
    app.forgive_closed_connections();
    for n in 1..=3 {
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
        eventually("the upstream has closed", || upstream.connections() == 0).await;
        assert_eq!(upstream.count(), n, "no request is sent twice");
    }
}

#[tokio::test]
async fn a_spooled_body_is_retried_with_its_edits() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        match exchange.nth {
            0 => exchange.answer_well("hello").await,
            _ => After::Close,
        }
    })
    .await;
    let mapped = "models = [\"mine\"]\nmapping = { mine = \"theirs\" }\n";
    let app = app(1, &upstream.channel("up", mapped));
    let long = "x".repeat(400 << 10);
    let body = format!(r#"{{"model":"mine","stream":true,"messages":["{long}"]}}"#);
    for _ in 0..2 {
        assert_eq!(app.client().chat(&body).await.status, 200);
    }
    assert_eq!(app.metric("penstock_stale_retries_total"), 1.0);
    for seen in upstream.seen() {
        assert!(seen.body.contains(r#""model":"theirs""#) && seen.body.contains("include_usage"));
    }
}

#[tokio::test]
async fn a_connection_that_closes_as_the_request_arrives_is_tried_once_more_on_a_new_one() {
    for reset in [false, true] {
        let upstream = Upstream::start(move |exchange: Exchange| async move {
            match (exchange.nth, reset) {
                (0, _) => exchange.answer_well("hello").await,
                (_, false) => After::Close,
                (_, true) => exchange.reset().await,
            }
        })
        .await;
        let app = app(1, &upstream.channel("up", ""));
        for (body, requests) in [(chat("m"), 1), (chat_stream("m"), 3), (chat("m"), 5)] {
            let answer = app.client().chat(&body).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.header("x-penstock-attempts"), Some("1"), "a retry is no attempt");
            assert_eq!(upstream.count(), requests);
        }
        assert_eq!(app.metric("penstock_stale_retries_total"), 2.0);
    }
}

#[tokio::test]
async fn a_kept_connection_that_closes_late_is_not_tried_again() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        if exchange.nth == 0 {
            return exchange.answer_well("hello").await;
        }
        // By then the provider has worked on the request, and may bill it.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        After::Close
    })
    .await;
    let app = app(1, &upstream.channel("up", ""));
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (502, "upstream_closed"));
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_new_connection_that_closes_is_not_tried_again() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        let served = String::from_utf8_lossy(&exchange.body).contains("well");
        if served && exchange.nth == 0 { exchange.answer_well("hello").await } else { After::Close }
    })
    .await;
    let app = app(1, &upstream.channel("up", ""));
    assert_eq!(app.client().chat(&chat("m")).await.status, 502);
    assert_eq!(upstream.count(), 1);
    assert_eq!(app.client().chat(&chat("m").replace("hi", "well")).await.status, 200);
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (502, "upstream_closed"));
    assert_eq!(upstream.count(), 4, "the stale one, and one retry");
}

/// Answers after the test lets it: each call of [`tokio::sync::Semaphore::add_permits`] lets one go.
fn gated(
    gate: &std::sync::Arc<tokio::sync::Semaphore>,
) -> impl Fn(Exchange) -> GatedAnswer + Send + Sync + use<> {
    let gate = gate.clone();
    move |mut exchange| {
        let gate = gate.clone();
        Box::pin(async move {
            if exchange.wants_stream() {
                exchange.write(stream_head(CHUNKED) + &chunk(&event("hello"))).await;
                gate.acquire().await.unwrap().forget();
                exchange.write(chunk(STREAM_END) + "0\r\n\r\n").await;
                return After::Keep(exchange);
            }
            gate.acquire().await.unwrap().forget();
            exchange.answer_well("hello").await
        })
    }
}

type GatedAnswer = std::pin::Pin<Box<dyn Future<Output = After> + Send>>;

/// Eight calls at once through one connection; each waits for its place and gets it.
async fn through_one_connection(workers: usize) {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let upstream = Upstream::start(gated(&gate)).await;
    let app = app(workers, &upstream.channel("up", "[channel.pool]\nmax_connections = 1\n"));
    let calls: Vec<_> = (0..8)
        .map(|n| {
            let (client, body) = (app.client(), if n % 2 == 0 { chat("m") } else { chat_stream("m") });
            tokio::spawn(async move { client.chat(&body).await })
        })
        .collect();
    eventually("all but one wait", || app.cell("up").connections.waiting() == 7).await;
    eventually("one has the connection", || upstream.connections() == 1).await;
    gate.add_permits(8);
    for call in calls {
        let answer = call.await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(app.cell("up").connections.count() <= 1);
    }
}

#[tokio::test]
async fn calls_of_one_worker_take_turns_on_one_connection() {
    through_one_connection(1).await;
}

#[tokio::test]
async fn calls_of_several_workers_take_turns_on_one_connection() {
    through_one_connection(3).await;
}

#[tokio::test]
async fn an_idle_connection_makes_way_beside_a_busy_one() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let upstream = Upstream::start(gated(&gate)).await;
    let app = app(4, &upstream.channel("up", "[channel.pool]\nmax_connections = 2\n"));
    // One idle connection on some worker, one busy stream; the third call may be on any worker.
    for _ in 0..8 {
        let client = app.client();
        gate.add_permits(1);
        assert_eq!(client.chat(&chat("m")).await.status, 200);
        let mut busy =
            client.open(&client.request("POST", "/v1/chat/completions", chat_stream("m").as_bytes())).await;
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains("hello") {
            tokio::io::AsyncReadExt::read_buf(&mut busy, &mut read).await.unwrap();
        }
        let asked = upstream.count();
        let third = tokio::spawn(async move { client.chat(&chat("m")).await });
        eventually("the third call gets a place", || upstream.count() > asked).await;
        gate.add_permits(2);
        assert_eq!(third.await.unwrap().status, 200);
        drop(busy);
        eventually("the stream's permit returns", || app.cell("up").gate.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn who_finds_no_place_in_time_is_told_to_come_back() {
    let upstream = Upstream::start(|exchange| exchange.until_left()).await;
    let settings = "[channel.pool]\nmax_connections = 1\n[channel.timeouts]\nconnect = \"100ms\"\n";
    let app = app(2, &upstream.channel("up", settings));
    let client = app.client();
    let busy = client.open(&client.request("POST", "/v1/chat/completions", chat("m").as_bytes())).await;
    eventually("the connection is taken", || upstream.count() == 1).await;
    let answer = client.chat(&chat("m")).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (429, "channels_saturated"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.json()["error"]["fault"], "gateway");
    drop(busy);
}

#[tokio::test]
async fn a_new_address_drains_the_old_connections_and_cuts_no_stream() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let old = Upstream::start(gated(&gate)).await;
    let new = Upstream::start(|exchange| exchange.answer_well("new")).await;
    let app = app(2, &old.channel("up", ""));
    let client = app.client();
    gate.add_permits(1);
    assert_eq!(client.chat(&chat("m")).await.status, 200);
    let streaming = client.clone();
    let stream = tokio::spawn(async move { streaming.chat(&chat_stream("m")).await });
    eventually("the stream has begun", || old.count() == 2).await;
    app.reload(&format!("[server]\nworkers = 2\n{}", new.channel("up", ""))).await.unwrap();
    eventually("the idle connection is closed", || old.connections() == 1).await;
    for _ in 0..4 {
        assert!(client.chat(&chat("m")).await.body.contains("new"));
    }
    gate.add_permits(1);
    let answer = stream.await.unwrap();
    assert!(answer.complete && answer.body.ends_with("data: [DONE]\n\n"), "{answer:?}");
    eventually("no connection to the old address is left", || old.connections() == 0).await;
    assert_eq!(old.count(), 2);
}

#[tokio::test]
async fn a_channel_that_is_removed_keeps_no_connection() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let old = Upstream::start(gated(&gate)).await;
    let new = Upstream::start(|exchange| exchange.answer_well("new")).await;
    let app = app(2, &old.channel("up", ""));
    let client = app.client();
    assert_eq!(client.chat(&chat("m")).await.status, 200);
    let streaming = client.clone();
    let stream = tokio::spawn(async move { streaming.chat(&chat_stream("m")).await });
    eventually("the stream has begun", || old.count() == 2).await;
    app.reload(&format!("[server]\nworkers = 2\n{}", new.channel("other", ""))).await.unwrap();
    eventually("the idle connection is closed", || old.connections() == 1).await;
    gate.add_permits(1);
    assert!(stream.await.unwrap().body.ends_with("data: [DONE]\n\n"));
    eventually("the stream's connection is closed", || old.connections() == 0).await;
}
