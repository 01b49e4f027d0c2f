//! `GET /api/runtime` and `penstock status`: how the channels stand, and who is told.

use super::support::{Client, Process, TestApp, Turnstile, chat, eventually, process::run, read_answer};
use super::waiting::ask;

#[tokio::test]
async fn channels_calls_that_wait_and_counters_are_shown_as_json_and_as_text() {
    let turnstile = Turnstile::start().await;
    let app = TestApp::start(&turnstile.channel("a", "concurrency = 1\n"));
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(ask(&app.client(), &chat("m")).await);
    }
    eventually("two wait", || app.cell("a").gate.waiting() == 2).await;
    let anyone = Client::without_key(app.address);
    let shown = anyone.get("/api/runtime").await.json();
    let channel = &shown["channels"][0];
    assert_eq!((channel["name"].as_str(), channel["limit"].as_u64()), (Some("a"), Some(1)));
    assert_eq!((channel["in_flight"].as_u64(), channel["waiting"].as_u64()), (Some(1), Some(2)));
    assert_eq!(shown["waiting"]["calls"], 2);
    assert!(shown["waiting"]["bytes"].as_u64().unwrap() > 0 && shown["keys"][0]["id"].is_number(), "{shown}");
    let text = anyone.with_header("accept: text/plain").get("/api/runtime").await;
    assert!(text.body.starts_with("2 calls wait") && text.body.contains("in flight"), "{}", text.body);
    turnstile.turn(3);
    for tcp in &mut open {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
    let far = anyone.with_header("x-forwarded-for: 1.2.3.4");
    assert_eq!(far.get("/api/runtime").await.status, 401);
    let held = app.client().with_header("x-forwarded-for: 1.2.3.4").get("/api/runtime").await;
    assert_eq!(held.status, 200, "a key that may see routing");
    assert_eq!(anyone.post("/api/runtime", b"").await.status, 405);
}

#[tokio::test]
async fn the_command_asks_the_running_server() {
    let turnstile = Turnstile::start().await;
    let process = Process::start(&turnstile.channel("a", "concurrency = 3\n"));
    let address = process.address.to_string();
    let text = run(&process.dir(), &["status", "--listen", &address]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("0 calls wait") && text.lines().any(|l| l.starts_with("a  ")), "{text}");
    let json = run(&process.dir(), &["status", "--json", "--listen", &address]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["channels"][0]["limit"], 3);
    let nobody = run(&process.dir(), &["status", "--listen", "127.0.0.1:9"]);
    assert_eq!(nobody.status.code(), Some(1));
}
