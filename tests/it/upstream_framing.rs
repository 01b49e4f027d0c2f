//! Framing that is legal but rare: bodies that end with the connection, HTTP/1.0, interim answers, odd statuses.

use super::support::{
    Exchange, TestApp, Upstream, chat, chat_stream,
    fault::{CHUNKED, Sees, check, chunk, json_head, stream_head},
    upstream::{After, STREAM_END, completion, event},
};

/// Writes `prefix`, then a good answer, and keeps the connection.
async fn after(mut exchange: Exchange, prefix: &str) -> After {
    let whole = completion("hello", "m");
    let whole = json_head(whole.len()) + &whole;
    let stream = stream_head(CHUNKED) + &chunk(&event("hello")) + &chunk(STREAM_END) + "0\r\n\r\n";
    exchange.write(format!("{prefix}{}", if exchange.wants_stream() { stream } else { whole })).await;
    After::Keep(exchange)
}

/// Answers with `version` and header lines but no framing, in two pieces, and closes.
async fn until_closed(mut exchange: Exchange, version: &str, more: &str, cut: bool) -> After {
    let (kind, body) = match exchange.wants_stream() {
        true => ("text/event-stream", event("hello") + if cut { "" } else { STREAM_END }),
        false => {
            let body = completion("hello", "m");
            let end = if cut { body.len() - 1 } else { body.len() };
            ("application/json", body[..end].to_owned())
        }
    };
    exchange.write(format!("{version} 200 OK\r\ncontent-type: {kind}\r\n{more}\r\n")).await;
    exchange.pause().await;
    let (first, rest) = body.split_at(20);
    exchange.write(first).await;
    exchange.pause().await;
    exchange.write(rest).await;
    exchange.finish().await
}

#[tokio::test]
async fn a_body_may_end_with_the_connection() {
    check(|e| until_closed(e, "HTTP/1.1", "", false), Sees::Well, Sees::Well).await;
}

#[tokio::test]
async fn a_body_may_end_with_the_connection_that_was_announced_to_close() {
    check(|e| until_closed(e, "HTTP/1.1", "connection: close\r\n", false), Sees::Well, Sees::Well).await;
}

#[tokio::test]
async fn an_answer_of_http_1_0_may_end_with_the_connection() {
    check(|e| until_closed(e, "HTTP/1.0", "", false), Sees::Well, Sees::Well).await;
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_too_early_is_an_error() {
    let bad = "upstream_bad_answer";
    check(|e| until_closed(e, "HTTP/1.1", "", true), Sees::Refusal(502, bad), Sees::Broken(bad)).await;
}

#[tokio::test]
async fn an_answer_of_http_1_0_with_a_length_closes_its_connection() {
    let script = |mut exchange: Exchange| async move {
        let body = match exchange.wants_stream() {
            true => event("hello") + STREAM_END,
            false => completion("hello", "m"),
        };
        let kind = if exchange.wants_stream() { "text/event-stream" } else { "application/json" };
        let len = body.len();
        let head = format!("HTTP/1.0 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len}\r\n\r\n");
        exchange.write(head + &body).await;
        exchange.until_left().await
    };
    check(script, Sees::Well, Sees::Well).await;
}

#[tokio::test]
async fn an_answer_that_says_close_closes_its_connection() {
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        let body = completion("hello", "m");
        let head = json_head(body.len()).replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
        exchange.write(head + &body).await;
        assert_eq!(exchange.nth, 0, "no connection is used twice");
        exchange.until_left().await
    })
    .await;
    let app = TestApp::start(&upstream.channel("up", ""));
    for n in 1..=3 {
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
        super::support::eventually("the connection is closed", || upstream.left() == n).await;
    }
}

#[tokio::test]
async fn interim_answers_are_passed_over() {
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
    ] {
        check(move |e| after(e, interim), Sees::Well, Sees::Well).await;
    }
}

