//! An Anthropic upstream behind chat completions, with the fixtures of the adapter's own tests.

use super::support::{
    Exchange, TestApp, Upstream, chat, chat_stream, eventually,
    fault::{CHUNKED, chunk, json_head, stream_head},
    upstream::After,
};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/anthropic/", $name))
    };
}

/// A channel that speaks Anthropic's dialect and knows the model `smart` by another name.
fn channel(upstream: &Upstream, name: &str, more: &str) -> String {
    format!(
        "[[channel]]\nname = \"{name}\"\nprovider = \"anthropic\"\nbase_url = \"http://{}\"\n\
         credential = \"secret-{name}\"\nmodels = [\"smart\"]\n{more}\n\
         [channel.mapping]\nsmart = \"claude-opus-5-5\"\n",
        upstream.address
    )
}

/// Sends each piece as a chunk of its own, then ends the answer properly.
async fn stream(mut exchange: Exchange, pieces: impl IntoIterator<Item = String>) -> After {
    exchange.write(stream_head(CHUNKED)).await;
    for piece in pieces {
        exchange.write(chunk(&piece)).await;
    }
    exchange.end_stream().await;
    After::Keep(exchange)
}

fn frames(fixture: &str) -> Vec<String> {
    fixture.split_inclusive("\n\n").map(str::to_owned).collect()
}

/// What the client must get: the fixture, but for the time.
fn at(created: &serde_json::Value, fixture: &str) -> String {
    fixture.replace("1760000000", &created.to_string())
}

#[tokio::test]
async fn whole_answers_are_translated_both_ways() {
    for (sent, wanted) in [
        (fixture!("text.json"), fixture!("text.openai.json")),
        (fixture!("tools.json"), fixture!("tools.openai.json")),
    ] {
        let upstream = Upstream::start(move |mut exchange: Exchange| async move {
            exchange.write(json_head(sent.len()) + sent).await;
            After::Keep(exchange)
        })
        .await;
        let app = TestApp::start(&channel(&upstream, "up", ""));
        let answer = app.client().chat(&chat("smart")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body.trim(), at(&answer.json()["created"], wanted).trim());
        let seen = &upstream.seen()[0];
        assert!(seen.head.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{}", seen.head);
        assert_eq!(seen.header("x-api-key"), Some("secret-up"));
        assert_eq!(
            (seen.header("authorization"), seen.header("anthropic-version")),
            (None, Some("2023-06-01"))
        );
        let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
        assert_eq!(body["model"], "claude-opus-5-5");
        assert_eq!(body["messages"][0]["role"], "user");
    }
}

#[tokio::test]
async fn a_full_request_is_written_as_the_adapter_writes_it() {
    let upstream = Upstream::start(|exchange| stream(exchange, frames(fixture!("text.sse")))).await;
    let app = TestApp::start(&channel(&upstream, "up", ""));
    let answer = app.client().chat(fixture!("request.openai.json")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let sent: serde_json::Value = serde_json::from_str(&upstream.seen()[0].body).unwrap();
    let wanted: serde_json::Value = serde_json::from_str(fixture!("request.anthropic.json")).unwrap();
    assert_eq!(sent, wanted);
}

#[tokio::test]
async fn streams_are_translated_however_they_are_cut() {
    for (sent, wanted) in [
        (fixture!("text.sse"), fixture!("text.openai.sse")),
        (fixture!("tools.sse"), fixture!("tools.openai.sse")),
        (fixture!("thinking.sse"), fixture!("thinking.openai.sse")),
    ] {
        let whole = Upstream::start(move |exchange| stream(exchange, [sent.to_owned()])).await;
        let framed = Upstream::start(move |exchange| stream(exchange, frames(sent))).await;
        for upstream in [whole, framed] {
            let app = TestApp::start(&channel(&upstream, "up", ""));
            let usage = "\"stream\":true,\"stream_options\":{\"include_usage\":true}";
            let answer = app.client().chat(&chat_stream("smart").replace("\"stream\":true", usage)).await;
            let first = answer.body.lines().next().and_then(|l| l.strip_prefix("data: ")).unwrap();
            let first: serde_json::Value = serde_json::from_str(first).unwrap();
            assert!(answer.complete);
            assert_eq!(answer.body.trim(), at(&first["created"], wanted).trim());
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_event() {
    let text = frames(fixture!("text.sse"));
    let begun = text[..4].concat();
    let cut = Upstream::start(move |mut exchange: Exchange| {
        let begun = stream_head(CHUNKED) + &chunk(&begun);
        async move {
            exchange.write(begun).await;
            After::Close
        }
    })
    .await;
    let ended = Upstream::start({
        let begun = text[..4].concat();
        move |exchange| stream(exchange, [begun.clone()])
    })
    .await;
    let failed = Upstream::start(|exchange| stream(exchange, frames(fixture!("error.sse")))).await;
    let cases = [
        (cut, "upstream_cut_off", "Hello"),
        (ended, "upstream_bad_answer", "Hello"),
        (failed, "overloaded_error", "The first"),
    ];
    for (upstream, code, content) in cases {
        let app = TestApp::start(&channel(&upstream, "up", ""));
        let answer = app.client().chat(&chat_stream("smart")).await;
        assert!(answer.status == 200 && answer.complete && answer.body.contains(content), "{answer:?}");
        assert_eq!(answer.error_event()["code"], code);
        assert_eq!(answer.error_event()["fault"], "upstream");
        assert!(
            !answer.body.contains("[DONE]") && !answer.body.contains("\"finish_reason\":\"stop\""),
            "{answer:?}"
        );
        eventually("the permit returns", || app.cell("up").gate.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_before_content_is_tried_elsewhere() {
    let text = frames(fixture!("text.sse"));
    let bad = Upstream::start(move |mut exchange: Exchange| {
        // The head, the start and a ping: nothing that a client would see.
        let begun = stream_head(CHUNKED) + &chunk(&text[..3].concat());
        async move {
            exchange.write(begun).await;
            After::Close
        }
    })
    .await;
    let good = Upstream::start(|exchange| stream(exchange, frames(fixture!("text.sse")))).await;
    let app = TestApp::start(&(channel(&bad, "bad", "") + &channel(&good, "good", "priority = -1")));
    let answer = app.client().chat(&chat_stream("smart")).await;
    assert!(answer.status == 200 && answer.body.ends_with("data: [DONE]\n\n"), "{answer:?}");
    assert_eq!(answer.header("x-penstock-channel"), Some("good"));
}

#[tokio::test]
async fn an_overloaded_provider_is_told_or_passed_over() {
    let body = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded, secret-bad"}}"#;
    let bad = Upstream::start(move |mut exchange: Exchange| async move {
        let len = body.len();
        exchange
            .write(format!("HTTP/1.1 529 X\r\nretry-after: 3\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}"))
            .await;
        After::Keep(exchange)
    })
    .await;
    let good = Upstream::start(|exchange| stream(exchange, frames(fixture!("text.sse")))).await;
    for body in [chat("smart"), chat_stream("smart")] {
        let app = TestApp::start(&channel(&bad, "bad", ""));
        let answer = app.client().chat(&body).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (529, "overloaded_error"));
        assert_eq!(answer.header("retry-after"), Some("3"));
        assert!(answer.body.contains("Overloaded, ***"), "{}", answer.body);
    }
    let app = TestApp::start(&(channel(&bad, "bad", "") + &channel(&good, "good", "priority = -1")));
    let answer = app.client().chat(&chat_stream("smart")).await;
    assert!(answer.status == 200 && answer.body.contains("Hello"), "{answer:?}");
}
