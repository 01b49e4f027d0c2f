//! A call that finds every channel full waits: fairly, in time, within bounds, and is told how it stands.

use std::time::{Duration, Instant};

use tokio::{io::AsyncReadExt as _, net::TcpStream};

use super::support::{
    Answer, Client, TestApp, Turnstile, Upstream, chat, chat_stream, eventually, read_answer, upstream::After,
};

pub(crate) async fn ask(client: &Client, body: &str) -> TcpStream {
    client.open(&client.request("POST", "/v1/chat/completions", body.as_bytes())).await
}

/// Opens a call and sees it wait.
pub(crate) async fn queue_up(app: &TestApp, client: &Client, body: &str) -> TcpStream {
    let before = app.shared().relay.room.calls();
    let tcp = ask(client, body).await;
    eventually("the call waits", || app.shared().relay.room.calls() == before + 1).await;
    tcp
}

fn assert_saturated(answer: &Answer) {
    assert_eq!((answer.status, answer.error_code().as_str()), (429, "channels_saturated"), "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
}

#[tokio::test]
async fn calls_beyond_the_limit_wait_and_are_all_served() {
    let turnstile = Turnstile::start().await;
    let app = TestApp::start(&turnstile.channel("a", "concurrency = 2\n"));
    let client = app.client();
    let mut open = Vec::new();
    for body in [chat("m"), chat_stream("m")].iter().cycle().take(20) {
        open.push(ask(&client, body).await);
    }
    eventually("the others wait", || app.cell("a").gate.waiting() == 18).await;
    eventually("two are served", || turnstile.count() == 2).await;
    assert_eq!((turnstile.count(), app.metric("penstock_channel_waiting{channel=\"a\"}")), (2, 18.0));
    turnstile.turn(20);
    let (mut served, mut waited) = (0, 0);
    for tcp in &mut open {
        let answer = read_answer(tcp).await;
        served += usize::from(answer.status == 200 && answer.complete);
        waited += usize::from(answer.header("x-penstock-queue-ms").is_some());
    }
    assert_eq!((served, waited, turnstile.most()), (20, 18, 2));
    assert_eq!(app.metric("penstock_queue_seconds_count"), 18.0);
}

#[tokio::test]
async fn a_light_key_goes_before_a_heavy_ones_backlog() {
    let turnstile = Turnstile::start().await;
    let key = "[[key]]\nname = \"light\"\nsecret = \"sk-light-0123456789abcdef\"\n";
    let app = TestApp::start(&format!("{}{key}", turnstile.channel("a", "concurrency = 1\n")));
    let heavy = app.client();
    let light = heavy.with_key("sk-light-0123456789abcdef");
    let long = chat("m").replace("\"hi\"", &format!("\"{}\"", "x".repeat(20_000)));
    let mut backlog = vec![ask(&heavy, &long).await];
    eventually("the first is served", || turnstile.count() == 1).await;
    for _ in 0..10 {
        backlog.push(queue_up(&app, &heavy, &long).await);
    }
    turnstile.turn(1);
    eventually("the heavy key goes on", || turnstile.count() == 2).await;
    let mut call = queue_up(&app, &light, &chat("m")).await;
    turnstile.turn(2);
    assert_eq!(read_answer(&mut call).await.status, 200);
    let third = turnstile.upstream.seen()[2].body.len();
    assert!(third < 1_000, "it went next, and not a long call of {third} bytes");
    turnstile.turn(9);
    for tcp in &mut backlog {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
}

#[tokio::test]
async fn a_deadline_is_kept_however_it_is_said() {
    let turnstile = Turnstile::start().await;
    let app = TestApp::start(&format!(
        "queue.max_wait = \"200ms\"\n{}",
        turnstile.channel("a", "concurrency = 1\n")
    ));
    let mut held = ask(&app.client(), &chat("m")).await;
    eventually("the slot is taken", || turnstile.count() == 1).await;
    for (header, least, most) in [
        (None, 200, 3_000),
        (Some("X-Penstock-Max-Wait: 0"), 0, 150),
        (Some("X-Penstock-Max-Wait: 50"), 50, 190),
        (Some("X-BELLA-MAX-WAIT: 0"), 0, 150),
        (Some("X-BELLA-MAX-WAIT: 1"), 1_000, 3_000),
    ] {
        let client = header.map_or(app.client(), |line| app.client().with_header(line));
        let began = Instant::now();
        let refused = client.chat(&chat("m")).await;
        let took = began.elapsed().as_millis();
        assert_saturated(&refused);
        assert!((least..most).contains(&took), "{header:?}: {took} ms");
    }
    for wrong in ["-1", "soon", "1.5", "0x10", "", "1e3"] {
        let client = app.client().with_header(&format!("X-Penstock-Max-Wait: {wrong}"));
        let refused = client.chat(&chat("m")).await;
        assert_eq!((refused.status, refused.error_code().as_str()), (400, "invalid_max_wait"), "{wrong:?}");
    }
    let absurd = app.client().with_header(&format!("X-Penstock-Max-Wait: {}", "9".repeat(40)));
    let mut waits = queue_up(&app, &absurd, &chat("m")).await;
    turnstile.turn(2);
    for tcp in [&mut held, &mut waits] {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
}

#[tokio::test]
async fn a_deadline_of_the_clients_own_covers_the_attempt_too() {
    let upstream = Upstream::start(|exchange| exchange.until_left()).await;
    let app = TestApp::start(&upstream.channel("a", ""));
    let client = app.client().with_header("X-Penstock-Max-Wait: 100");
    for body in [chat("m"), chat_stream("m")] {
        let late = client.chat(&body).await;
        assert_eq!((late.status, late.error_code().as_str()), (504, "deadline_exceeded"));
    }
    eventually("the upstream is left", || upstream.left() == 2).await;
}

#[tokio::test]
async fn more_calls_or_bytes_than_may_wait_are_refused_with_a_reason() {
    let turnstile = Turnstile::start().await;
    let bounds = "[queue]\nmax_calls = 3\nmax_calls_of_key = 2\nmax_bytes = 5000\n";
    let key = "[[key]]\nname = \"other\"\nsecret = \"sk-other-0123456789abcdef\"\n";
    let app = TestApp::start(&format!("{bounds}{}{key}", turnstile.channel("a", "concurrency = 1\n")));
    let (client, other) = (app.client(), app.client().with_key("sk-other-0123456789abcdef"));
    let mut open = vec![ask(&client, &chat("m")).await];
    eventually("the slot is taken", || turnstile.count() == 1).await;
    for _ in 0..2 {
        open.push(queue_up(&app, &client, &chat("m")).await);
    }
    let crowded = client.chat(&chat("m")).await;
    assert_saturated(&crowded);
    assert!(crowded.body.contains("of this API key"), "{}", crowded.body);
    let long = chat("m").replace("\"hi\"", &format!("\"{}\"", "x".repeat(6_000)));
    let heavy = other.chat(&long).await;
    assert_saturated(&heavy);
    assert!(heavy.body.contains("bytes"), "{}", heavy.body);
    open.push(queue_up(&app, &other, &chat("m")).await);
    let full = other.chat(&chat("m")).await;
    assert_saturated(&full);
    assert!(full.body.contains("As many calls wait"), "{}", full.body);
    turnstile.turn(4);
    for tcp in &mut open {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
}

#[tokio::test]
async fn a_call_that_would_wait_too_long_is_refused_on_arrival_with_its_place() {
    let turnstile = Turnstile::start().await;
    let key = "[[key]]\nname = \"first\"\nsecret = \"sk-first-0123456789abcdef\"\n[queue.key.first]\nband = \"high\"\n";
    let app = TestApp::start(&format!("{}{key}", turnstile.channel("a", "concurrency = 1\n")));
    let client = app.client().with_key("sk-first-0123456789abcdef");
    // A service time of some 300 ms is learned first.
    for _ in 0..2 {
        let mut tcp = ask(&client, &chat("m")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        turnstile.turn(1);
        assert_eq!(read_answer(&mut tcp).await.status, 200);
    }
    let mut open = vec![ask(&client, &chat("m")).await];
    eventually("the slot is taken", || app.cell("a").gate.in_flight() == 1).await;
    for _ in 0..20 {
        open.push(queue_up(&app, &client, &chat("m")).await);
    }
    let began = Instant::now();
    let refused = app.client().with_header("X-Penstock-Max-Wait: 2000").chat(&chat("m")).await;
    assert!(began.elapsed() < Duration::from_millis(1_000), "at once");
    assert_saturated(&refused);
    assert_eq!(refused.header("x-penstock-queue-position"), Some("21"));
    let p50: u64 = refused.header("x-penstock-queue-eta-ms").unwrap().parse().unwrap();
    assert!((4_000..12_000).contains(&p50), "{p50} ms");
    let retry_after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(retry_after, p50.div_ceil(1_000));
    assert!(refused.body.contains("Position 21, expected wait "), "{}", refused.body);
    // One of the same key goes before those that can wait for longer.
    open.push(queue_up(&app, &client.with_header("X-Penstock-Max-Wait: 2000"), &chat("m")).await);
    turnstile.turn(22);
    for tcp in &mut open {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
}

#[tokio::test]
async fn a_stream_that_waits_long_gets_comments_and_then_its_answer_or_an_error_event() {
    let turnstile = Turnstile::start().await;
    let settings = "[queue]\ncomments_after = \"100ms\"\nmax_wait = \"900ms\"\n";
    let app = TestApp::start(&format!("{settings}{}", turnstile.channel("a", "concurrency = 1\n")));
    let mut held = ask(&app.client(), &chat("m")).await;
    eventually("the slot is taken", || turnstile.count() == 1).await;
    let late = app.client().chat(&chat_stream("m")).await;
    assert_eq!((late.status, late.header("content-type")), (200, Some("text/event-stream; charset=utf-8")));
    assert!(late.body.starts_with(": queued") && !late.body.contains("[DONE]"), "{}", late.body);
    assert_eq!(late.error_event()["code"], "channels_saturated");
    let mut stream = ask(&app.client(), &chat_stream("m")).await;
    let mut head = Vec::new();
    while !String::from_utf8_lossy(&head).contains(": queued") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "));
    turnstile.turn(2);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("data: [DONE]\n\n"), "{rest}");
    assert_eq!(read_answer(&mut held).await.status, 200);
}

#[tokio::test]
async fn a_keys_own_concurrency_waits_too_or_refuses() {
    let turnstile = Turnstile::start().await;
    let of = |more: &str| format!("[queue.key.test]\nconcurrency = 1\n{more}{}", turnstile.channel("a", ""));
    let app = TestApp::start(&of(""));
    let mut first = ask(&app.client(), &chat("m")).await;
    eventually("the first runs", || turnstile.count() == 1).await;
    let mut second = queue_up(&app, &app.client(), &chat_stream("m")).await;
    app.reload(&of("on_limit = \"refuse\"\n")).await.unwrap();
    let refused = app.client().chat(&chat("m")).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "concurrency_limit_reached"));
    turnstile.turn(2);
    for tcp in [&mut first, &mut second] {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
    assert_eq!((turnstile.most(), turnstile.count()), (1, 2));
}

#[tokio::test]
async fn a_failed_channel_is_waited_past_and_tiers_open_in_time() {
    let (first, second) = (Turnstile::start().await, Turnstile::start().await);
    let bad = Upstream::start(|mut exchange| async move {
        exchange.answer(500, "application/json", "{}").await;
        After::Keep(exchange)
    })
    .await;
    let tiers = |more: &str| {
        let upper = first.channel("first", "concurrency = 1\npriority = 2\n");
        let lower = second.channel("second", "concurrency = 4\npriority = 1\n");
        format!("{more}{upper}{}{lower}", bad.channel("bad", "priority = 2\n"))
    };
    let app = TestApp::start(&tiers("queue.overflow_after = \"300ms\"\n"));
    let mut held = ask(&app.client(), &chat("m")).await;
    eventually("the upper tier is full", || first.count() == 1).await;
    let began = Instant::now();
    let mut over = queue_up(&app, &app.client(), &chat("m")).await;
    eventually("the next tier is opened", || second.count() == 1).await;
    assert!(began.elapsed() >= Duration::from_millis(295), "{:?}", began.elapsed());
    app.reload(&tiers("queue.overflow_after = \"1h\"\n")).await.unwrap();
    let mut waits = queue_up(&app, &app.client(), &chat("m")).await;
    first.turn(2);
    second.turn(1);
    for (tcp, channel) in [(&mut held, "first"), (&mut over, "second"), (&mut waits, "first")] {
        let answer = read_answer(tcp).await;
        assert_eq!((answer.status, answer.header("x-penstock-channel")), (200, Some(channel)));
    }
}

#[tokio::test]
async fn the_status_counts_a_call_that_waits_for_two_channels_for_its_part_at_each_and_names_keys() {
    let turnstile = Turnstile::start().await;
    let [a, b] = ["a", "b"].map(|name| turnstile.channel(name, "concurrency = 1\n"));
    let app = TestApp::start(&(a + &b));
    let mut open = vec![ask(&app.client(), &chat("m")).await, ask(&app.client(), &chat("m")).await];
    eventually("both are served", || turnstile.count() == 2).await;
    // Both channels learn how long this takes.
    tokio::time::sleep(Duration::from_millis(60)).await;
    for _ in 0..20 {
        open.push(queue_up(&app, &app.client(), &chat("m")).await);
    }
    turnstile.turn(2);
    eventually("the next two are served", || turnstile.count() == 4).await;
    eventually("each has nine to serve", || {
        (app.cell("a").backlog() + app.cell("b").backlog()).round() == 18.0
    })
    .await;
    let shown = app.client().get("/api/runtime").await.json();
    for channel in shown["channels"].as_array().unwrap() {
        let of = |pointer: &str| channel.pointer(pointer).unwrap().as_f64().unwrap();
        let (service, wait) = (of("/service_ms"), of("/expected_wait/p50_ms"));
        assert_eq!(of("/waiting"), 18.0);
        // Nine before one more, not eighteen; how the two share them follows what each seemed to take.
        assert!(wait >= 3.0 * service && wait <= 16.0 * service, "{channel}");
    }
    let of_a = |metric: &str| app.metric(&format!("penstock_channel_{metric}"));
    assert_eq!(of_a("share{channel=\"a\"}"), 1.0);
    let [p50, p90] =
        ["0.5", "0.9"].map(|q| of_a(&format!("expected_wait_seconds{{channel=\"a\",quantile=\"{q}\"}}")));
    assert!(p50 > 0.0 && p90 >= p50, "{p50} {p90}");
    assert_eq!(shown["keys"][0]["name"], "test", "{shown}");
    // From elsewhere a key that may see routing is not told whose other keys are.
    let elsewhere = app.client().with_header("x-forwarded-for: 9.9.9.9").get("/api/runtime").await.json();
    assert_eq!(elsewhere["keys"][0]["name"], serde_json::Value::Null, "{elsewhere}");
    turnstile.turn(20);
    for tcp in &mut open {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
    eventually("nothing is left", || app.cell("a").backlog() + app.cell("b").backlog() == 0.0).await;
}
