//! `GET /api/calls/{id}` on every database: who sees what, and what is said while the database is away.

use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::support::{
    Answer, Client, Process, TestApp, Upstream, chat, chat_stream,
    database::{Database, on_every_database},
    relayed::{Mode, Relayed},
    upstream::{After, completion, event},
};

const PLAIN: &str = "sk-plain-0123456789abcdef";
const OTHER: &str = "sk-other-0123456789abcdef";
const CHILD: &str = "sk-child-0123456789abcdef";
const ROOT: &str = "root-access-0123456789abcdef";

const KEYS: &str = "[[key]]\nname = \"plain\"\nsecret = \"sk-plain-0123456789abcdef\"\n\
                    [[key]]\nname = \"other\"\nsecret = \"sk-other-0123456789abcdef\"\n\
                    [[price]]\nmodel = \"m\"\ninput = 3\noutput = 15\n";

/// Looks a call up until it is in the database.
pub(crate) async fn settled(client: &Client, id: &str) -> Value {
    for _ in 0..1_000 {
        let answer = client.get(&format!("/api/calls/{id}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let json = answer.json();
        assert_eq!((json["success"].as_bool(), json["message"].as_str()), (Some(true), Some("")));
        if json["data"]["state"] != "pending" {
            return json["data"].clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{id} did not settle");
}

fn id(answer: &Answer) -> String {
    answer.header("x-request-id").unwrap().to_owned()
}

on_every_database!(
    a_call_is_shown_to_who_paid_for_it_and_to_nobody_else,
    recordings_and_pictures_are_charged_and_shown_apart,
);

async fn recordings_and_pictures_are_charged_and_shown_apart(database: Database) {
    let upstream = Upstream::start(|mut exchange| async move {
        let usage = r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
            "prompt_tokens_details":{"audio_tokens":60,"cached_tokens":10},
            "completion_tokens_details":{"audio_tokens":40}}"#;
        let mut answer: Value = serde_json::from_str(&completion("hi", "m")).unwrap();
        answer["usage"] = serde_json::from_str(usage).unwrap();
        exchange.answer(200, "application/json", &answer.to_string()).await;
        After::Keep(exchange)
    })
    .await;
    let keys = KEYS.replace("output = 15", "output = 15\naudio_in = 30\naudio_out = 70");
    let settings = format!("[store]\nurl = \"{}\"\n{}{keys}", database.url, upstream.channel("a", ""));
    let app = TestApp::start(&settings);
    let plain = app.client().with_key(PLAIN);
    let call = settled(&plain, &id(&plain.chat(&chat("m")).await)).await;
    let usage = &call["usage"];
    let told = ["input", "cached_read", "output", "audio_in", "audio_out", "image_in", "image_out"];
    assert_eq!(told.map(|bucket| usage[bucket].as_i64().unwrap()), [30, 10, 10, 60, 40, 0, 0], "{call}");
    let charge = 40 * 3_000 + 10 * 15_000 + 60 * 30_000 + 40 * 70_000;
    assert_eq!(call["money"]["charge_nanos"], charge, "{call}");
}

async fn a_call_is_shown_to_who_paid_for_it_and_to_nobody_else(database: Database) {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let settings = format!("[store]\nurl = \"{}\"\n{}{KEYS}", database.url, upstream.channel("a", ""));
    let app = TestApp::start(&settings);
    let (plain, other) = (app.client().with_key(PLAIN), app.client().with_key(OTHER));
    let id = id(&plain.with_header("x-request-id: mine").chat(&chat("m")).await);
    let call = settled(&plain, &id).await;
    assert_eq!((&call["id"], &call["state"]), (&id.as_str().into(), &"settled".into()));
    for (field, wanted) in [
        ("outcome", "completed"),
        ("model", "m"),
        ("endpoint", "chat_completions"),
        ("client_request_id", "mine"),
    ] {
        assert_eq!(call[field], wanted, "{field} in {call}");
    }
    assert_eq!(
        (call["usage"]["source"].as_str(), call["is_stream"].as_bool()),
        (Some("upstream"), Some(false))
    );
    let (input, output) =
        (call["usage"]["input"].as_i64().unwrap(), call["usage"]["output"].as_i64().unwrap());
    let charge = input * 3_000 + output * 15_000;
    assert!(charge > 0);
    assert_eq!(call["money"]["charge_nanos"], charge);
    assert_eq!(call["money"]["charge_usd"], format!("0.{charge:09}"));
    assert!(call["money"]["reserved_nanos"].as_i64().unwrap() >= charge);
    // Whoever may not see routing learns nothing of the supplier.
    assert_eq!(
        (call.get("channel"), call.get("upstream_model"), call["money"].get("cost_nanos")),
        (None, None, None)
    );
    assert_eq!(
        (call["attempts"][0].get("channel"), call["attempts"][0]["status"].as_i64()),
        (None, Some(200))
    );
    let refused = other.get(&format!("/api/calls/{id}")).await;
    let unknown = other.get("/api/calls/01936d3e-2f6a-7cc0-8000-000000000001").await;
    assert_eq!((refused.status, &refused.body), (404, &unknown.body), "alike");
    assert_eq!(unknown.json()["success"], false);
    // The test key may see routing, and has nothing to do with the others' calls.
    let own = super::calls::id(&app.client().chat(&chat("m")).await);
    let call = settled(&app.client(), &own).await;
    assert_eq!((call["channel"].as_str(), call["attempts"][0]["channel"].as_str()), (Some("a"), Some("a")));
    assert_eq!(call["money"]["cost_nanos"], call["money"]["charge_nanos"]);
    assert_eq!(app.client().get(&format!("/api/calls/{id}")).await.status, 404);
}

#[tokio::test]
async fn a_refused_call_and_its_failed_attempts_are_shown() {
    let failing = Upstream::start(|mut exchange| async move {
        exchange.answer(503, "application/json", "{}").await;
        After::Keep(exchange)
    })
    .await;
    let settings = [failing.channel("a", "priority = 2\n"), failing.channel("b", "")].concat() + KEYS;
    let app = TestApp::start(&settings);
    let id = id(&app.client().chat(&chat("m")).await);
    let call = settled(&app.client(), &id).await;
    assert_eq!(
        (call["outcome"].as_str(), call["money"]["charge_nanos"].as_i64()),
        (Some("refused_upstream"), Some(0))
    );
    let tried: Vec<_> =
        call["attempts"].as_array().unwrap().iter().map(|a| a["channel"].as_str().unwrap()).collect();
    assert_eq!(tried, ["a", "b"]);
    assert!(call["times"]["first_byte_ms"].is_null());
}

#[tokio::test]
async fn a_call_under_way_is_pending() {
    let upstream = Upstream::start(|mut exchange| async move {
        exchange.begin_stream().await;
        exchange.chunk(&event("one")).await;
        exchange.until_left().await
    })
    .await;
    let app = TestApp::start(&(upstream.channel("a", "") + KEYS));
    let client = app.client().with_key(PLAIN);
    let request = client.request("POST", "/v1/chat/completions", chat_stream("m").as_bytes());
    let mut running = client.open(&request).await;
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        assert!(running.read_buf(&mut head).await.unwrap() > 0, "the answer begins");
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let id = head.lines().find_map(|l| l.strip_prefix("x-request-id: ")).unwrap().to_owned();
    let answer = client.get(&format!("/api/calls/{id}")).await;
    let call = answer.json()["data"].clone();
    assert_eq!(
        (answer.status, call["state"].as_str(), call["model"].as_str()),
        (200, Some("pending"), Some("m"))
    );
    assert!(call["outcome"].is_null() && call["times"]["took_ms"].is_null(), "{call}");
    assert!(call["money"]["reserved_nanos"].as_i64().unwrap() > 0, "{call}");
    assert_eq!(app.client().with_key(OTHER).get(&format!("/api/calls/{id}")).await.status, 404);
    drop(running);
    assert_eq!(settled(&client, &id).await["outcome"], "abandoned");
}

#[tokio::test]
async fn the_management_token_sees_every_call_and_odd_requests_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    std::fs::write(dir.path().join("penstock.toml"), upstream.channel("a", "") + KEYS).unwrap();
    let shell = "exec \"$0\" serve --listen 127.0.0.1:0 --data-dir data";
    let process = Process::start_in(dir, shell, &[("INITIAL_ROOT_ACCESS_TOKEN", ROOT)]);
    let plain = process.client().with_key(PLAIN);
    let id = id(&plain.chat(&chat("m")).await);
    let root = process.client().with_key(ROOT);
    assert_eq!(settled(&root, &id).await["channel"], "a");
    for (client, method, path, status) in [
        (&root, "GET", "/api/calls/01936d3e-2f6a-7cc0-8000-000000000001".to_owned(), 404),
        (&root, "GET", "/api/calls/nonsense".to_owned(), 400),
        (&root, "GET", format!("/api/calls/{id}/x"), 404),
        (&root, "GET", "/api/calls/%00".to_owned(), 400),
        (&root, "GET", format!("//api/calls/{id}/"), 200),
        (&root, "DELETE", format!("/api/calls/{id}"), 405),
        (&root, "OPTIONS", format!("/api/calls/{id}"), 405),
        (&root, "GET", "/api/calls".to_owned(), 404),
        (&root, "GET", "/api".to_owned(), 404),
        (&process.client().with_key("sk-wrong-0123456789abcdef"), "GET", format!("/api/calls/{id}"), 401),
        (&Client::without_key(process.address), "GET", format!("/api/calls/{id}"), 401),
        (&Client::without_key(process.address), "GET", "/api/nothing".to_owned(), 401),
    ] {
        let answer = client.send(&client.request(method, &path, b"")).await;
        assert_eq!(answer.status, status, "{method} {path} {answer:?}");
        assert!(answer.header("x-request-id").is_some());
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.json()["success"].as_bool(), Some(status == 200), "{answer:?}");
        assert!(status == 200 || !answer.json()["message"].as_str().unwrap().is_empty());
    }
    // The token is no key.
    assert_eq!(root.chat(&chat("m")).await.status, 401);
    assert!(!process.log().contains(ROOT));
}

async fn without_the_database(database: Database) {
    let relayed = Relayed::to(&database.url);
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let app =
        TestApp::start(&format!("[store]\nurl = \"{}\"\n{}{KEYS}", relayed.url, upstream.channel("a", "")));
    let plain = app.client().with_key(PLAIN);
    let known = id(&plain.chat(&chat("m")).await);
    settled(&plain, &known).await;
    relayed.set(Mode::Cut);
    let made = plain.chat(&chat("m")).await;
    assert_eq!(made.status, 200, "{made:?}");
    for id in [&known, &id(&made)] {
        let answer = plain.get(&format!("/api/calls/{id}")).await;
        assert_eq!((answer.status, answer.json()["success"].as_bool()), (503, Some(false)), "{answer:?}");
        assert!(answer.json()["message"].as_str().unwrap().contains("database is away"), "{answer:?}");
        assert!(answer.header("retry-after").is_some());
    }
    relayed.set(Mode::Pass);
    while plain.get(&format!("/api/calls/{known}")).await.status == 503 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(settled(&plain, &id(&made)).await["state"], "settled");
}

#[tokio::test]
async fn without_postgres_the_answer_is_503_until_it_is_back() {
    without_the_database(Database::postgres().await).await;
}

#[tokio::test]
async fn without_mysql_the_answer_is_503_until_it_is_back() {
    without_the_database(Database::mysql().await).await;
}

#[tokio::test]
async fn a_child_keys_calls_are_its_parents_to_see_too() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let child = format!("[[key]]\nname = \"child\"\nsecret = \"{CHILD}\"\nparent = \"plain\"\n");
    let app = TestApp::start(&(upstream.channel("a", "") + KEYS + &child));
    let child = app.client().with_key(CHILD);
    let id = id(&child.chat(&chat("m")).await);
    let call = settled(&child, &id).await;
    assert_eq!(settled(&app.client().with_key(PLAIN), &id).await, call);
    assert_eq!(call["accounts"].as_array().map(Vec::len), Some(3), "child, parent, space");
    let of_parent = super::calls::id(&app.client().with_key(PLAIN).chat(&chat("m")).await);
    settled(&app.client().with_key(PLAIN), &of_parent).await;
    assert_eq!(child.get(&format!("/api/calls/{of_parent}")).await.status, 404);
}
