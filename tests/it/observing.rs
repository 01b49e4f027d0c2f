//! What can be seen from outside: health, metrics, the ids of calls, hints for retries.

use super::support::{Client, TestApp, Upstream, chat, chat_stream};

#[tokio::test]
async fn health_is_plain() {
    let app = TestApp::start("");
    let anyone = Client::without_key(app.address);
    for path in ["/health", "/health/live", "/v1/health"] {
        let answer = anyone.get(path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"status":"healthy"}"#), "{path}");
    }
    let ready = anyone.get("/health/ready").await;
    assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("ready")));
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let app = TestApp::start(&upstream.channel("a", "concurrency = 7\n"));
    for body in [chat("m"), chat_stream("m"), chat("zzz"), "x".to_owned()] {
        app.client().chat(&body).await;
    }
    let answer = Client::without_key(app.address).get("/metrics").await;
    assert_eq!((answer.status, answer.complete), (200, true));
    assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
    for line in [
        "penstock_calls_total{endpoint=\"chat_completions\",outcome=\"completed\"} 2",
        "penstock_calls_total{endpoint=\"chat_completions\",outcome=\"refused_client\"} 2",
        "penstock_calls_in_flight 0",
        "penstock_channel_limit{channel=\"a\"} 7",
        "penstock_channel_in_flight{channel=\"a\"} 0",
        "penstock_channel_attempts{channel=\"a\",result=\"succeeded\"} 2",
        "penstock_tokens_total{bucket=\"input\"} 1",
        "penstock_body_bytes 0",
        "penstock_handler_panics_total 0",
    ] {
        assert!(answer.body.lines().any(|l| l == line), "{line} is not in\n{}", answer.body);
    }
    assert!(!answer.body.contains("secret-a"));
}

#[tokio::test]
async fn metrics_tell_of_the_books() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let price = "[[price]]\nmodel = \"m\"\ninput = 3\noutput = 15\n";
    let poor = "[[key]]\nname = \"poor\"\nsecret = \"sk-poor-0123456789abcdef\"\nquota = \"0.000000001\"\n";
    let app = TestApp::start(&[&upstream.channel("a", ""), price, poor].concat());
    for _ in 0..2 {
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    }
    assert_eq!(app.client().with_key("sk-poor-0123456789abcdef").chat(&chat("m")).await.status, 429);
    assert_eq!(app.client().chat(&chat("zzz\\n{}")).await.status, 404);
    let anyone = Client::without_key(app.address);
    let mut text = String::new();
    for line in [
        "penstock_settled_total{outcome=\"completed\"} 2",
        "penstock_refused_total{code=\"insufficient_quota\"} 1",
        "penstock_refused_total{code=\"model_not_found\"} 1",
        "penstock_charged_nanodollars_total 36000",
        "penstock_cost_nanodollars_total 36000",
        "penstock_traffic_calls{window=\"1m\"} 4",
        "penstock_traffic_channel_completion_tokens{channel=\"a\"} 2",
        "penstock_traffic_model_charged_nanodollars{model=\"m\"} 36000",
        "penstock_usage_log_events_total 4",
        "penstock_usage_log_lag{consumer=\"biller\"} 0",
        "penstock_usage_log_applied_total{consumer=\"request_log\"} 4",
        "penstock_usage_log_skipped_total{consumer=\"meter\"} 0",
        "penstock_journal_open_dispatches 0",
        "penstock_journal_behind_bytes{consumer=\"biller\"} 0",
        "penstock_journal_refused_total 0",
        "penstock_abandoned_total 0",
        "penstock_accounts 3",
    ] {
        // What was settled a moment ago comes to the actors behind it.
        let deadline = std::time::Instant::now() + super::support::SOON;
        while !text.lines().any(|l| l == line) {
            assert!(std::time::Instant::now() < deadline, "{line} is not in\n{text}");
            text = anyone.get("/metrics").await.body;
        }
    }
    assert!(!text.contains("model=\"zzz"), "a name that nobody serves is no label");
    let left = text.lines().find(|l| l.starts_with("penstock_account_available_nanodollars{")).unwrap();
    assert!(left.ends_with(" 1"), "{left}");
    // Every counter of the journal is told of, with its meaning.
    let counted = app.shared().relay.books.journal.counters().all().map(|(name, _)| name);
    for name in counted {
        assert!(text.contains(&format!("\npenstock_journal_{name}_total ")), "{name}");
    }
    let mut seen = std::collections::BTreeSet::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        assert!(seen.insert(line.rsplit_once(' ').unwrap().0), "twice: {line}");
    }
}

#[tokio::test]
async fn every_answer_has_an_id_and_the_clients_own_is_echoed() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let app = TestApp::start(&upstream.channel("a", ""));
    let client = app.client().with_header("x-request-id: my-own");
    let mut ids = std::collections::BTreeSet::new();
    let answers = [
        client.chat(&chat("m")).await,
        client.chat(&chat_stream("m")).await,
        client.chat("x").await,
        client.chat(&chat("zzz")).await,
        client.with_key("wrong").with_header("x-request-id: my-own").chat("").await,
        client.get("/nowhere").await,
        client.get("/health").await,
        client.get("/metrics").await,
        client.get("/v1/models").await,
        client.send(&client.request("OPTIONS", "/v1/models", b"")).await,
    ];
    for answer in &answers {
        let id = answer.header("x-request-id").unwrap_or_else(|| panic!("no id: {answer:?}"));
        assert_eq!((id.len(), &id[14..15]), (36, "7"), "UUIDv7: {id}");
        assert_eq!(answer.header("x-oneapi-request-id"), Some(id));
        assert_eq!(answer.header("x-client-request-id"), Some("my-own"));
        ids.insert(id.to_owned());
    }
    assert_eq!(ids.len(), answers.len(), "each has its own");
    for odd in ["x".repeat(257), "a\tb".into(), String::new()] {
        let answer = app.client().with_header(&format!("x-request-id: {odd}")).get("/health").await;
        assert_eq!(answer.status, 200);
        assert_ne!(answer.header("x-request-id"), Some(odd.as_str()), "the client's is never ours");
    }
}

#[tokio::test]
async fn only_refusals_that_no_retry_helps_say_so() {
    let app = TestApp::start(&super::support::upstream::channel("a", "http://127.0.0.1:9", ""));
    for (body, retry) in [("x".to_owned(), Some("false")), (chat("zzz"), Some("false")), (chat("m"), None)] {
        let answer = app.client().chat(&body).await;
        assert_eq!(answer.header("x-should-retry"), retry, "{answer:?}");
        let fault = answer.json()["error"]["fault"].as_str().unwrap().to_owned();
        assert_eq!(answer.header("x-penstock-fault"), Some(fault.as_str()));
        assert_eq!(fault == "client", retry.is_some());
    }
}
