//! Cuts, stalls, delays and garbage, and what the account makes of them.

use super::*;

const TEN: &str = "x-penstock-mock-tokens: 10\r\n";

async fn cut(mock: &Mock, path: &str, value: &str, body: &str) -> Wire {
    let headers = format!("{TEN}x-penstock-mock-cut: {value}\r\n");
    read(mock.open(path, &headers, body).await).await
}

#[actix_web::test]
async fn a_cut_closes_the_connection_where_it_is_told() {
    let mock = Mock::start();
    for (path, stream, whole) in
        [("/v1/chat/completions", CHAT_STREAM, CHAT), ("/v1/messages", MESSAGES_STREAM, MESSAGES)]
    {
        for body in [stream, whole] {
            assert_eq!(cut(&mock, path, "before-head", body).await.head, "");
        }
        for value in ["mid-body", "mid-frame", "after-frames=3"] {
            let wire = cut(&mock, path, value, whole).await;
            assert!(!wire.whole && wire.body.starts_with('{'), "{value}: {}", wire.body);
        }
        let total = frames(&mock.call(path, TEN, stream).await.body).len();
        for (value, count, ragged) in [
            ("mid-body", total / 2, false),
            ("mid-frame", total / 2, true),
            ("after-frames=0", 0, false),
            ("after-frames=3", 3, false),
            ("after-frames=99", total, false),
        ] {
            let wire = cut(&mock, path, value, stream).await;
            assert_eq!((status(&wire), wire.whole), (200, false), "{value}");
            assert_eq!(frames(&wire.body).len(), count, "{value}: {}", wire.body);
            assert_eq!(!wire.body.is_empty() && !wire.body.ends_with("\n\n"), ragged, "{value}");
        }
    }
    let totals = mock.totals().await;
    assert_eq!(
        (&totals["cut"], &totals["completed"], &totals["in_flight"]),
        (&20.into(), &2.into(), &0.into())
    );
}

#[actix_web::test]
async fn tokens_sent_before_a_cut_are_counted_exactly() {
    let mock = Mock::start();
    let headers = format!("{TEN}x-penstock-call-id: c1\r\n");
    let cut = format!("{headers}x-penstock-mock-cut: after-frames=4\r\n");
    // A role frame, then three tokens.
    read(mock.open("/v1/chat/completions", &cut, CHAT_STREAM).await).await;
    let call = mock.json("/_mock/calls/c1", "", "").await;
    assert_eq!(
        call,
        serde_json::json!({"attempts": 1, "completed": 0, "prompt_tokens": 2, "completion_tokens": 3})
    );
    mock.call("/v1/chat/completions", &headers, CHAT).await;
    let call = mock.json("/_mock/calls/c1", "", "").await;
    assert_eq!(
        call,
        serde_json::json!({"attempts": 2, "completed": 1, "prompt_tokens": 4, "completion_tokens": 13})
    );
    mock.call("/_mock/reset", "", "").await;
    assert_eq!(status(&mock.call("/_mock/calls/c1", "", "").await), 404);
    assert_eq!(mock.totals().await["requests"], 0);
}

#[actix_web::test]
async fn a_client_that_leaves_a_stall_is_noticed() {
    let mock = Mock::start();
    let mut left = 0;
    for (value, body, last) in [
        ("before-head", CHAT, ""),
        ("before-head", CHAT_STREAM, ""),
        ("after-head", CHAT, "\r\n\r\n"),
        ("after-head", CHAT_STREAM, "\r\n\r\n"),
        ("after-frames=2", CHAT_STREAM, "\"content\":\"water\""),
    ] {
        for half_close in [false, true] {
            let headers = format!("{TEN}x-penstock-mock-stall: {value}\r\n");
            let mut stream = mock.open("/v1/chat/completions", &headers, body).await;
            mock.until("in_flight", 1).await;
            let got = read_until(&mut stream, last).await;
            assert!(!got.contains(" falls"), "{value}: {got}");
            if half_close {
                stream.shutdown().await.expect("an open connection");
                mock.until("in_flight", 0).await;
            }
            drop(stream);
            left += 1;
            mock.until("client_left", left).await;
        }
    }
    let totals = mock.totals().await;
    assert_eq!((&totals["completion_tokens"], &totals["completed"]), (&2.into(), &0.into()));
}

#[actix_web::test]
async fn a_client_that_leaves_a_slow_answer_is_noticed() {
    let mock = Mock::with(MockSettings { pace_ms: 3_600_000, ..MockSettings::default() });
    let mut stream = mock.open("/v1/messages", "x-penstock-call-id: slow\r\n", MESSAGES_STREAM).await;
    read_until(&mut stream, "echo:").await;
    assert_eq!(mock.json("/_mock/calls/slow", "", "").await["completion_tokens"], 1);
    drop(stream);
    mock.until("client_left", 1).await;
    let waiting = mock.open("/v1/messages", "x-penstock-mock-latency-ms: 3600000\r\n", MESSAGES).await;
    mock.until("in_flight", 1).await;
    drop(waiting);
    mock.until("client_left", 2).await;
}

