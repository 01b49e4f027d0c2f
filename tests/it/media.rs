//! Media that requests name by address: who gets them as bytes, what must not be fetched, what a fetch may take.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use super::support::{
    Answer, Exchange, TestApp, Upstream, chat, eventually,
    upstream::{After, completion},
};

/// What the pictures of these tests hold, and the same in base64.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n0123456789";
const PNG_BASE64: &str = "iVBORw0KGgowMTIzNDU2Nzg5";

/// An answer of Ollama's own dialect.
const OLLAMA: &str = r#"{"model":"x","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"seen"},"done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":1}"#;

/// Loopback is no public place: the tests allow it.
const ALLOWED: &str = "[media]\nallow_hosts = [\"127.0.0.1\"]\n";

async fn ollama() -> Upstream {
    Upstream::start(|mut exchange| async move {
        exchange.answer(200, "application/json", OLLAMA).await;
        After::Keep(exchange)
    })
    .await
}

fn channel(name: &str, provider: &str, upstream: &Upstream, more: &str) -> String {
    format!(
        "[[channel]]\nname = \"{name}\"\nprovider = \"{provider}\"\nbase_url = \"http://{}\"\nmodels = [\"m\"]\n{more}\n",
        upstream.address
    )
}

/// A place with pictures.
async fn files() -> Upstream {
    Upstream::start(|exchange| picture(exchange, PNG)).await
}

async fn picture(mut exchange: Exchange, bytes: &[u8]) -> After {
    let head =
        format!("HTTP/1.1 200 X\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n", bytes.len());
    exchange.write([head.as_bytes(), bytes].concat()).await;
    After::Keep(exchange)
}

fn picture_at(url: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": url}})
}

fn asked(parts: &[Value]) -> String {
    json!({"model": "m", "messages": [{"role": "user", "content": parts}]}).to_string()
}

fn url(upstream: &Upstream, path: &str) -> String {
    format!("http://{}{path}", upstream.address)
}

fn refusal(answer: &Answer) -> (u16, String, String) {
    let error = &answer.json()["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("code"), text("param"))
}

#[tokio::test]
async fn clients_of_every_dialect_name_pictures_that_are_sent_as_bytes() {
    let (files, model) = (files().await, ollama().await);
    let app = TestApp::start(&[ALLOWED, &channel("a", "ollama-native", &model, "")].concat());
    let at = url(&files, "/x.png");
    for (path, body) in [
        ("/v1/chat/completions", asked(&[picture_at(&at)])),
        (
            "/v1/messages",
            json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [
                {"type": "image", "source": {"type": "url", "url": at}}]}]})
            .to_string(),
        ),
        (
            "/v1beta/models/m:generateContent",
            json!({"contents": [{"role": "user", "parts": [{"fileData": {"mimeType": "image/png", "fileUri": at}}]}]})
                .to_string(),
        ),
        (
            "/v1/responses",
            json!({"model": "m", "input": [{"role": "user", "content": [{"type": "input_image", "image_url": at}]}]})
                .to_string(),
        ),
    ] {
        let answer = app.client().post(path, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.body.contains("seen"), "{path}: {answer:?}");
        let sent: Value = serde_json::from_str(&model.seen().last().unwrap().body).unwrap();
        assert_eq!(sent["messages"][0]["images"], json!([PNG_BASE64]), "{path}: {sent}");
    }
    assert_eq!(files.count(), 4);
    let head = files.seen()[0].head.to_ascii_lowercase();
    assert!(
        !head.contains("authorization") && !head.contains("cookie") && !head.contains("sk-test"),
        "{head}"
    );
}

