//! Answers over a websocket: pings, fragments, closes, cuts, clients that leave, proxies.

use actix_http::ws::{Item, Message};
use bytes::Bytes;
use penstock::mock::MockSettings;
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use super::{
    support::{
        ScriptedProxy, TestApp, Upstream, Way, chat, chat_stream, eventually,
        upstream::After,
        websocket::{bytes, switch},
    },
    upstreams::mocked,
};

fn setting(address: std::net::SocketAddr, more: &str) -> String {
    format!(
        "[[channel]]\nname = \"up\"\nprovider = \"spark-websocket\"\nbase_url = \"http://{address}\"\n\
         models = [\"m\"]\nmapping = {{ m = \"Spark-Max\" }}\n\
         credential = \"mock-app|penstock-mock-secret|mock-key\"\n{more}\n"
    )
}

fn app(upstream: &Upstream, more: &str) -> TestApp {
    TestApp::start(&setting(upstream.address, more))
}

fn frame(status: u8, text: &str) -> String {
    json!({"header": {"code": 0, "message": "Success", "sid": "s", "status": status},
        "payload": {"choices": {"status": status, "seq": 0, "text": [{"content": text, "role": "assistant"}]}}})
    .to_string()
}

fn text(status: u8, text: &str) -> Message {
    Message::Text(frame(status, text).into())
}

#[tokio::test]
async fn pings_fragments_and_line_feeds_do_not_disturb_an_answer() {
    let upstream = Upstream::start(|mut exchange| async move {
        switch(&mut exchange).await;
        let pretty = serde_json::from_str::<serde_json::Value>(&frame(1, "b")).unwrap();
        let pretty = serde_json::to_string_pretty(&pretty).unwrap().into_bytes();
        let (front, rest) = pretty.split_at(40);
        let all = bytes([
            text(0, "a"),
            Message::Ping(Bytes::from_static(b"are you there")),
            Message::Continuation(Item::FirstText(Bytes::copy_from_slice(front))),
            Message::Pong(Bytes::new()),
            Message::Continuation(Item::Continue(Bytes::copy_from_slice(&rest[..9]))),
            Message::Continuation(Item::Last(Bytes::copy_from_slice(&rest[9..]))),
            text(2, "c"),
            Message::Close(None),
        ]);
        for byte in all.chunks(7) {
            exchange.write(byte).await;
        }
        exchange.until_left().await
    })
    .await;
    let app = app(&upstream, "");
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "abc", "{answer:?}");
    let head = &upstream.seen()[0].head;
    assert!(head.starts_with("GET /v3.5/chat?authorization="), "{head}");
    assert!(!head.contains("penstock-mock-secret"));
    let answer = app.client().chat(&chat_stream("m")).await;
    assert!(answer.body.ends_with("data: [DONE]\n\n"), "{answer:?}");
    eventually("the sockets are closed", || upstream.connections() == 0).await;
}

#[tokio::test]
async fn whatever_is_no_whole_answer_is_an_error() {
    let half = bytes([text(1, "b")]);
    let half = half[..half.len() / 2].to_vec();
    let bad_opcode = vec![0x83, 1, b'x'];
    let masked = vec![0x81, 0x81, 0, 0, 0, 0, b'x'];
    for (what, after) in [
        ("closed", bytes([Message::Close(None)]).to_vec()),
        ("cut", Vec::new()),
        ("cut in a frame", half),
        ("no such frame", bad_opcode),
        ("a masked frame", masked),
        ("no JSON", bytes([Message::Text("x".into())]).to_vec()),
        ("an error", bytes([Message::Text(r#"{"header":{"code":10012,"message":"no"}}"#.into())]).to_vec()),
    ] {
        let upstream = Upstream::start(move |mut exchange| {
            let after = after.clone();
            async move {
                switch(&mut exchange).await;
                exchange.write(bytes([text(0, "begun")])).await;
                exchange.write(after).await;
                After::Close
            }
        })
        .await;
        let app = app(&upstream, "");
        let answer = app.client().chat(&chat("m")).await;
        assert_eq!(answer.status, 502, "{what}: {answer:?}");
        let answer = app.client().chat(&chat_stream("m")).await;
        assert!(!answer.body.contains("[DONE]") && answer.body.contains("\"error\""), "{what}: {answer:?}");
        eventually("the permit returns", || app.cell("up").gate.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn a_refused_opening_is_told_by_its_status() {
    for (status, body, wanted, code) in [
        (401, r#"{"message":"HMAC signature cannot be verified"}"#, 401, "upstream_credential_refused"),
        (429, r#"{"message":"slow"}"#, 429, "upstream_rate_limited"),
        (200, "{}", 502, "upstream_bad_answer"),
        (502, "<html>", 502, "upstream_failed"),
    ] {
        let upstream = Upstream::start(move |mut exchange| async move {
            exchange.answer(status, "application/json", body).await;
            After::Close
        })
        .await;
        let app = app(&upstream, "pacing = false\n");
        let answer = app.client().chat(&chat("m")).await;
        assert_eq!((answer.status, &*answer.error_code()), (wanted, code), "{status}: {answer:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_socket() {
    let upstream = Upstream::start(|mut exchange| async move {
        switch(&mut exchange).await;
        exchange.write(bytes([text(0, "begun")])).await;
        exchange.until_left().await
    })
    .await;
    let app = app(&upstream, "");
    let request = app.client().request("POST", "/v1/chat/completions", chat_stream("m").as_bytes());
    let mut tcp = app.client().open(&request).await;
    let mut some = [0; 16];
    tcp.read_exact(&mut some).await.unwrap();
    assert_eq!(app.cell("up").gate.in_flight(), 1);
    drop(tcp);
    eventually("the upstream is left", || upstream.connections() == 0).await;
    eventually("the permit returns", || app.cell("up").gate.in_flight() == 0).await;
}

#[tokio::test]
async fn a_channels_proxy_leads_websockets_too() {
    let provider = mocked(MockSettings::default());
    let proxy = ScriptedProxy::http(Way::Lead).await;
    let more = format!("proxy = \"http://{}\"\n", proxy.address);
    let app = TestApp::start(&setting(provider.address, &more));
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "echo: hi", "{answer:?}");
    assert_eq!(proxy.seen().len(), 1);
}
