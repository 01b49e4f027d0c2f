//! Channels that learn: calls wait for what the provider lets through, whether it says so or only refuses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use penstock::mock::{self, MockLimits, MockSettings, Tells};

use super::{
    support::{Exchange, TestApp, Upstream, chat, chat_stream, eventually, read_answer, upstream::After},
    waiting::ask,
};

const ERROR: &str =
    r#"{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;

/// Refuses the first so many requests with these header lines, and answers the others.
async fn refusing(times: usize, lines: &str) -> Upstream {
    let (count, lines) = (Arc::new(AtomicUsize::new(0)), lines.to_owned());
    Upstream::start(move |mut exchange: Exchange| {
        let (nth, lines) = (count.fetch_add(1, Ordering::SeqCst), lines.clone());
        async move {
            if nth >= times {
                return exchange.answer_well("hi").await;
            }
            let len = ERROR.len();
            let head = format!("HTTP/1.1 429 Too Many Requests\r\n{lines}content-length: {len}\r\n\r\n");
            exchange.write(head + ERROR).await;
            After::Keep(exchange)
        }
    })
    .await
}

fn learned(shown: &serde_json::Value) -> serde_json::Value {
    shown["channels"][0]["learned"].clone()
}

#[tokio::test]
async fn a_refused_call_waits_as_long_as_the_provider_says_and_so_do_others() {
    let upstream = refusing(1, "retry-after-ms: 700\r\nretry-after: 9\r\n").await;
    let app = TestApp::start(&upstream.channel("a", ""));
    let began = Instant::now();
    let mut first = ask(&app.client(), &chat("m")).await;
    eventually("it waits", || app.cell("a").gate.waiting() == 1).await;
    let mut second = ask(&app.client(), &chat_stream("m")).await;
    eventually("both wait", || app.cell("a").gate.waiting() == 2).await;
    let shown = learned(&app.client().get("/api/runtime").await.json());
    assert!(shown["paused_ms"].as_u64().is_some_and(|ms| ms <= 700), "{shown}");
    assert_eq!((&shown["refusals"], &shown["adaptive"]), (&1.into(), &"fixed".into()));
    assert!(app.metric("penstock_channel_paused_seconds{channel=\"a\"}") > 0.0);
    assert_eq!(app.metric("penstock_channel_refusals{channel=\"a\"}"), 1.0);
    let text = app.client().with_header("accept: text/plain").get("/api/runtime").await;
    assert!(text.body.contains("paused 0."), "{}", text.body);
    for tcp in [&mut first, &mut second] {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
    assert!(began.elapsed() >= Duration::from_millis(700));
    assert_eq!(upstream.count(), 3, "nothing was sent meanwhile");
}

#[tokio::test]
async fn an_absurd_hint_keeps_nobody_longer_than_the_setting_says() {
    for line in ["retry-after: 86400\r\n", "retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n"] {
        let upstream = refusing(1, line).await;
        let app = TestApp::start(&upstream.channel("a", "longest_pause = \"300ms\"\n"));
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
        assert_eq!(upstream.count(), 2);
    }
}

#[tokio::test]
async fn hints_that_are_none_are_waited_off_like_a_refusal_without_any() {
    for line in ["", "retry-after: soon\r\n", "retry-after: -5\r\n", "x-ratelimit-limit-requests: many\r\n"] {
        let upstream = refusing(1, line).await;
        let app = TestApp::start(&upstream.channel("a", ""));
        assert_eq!(app.client().chat(&chat("m")).await.status, 200, "{line}");
        let shown = learned(&app.client().get("/api/runtime").await.json());
        assert!(shown["requests_per_minute"].is_number(), "{line}: {shown}");
    }
}

#[tokio::test]
async fn who_cannot_wait_as_long_is_told_at_once_what_the_provider_said() {
    let upstream = refusing(usize::MAX, "retry-after: 20\r\n").await;
    let app = TestApp::start(&upstream.channel("a", ""));
    let impatient = app.client().with_header("x-penstock-max-wait: 2000");
    let began = Instant::now();
    let answer = impatient.chat(&chat("m")).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (429, "rate_limit_exceeded"));
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 19, "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(2), "it was told on arrival");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_call_fails_over_while_a_channel_pauses_and_others_go_there_at_once() {
    let tired = refusing(usize::MAX, "retry-after: 30\r\n").await;
    let other = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let app = TestApp::start(&format!(
        "{}{}",
        tired.channel("tired", "priority = 1\n"),
        other.channel("other", "")
    ));
    for _ in 0..4 {
        let answer = app.client().chat(&chat("m")).await;
        assert_eq!((answer.status, answer.header("x-penstock-channel")), (200, Some("other")));
    }
    assert_eq!((tired.count(), other.count()), (1, 4));
}

#[tokio::test]
async fn a_channel_that_refuses_for_ever_is_asked_a_few_times_a_call() {
    let upstream = refusing(usize::MAX, "retry-after-ms: 10\r\n").await;
    let app = TestApp::start(&upstream.channel("a", ""));
    let answer = app.client().with_header("x-penstock-max-wait: 9000").chat(&chat("m")).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (429, "rate_limit_exceeded"));
    assert!((2..9).contains(&upstream.count()), "{}", upstream.count());
}

