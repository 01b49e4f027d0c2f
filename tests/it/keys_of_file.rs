//! Keys as the settings file declares them: quota, end, models, group, parent.

use std::time::Duration;

use super::support::{TestApp, Upstream, app::KEY, chat};

const ONE: &str = "sk-one-0123456789abcdef";
const TWO: &str = "sk-two-0123456789abcdef";

/// One call of `chat("m")` costs a dollar, whatever it consumes.
const PRICE: &str = "[[price]]\nmodel = \"m\"\ninput = 0\noutput = 0\nper_call = 1\n";

fn key(name: &str, secret: &str, more: &str) -> String {
    format!("[[key]]\nname = \"{name}\"\nsecret = \"{secret}\"\n{more}")
}

/// How many calls a key gets until it is refused for want of money.
async fn calls(app: &TestApp, secret: &str) -> usize {
    let client = app.client().with_key(secret);
    for made in 0..20 {
        let answer = client.chat(&chat("m")).await;
        if answer.status != 200 {
            assert_eq!((answer.status, answer.error_code().as_str()), (429, "insufficient_quota"));
            return made;
        }
    }
    panic!("it was never refused");
}

#[tokio::test]
async fn a_declared_quota_is_what_a_key_may_spend_in_all() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let settings = |quota: &str| [&upstream.channel("a", ""), PRICE, &key("one", ONE, quota)].concat();
    let app = TestApp::start(&settings("quota = 2\n"));
    assert_eq!(calls(&app, ONE).await, 2);
    // The difference comes with the reload; neither that nor a start gives it twice.
    let differences = app.reload(&settings("quota = 5.00\n")).await.unwrap();
    assert_eq!(differences, ["key \"one\": quota 2.000000000 -> 5.000000000"]);
    app.reload(&settings("quota = \"5\"\n")).await.unwrap();
    let raised = app.client().with_key(ONE);
    while raised.chat(&chat("m")).await.status == 429 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(calls(&app, ONE).await, 2, "of three, one was made while waiting");
    let dir = app.dir();
    app.end();
    let app = TestApp::start_in(dir, &settings("quota = 5\n"));
    assert_eq!(calls(&app, ONE).await, 0);
    // Without a quota there is no limit.
    app.reload(&settings("")).await.unwrap();
    assert_eq!(app.client().with_key(ONE).chat(&chat("m")).await.status, 200);
}

#[tokio::test]
async fn a_child_pays_from_its_parents_quota_too() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    // The child stands before its parent: the order in the file is nobody's business.
    let keys = key("two", TWO, "parent = \"one\"\nquota = 10\n") + &key("one", ONE, "quota = 3\n");
    let app = TestApp::start(&[&upstream.channel("a", ""), PRICE, &keys].concat());
    assert_eq!(app.client().with_key(TWO).chat(&chat("m")).await.status, 200);
    assert_eq!(calls(&app, ONE).await, 2);
    assert_eq!(calls(&app, TWO).await, 0, "its parent has nothing left");
    let moved = key("two", TWO, "parent = \"test\"\n") + &key("one", ONE, "quota = 3\n");
    let refused = app.reload(&[&upstream.channel("a", ""), PRICE, &moved].concat()).await.unwrap_err();
    assert_eq!(refused, "key \"two\": parent: was another when the key was made, and is never changed");
    let nobodys = key("three", "sk-three-0123456789abcdef", "parent = \"nobody\"\n");
    let refused = app.reload(&[&upstream.channel("a", ""), PRICE, &keys, &nobodys].concat()).await;
    assert_eq!(refused.unwrap_err(), "key \"three\": parent: there is no key named \"nobody\"");
}

#[tokio::test]
async fn end_models_and_group_hold_as_declared() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let channels =
        upstream.channel("a", "") + &upstream.channel("b", "groups = [\"vip\"]\nmodels = [\"x\"]\n");
    let settings =
        |one: &str| [channels.clone(), key("one", ONE, one), key("two", TWO, "parent = \"one\"\n")].concat();
    let app = TestApp::start(&settings("expires = \"2026-01-01\"\n"));
    for secret in [ONE, TWO] {
        let answer = app.client().with_key(secret).chat(&chat("m")).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (401, "api_key_expired"), "{secret}");
    }
    app.reload(&settings("expires = \"2999-01-01T00:00:00Z\"\n")).await.unwrap();
    for secret in [ONE, TWO, KEY] {
        assert_eq!(app.client().with_key(secret).chat(&chat("m")).await.status, 200, "{secret}");
    }
    app.reload(&settings("models = [\"x\"]\ngroup = \"vip\"\n")).await.unwrap();
    let one = app.client().with_key(ONE);
    assert_eq!(one.chat(&chat("m")).await.status, 403);
    assert_eq!(one.chat(&chat("x")).await.status, 200);
    assert_eq!(app.client().with_key(TWO).chat(&chat("x")).await.status, 503, "another group");
}