#[actix_web::test]
async fn delays_are_kept() {
    let mock =
        Mock::with(MockSettings { latency_ms: 20, ttft_ms: 20, pace_ms: 10, ..MockSettings::default() });
    for body in [CHAT, CHAT_STREAM] {
        let start = std::time::Instant::now();
        assert!(mock.call("/v1/chat/completions", "", body).await.whole);
        assert!(start.elapsed() >= Duration::from_millis(60), "three tokens take two pauses");
    }
}

#[actix_web::test]
async fn statuses_strike_each_nth_request_and_say_when_to_come_back() {
    let settings = MockSettings {
        status: Some(429),
        status_every: Some(3),
        retry_after: Some(7),
        retry_after_ms: Some(7000),
        ..MockSettings::default()
    };
    let mock = Mock::with(settings);
    let mut codes = Vec::new();
    for _ in 0..6 {
        codes.push(status(&mock.call("/v1/chat/completions", "", CHAT).await));
    }
    assert_eq!(codes, [200, 200, 429, 200, 200, 429]);
    let now = "x-penstock-mock-status: 529\r\nx-penstock-mock-status-every: 1\r\n";
    let wire = mock.call("/v1/messages", now, MESSAGES).await;
    assert!(
        wire.head.contains("retry-after: 7\r\n") && wire.head.contains("retry-after-ms: 7000"),
        "{}",
        wire.head
    );
    assert_eq!((status(&wire), wire.body.contains("overloaded_error")), (529, true));
}

#[actix_web::test]
async fn garbage_is_no_answer() {
    let mock = Mock::start();
    let garbage = |value: &str| format!("x-penstock-mock-garbage: {value}\r\n");
    for (path, stream, whole) in
        [("/v1/chat/completions", CHAT_STREAM, CHAT), ("/v1/messages", MESSAGES_STREAM, MESSAGES)]
    {
        for body in [stream, whole] {
            let wire = mock.call(path, &garbage("html"), body).await;
            assert!(wire.head.contains("text/html") && wire.body.contains("<html>"));
            assert!(mock.call(path, &garbage("binary"), body).await.whole);
            let wire = mock.call(path, &garbage("error-200"), body).await;
            assert!(status(&wire) == 200 && wire.body.contains("\"error\":{"), "{}", wire.body);
        }
        let wire = mock.call(path, &garbage("truncated-json"), whole).await;
        assert!(wire.whole && serde_json::from_str::<Value>(&wire.body).is_err());
        let wire = mock.call(path, &garbage("truncated-json"), stream).await;
        let last = frames(&wire.body).last().copied().unwrap_or_default().to_owned();
        assert!(wire.whole && serde_json::from_str::<Value>(&last).is_err(), "{last}");
    }
    assert_eq!(mock.totals().await["completed"], 0);
    let wire = mock.call("/v1/chat/completions", &garbage("huge-line=3000000"), CHAT_STREAM).await;
    assert!(wire.whole && frames(&wire.body)[1].len() > 3_000_000);
}

#[actix_web::test]
async fn what_is_left_out_is_left_out() {
    let mock = Mock::start();
    let bare = "x-penstock-mock-no-done: 1\r\nx-penstock-mock-no-usage: 1\r\nx-penstock-mock-answer-model: other\r\n";
    let wanted = CHAT_STREAM.replace("\"model\"", "\"stream_options\":{\"include_usage\":true},\"model\"");
    for (path, body) in [
        ("/v1/chat/completions", &*wanted),
        ("/v1/chat/completions", CHAT),
        ("/v1/messages", MESSAGES_STREAM),
        ("/v1/messages", MESSAGES),
    ] {
        let wire = mock.call(path, bare, body).await;
        assert!(wire.whole && wire.body.contains("\"other\""), "{}", wire.body);
        assert!(
            ["usage", "[DONE]", "message_stop"].iter().all(|text| !wire.body.contains(text)),
            "{}",
            wire.body
        );
    }
}

#[actix_web::test]
async fn connections_are_kept_unless_told_otherwise() {
    let mock = Mock::start();
    let mut stream = mock.open("/v1/chat/completions", "", CHAT).await;
    read_until(&mut stream, "\"total_tokens\":5").await;
    let again = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: mock\r\nauthorization: Bearer k\r\ncontent-type: application/json\r\nx-penstock-mock-close: 1\r\ncontent-length: {}\r\n\r\n{CHAT}",
        CHAT.len()
    );
    stream.write_all(again.as_bytes()).await.expect("an open connection");
    let wire = read(stream).await;
    assert!(wire.head.contains("connection: close"), "{}", wire.head);
    assert_eq!(mock.totals().await["completed"], 2);
}

#[actix_web::test]
async fn the_process_can_be_told_and_a_header_wins() {
    let mock = Mock::with(MockSettings { cut: Some(Cut::BeforeHead), ..MockSettings::default() });
    assert_eq!(read(mock.open("/v1/chat/completions", "", CHAT).await).await.head, "");
    let wire = mock.call("/v1/chat/completions", "x-penstock-mock-cut: off\r\n", CHAT).await;
    assert!(wire.whole);
}
