//! Limits in a time: who is refused, what is told, what goes back, what a restart remembers.

use super::support::{Answer, TestApp, Upstream, chat, chat_stream, eventually, upstream::After};

const OWN: &str = "sk-own-0123456789abcdef0";
const FREE: &str = "sk-free-0123456789abcdef";

async fn well() -> Upstream {
    Upstream::start(|exchange| exchange.answer_well("hi")).await
}

/// An upstream whose answers say that they consumed so many tokens.
async fn hungry(prompt: u64, completion: u64) -> Upstream {
    Upstream::start(move |mut exchange| async move {
        let body = format!(
            r#"{{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"hi"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{}}}}}"#,
            prompt + completion
        );
        exchange.answer(200, "application/json", &body).await;
        After::Keep(exchange)
    })
    .await
}

fn key(name: &str, secret: &str, more: &str) -> String {
    format!("[[key]]\nname = \"{name}\"\nsecret = \"{secret}\"\n{more}\n")
}

fn refused(answer: &Answer, code: &str) {
    assert_eq!((answer.status, answer.error_code().as_str()), (429, code), "{}", answer.body);
    assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
}

#[tokio::test]
async fn anthropics_clients_are_told_in_their_own_headers() {
    let upstream = well().await;
    let app = TestApp::start(&format!(
        "{}[limits]\nkey = [\"1 request per minute\", \"9000 tokens per minute\"]\n",
        upstream.channel("a", "")
    ));
    let asked = r#"{"model":"m","max_tokens":64,"messages":[{"role":"user","content":"hi"}]}"#;
    for status in [200, 429] {
        let answer = app.client().post("/v1/messages", asked.as_bytes()).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        let told = |name: &str| answer.header(&format!("anthropic-ratelimit-{name}")).map(str::to_owned);
        assert_eq!(
            (told("requests-limit").as_deref(), told("requests-remaining").as_deref()),
            (Some("1"), Some("0"))
        );
        // Who is over one limit is not asked about the next.
        assert_eq!(told("tokens-limit").as_deref(), (status == 200).then_some("9000"));
        let reset = told("requests-reset").expect("told");
        assert!(reset.len() == 20 && reset.ends_with('Z'), "{reset}");
        assert_eq!(answer.header("x-ratelimit-limit-requests"), None);
    }
}

#[tokio::test]
async fn a_keys_requests_are_counted_told_and_refused() {
    let upstream = well().await;
    let app = TestApp::start(&format!(
        "{}[limits]\nkey = [\"2 requests per minute\"]\n",
        upstream.channel("a", "")
    ));
    for (body, remaining) in [(chat("m"), "1"), (chat_stream("m"), "0")] {
        let answer = app.client().chat(&body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("2"));
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(remaining));
        assert!(answer.header("x-ratelimit-reset-requests").is_some_and(|reset| reset.starts_with("1m")));
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), None, "tokens are not limited");
    }
    let answer = app.client().chat(&chat("m")).await;
    refused(&answer, "key_requests_per_minute_exceeded");
    let after: u64 = answer.header("retry-after").expect("a hint").parse().expect("seconds");
    assert!((55..=62).contains(&after), "{after}");
    assert_eq!(answer.header("x-should-retry"), Some("true"));
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("0"));
    assert_eq!(answer.header("x-penstock-fault"), Some("client"));
    assert!(answer.body.contains("The limit of this API key is 2 requests per minute"), "{}", answer.body);
    assert_eq!(upstream.count(), 2);
    assert_eq!(app.metric("penstock_limited_total{limit=\"requests_per_minute\",scope=\"key\"}"), 1.0);
}

