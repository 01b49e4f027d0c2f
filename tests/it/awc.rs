//! Channels that choose awc as their transport: what must hold over any, in one example each.

use super::support::{
    Exchange, TestApp, Upstream, chat, chat_stream,
    fault::json_head,
    upstream::{After, completion, event},
};

const AWC: &str = "transport = \"awc\"\n";

#[tokio::test]
async fn answers_come_whole_and_as_streams_over_one_connection() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hello")).await;
    let app = TestApp::start(&format!("[server]\nworkers = 1\n{}", upstream.channel("up", AWC)));
    for body in [chat("m"), chat_stream("m"), chat("m")] {
        let answer = app.client().chat(&body).await;
        assert!(answer.status == 200 && answer.complete && answer.body.contains("hello"), "{answer:?}");
    }
    assert_eq!(app.cell("up").connections.opened(), 1);
    // awc tells the date, our own transport does not.
    assert!(upstream.seen()[0].header("date").is_some());
}

#[tokio::test]
async fn a_cut_off_answer_is_no_answer_and_a_cut_off_stream_is_told_so() {
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        if exchange.wants_stream() {
            exchange.begin_stream().await;
            exchange.chunk(&event("hello")).await;
        } else {
            let body = completion("hello", "m");
            exchange.write(json_head(body.len() + 1) + &body).await;
        }
        After::Close
    })
    .await;
    let app = TestApp::start(&upstream.channel("up", AWC));
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (502, "upstream_cut_off"));
    let answer = app.client().chat(&chat_stream("m")).await;
    assert!(answer.body.contains("upstream_cut_off") && !answer.body.contains("[DONE]"), "{answer:?}");
}

#[tokio::test]
async fn a_stale_connection_is_tried_once_more() {
    let upstream = Upstream::start(|exchange: Exchange| async move {
        if exchange.nth == 0 { exchange.answer_well("hello").await } else { After::Close }
    })
    .await;
    let app = TestApp::start(&format!("[server]\nworkers = 1\n{}", upstream.channel("up", AWC)));
    for _ in 0..3 {
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    }
    assert_eq!(app.metric("penstock_stale_retries_total"), 2.0);
}

#[tokio::test]
async fn a_refusal_reaches_the_client_while_the_body_is_on_its_way() {
    let upstream = Upstream::start_unread(|mut exchange: Exchange| async move {
        exchange.answer(401, "application/json", r#"{"error":{"message":"no","code":"invalid_key"}}"#).await;
        After::Close
    })
    .await;
    let app = TestApp::start(&upstream.channel("up", AWC));
    let large = chat("m").replace("hi", &"x".repeat(24 << 20));
    let answer = app.client().chat(&large).await;
    assert_eq!(
        (answer.status, answer.error_code().as_str()),
        (401, "upstream_credential_refused"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn tls_is_spoken_and_a_cut_inside_it_seen() {
    let (upstream, certificate) = Upstream::start_tls(|mut exchange: Exchange| async move {
        if exchange.nth == 0 {
            return exchange.answer_well("hello").await;
        }
        let body = completion("hello", "m");
        exchange.write(json_head(body.len() + 1) + &body).await;
        After::Close
    })
    .await;
    let settings = format!("[server]\nworkers = 1\n{}", upstream.tls_channel("up", AWC));
    let app = TestApp::start_with(&settings, move || penstock::app::Options {
        roots: penstock::transport::TlsRoots { extra: vec![certificate] },
        ..Default::default()
    });
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (502, "upstream_cut_off"));
}

#[tokio::test]
async fn a_reload_changes_the_transport_and_closes_what_the_other_one_kept() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hello")).await;
    let app = TestApp::start(&upstream.channel("up", AWC));
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    let differences = app.reload(&upstream.channel("up", "")).await.unwrap();
    assert_eq!(differences, ["channel \"up\": transport awc -> http1"]);
    super::support::eventually("the kept connection is closed", || upstream.connections() == 0).await;
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    assert!(upstream.seen()[1].header("date").is_none());
}