#[tokio::test]
async fn without_pacing_and_for_an_empty_account_a_429_is_told_at_once() {
    let upstream = refusing(1, "retry-after: 20\r\n").await;
    let app = TestApp::start(&upstream.channel("a", "pacing = false\n"));
    assert_eq!(app.client().chat(&chat("m")).await.status, 429);
    assert_eq!(app.client().chat(&chat("m")).await.status, 200, "and nothing is learned");
    let empty = ERROR.replace("rate_limit_exceeded", "insufficient_quota");
    let upstream = Upstream::start(move |mut exchange: Exchange| {
        let empty = empty.clone();
        async move {
            exchange.answer(429, "application/json", &empty).await;
            After::Keep(exchange)
        }
    })
    .await;
    let app = TestApp::start(&upstream.channel("a", ""));
    assert_eq!(app.client().chat(&chat("m")).await.error_code(), "insufficient_quota");
    assert!(!app.cell("a").learning.pacer.is_on());
}

#[tokio::test]
async fn another_credential_ends_a_pause_and_a_removed_channel_its_calls_wait() {
    let upstream = refusing(1, "retry-after: 25\r\n").await;
    let channel = upstream.channel("a", "");
    let app = TestApp::start(&channel);
    let mut waits = ask(&app.client(), &chat("m")).await;
    eventually("it waits", || app.cell("a").gate.waiting() == 1).await;
    app.reload(&channel.replace("secret-a", "changed")).await.unwrap();
    assert_eq!(read_answer(&mut waits).await.status, 200);
    assert_eq!(upstream.seen().last().unwrap().header("authorization"), Some("Bearer changed"));

    let upstream = refusing(1, "retry-after: 25\r\n").await;
    let app = TestApp::start(&upstream.channel("a", ""));
    let mut waits = ask(&app.client(), &chat("m")).await;
    eventually("it waits", || app.cell("a").gate.waiting() == 1).await;
    app.reload("").await.unwrap();
    assert!(read_answer(&mut waits).await.status >= 400);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_limit_of_nothing_stays_one_and_a_huge_one_learns() {
    let upstream = refusing(1, "retry-after-ms: 50\r\n").await;
    let channel = |limit: u32| {
        upstream.channel(
            "a",
            &format!(
                "concurrency = {limit}\nadaptive = \"aimd\"\npool = {{ max_connections = 1000000000 }}\n"
            ),
        )
    };
    let app = TestApp::start(&channel(0));
    let impatient = app.client().with_header("x-penstock-max-wait: 100");
    assert_eq!(impatient.chat(&chat("m")).await.error_code(), "channels_saturated");
    assert_eq!(upstream.count(), 0);
    app.reload(&channel(1_000_000_000)).await.unwrap();
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    app.reload(&channel(1)).await.unwrap();
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    assert_eq!(app.cell("a").gate.limit(), 1);
}

/// A mock with limits, in a thread of its own.
fn limited(limits: MockLimits, settings: MockSettings) -> std::net::SocketAddr {
    let listener = mock::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        actix_web::rt::System::new()
            .block_on(async { mock::serve_within(listener, settings, limits, 1).unwrap().await })
    });
    address
}

#[tokio::test]
async fn what_a_provider_says_in_headers_is_paced_to_and_no_client_is_refused() {
    for tells in [Tells::Headers, Tells::RetryAfter, Tells::Nothing] {
        let limits = MockLimits { requests_per_minute: Some(60), tells, ..MockLimits::default() };
        let address = limited(limits, MockSettings { ttft_ms: 20, ..MockSettings::default() });
        let channel =
            super::support::upstream::channel("a", &format!("http://{address}"), "concurrency = 8\n");
        let app = TestApp::start(&channel);
        let mut open = Vec::new();
        for _ in 0..62 {
            open.push(ask(&app.client(), &chat("m")).await);
        }
        for tcp in &mut open {
            let answer = read_answer(tcp).await;
            assert_eq!(answer.status, 200, "{tells:?}: {answer:?}");
        }
        let counts = super::support::Client::without_key(address).get("/_mock/limits").await.json();
        let refused = counts["counts"]["refused_by_requests"].as_u64().unwrap();
        // Where it says what is left, a call may still come a moment before the provider's own clock lets it.
        assert!(refused <= if tells == Tells::Headers { 2 } else { 20 }, "{tells:?}: {counts}");
        if tells == Tells::Headers {
            let shown = learned(&app.client().get("/api/runtime").await.json());
            assert_eq!(shown["requests_per_minute"], 60, "{shown}");
        }
    }
}

#[tokio::test]
async fn a_provider_that_bears_few_at_once_is_not_asked_for_more() {
    let limits = MockLimits { in_flight: Some(3), tells: Tells::Nothing, ..MockLimits::default() };
    let address = limited(limits, MockSettings { ttft_ms: 60, ..MockSettings::default() });
    let settings = "concurrency = 32\nadaptive = \"aimd\"\n";
    let app = TestApp::start(&super::support::upstream::channel("a", &format!("http://{address}"), settings));
    let mut open = Vec::new();
    for _ in 0..60 {
        open.push(ask(&app.client(), &chat("m")).await);
    }
    for tcp in &mut open {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
    let shown = learned(&app.client().get("/api/runtime").await.json());
    assert!(shown["limit"].as_u64().is_some_and(|limit| (1..8).contains(&limit)), "{shown}");
}
