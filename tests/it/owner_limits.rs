//! Limits of the owners above a call: parent keys, the model, everyone together; in a time and at once; from the
//! settings and from the store.

use super::{
    support::{
        Answer, Process, TestApp, Turnstile, Upstream,
        app::KEY,
        chat,
        database::{Database, on_every_database},
        eventually, process, read_answer,
    },
    waiting::{ask, queue_up},
};

const TEAM: &str = "sk-team-0123456789abcdef";
const FIRST: &str = "sk-first-0123456789abcde";
const SECOND: &str = "sk-second-0123456789abcd";

/// A key with two keys below it.
fn family(of_team: &str, of_first: &str) -> String {
    format!(
        "[[key]]\nname = \"team\"\nsecret = \"{TEAM}\"\n{of_team}\n\
         [[key]]\nname = \"first\"\nsecret = \"{FIRST}\"\nparent = \"team\"\n{of_first}\n\
         [[key]]\nname = \"second\"\nsecret = \"{SECOND}\"\nparent = \"team\"\n"
    )
}

async fn well() -> Upstream {
    Upstream::start(|exchange| exchange.answer_well("hi")).await
}

fn assert_refused(answer: &Answer, code: &str, words: &str) {
    assert_eq!((answer.status, answer.error_code().as_str()), (429, code), "{}", answer.body);
    assert!(answer.body.contains(words), "{words} is not in {}", answer.body);
}

#[tokio::test]
async fn what_children_take_they_take_of_their_parents_requests_too() {
    let upstream = well().await;
    let keys = family("limits = [\"3 requests per minute\"]", "limits = [\"2 requests per minute\"]");
    let app = TestApp::start(&format!("{}{keys}", upstream.channel("a", "")));
    let [team, first, second] = [TEAM, FIRST, SECOND].map(|key| app.client().with_key(key));
    for client in [&first, &first] {
        assert_eq!(client.chat(&chat("m")).await.status, 200);
    }
    let own = first.chat(&chat("m")).await;
    assert_refused(&own, "key_requests_per_minute_exceeded", "The limit of this API key is 2 requests");
    assert_eq!(second.chat(&chat("m")).await.status, 200, "what was refused took nothing of the team's");
    for client in [&second, &team] {
        let answer = client.chat(&chat("m")).await;
        let (code, words) = match std::ptr::eq(client, &team) {
            true => ("key_requests_per_minute_exceeded", "this API key is 3 requests per minute"),
            false => ("parent_requests_per_minute_exceeded", "The limit of the key \\\"team\\\""),
        };
        assert_refused(&answer, code, words);
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("0"));
    }
    assert_eq!(upstream.count(), 3);
    let counted = "penstock_limited_total{limit=\"requests_per_minute\",scope=\"parent\"}";
    assert_eq!(app.metric(counted), 1.0);
}

#[tokio::test]
async fn a_keys_children_cannot_outgrow_what_every_key_may_take() {
    let upstream = well().await;
    let keys = family("", "limits = []");
    let app = TestApp::start(&format!(
        "{}{keys}[limits]\nkey = [\"2 requests per minute\"]\n",
        upstream.channel("a", "")
    ));
    let [first, second] = [FIRST, SECOND].map(|key| app.client().with_key(key));
    assert_eq!(first.chat(&chat("m")).await.status, 200);
    assert_eq!(second.chat(&chat("m")).await.status, 200);
    assert_refused(&first.chat(&chat("m")).await, "parent_requests_per_minute_exceeded", "team");
}

#[tokio::test]
async fn tokens_and_money_of_children_count_with_their_parent_and_are_put_right() {
    let upstream = well().await;
    let price = "[[price]]\nmodel = \"m\"\ninput = 100000.00\noutput = 0\n";
    for (limit, code) in [
        ("9 tokens per day", "parent_tokens_per_day_exceeded"),
        ("0.99 USD per month", "parent_spend_per_month_exceeded"),
    ] {
        let keys = family(&format!("limits = [\"{limit}\"]"), "");
        let app = TestApp::start(&format!("{}{price}{keys}", upstream.channel("a", "")));
        let long = chat("m").replace("\"hi\"", &format!("\"{}\"", "word ".repeat(100)));
        assert_refused(&app.client().with_key(FIRST).chat(&long).await, code, "team");
        assert_eq!(app.client().chat(&long).await.status, 200, "a key of nobody's");
    }
}