#[tokio::test]
async fn a_provider_that_takes_addresses_gets_them_untouched() {
    let (files, model) = (files().await, Upstream::start(|e| e.answer_well("hi")).await);
    let body = asked(&[picture_at(&url(&files, "/x.png?token=a"))]);
    let app = TestApp::start(&[ALLOWED, &model.channel("a", "")].concat());
    assert_eq!(app.client().chat(&body).await.status, 200);
    assert_eq!((files.count(), model.seen()[0].body.as_str()), (0, body.as_str()));
    drop(app);
    let app = TestApp::start(&[ALLOWED, &model.channel("a", "quirks = [\"fetch-media\"]")].concat());
    let answer = app.client().chat(&body).await;
    assert_eq!((answer.status, files.count()), (200, 1), "{answer:?}");
    let sent = &model.seen()[1].body;
    assert!(sent.contains(&format!("data:image/png;base64,{PNG_BASE64}")), "{sent}");
    assert_eq!(app.client().chat(&chat("m")).await.status, 200, "other requests pass");
}

#[tokio::test]
async fn pictures_are_fetched_together_and_each_once_whoever_is_tried() {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = begun.clone();
    // Each answers only when both were asked for.
    let files = Upstream::start(move |exchange| {
        let begun = counted.clone();
        async move {
            begun.fetch_add(1, Ordering::SeqCst);
            eventually("both are asked for", || begun.load(Ordering::SeqCst) >= 2).await;
            picture(exchange, PNG).await
        }
    })
    .await;
    let broken = Upstream::start(|mut exchange| async move {
        exchange.answer(500, "application/json", "{}").await;
        After::Keep(exchange)
    })
    .await;
    let model = ollama().await;
    let app = TestApp::start(
        &[
            ALLOWED,
            &channel("first", "ollama-native", &broken, "priority = 9"),
            &channel("second", "ollama-native", &model, ""),
        ]
        .concat(),
    );
    let (one, two) = (url(&files, "/1.png"), url(&files, "/2.png"));
    let answer = app.client().chat(&asked(&[picture_at(&one), picture_at(&two), picture_at(&one)])).await;
    assert_eq!((answer.status, files.count(), broken.count()), (200, 2, 1), "{answer:?}");
    let sent: Value = serde_json::from_str(&model.seen()[0].body).unwrap();
    assert_eq!(sent["messages"][0]["images"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_must_not_be_fetched_is_refused_by_its_place_and_no_channel_is_tried() {
    let (files, model) = (files().await, ollama().await);
    let app = TestApp::start(
        &[channel("a", "ollama-native", &model, ""), channel("b", "ollama-native", &model, "")].concat(),
    );
    let port = files.address.port();
    for host in [
        format!("127.0.0.1:{port}"),
        format!("127.1:{port}"),
        format!("0177.0.0.1:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f000001:{port}"),
        format!("localhost:{port}"),
        format!("127.0.0.1.:{port}"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("[64:ff9b::7f00:1]:{port}"),
        format!("8.8.8.8@127.0.0.1:{port}"),
        format!("0.0.0.0:{port}"),
        "169.254.169.254".to_owned(),
        "10.0.0.1".to_owned(),
        "\u{2460}27.0.0.1".to_owned(),
        "".to_owned(),
    ] {
        let body =
            asked(&[json!({"type": "text", "text": "x"}), picture_at(&format!("http://{host}/x.png"))]);
        let answer = app.client().chat(&body).await;
        let wanted = (400, "invalid_image_url".to_owned(), "messages[0].content".to_owned());
        assert_eq!(refusal(&answer), wanted, "{host}: {answer:?}");
    }
    assert_eq!((files.count(), model.count()), (0, 0));
}

#[tokio::test]
async fn refusals_are_told_in_the_clients_own_dialect() {
    let model = ollama().await;
    let app = TestApp::start(&channel("a", "ollama-native", &model, ""));
    let at = "http://10.0.0.1/x.png";
    let answer = app
        .client()
        .post(
            "/v1/messages",
            json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [
                {"type": "image", "source": {"type": "url", "url": at}}]}]})
            .to_string()
            .as_bytes(),
        )
        .await;
    let error = answer.json();
    assert_eq!((answer.status, &error["type"]), (400, &json!("error")), "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains("messages[0].content"), "{error}");
    let answer = app
        .client()
        .post(
            "/v1beta/models/m:generateContent",
            json!({"contents": [{"parts": [{"fileData": {"fileUri": at}}]}]}).to_string().as_bytes(),
        )
        .await;
    assert_eq!((answer.status, &answer.json()["error"]["status"]), (400, &json!("INVALID_ARGUMENT")));
}

#[tokio::test]
async fn redirects_are_followed_only_where_a_client_may_lead_too() {
    let files = Upstream::start(|mut exchange| async move {
        let path = exchange.head.split(' ').nth(1).unwrap_or_default().to_owned();
        let port =
            exchange.header("host").unwrap_or_default().rsplit(':').next().unwrap_or_default().to_owned();
        let location = match path.as_str() {
            "/good" => "/x.png".to_owned(),
            "/loop" => "/loop".to_owned(),
            "/metadata" => "http://169.254.169.254/latest/meta-data/".to_owned(),
            "/other" => format!("http://127.0.0.2:{port}/x.png"),
            _ => return picture(exchange, PNG).await,
        };
        let head = format!("HTTP/1.1 307 X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        exchange.write(head).await;
        After::Keep(exchange)
    })
    .await;
    let model = ollama().await;
    let app = TestApp::start(&[ALLOWED, &channel("a", "ollama-native", &model, "")].concat());
    assert_eq!(app.client().chat(&asked(&[picture_at(&url(&files, "/good"))])).await.status, 200);
    assert_eq!((files.count(), model.count()), (2, 1));
    for (path, asked_for) in [("/metadata", 1), ("/other", 1), ("/loop", 4)] {
        let before = files.count();
        let answer = app.client().chat(&asked(&[picture_at(&url(&files, path))])).await;
        assert_eq!(refusal(&answer).1, "invalid_image_url", "{path}: {answer:?}");
        assert_eq!(files.count() - before, asked_for, "{path}");
    }
    assert_eq!(model.count(), 1);
}

#[tokio::test]
async fn what_is_no_picture_too_long_or_late_is_refused_within_the_caps() {
    let files = Upstream::start(|mut exchange| async move {
        match exchange.head.split(' ').nth(1).unwrap_or_default() {
            "/page" => exchange.answer(200, "image/png", "<html>").await,
            "/missing" => exchange.answer(404, "image/png", "secret").await,
            "/slow" => return exchange.stall().await,
            _ => return picture(exchange, &[PNG, &[0; 2_000]].concat()).await,
        }
        After::Keep(exchange)
    })
    .await;
    let model = ollama().await;
    let channel = channel("a", "ollama-native", &model, "");
    let with = |more: &str| format!("{ALLOWED}{more}{channel}");
    let app = TestApp::start(&with("max_bytes = \"1KiB\"\nmax_count = 1\ntimeout = \"150ms\"\n"));
    let at = |path: &str| picture_at(&url(&files, path));
    for (parts, status, code, words) in [
        (vec![at("/page")], 400, "invalid_image_url", "is not a picture"),
        (vec![at("/missing")], 400, "invalid_image_url", "status 404"),
        (vec![at("/slow")], 400, "invalid_image_url", "150ms"),
        (vec![at("/large")], 413, "media_too_large", "1024 bytes"),
        (vec![at("/1"), at("/2")], 400, "too_many_media", "more than the 1"),
    ] {
        let answer = app.client().chat(&asked(&parts)).await;
        let (got, told, param) = refusal(&answer);
        assert_eq!((got, told.as_str(), param.as_str()), (status, code, "messages[0].content"), "{answer:?}");
        assert!(answer.body.contains(words) && !answer.body.contains("secret"), "{answer:?}");
    }
    assert_eq!(model.count(), 0);
    app.reload(&with("")).await.unwrap();
    assert_eq!(app.client().chat(&asked(&[at("/large")])).await.status, 200, "caps change at once");
    app.reload(&with("fetch = false\n")).await.unwrap();
    let before = files.count();
    let answer = app.client().chat(&asked(&[at("/large")])).await;
    assert_eq!((answer.status, files.count()), (400, before), "nothing is fetched: {answer:?}");
}

#[tokio::test]
async fn a_slow_place_holds_no_slot_and_a_client_that_leaves_ends_its_fetch() {
    let files = Upstream::start(|exchange| exchange.until_left()).await;
    let model = ollama().await;
    let app = TestApp::start(&[ALLOWED, &channel("a", "ollama-native", &model, "concurrency = 1")].concat());
    let body = asked(&[picture_at(&url(&files, "/x.png"))]);
    let tcp = app.client().open(&app.client().request("POST", "/v1/chat/completions", body.as_bytes())).await;
    eventually("the picture is asked for", || files.count() == 1).await;
    assert_eq!(app.cell("a").gate.in_flight(), 0);
    assert_eq!(app.client().chat(&chat("m")).await.status, 200, "the slot is free for others");
    drop(tcp);
    eventually("the place is left", || files.left() == 1).await;
    assert_eq!(model.count(), 1);
}

#[tokio::test]
async fn a_call_waits_for_its_media_no_longer_than_it_says() {
    let files = Upstream::start(|exchange| exchange.stall()).await;
    let model = ollama().await;
    let app = TestApp::start(&[ALLOWED, &channel("a", "ollama-native", &model, "")].concat());
    let client = app.client().with_header("x-penstock-max-wait: 100");
    let answer = client.chat(&asked(&[picture_at(&url(&files, "/x.png"))])).await;
    assert_eq!(refusal(&answer).1, "deadline_exceeded", "{answer:?}");
}

#[tokio::test]
async fn a_file_by_its_address_reaches_who_takes_only_its_bytes() {
    let files = Upstream::start(|mut exchange| async move {
        exchange.answer(200, "application/octet-stream", "%PDF-1.7 x").await;
        After::Keep(exchange)
    })
    .await;
    let model = Upstream::start(|mut exchange| async move {
        exchange.answer(200, "application/json", &completion("read", "m")).await;
        After::Keep(exchange)
    })
    .await;
    let app = TestApp::start(&[ALLOWED, &model.channel("a", "")].concat());
    let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "url", "url": url(&files, "/a/report.pdf")}}]}]});
    let answer = app.client().post("/v1/messages", body.to_string().as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let sent: Value = serde_json::from_str(&model.seen()[0].body).unwrap();
    let file = &sent["messages"][0]["content"][0]["file"];
    assert_eq!(file["filename"], "report.pdf", "{sent}");
    assert_eq!(file["file_data"], "data:application/pdf;base64,JVBERi0xLjcgeA==", "{sent}");
}

