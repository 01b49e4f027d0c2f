//! What age takes, what channels cost, and what is left out when the request log is too far behind.

use std::time::Duration;

use super::support::{
    SOON, TestApp, Upstream, chat, chat_stream,
    database::{Database, on_every_database},
    process::run,
};

const PRICE: &str = "[[price]]\nmodel = \"m\"\ninput = 3\noutput = 15\n";

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + SOON;
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "did not come about: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

on_every_database!(calls_are_forgotten_by_age_and_the_books_still_balance);

async fn calls_are_forgotten_by_age_and_the_books_still_balance(database: Database) {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let retention = "[retention]\nrequests = \"1s\"\nledger = \"1s\"\nevery = \"1s\"\n";
    let store = format!("[store]\nurl = \"{}\"\n", database.url);
    let app = TestApp::start(&[&store, retention, &upstream.channel("a", ""), PRICE].concat());
    let client = app.client();
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(client.chat(&chat("m")).await.header("x-request-id").unwrap().to_owned());
    }
    assert_eq!(client.get(&format!("/api/calls/{}", calls[2])).await.status, 200, "it is there");
    for call in &calls {
        let path = format!("/api/calls/{call}");
        until("the call is forgotten", async || client.get(&path).await.status == 404).await;
    }
    let store = database.open().await;
    until("entries are summed up", async || {
        store.check_books().await.unwrap().balances() && store.singles().await.unwrap() == 0
    })
    .await;
    let balance = store.published().await.unwrap().accounts.iter().find(|a| a.id == 1).unwrap().balance;
    assert_eq!(balance, -3 * 18_000);
    assert!(store.check_books().await.unwrap().balances());
}

#[tokio::test]
async fn what_a_channel_costs_is_a_part_of_the_price_and_the_answer_says_what_it_charged() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let plain = "[[key]]\nname = \"plain\"\nsecret = \"sk-plain-0123456789abcdef\"\n";
    let app = TestApp::start(&[&upstream.channel("a", "cost_ratio = 0.8\n"), PRICE, plain].concat());
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!(answer.header("x-penstock-cost"), Some("0.000018000"));
    assert_eq!(
        (answer.header("x-penstock-channel"), answer.header("x-penstock-attempts")),
        (Some("a"), Some("1"))
    );
    let path = format!("/api/calls/{}", answer.header("x-request-id").unwrap());
    until("it is settled", async || app.client().get(&path).await.json()["data"]["state"] == "settled").await;
    let call = app.client().get(&path).await.json()["data"].clone();
    assert_eq!(
        (call["money"]["charge_nanos"].as_i64(), call["money"]["cost_nanos"].as_i64()),
        (Some(18_000), Some(14_400))
    );
    assert_eq!(call["price"]["content"]["usd_per_million_tokens"]["output"], "15.000000", "{call}");
    assert_eq!(call["price"]["version"].as_str().map(str::is_empty), Some(false));
    let stream = app.client().chat(&chat_stream("m")).await;
    assert_eq!((stream.header("x-penstock-cost"), stream.header("x-penstock-channel")), (None, Some("a")));
    let unseeing = app.client().with_key("sk-plain-0123456789abcdef").chat(&chat("m")).await;
    for header in ["x-penstock-cost", "x-penstock-channel", "x-penstock-attempts"] {
        assert_eq!(unseeing.header(header), None, "{header}");
    }
}

#[tokio::test]
async fn migrate_says_what_it_did_and_a_dry_run_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let say = |arguments: &str| {
        let output = run(dir.path(), &arguments.split(' ').collect::<Vec<_>>());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let would = say("migrate --dry-run --data-dir data");
    assert_eq!(would.0, Some(0));
    assert!(
        would.1.starts_with("sqlite:data/") && would.1.contains("would apply 0001_books, "),
        "{}",
        would.1
    );
    assert!(!dir.path().join("data").exists(), "nothing was made");
    let did = say("migrate --data-dir data");
    assert!(did.1.contains(": applied 0001_books, "), "{}", did.1);
    for arguments in ["migrate --data-dir data", "migrate --dry-run --data-dir data"] {
        assert!(say(arguments).1.ends_with(": nothing is missing\n"), "{arguments}");
    }
}