#[tokio::test]
async fn a_parents_limit_is_changed_and_explained_while_calls_go_on() {
    let upstream = well().await;
    let settings = |limit: &str| {
        let seer = "may_see_routing = true\n";
        format!("{}{}", upstream.channel("a", ""), family(limit, seer))
    };
    let app = TestApp::start(&settings(""));
    let first = app.client().with_key(FIRST);
    assert_eq!(first.chat(&chat("m")).await.status, 200);
    app.reload(&settings("limits = [\"2 requests per day\"]")).await.unwrap();
    let used = async || {
        let explained = first.post("/api/explain", br#"{"model":"m"}"#).await.json();
        explained["data"]["models"][0]["limits"][0]["used"].as_u64()
    };
    let give_up = tokio::time::Instant::now() + super::support::SOON;
    while used().await != Some(1) {
        assert!(tokio::time::Instant::now() < give_up, "what was called before does not count");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(first.chat(&chat("m")).await.status, 200);
    assert_refused(&first.chat(&chat("m")).await, "parent_requests_per_day_exceeded", "team");
    let explained = first.post("/api/explain", br#"{"model":"m"}"#).await.json();
    let limit = &explained["data"]["models"][0]["limits"][0];
    assert_eq!(
        (&limit["limit"], &limit["of"], &limit["used"]),
        (&"parent_requests_per_day".into(), &"team".into(), &2.into())
    );
    app.reload(&settings("limits = [\"3 requests per day\"]")).await.unwrap();
    assert_eq!(first.chat(&chat("m")).await.status, 200);
}

#[tokio::test]
async fn a_child_waits_for_its_parents_concurrency_or_is_told_whose_it_is() {
    let turnstile = Turnstile::start().await;
    let settings = |on_limit: &str| {
        let queue = format!("[queue.key.team]\nconcurrency = 1\n{on_limit}");
        format!("{queue}{}{}", turnstile.channel("a", ""), family("", ""))
    };
    let app = TestApp::start(&settings(""));
    let [first, second] = [FIRST, SECOND].map(|key| app.client().with_key(key));
    let mut held = ask(&first, &chat("m")).await;
    eventually("it is served", || turnstile.count() == 1).await;
    let mut waiting = queue_up(&app, &second, &chat("m")).await;
    turnstile.turn(2);
    for tcp in [&mut held, &mut waiting] {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
    assert_eq!(turnstile.most(), 1);
    app.reload(&settings("on_limit = \"refuse\"\n")).await.unwrap();
    let mut held = ask(&first, &chat("m")).await;
    eventually("it is served", || turnstile.count() == 3).await;
    let refused = second.chat(&chat("m")).await;
    assert_refused(&refused, "concurrency_limit_reached", "The key \\\"team\\\"");
    turnstile.turn(1);
    assert_eq!(read_answer(&mut held).await.status, 200);
}

#[tokio::test]
async fn a_models_and_everyones_calls_at_once_are_limited_over_all_channels() {
    let turnstile = Turnstile::start().await;
    let channels = turnstile.channel("a", "models = [\"m\", \"n\"]\n") + &turnstile.channel("b", "");
    let settings = "[queue.space]\nconcurrency = 2\non_limit = \"refuse\"\n\
                    [queue.model.m]\nconcurrency = 1\non_limit = \"refuse\"\n[aliases]\nalias = \"m\"\n";
    let app = TestApp::start(&format!("{settings}{channels}"));
    let client = app.client();
    let mut held = vec![ask(&client, &chat("m")).await];
    eventually("it is served", || turnstile.count() == 1).await;
    assert_refused(&client.chat(&chat("alias")).await, "concurrency_limit_reached", "This model may have 1");
    held.push(ask(&client, &chat("n")).await);
    eventually("another model is", || turnstile.count() == 2).await;
    assert_refused(&client.chat(&chat("n")).await, "concurrency_limit_reached", "All API keys together");
    turnstile.turn(2);
    for tcp in &mut held {
        assert_eq!(read_answer(tcp).await.status, 200);
    }
    assert_eq!(turnstile.most(), 2);
}

#[tokio::test]
async fn keys_of_the_store_have_limits_of_their_own_and_their_children_count_with_them() {
    let upstream = well().await;
    let running = Process::start(&upstream.channel("a", ""));
    let key = |arguments: &[&str]| {
        let all = [&["key"], arguments, &["--config", "penstock.toml"]].concat();
        let done = process::run(&running.dir(), &all);
        let said = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        (done.status.success(), said, String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (made, team, said) = key(&["create", "--name", "team", "--limit", "2 requests per day"]);
    assert!(made, "{said}");
    let (made, child, said) = key(&["create", "--name", "child", "--parent", "team"]);
    assert!(made, "{said}");
    let [team, child] = [team, child].map(|secret| running.client().with_key(&secret));
    until(&child, 200).await;
    assert_eq!(team.chat(&chat("m")).await.status, 200);
    assert_refused(&child.chat(&chat("m")).await, "parent_requests_per_day_exceeded", "team");
    let (set, _, said) = key(&["limits", "team", "500 requests per day"]);
    assert!(set, "{said}");
    until(&child, 200).await;
    let (set, _, said) = key(&["limits", "child", "0 requests per day"]);
    assert!(set, "{said}");
    until(&child, 429).await;
    assert_refused(&child.chat(&chat("m")).await, "key_requests_per_day_exceeded", "this API key");
    for (arguments, words) in [
        (["limits", "team", "5 sheep per day"], "5 sheep per day"),
        (["limits", "test", "5 requests per day"], "declared in the settings file"),
        (["limits", "nobody", "5 requests per day"], "no key named"),
    ] {
        let (set, _, said) = key(&arguments);
        assert!(!set && said.contains(words), "{arguments:?}: {said}");
    }
    assert_eq!(running.client().with_key(KEY).chat(&chat("m")).await.status, 200);
}

#[tokio::test]
async fn a_restart_remembers_what_a_key_of_the_store_took() {
    let upstream = well().await;
    let running = Process::start(&upstream.channel("a", ""));
    let of_the_store = "key create --name team --config penstock.toml --limit";
    let words = of_the_store.split(' ').chain(["2 requests per day"]).collect::<Vec<_>>();
    let made = process::run(&running.dir(), &words);
    let secret = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let team = running.client().with_key(&secret);
    until(&team, 200).await;
    assert_eq!(team.chat(&chat("m")).await.status, 200);
    let running = running.killed_and_started();
    let team = running.client().with_key(&secret);
    running.wait_until("the past is known", |log| log.contains("limits know of the time before"));
    assert_refused(&team.chat(&chat("m")).await, "key_requests_per_day_exceeded", "this API key");
}

on_every_database!(a_limit_that_is_set_while_a_key_is_in_use_knows_what_it_took_before);

async fn a_limit_that_is_set_while_a_key_is_in_use_knows_what_it_took_before(database: Database) {
    let upstream = well().await;
    let store = format!("[store]\nurl = \"{}\"\n", database.url);
    let running = Process::start(&(store + &upstream.channel("a", "")));
    let key = |arguments: &[&str]| {
        let all = [&["key"], arguments, &["--config", "penstock.toml"]].concat();
        let done = process::run(&running.dir(), &all);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    };
    let secret = key(&["create", "--name", "team"]);
    let child = key(&["create", "--name", "child", "--parent", "team"]);
    let [team, child] = [secret, child].map(|secret| running.client().with_key(&secret));
    until(&child, 200).await;
    assert_eq!(team.chat(&chat("m")).await.status, 200);
    let known = |times: usize| {
        running.wait_until("the past is known", |log| {
            log.matches("limits know of the time before").count() == times
        });
    };
    key(&["limits", "team", "3 requests per day"]);
    known(1);
    assert_eq!(child.chat(&chat("m")).await.status, 200);
    assert_refused(&team.chat(&chat("m")).await, "key_requests_per_day_exceeded", "this API key");
    // Without it for a while, calls are counted by nobody but the log.
    key(&["limits", "team"]);
    until(&team, 200).await;
    key(&["limits", "team", "5 requests per day", "3 tokens per month"]);
    known(2);
    assert_refused(&team.chat(&chat("m")).await, "key_tokens_per_month_exceeded", "this API key");
    key(&["limits", "team", "5 requests per day"]);
    until(&team, 200).await;
    assert_refused(&child.chat(&chat("m")).await, "parent_requests_per_day_exceeded", "team");
}

/// Calls until an answer has this status: a change of the store is in force within moments.
async fn until(client: &super::support::Client, status: u16) {
    let give_up = tokio::time::Instant::now() + super::support::SOON;
    while client.chat(&chat("m")).await.status != status {
        assert!(tokio::time::Instant::now() < give_up, "no {status}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
