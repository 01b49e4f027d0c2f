//! One of two channels is bad: the client sees nothing of it.

use super::support::{TestApp, Upstream, chat, chat_stream, upstream};
use crate::support::upstream::After;

/// Twenty calls of each kind against a bad channel of the upper tier and a good one below.
async fn check(bad: &str) {
    let good = Upstream::start(|exchange| exchange.answer_well("good")).await;
    let app = TestApp::start(&format!("{bad}{}", good.channel("good", "priority = -1")));
    for body in [chat("m"), chat_stream("m")] {
        for _ in 0..10 {
            let answer = app.client().chat(&body).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert!(answer.complete && answer.body.contains("good"), "{answer:?}");
            assert_eq!(answer.header("x-penstock-channel"), Some("good"));
            assert_eq!(answer.header("x-penstock-attempts"), Some("2"));
        }
    }
    assert_eq!(good.count(), 20);
}

#[tokio::test]
async fn a_dead_channel_is_passed_over() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    check(&upstream::channel("bad", &format!("http://{free}"), "")).await;
}

#[tokio::test]
async fn a_channel_that_answers_500_is_passed_over() {
    let bad = Upstream::start(|mut exchange| async move {
        exchange.answer(500, "application/json", r#"{"error":{"message":"boom"}}"#).await;
        After::Keep(exchange)
    })
    .await;
    check(&bad.channel("bad", "")).await;
    assert_eq!(bad.count(), 20);
}

#[tokio::test]
async fn a_channel_that_stalls_before_the_first_byte_is_passed_over() {
    let bad = Upstream::start(|exchange| exchange.until_left()).await;
    let short = "[channel.timeouts]\nfirst_byte = \"50ms\"\nfirst_byte_stream = \"50ms\"\n";
    check(&bad.channel("bad", short)).await;
    assert_eq!(bad.left(), 20, "each stalled request is cancelled");
}