#[tokio::test]
async fn an_interim_answer_that_comes_apart_from_the_final_one_is_passed_over() {
    let script = |mut exchange: Exchange| async move {
        for piece in ["HTTP/1.1 103 Early", " Hints\r\nlink: </a>\r\n\r", "\nHT"] {
            exchange.write(piece).await;
            exchange.pause().await;
        }
        let body = completion("hello", "m");
        let whole = json_head(body.len()) + &body;
        let stream = stream_head(CHUNKED) + &chunk(&event("hello")) + &chunk(STREAM_END) + "0\r\n\r\n";
        let answer = if exchange.wants_stream() { stream } else { whole };
        exchange.write(&answer[2..]).await;
        After::Keep(exchange)
    };
    check(script, Sees::Well, Sees::Well).await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Upstream::start(|exchange| exchange.answer_well("elsewhere")).await;
    for status in [301, 302, 307, 308] {
        let location = format!("http://{}/v1/chat/completions", elsewhere.address);
        let script = move |mut exchange: Exchange| {
            let more = format!("location: {location}\r\ncontent-length: 0\r\n");
            async move {
                exchange.write(format!("HTTP/1.1 {status} Moved\r\n{more}\r\n")).await;
                After::Keep(exchange)
            }
        };
        let sees = Sees::Refusal(502, "bad_response_status_code");
        check(script, sees, sees).await;
    }
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn statuses_without_a_body_are_errors() {
    for (status, whole, stream) in [
        ("204 No Content", "upstream_bad_answer", "unexpected_response_format"),
        ("304 Not Modified", "bad_response_status_code", "bad_response_status_code"),
    ] {
        let script = move |mut exchange: Exchange| async move {
            exchange.write(format!("HTTP/1.1 {status}\r\netag: \"x\"\r\n\r\n")).await;
            After::Keep(exchange)
        };
        check(script, Sees::Refusal(502, whole), Sees::Refusal(502, stream)).await;
    }
}

#[tokio::test]
async fn a_304_that_tells_a_length_has_no_body_all_the_same() {
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        exchange.write("HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\n\r\n").await;
        After::Keep(exchange)
    })
    .await;
    // Were the body waited for, the answer would come after seconds.
    let app = TestApp::start(&upstream.channel("up", "[channel.timeouts]\nfirst_byte = \"1s\"\n"));
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (502, "bad_response_status_code"));
}

#[tokio::test]
async fn large_heads_are_taken_and_larger_ones_refused() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        let size: usize =
            String::from_utf8_lossy(&exchange.body).split('"').find_map(|w| w.parse().ok()).unwrap();
        let body = completion("hello", "m");
        let long = format!("\r\nx-long: {}\r\n\r\n", "a".repeat(size));
        let mut exchange = exchange;
        exchange.write(json_head(body.len()).replace("\r\n\r\n", &long) + &body).await;
        After::Keep(exchange)
    })
    .await;
    let app = TestApp::start(&upstream.channel("up", ""));
    for (size, status) in [("60000", 200), ("120000", 200), ("300000", 502)] {
        let answer = app.client().chat(&chat("m").replace("hi", size)).await;
        assert_eq!(answer.status, status, "{size}: {answer:?}");
        if status == 502 {
            assert_eq!(answer.error_code(), "upstream_bad_answer");
        }
    }
}

#[tokio::test]
async fn a_stream_of_known_length_is_a_stream() {
    let script = |mut exchange: Exchange| async move {
        let stream = event("hello") + STREAM_END;
        let head = stream_head(&format!("content-length: {}\r\n", stream.len()));
        exchange.write(head + &stream).await;
        After::Keep(exchange)
    };
    let upstream = Upstream::start(script).await;
    let app = TestApp::start(&upstream.channel("up", ""));
    let answer = app.client().chat(&chat_stream("m")).await;
    assert!(answer.complete && answer.body.ends_with("data: [DONE]\n\n"), "{answer:?}");
}
