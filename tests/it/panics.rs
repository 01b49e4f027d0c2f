//! Defects inside: a panicking handler, answer or actor stays alone with its fault.

use std::{convert::Infallible, pin::Pin, task};

use actix_web::{HttpResponse, body::MessageBody, web};
use penstock::app::Options;
use penstock_actors::{channel::roster::SupervisorOf, domain::ChannelName, testing::PanicDrill};
use tokio::io::AsyncReadExt as _;

use super::support::{TestApp, Upstream, chat, chat_stream, eventually, read_answer};

struct Bomb;

impl MessageBody for Bomb {
    type Error = Infallible;

    fn size(&self) -> actix_web::body::BodySize {
        actix_web::body::BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<web::Bytes, Infallible>>> {
        panic!("a defect in a body")
    }
}

async fn panics() -> HttpResponse {
    panic!("a defect in a handler")
}

fn routes(config: &mut web::ServiceConfig) {
    config.route("/panic", web::to(panics));
    config.route("/panic-body", web::to(async || HttpResponse::Ok().body(Bomb)));
}

/// A gateway of one worker with a stream that goes on until it is told to end.
async fn with_stream(upstream: &Upstream) -> (TestApp, tokio::net::TcpStream) {
    let settings = format!("[server]\nworkers = 1\n{}", upstream.channel("a", "concurrency = 2\n"));
    let app = TestApp::start_with(&settings, || Options { routes: Some(routes), ..Options::default() });
    let request = app.client().request("POST", "/v1/chat/completions", chat_stream("m").as_bytes());
    let tcp = app.client().open(&request).await;
    eventually("the stream is asked for", || upstream.count() == 1).await;
    (app, tcp)
}

#[tokio::test]
async fn a_panicking_handler_is_answered_and_harms_no_other_call() {
    let (upstream, go) = Upstream::held().await;
    let (app, mut stream) = with_stream(&upstream).await;
    let client = app.client().with_header("origin: http://page").with_header("x-request-id: own");
    for n in 1..=3 {
        let answer = client.get("/panic").await;
        assert_eq!((answer.status, answer.error_code().as_str()), (500, "internal_error"));
        assert!(!answer.body.contains("a defect"), "{}", answer.body);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{}", answer.head);
        assert_eq!(answer.header("x-client-request-id"), Some("own"));
        assert_eq!(app.metric("penstock_handler_panics_total"), f64::from(n));
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    }
    go.notify_waiters();
    assert!(read_answer(&mut stream).await.body.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_panicking_answer_ends_its_connection_only() {
    let (upstream, go) = Upstream::held().await;
    let (app, mut stream) = with_stream(&upstream).await;
    for _ in 0..3 {
        let mut tcp = app.client().open(&app.client().request("GET", "/panic-body", b"")).await;
        let mut all = Vec::new();
        let _ = tcp.read_to_end(&mut all).await;
        assert!(!String::from_utf8_lossy(&all).ends_with("0\r\n\r\n"), "no clean end");
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    }
    go.notify_waiters();
    assert!(read_answer(&mut stream).await.body.ends_with("data: [DONE]\n\n"));
    drop(stream);
    eventually("connections end", || app.shared().metrics.client_connections.get() == 0).await;
}

#[tokio::test]
async fn panicking_actors_come_back_and_calls_go_on() {
    let (upstream, go) = Upstream::held().await;
    let (app, mut stream) = with_stream(&upstream).await;
    for round in 1..=2u32 {
        app.run(|gateway| {
            Box::pin(async {
                let actors = gateway.actors();
                let name = ChannelName("a".into());
                let supervisor = actors.roster.send(SupervisorOf(name)).await.unwrap().unwrap();
                supervisor.send(PanicDrill).await.unwrap();
                actors.router.send(PanicDrill).await.unwrap();
                actors.roster.send(PanicDrill).await.unwrap();
            })
        })
        .await;
        assert_eq!(app.cell("a").gate.in_flight(), 1, "the stream's permit is counted on");
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
        // Reload: the limit falls to what is in use, and rises again.
        let settings = |n| {
            format!(
                "[server]\nworkers = 1\n[queue]\nmax_wait = 0\n{}",
                upstream.channel("a", &format!("concurrency = {n}\n"))
            )
        };
        app.reload(&settings(1)).await.unwrap();
        assert_eq!(app.client().chat(&chat("m")).await.status, 429);
        app.reload(&settings(2)).await.unwrap();
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
        assert_eq!(app.metric("penstock_channel_supervisor_restarts{channel=\"a\"}"), f64::from(round));
    }
    go.notify_waiters();
    assert!(read_answer(&mut stream).await.body.ends_with("data: [DONE]\n\n"));
}