#[tokio::test]
async fn base64_that_is_none_is_refused_by_its_place() {
    let model = ollama().await;
    let app = TestApp::start(&channel("a", "ollama-native", &model, ""));
    for wrong in ["", "QQ", "Q", "QQ==\\n", "Q Q=", "-_-_", "QQ==QQ==", "{}"] {
        let at = format!("data:image/png;base64,{}", wrong.replace("\\n", "\n"));
        let answer = app.client().chat(&asked(&[picture_at(&at)])).await;
        let wanted = (400, "invalid_value".to_owned(), "messages[0].content[0].image_url.url".to_owned());
        assert_eq!(refusal(&answer), wanted, "{wrong}: {answer:?}");
        let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": at.rsplit(',').next()}}]}]});
        let answer = app.client().post("/v1/messages", body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
        assert!(answer.body.contains("source.data"), "{wrong}: {answer:?}");
    }
    let wrong_type = app.client().chat(&asked(&[picture_at("data:text/html;base64,QQ==")])).await;
    assert_eq!(refusal(&wrong_type).1, "invalid_value", "{wrong_type:?}");
    assert_eq!(model.count(), 0);
}

#[tokio::test]
async fn a_large_picture_works_up_to_the_cap_and_is_refused_above() {
    let model = ollama().await;
    let channel = channel("a", "ollama-native", &model, "");
    let data = "QUJD".repeat(1 << 20);
    let body = asked(&[picture_at(&format!("data:image/png;base64,{data}"))]);
    let app = TestApp::start(&format!("[server]\nmax_whole_body = \"4MiB\"\n{channel}"));
    let answer = app.client().chat(&body).await;
    assert_eq!((answer.status, model.count()), (413, 0), "{answer:?}");
    drop(app);
    let app = TestApp::start(&channel);
    let answer = app.client().chat(&body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(model.seen()[0].body.contains(&data), "whole");
}