#[tokio::test]
async fn tokens_are_held_at_admission_and_put_right_by_the_answers_usage() {
    let upstream = hungry(30, 20).await;
    let app = TestApp::start(&format!(
        "{}[limits]\nkey = [\"1000 tokens per minute\"]\n",
        upstream.channel("a", "")
    ));
    let body = |max: u64| chat("m").replace("\"messages\"", &format!("\"max_tokens\":{max},\"messages\""));
    let first = app.client().chat(&body(600)).await;
    assert_eq!(first.status, 200, "{}", first.body);
    let held: u64 = first.header("x-ratelimit-remaining-tokens").expect("told").parse().expect("a number");
    assert!(held < 400, "{held}: the longest answer is held");
    let second = app.client().chat(&body(600)).await;
    assert_eq!(second.status, 200, "only 50 tokens were consumed: {}", second.body);
    let third = app.client().chat(&body(950)).await;
    refused(&third, "key_tokens_per_minute_exceeded");
    assert_eq!(third.header("x-ratelimit-remaining-tokens"), Some("900"));
    let never = app.client().chat(&body(5000)).await;
    refused(&never, "key_tokens_per_minute_exceeded");
    assert_eq!((never.header("retry-after"), never.header("x-should-retry")), (None, Some("false")));
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_keys_own_limits_replace_the_default_and_every_scope_has_its_own() {
    let upstream = well().await;
    let one = "[\"1 request per day\"]";
    for (settings, who, code) in [
        (format!("[limits]\nkey = {one}"), OWN, "key_requests_per_day_exceeded"),
        (format!("[limits]\nspace = {one}"), OWN, "space_requests_per_day_exceeded"),
        (format!("[group_limits]\ndefault = {one}"), OWN, "group_requests_per_day_exceeded"),
        (format!("[model_limits]\nm = {one}"), OWN, "model_requests_per_day_exceeded"),
    ] {
        let app = TestApp::start(&format!(
            "{}[aliases]\nalias = \"m\"\n{settings}\n{}",
            upstream.channel("a", ""),
            key("own", OWN, "")
        ));
        assert_eq!(app.client().with_key(who).chat(&chat("alias")).await.status, 200);
        let answer = app.client().with_key(who).chat(&chat("m")).await;
        refused(&answer, code);
        assert!(answer.header("retry-after").is_some());
    }
    let app = TestApp::start(&format!(
        "{}[limits]\nkey = {one}\n{}{}",
        upstream.channel("a", ""),
        key("own", OWN, "limits = [\"2 requests per day\"]"),
        key("free", FREE, "limits = []")
    ));
    for (who, passes) in [(OWN, 2), (FREE, 4)] {
        let client = app.client().with_key(who);
        for _ in 0..passes {
            assert_eq!(client.chat(&chat("m")).await.status, 200, "{who}");
        }
    }
    assert_eq!(app.client().with_key(OWN).chat(&chat("m")).await.status, 429);
}

#[tokio::test]
async fn money_is_held_at_its_estimate_and_put_right() {
    let upstream = hungry(100_000, 0).await;
    let app = TestApp::start(&format!(
        "{}[[price]]\nmodel = \"m\"\ninput = 1.00\noutput = 1.00\n[limits]\nkey = [\"0.25 USD per day\"]\n",
        upstream.channel("a", "")
    ));
    let body = chat("m").replace("\"messages\"", "\"max_tokens\":10,\"messages\"");
    // Ten cents each: the third is admitted by its small estimate, and what it came to counts.
    for _ in 0..3 {
        assert_eq!(app.client().chat(&body).await.status, 200);
    }
    let answer = app.client().chat(&body).await;
    refused(&answer, "key_spend_per_day_exceeded");
    assert!(answer.body.contains("0.250000 USD per day: 0.300000 are taken"), "{}", answer.body);
}

#[tokio::test]
async fn what_is_refused_or_never_sent_gives_back_what_it_took() {
    let upstream = well().await;
    let app = TestApp::start(&format!(
        "{}[limits]\nkey = [\"3 requests per minute\", \"1000 tokens per minute\"]\n",
        upstream.channel("a", "concurrency = 0")
    ));
    let long = chat("m").replace("\"messages\"", "\"max_tokens\":5000,\"messages\"");
    let short = chat("m").replace("\"messages\"", "\"max_tokens\":300,\"messages\"");
    for _ in 0..5 {
        refused(&app.client().chat(&long).await, "key_tokens_per_minute_exceeded");
        assert_eq!(app.client().chat(&short).await.error_code(), "channels_saturated");
    }
    app.reload(&format!(
        "{}[limits]\nkey = [\"3 requests per minute\", \"1000 tokens per minute\"]\n",
        upstream.channel("a", "")
    ))
    .await
    .unwrap();
    for _ in 0..3 {
        assert_eq!(app.client().chat(&short).await.status, 200);
    }
    refused(&app.client().chat(&short).await, "key_requests_per_minute_exceeded");
}

#[tokio::test]
async fn a_channel_over_its_limit_gives_way_to_the_next() {
    let (first, second) = (well().await, well().await);
    let limited = first.channel("a", "priority = 1\nlimits = [\"2 requests per minute\"]");
    let app = TestApp::start(&format!("{limited}{}", second.channel("b", "")));
    for wanted in ["a", "a", "b", "b"] {
        let answer = app.client().chat(&chat("m")).await;
        assert_eq!((answer.status, answer.header("x-penstock-channel")), (200, Some(wanted)));
    }
    app.reload(&limited).await.unwrap();
    let answer = app.client().chat(&chat("m")).await;
    // It would wait for longer than it may, and is told so at once.
    refused(&answer, "channels_saturated");
    assert_eq!(answer.header("x-penstock-fault"), Some("gateway"));
    let after: u64 = answer.header("retry-after").expect("a hint").parse().expect("seconds");
    assert!((55..=62).contains(&after), "{after}");
    assert_eq!(first.count(), 2);
}

#[tokio::test]
async fn calls_at_once_never_pass_a_limit_together() {
    let upstream = well().await;
    let app = TestApp::start(&format!(
        "{}[limits]\nkey = [\"7 requests per minute\"]\n",
        upstream.channel("a", "")
    ));
    let calls = (0..40).map(|_| {
        let client = app.client();
        tokio::spawn(async move { client.chat(&chat("m")).await.status })
    });
    let mut passed = 0;
    for call in calls.collect::<Vec<_>>() {
        passed += u32::from(call.await.unwrap() == 200);
    }
    assert_eq!((passed, upstream.count()), (7, 7));
}

#[tokio::test]
async fn new_limits_are_in_force_at_once_over_what_was_taken() {
    let upstream = well().await;
    let limited =
        |n: u32| format!("{}[limits]\nkey = [\"{n} requests per hour\"]\n", upstream.channel("a", ""));
    let app = TestApp::start(&limited(1));
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    assert_eq!(app.client().chat(&chat("m")).await.status, 429);
    let differences = app.reload(&limited(2)).await.unwrap();
    assert_eq!(differences, ["limits: changed"]);
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    assert_eq!(app.client().chat(&chat("m")).await.status, 429);
    assert!(app.reload(&upstream.channel("a", "limits = [\"5 requests\"]")).await.is_err());
    assert_eq!(app.client().chat(&chat("m")).await.status, 429, "a wrong file changes nothing");
}

#[tokio::test]
async fn a_restart_remembers_what_was_taken() {
    let upstream = well().await;
    let settings = format!(
        "{}[limits]\nkey = [\"3 requests per hour\", \"4 requests per month\"]\n",
        upstream.channel("a", "")
    );
    let mut app = TestApp::start(&settings);
    for _ in 0..3 {
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    }
    let dir = app.dir();
    app.stop().join().unwrap();
    let app = TestApp::start_in(dir, &settings);
    let limits = || app.shared().relay.books.limits.cells().len();
    eventually("the past is known", || limits() == 2).await;
    let answer = app.client().chat(&chat("m")).await;
    refused(&answer, "key_requests_per_hour_exceeded");
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("0"));
}

#[tokio::test]
async fn a_wrong_limit_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("penstock.toml");
    for (settings, words) in [
        ("[limits]\nkey = [\"many requests per minute\"]", "limits.key"),
        (
            "[limits]\nkey = [\"1 token per day\", \"2 tokens per day\"]",
            "there is a limit of this kind already",
        ),
        ("[limits]\ntime_zone = \"Mars/Base\"", "there is no time zone"),
        ("[limits]\nkeys = []", "did you mean"),
        ("[group_limits]\nvip = \"5 requests per day\"", "group_limits"),
    ] {
        std::fs::write(&file, settings).unwrap();
        let checked = super::support::process::run(dir.path(), &["check", "--config", "penstock.toml"]);
        let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
        assert!(!checked.status.success() && said.contains(words), "{settings}: {said}");
    }
}
