//! Breakers, channels that evidence switches off, the budget of retries, gateways above one another.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use penstock_actors::channel::{breaker::BreakerState, switch::Standing};

use super::support::{TestApp, Upstream, chat, eventually, upstream::After};

/// An upstream that answers with a status that can be changed; 200 is a good answer.
pub(crate) async fn switchable(status: u16) -> (Upstream, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let told = status.clone();
    let upstream = Upstream::start(move |mut exchange| {
        let status = told.load(Ordering::SeqCst);
        async move {
            if status == 200 {
                return exchange.answer_well("hi").await;
            }
            exchange.answer(status, "application/json", r#"{"error":{"message":"no"}}"#).await;
            After::Keep(exchange)
        }
    })
    .await;
    (upstream, status)
}

pub(crate) async fn well() -> Upstream {
    Upstream::start(|exchange| exchange.answer_well("hi")).await
}

const QUICK: &str = "[failover]\nbreaker_attempts = 5\nbreaker_open = \"1s\"\nbreaker_window = \"10s\"\n";

pub(crate) fn state(app: &TestApp, channel: &str) -> BreakerState {
    app.cell(channel).lines.line(&"m".into()).state()
}

#[tokio::test]
async fn a_failing_channel_is_passed_over_probed_and_used_again() {
    let ((bad, status), good) = (switchable(500).await, well().await);
    let app =
        TestApp::start(&format!("{}{}{QUICK}", bad.channel("bad", "priority = 1"), good.channel("good", "")));
    for _ in 0..5 {
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    }
    eventually("the breaker opens", || state(&app, "bad") == BreakerState::Open).await;
    assert_eq!(app.metric("penstock_breaker_open{channel=\"bad\",model=\"m\"}"), 1.0);
    let shown = app.client().get("/api/runtime").await.json();
    let known = shown["channels"].as_array().unwrap().iter().find(|c| c["name"] == "bad").unwrap().clone();
    assert_eq!(
        (&known["breakers"][0]["model"], &known["breakers"][0]["state"]),
        (&"m".into(), &"open".into())
    );
    assert_eq!(known["retries"], serde_json::json!({ "used": 0, "allowed": 90, "refused": 0 }));
    let (before, answer) = (bad.count(), app.client().chat(&chat("m")).await);
    assert_eq!(
        (answer.header("x-penstock-channel"), answer.header("x-penstock-attempts")),
        (Some("good"), Some("1"))
    );
    assert_eq!(bad.count(), before);
    status.store(200, Ordering::SeqCst);
    eventually("it is probed", || state(&app, "bad") == BreakerState::HalfOpen).await;
    for _ in 0..2 {
        assert_eq!(app.client().chat(&chat("m")).await.header("x-penstock-channel"), Some("bad"));
    }
    eventually("it closes", || state(&app, "bad") == BreakerState::Closed).await;
}

#[tokio::test]
async fn an_open_breaker_is_ignored_where_there_is_nothing_else() {
    let (bad, status) = switchable(500).await;
    let app = TestApp::start(&format!("{}{QUICK}", bad.channel("bad", "")));
    for _ in 0..5 {
        assert_eq!(app.client().chat(&chat("m")).await.status, 500);
    }
    eventually("the breaker opens", || state(&app, "bad") == BreakerState::Open).await;
    status.store(200, Ordering::SeqCst);
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
}

#[tokio::test]
async fn a_refused_credential_switches_its_channel_off_until_there_is_another() {
    for (status, told) in [(401, 1.0), (402, 2.0)] {
        let ((bad, status), good) = (switchable(status).await, well().await);
        let channels = |credential: &str| {
            let bad = bad.channel("bad", "priority = 1").replace("secret-bad", credential);
            format!("{bad}{}", good.channel("good", ""))
        };
        let app = TestApp::start(&channels("old"));
        for _ in 0..3 {
            assert_eq!(app.client().chat(&chat("m")).await.status, 200);
        }
        eventually("it is off", || app.cell("bad").lines.standing() != Standing::On).await;
        assert_eq!(app.metric("penstock_channel_switched_off{channel=\"bad\"}"), told);
        assert_eq!(app.client().chat(&chat("m")).await.header("x-penstock-attempts"), Some("1"));
        assert_eq!(bad.count(), 3);
        status.store(200, Ordering::SeqCst);
        app.reload(&channels("new")).await.unwrap();
        eventually("it is on", || app.cell("bad").lines.standing() == Standing::On).await;
        assert_eq!(app.client().chat(&chat("m")).await.header("x-penstock-channel"), Some("bad"));
    }
}

#[tokio::test]
async fn the_last_channel_is_switched_off_too_and_the_refusal_says_when_to_come_back() {
    let (bad, _) = switchable(401).await;
    let app = TestApp::start(&bad.channel("bad", ""));
    for _ in 0..3 {
        assert_eq!(app.client().chat(&chat("m")).await.error_code(), "upstream_credential_refused");
    }
    eventually("it is off", || app.cell("bad").lines.standing() != Standing::On).await;
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (503, "no_channel"));
    assert_eq!(answer.header("retry-after"), Some("60"));
    drop(app);
    let app = TestApp::start(&format!("{}[failover]\nswitch_off = false\n", bad.channel("bad", "")));
    for _ in 0..5 {
        assert_eq!(app.client().chat(&chat("m")).await.error_code(), "upstream_credential_refused");
    }
}

