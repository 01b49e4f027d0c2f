//! Answers that come while a large request body is still on its way.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::support::{
    Exchange, TestApp, Upstream, eventually,
    upstream::{After, completion},
};

/// A request of this many megabytes: spooled to a file, and more than any socket's buffers take.
fn large(megabytes: usize) -> String {
    let text = "x".repeat(megabytes << 20);
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#)
}

const DENIED: &str =
    r#"{"error":{"message":"no such key","type":"authentication_error","code":"invalid_key"}}"#;

async fn deny(exchange: &mut Exchange) {
    exchange.answer(401, "application/json", DENIED).await;
}

/// The client gets the provider's 401, on the first connection and on the one after it.
async fn check<F, R>(script: F)
where
    F: Fn(Exchange) -> R + Send + Sync + 'static,
    R: Future<Output = After> + Send + 'static,
{
    let upstream = Upstream::start_unread(script).await;
    let app = TestApp::start(&upstream.channel("up", ""));
    for n in 1..=2 {
        let answer = app.client().chat(&large(24)).await;
        assert_eq!(
            (answer.status, answer.error_code().as_str()),
            (401, "upstream_credential_refused"),
            "{answer:?}"
        );
        assert_eq!(upstream.count(), n, "the refusal is not tried again");
        eventually("the connection is closed", || app.cell("up").connections.count() == 0).await;
    }
}

#[tokio::test]
async fn a_refusal_reaches_the_client_though_the_body_is_never_read() {
    check(|mut exchange| async move {
        deny(&mut exchange).await;
        exchange.until_gone().await
    })
    .await;
}

#[tokio::test]
async fn a_refusal_reaches_the_client_though_the_connection_is_closed_behind_it() {
    // Unread bytes make this a reset.
    check(|mut exchange| async move {
        deny(&mut exchange).await;
        After::Close
    })
    .await;
}

#[tokio::test]
async fn a_refusal_reaches_the_client_though_the_connection_is_reset_behind_it() {
    check(|mut exchange| async move {
        deny(&mut exchange).await;
        exchange.reset().await
    })
    .await;
}

#[tokio::test]
async fn a_close_without_an_answer_ends_the_upload_at_once() {
    for reset in [false, true] {
        let may_go = Arc::new(Semaphore::new(0));
        let upstream =
            Upstream::start_unread({
                let may_go = may_go.clone();
                move |exchange: Exchange| {
                    let may_go = may_go.clone();
                    async move {
                        if reset { exchange.reset().await } else { exchange.finish_and_stay(may_go).await }
                    }
                }
            })
            .await;
        let app = TestApp::start(&upstream.channel("up", ""));
        let answer = app.client().chat(&large(24)).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (502, "upstream_closed"), "{answer:?}");
        assert_eq!(upstream.count(), 1);
        may_go.add_permits(1);
    }
}

#[tokio::test]
async fn an_interim_answer_does_not_end_the_upload() {
    let upstream = Upstream::start_unread(|mut exchange: Exchange| async move {
        exchange.write("HTTP/1.1 103 Early Hints\r\n\r\n").await;
        exchange.pause().await;
        exchange.read_body().await;
        exchange.write("HTTP/1.1 100 Continue\r\n\r\n").await;
        let whole = exchange.body.ends_with(b"x\"}]}");
        exchange.answer(200, "application/json", &completion(&format!("hello {whole}"), "m")).await;
        After::Keep(exchange)
    })
    .await;
    let app = TestApp::start(&format!("[server]\nworkers = 1\n{}", upstream.channel("up", "")));
    for _ in 0..2 {
        let answer = app.client().chat(&large(24)).await;
        assert!(answer.status == 200 && answer.body.contains("hello true"), "{answer:?}");
    }
    assert_eq!(app.cell("up").connections.opened(), 1);
}

#[tokio::test]
async fn a_large_body_is_sent_again_to_the_next_channel() {
    let bad = Upstream::start_unread(|mut exchange: Exchange| async move {
        deny(&mut exchange).await;
        After::Close
    })
    .await;
    let good = Upstream::start_unread(|mut exchange: Exchange| async move {
        exchange.read_body().await;
        let whole = exchange.body == large(24).into_bytes();
        exchange.answer(200, "application/json", &completion(&format!("hello {whole}"), "m")).await;
        After::Keep(exchange)
    })
    .await;
    let app = TestApp::start(&(bad.channel("bad", "") + &good.channel("good", "priority = -1")));
    let answer = app.client().chat(&large(24)).await;
    assert!(answer.status == 200 && answer.body.contains("hello true"), "{answer:?}");
}
