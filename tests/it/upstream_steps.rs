//! Answers that are had in steps: followed to the provider alone, cancelled when nobody waits, failed as one attempt.

use serde_json::json;
use tokio::io::AsyncReadExt as _;

use super::support::{Exchange, TestApp, Upstream, chat, chat_stream, eventually, upstream::After};

const CREDENTIAL: &str = "r8-0123456789abcdef";

fn app(upstream: &Upstream, more: &str) -> TestApp {
    TestApp::start(&format!(
        "[[channel]]\nname = \"up\"\nprovider = \"replicate\"\nbase_url = \"http://{}\"\nmodels = [\"m\"]\n\
         mapping = {{ m = \"owner/name\" }}\ncredential = \"{CREDENTIAL}\"\n{more}\n",
        upstream.address
    ))
}

fn line(exchange: &Exchange) -> String {
    exchange.head.lines().next().unwrap_or_default().to_owned()
}

/// A prediction that is not finished, with addresses below `base`.
fn unfinished(base: &str) -> String {
    json!({"id": "p", "status": "processing", "output": null, "urls": {"get": format!("{base}/p"),
        "stream": format!("{base}/s"), "cancel": format!("{base}/p/cancel")}})
    .to_string()
}

async fn well(mut exchange: Exchange, body: &str) -> After {
    exchange.answer(200, "application/json", body).await;
    After::Keep(exchange)
}

fn base(exchange: &Exchange) -> String {
    format!("http://{}/v1", exchange.header("host").unwrap())
}

#[tokio::test]
async fn an_unfinished_answer_is_asked_for_until_it_is_there() {
    let upstream = Upstream::start(|exchange| async move {
        match line(&exchange).split(' ').next() {
            Some("POST") => {
                let body = unfinished(&base(&exchange));
                well(exchange, &body).await
            }
            _ if exchange.nth == 1 => {
                let body = unfinished(&base(&exchange));
                well(exchange, &body).await
            }
            _ => well(exchange, r#"{"id":"p","status":"succeeded","output":["so"," it is"]}"#).await,
        }
    })
    .await;
    let app = app(&upstream, "");
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "so it is", "{answer:?}");
    let seen = upstream.seen();
    let lines: Vec<_> = seen.iter().map(|seen| seen.head.lines().next().unwrap()).collect();
    let get = "GET /v1/p HTTP/1.1";
    assert_eq!(lines, ["POST /v1/models/owner/name/predictions HTTP/1.1", get, get]);
    for seen in &seen {
        assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {CREDENTIAL}")));
    }
    assert_eq!((seen[0].header("prefer"), seen[1].header("content-length")), (Some("wait"), None));
    assert_eq!(app.cell("up").gate.in_flight(), 0);
}

#[tokio::test]
async fn an_answer_that_leads_to_another_host_is_not_followed() {
    let stranger = Upstream::start(|exchange| exchange.answer_well("hello")).await;
    let elsewhere = format!("http://{}/v1", stranger.address);
    let upstream = Upstream::start(move |exchange| {
        let body = unfinished(&elsewhere);
        async move { well(exchange, &body).await }
    })
    .await;
    let app = app(&upstream, "");
    for body in [chat("m"), chat_stream("m")] {
        let answer = app.client().chat(&body).await;
        assert_eq!((answer.status, &*answer.error_code()), (502, "upstream_leads_astray"), "{answer:?}");
    }
    assert_eq!(stranger.count(), 0, "the credential was shown to a stranger");
}

/// An upstream whose predictions never come, neither asked for nor streamed.
async fn endless() -> Upstream {
    Upstream::start(|mut exchange| async move {
        let body = unfinished(&base(&exchange));
        match line(&exchange).as_str() {
            "GET /v1/s HTTP/1.1" => {
                exchange.begin_stream().await;
                exchange.chunk("event: output\ndata: begun\n\n").await;
                exchange.until_left().await
            }
            "GET /v1/p HTTP/1.1" => exchange.until_left().await,
            _ => well(exchange, &body).await,
        }
    })
    .await
}

fn cancelled(upstream: &Upstream) -> usize {
    let wanted = "POST /v1/p/cancel HTTP/1.1";
    upstream.seen().iter().filter(|seen| seen.head.lines().next() == Some(wanted)).count()
}

#[tokio::test]
async fn a_client_that_leaves_has_the_prediction_cancelled() {
    for (body, reads) in [(chat_stream("m"), true), (chat("m"), false)] {
        let upstream = endless().await;
        let app = app(&upstream, "");
        let request = app.client().request("POST", "/v1/chat/completions", body.as_bytes());
        let mut tcp = app.client().open(&request).await;
        eventually("the second step is asked for", || upstream.count() == 2).await;
        if reads {
            let mut some = [0; 16];
            tcp.read_exact(&mut some).await.unwrap();
        }
        assert_eq!((app.cell("up").gate.in_flight(), cancelled(&upstream)), (1, 0));
        drop(tcp);
        eventually("it is cancelled", || cancelled(&upstream) == 1).await;
        eventually("the permit returns", || app.cell("up").gate.in_flight() == 0).await;
        let shown = format!("Bearer {CREDENTIAL}");
        assert_eq!(upstream.seen().last().unwrap().header("authorization"), Some(&*shown));
    }
}

#[tokio::test]
async fn a_deadline_that_passes_between_steps_ends_the_attempt() {
    let upstream = endless().await;
    let app = app(&upstream, "timeouts = { first_byte = \"1s\" }\n");
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!(answer.error_code(), "upstream_first_byte_timeout", "{answer:?}");
    eventually("it is cancelled", || cancelled(&upstream) == 1).await;
}

#[tokio::test]
async fn a_step_that_fails_is_the_attempts_failure() {
    for (status, body, code) in [
        (404, r#"{"detail":"gone"}"#, "upstream_not_found"),
        (500, "<html>", "upstream_failed"),
        (200, "{}", "upstream_bad_answer"),
        (200, r#"{"id":"p","status":"failed","error":"it broke"}"#, "upstream_failed"),
    ] {
        let upstream = Upstream::start(move |mut exchange| async move {
            if line(&exchange).starts_with("POST") {
                let body = unfinished(&base(&exchange));
                return well(exchange, &body).await;
            }
            exchange.answer(status, "application/json", body).await;
            After::Keep(exchange)
        })
        .await;
        let app = app(&upstream, "");
        let answer = app.client().chat(&chat("m")).await;
        assert_eq!(answer.error_code(), code, "{status} {body}: {answer:?}");
        assert_eq!(answer.json()["error"]["fault"], "upstream");
    }
}