#[tokio::test]
async fn retries_stop_at_the_budget_of_the_channel_that_would_take_them_over() {
    let ((bad, _), good) = (switchable(500).await, well().await);
    let app = TestApp::start(&format!(
        "{}{}[failover]\nbreaker_percent = 0\n",
        bad.channel("bad", "priority = 1"),
        good.channel("good", "")
    ));
    let mut passed = 0;
    for _ in 0..100 {
        passed += u32::from(app.client().chat(&chat("m")).await.status == 200);
    }
    assert_eq!((passed, good.count()), (90, 90), "three a second, in half a minute");
    assert_eq!(app.metric("penstock_channel_refused_retries{channel=\"good\"}"), 10.0);
    for name in ["penstock_channel_retries", "penstock_channel_retries_allowed"] {
        assert_eq!(app.metric(&format!("{name}{{channel=\"good\"}}")), 90.0);
    }
    let told = app.client().with_header("accept: text/plain").get("/api/runtime").await;
    assert!(told.body.contains("90 of 90"), "{}", told.body);
}

#[tokio::test]
async fn a_gateway_below_another_leaves_retries_to_it() {
    let ((bad, _), good) = (switchable(500).await, well().await);
    let app = TestApp::start(&format!("{}{}", bad.channel("bad", "priority = 1"), good.channel("good", "")));
    let first = app.client().with_header("x-penstock-attempt: 1").chat(&chat("m")).await;
    assert_eq!((first.status, first.header("x-penstock-attempts")), (200, Some("2")));
    assert_eq!(bad.seen()[0].header("x-penstock-attempt"), None);
    assert_eq!(good.seen()[0].header("x-penstock-attempt"), Some("2"), "it is told on");
    let second = app.client().with_header("x-penstock-attempt: 2").chat(&chat("m")).await;
    assert_eq!((second.status, second.header("x-penstock-attempts")), (500, Some("1")));
    for odd in ["x", "-1", "99999999999999999999"] {
        let answer = app.client().with_header(&format!("x-penstock-attempt: {odd}")).chat(&chat("m")).await;
        assert_eq!(answer.status, 200, "{odd}");
    }
}

#[tokio::test]
async fn listed_models_and_backups_are_tried_in_order() {
    let ((bad, _), good) = (switchable(500).await, well().await);
    let app = TestApp::start(&format!(
        "{}{}[backup_models]\na = [\"b\"]\nc = [\"d\"]\n",
        bad.channel("bad", "models = [\"a\", \"d\"]"),
        good.channel("good", "models = [\"b\"]")
    ));
    for asked in ["a", "a,b", "x, b", "d,x,b", "x,a,b"] {
        let answer = app.client().chat(&chat(asked)).await;
        assert_eq!((answer.status, answer.header("x-penstock-channel")), (200, Some("good")), "{asked}");
        assert_eq!(answer.json()["model"], "b", "the model that serves is told");
    }
    for (asked, status, code) in [
        ("a,b,c,d", 400, "too_many_models"),
        ("a,", 400, "invalid_value"),
        ("c", 500, "bad_response_status_code"),
        ("x,y", 404, "model_not_found"),
    ] {
        let answer = app.client().chat(&chat(asked)).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{asked}");
    }
}

#[tokio::test]
async fn a_keys_own_backups_serve_and_models_it_may_not_use_do_not() {
    let good = well().await;
    let secret = "sk-own-0123456789abcdef0";
    let key = |more: &str| format!("[[key]]\nname = \"own\"\nsecret = \"{secret}\"\n{more}\n");
    let channel = good.channel("good", "models = [\"b\"]");
    let app = TestApp::start(&format!("{channel}{}", key("backup_models = [\"b\"]")));
    assert_eq!(app.client().with_key(secret).chat(&chat("x")).await.json()["model"], "b");
    assert_eq!(app.client().chat(&chat("x")).await.status, 404, "another key has none");
    app.reload(&format!("{channel}{}", key("models = [\"x\"]\nbackup_models = [\"b\"]"))).await.unwrap();
    eventually("the key's models are known", || true).await;
    let answer = app.client().with_key(secret).chat(&chat("x,b")).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (404, "model_not_found"));
}
