//! Several credentials in one channel, and credentials that are exchanged for tokens.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use super::support::{TestApp, Upstream, chat, chat_stream, upstream};
use crate::support::upstream::{After, Exchange, Seen};

/// Answers a call well, or refuses it, by the credential it shows.
async fn judge(mut exchange: Exchange, bad: Vec<(&'static str, u16)>) -> After {
    let shown = exchange.header("authorization").unwrap_or_default().to_owned();
    match bad.iter().find(|(credential, _)| shown == format!("Bearer {credential}")) {
        None => exchange.answer_well("hi").await,
        Some((credential, status)) => {
            let body = format!(r#"{{"error":{{"message":"no, {credential}","code":"x"}}}}"#);
            exchange.answer(*status, "application/json", &body).await;
            After::Keep(exchange)
        }
    }
}

async fn judging(bad: &[(&'static str, u16)]) -> Upstream {
    let bad = bad.to_vec();
    Upstream::start(move |exchange| judge(exchange, bad.clone())).await
}

fn several(upstream: &Upstream, more: &str) -> String {
    let base = format!("http://{}", upstream.address);
    let one = upstream::channel("up", &base, more);
    one.replace(
        "credential = \"secret-up\"",
        "credentials = [\"key-one-1\", \"key-two-22\", \"key-three-3\"]",
    )
}

fn shown(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(|seen| seen.header("authorization").unwrap_or_default().replace("Bearer ", "")).collect()
}

#[tokio::test]
async fn credentials_are_shown_in_turn() {
    let upstream = judging(&[]).await;
    let app = TestApp::start(&format!("{}\n[server]\nworkers = 1\n", several(&upstream, "")));
    for body in [chat("m"), chat_stream("m"), chat("m"), chat("m")] {
        assert_eq!(app.client().chat(&body).await.status, 200);
    }
    assert_eq!(shown(&upstream.seen()), ["key-one-1", "key-two-22", "key-three-3", "key-one-1"]);
}

#[tokio::test]
async fn a_credential_that_is_refused_is_set_aside_and_the_client_sees_nothing_of_it() {
    for status in [401, 402, 403, 429] {
        let upstream = judging(&[("key-one-1", status), ("key-two-22", status)]).await;
        let app = TestApp::start(&several(&upstream, ""));
        for body in [chat("m"), chat_stream("m"), chat("m"), chat("m"), chat("m")] {
            let answer = app.client().chat(&body).await;
            assert!(answer.status == 200 && answer.complete, "{status}: {answer:?}");
            assert_eq!(answer.header("x-penstock-attempts"), Some("1"), "{status}");
        }
        let shown = shown(&upstream.seen());
        assert_eq!(shown.len(), 7, "each bad one was shown once: {shown:?}");
        assert_eq!(shown.iter().filter(|key| *key == "key-three-3").count(), 5, "{shown:?}");
    }
}

#[tokio::test]
async fn where_every_credential_is_refused_the_client_is_told_that_the_channels_was() {
    let bad = [("key-one-1", 401), ("key-two-22", 401), ("key-three-3", 401)];
    let upstream = judging(&bad).await;
    let app = TestApp::start(&several(&upstream, ""));
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (401, "upstream_credential_refused"));
    assert!(!answer.body.contains("key-"), "{}", answer.body);
    assert_eq!(upstream.count(), 3, "each was shown once");
}

#[tokio::test]
async fn where_every_credential_is_refused_another_channel_serves() {
    let upstream = judging(&[("key-one-1", 401), ("key-two-22", 402), ("key-three-3", 429)]).await;
    let good = Upstream::start(|exchange| exchange.answer_well("good")).await;
    let both = several(&upstream, "priority = 1") + &good.channel("good", "");
    let app = TestApp::start(&both);
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!((answer.status, answer.header("x-penstock-channel")), (200, Some("good")));
}

#[tokio::test]
async fn what_is_not_the_credentials_fault_is_not_tried_with_another() {
    let upstream = judging(&[("key-one-1", 500), ("key-two-22", 404), ("key-three-3", 400)]).await;
    let app = TestApp::start(&format!("{}\n[server]\nworkers = 1\n", several(&upstream, "")));
    for status in [500, 404, 400] {
        let answer = app.client().chat(&chat("m")).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(upstream.count(), 3);
}

/// Accounts that let so many requests through in a minute, and say how many are left; counts what it refuses.
async fn metered(allowed: &'static [(&'static str, usize)]) -> (Upstream, Arc<AtomicUsize>) {
    let served: Arc<Vec<AtomicUsize>> = Arc::new(allowed.iter().map(|_| AtomicUsize::new(0)).collect());
    let refused = Arc::<AtomicUsize>::default();
    let count = refused.clone();
    let upstream = Upstream::start(move |mut exchange| {
        let (served, refused) = (served.clone(), count.clone());
        async move {
            let shown = exchange.header("authorization").unwrap_or_default().replace("Bearer ", "");
            let at = allowed.iter().position(|(credential, _)| *credential == shown).unwrap();
            let (limit, nth) = (allowed[at].1, served[at].fetch_add(1, SeqCst) + 1);
            let (status, body) = match nth <= limit {
                true => ("200 OK", upstream::completion("hi", "m")),
                false => {
                    refused.fetch_add(1, SeqCst);
                    ("429 Too Many Requests", r#"{"error":{"message":"slow down","type":"requests"}}"#.to_owned())
                }
            };
            let (left, len) = (limit.saturating_sub(nth), body.len());
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-ratelimit-limit-requests: {limit}\r\n\
                 x-ratelimit-remaining-requests: {left}\r\nx-ratelimit-reset-requests: 60s\r\n\
                 content-length: {len}\r\n\r\n{body}"
            );
            exchange.write(head).await;
            After::Keep(exchange)
        }
    })
    .await;
    (upstream, refused)
}

#[tokio::test]
async fn what_headers_say_of_each_credential_is_heeded_and_nothing_is_refused_that_was_foretold() {
    let (upstream, refused) = metered(&[("key-one-1", 1), ("key-two-22", 3), ("key-three-3", 6)]).await;
    let app = TestApp::start(&format!("{}[queue]\nmax_wait = 0\n", several(&upstream, "")));
    // One each: from then on it is known what is left.
    for _ in 0..3 {
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    }
    let calls = (0..20).map(|_| {
        let client = app.client();
        tokio::spawn(async move { client.chat(&chat("m")).await })
    });
    let mut passed = 0;
    for call in calls.collect::<Vec<_>>() {
        let answer = call.await.unwrap();
        if answer.status == 200 {
            passed += 1;
        } else {
            assert_eq!((answer.status, answer.error_code().as_str()), (429, "channels_saturated"));
            let after: u64 = answer.header("retry-after").expect("a hint").parse().expect("seconds");
            assert!((5..=60).contains(&after), "{after}");
        }
    }
    assert_eq!(
        (passed, refused.load(SeqCst), upstream.count()),
        (7, 0, 10),
        "two of the second, five of the third"
    );
    let shown = app.client().get("/api/runtime").await.json();
    assert_eq!(shown["channels"][0]["learned"]["requests_per_minute"], 10);
}

#[tokio::test]
async fn a_call_waits_until_one_of_the_credentials_may_be_shown_again() {
    let upstream = Upstream::start(|mut exchange| async move {
        let body = upstream::completion("hi", "m");
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-ratelimit-limit-requests: 60\r\n\
             x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 60s\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        exchange.write(head).await;
        After::Keep(exchange)
    })
    .await;
    let app = TestApp::start(&several(&upstream, ""));
    for waits in [false, false, false, true] {
        let answer = app.client().chat(&chat("m")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let waited: Option<u64> = answer.header("x-penstock-queue-ms").map(|ms| ms.parse().unwrap());
        assert_eq!(waited.is_some_and(|ms| (300..2_000).contains(&ms)), waits, "{waited:?}");
    }
}

#[tokio::test]
async fn a_credential_that_is_throttled_is_shown_again_when_the_provider_said() {
    let times = Arc::<AtomicUsize>::default();
    let first = times.clone();
    let upstream = Upstream::start(move |mut exchange| {
        let first = first.clone();
        async move {
            let is_one = exchange.header("authorization") == Some("Bearer key-one-1");
            if !is_one || first.fetch_add(1, SeqCst) > 0 {
                return exchange.answer_well("hi").await;
            }
            let body = r#"{"error":{"message":"slow down","type":"requests"}}"#;
            let head =
                "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-type: application/json\r\n";
            exchange.write(format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await;
            After::Keep(exchange)
        }
    })
    .await;
    let app = TestApp::start(&several(&upstream, ""));
    let began = std::time::Instant::now();
    while times.load(SeqCst) < 2 {
        assert_eq!(app.client().chat(&chat("m")).await.status, 200);
        assert!(began.elapsed() < crate::support::SOON, "it is never shown again");
        if times.load(SeqCst) == 1 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    assert!(began.elapsed().as_millis() >= 1_000, "too soon: {:?}", began.elapsed());
}

/// A provider that wants tokens, and gives them: `token-1`, `token-2` and so on.
struct Giver {
    upstream: Upstream,
    given: Arc<AtomicUsize>,
    /// What it answers in the place of a token.
    trouble: Arc<Mutex<Option<(u16, &'static str)>>>,
    /// The token that it takes; any where there is none.
    wanted: Arc<Mutex<Option<&'static str>>>,
}

impl Giver {
    async fn start() -> Self {
        let given = Arc::<AtomicUsize>::default();
        let trouble = Arc::<Mutex<Option<(u16, &'static str)>>>::default();
        let wanted = Arc::<Mutex<Option<&'static str>>>::default();
        let state = (given.clone(), trouble.clone(), wanted.clone());
        let upstream = Upstream::start(move |mut exchange| {
            let (given, trouble, wanted) = state.clone();
            async move {
                if exchange.head.starts_with("POST /tenant/oauth2/v2.0/token ") {
                    let trouble = *trouble.lock().unwrap();
                    let body = match trouble {
                        Some((_, body)) => body.to_owned(),
                        None => {
                            let number = given.fetch_add(1, SeqCst) + 1;
                            format!(r#"{{"access_token":"token-{number}","expires_in":3600}}"#)
                        }
                    };
                    let status = trouble.map_or(200, |(status, _)| status);
                    exchange.answer(status, "application/json", &body).await;
                    return After::Keep(exchange);
                }
                let shown = exchange.header("authorization").unwrap_or_default().to_owned();
                let wanted = *wanted.lock().unwrap();
                if wanted.is_some_and(|wanted| shown != format!("Bearer {wanted}")) {
                    exchange.answer(401, "application/json", r#"{"error":{"message":"expired"}}"#).await;
                    return After::Keep(exchange);
                }
                exchange.answer_well(&shown).await
            }
        })
        .await;
        Self { upstream, given, trouble, wanted }
    }

    fn channel(&self) -> String {
        let base = format!("http://{}", self.upstream.address);
        let one = upstream::channel("up", &base, "");
        one.replace("openai-compatible", "azure-entra")
            .replace("secret-up", &format!("tenant|client-id|client-secret|{base}"))
    }
}

#[tokio::test]
async fn a_token_is_got_before_the_first_call_and_shown_in_every_one() {
    let giver = Giver::start().await;
    let app = TestApp::start(&giver.channel());
    for body in [chat("m"), chat_stream("m")] {
        let answer = app.client().chat(&body).await;
        assert!(answer.status == 200 && answer.body.contains("Bearer token-1"), "{answer:?}");
    }
    assert_eq!(giver.given.load(SeqCst), 1);
    let asked = giver.upstream.seen().into_iter().find(|seen| seen.head.contains("/token")).unwrap();
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert!(asked.body.contains("client_secret=client-secret"), "{}", asked.body);
}

#[tokio::test]
async fn a_credential_that_is_given_no_token_is_a_clear_upstream_error() {
    for (status, body, wanted, code) in [
        (
            401,
            r#"{"error":"invalid_client","error_description":"client-secret is wrong"}"#,
            401,
            "upstream_credential_refused",
        ),
        (500, "<html>boom</html>", 503, "upstream_token_unavailable"),
    ] {
        let giver = Giver::start().await;
        *giver.trouble.lock().unwrap() = Some((status, body));
        let app = TestApp::start(&giver.channel());
        let answer = app.client().chat(&chat("m")).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (wanted, code), "{answer:?}");
        assert_eq!(answer.json()["error"]["fault"], "upstream");
        assert!(!answer.body.contains("client-secret"), "{}", answer.body);
        assert!(!giver.upstream.seen().iter().any(|seen| seen.head.contains("/chat/")), "nothing was sent");
    }
}

#[tokio::test]
async fn a_provider_that_refuses_every_token_is_not_asked_for_them_without_end() {
    let giver = Giver::start().await;
    *giver.wanted.lock().unwrap() = Some("token-2");
    let app = TestApp::start(&giver.channel());
    assert_eq!(app.client().chat(&chat("m")).await.status, 401);
    assert_eq!(app.client().chat(&chat("m")).await.status, 401);
    assert_eq!(giver.given.load(SeqCst), 1);
}

#[tokio::test]
async fn a_credential_that_is_refused_inside_a_good_answer_is_set_aside() {
    let upstream = Upstream::start(|mut exchange| async move {
        let shows = |what: &str| exchange.head.lines().next().unwrap_or_default().contains(what);
        let body = match (shows("/oauth/"), shows("api-key-1"), shows("token-1")) {
            (true, first, _) => {
                let number = if first { 1 } else { 2 };
                format!(r#"{{"access_token":"token-{number}","expires_in":3600}}"#)
            }
            (_, _, true) => r#"{"error_code":110,"error_msg":"Access token invalid"}"#.to_owned(),
            _ => r#"{"id":"as-1","object":"chat.completion","created":1,"result":"hi","is_truncated":false,
                     "need_clear_history":false,"finish_reason":"normal",
                     "usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#
                .to_owned(),
        };
        exchange.answer(200, "application/json", &body).await;
        After::Keep(exchange)
    })
    .await;
    let one = upstream::channel("up", &format!("http://{}", upstream.address), "");
    let both = "credentials = [\"api-key-1|secret-one\", \"api-key-2|secret-two\"]";
    let one = one.replace("openai-compatible", "wenxin").replace("credential = \"secret-up\"", both);
    let settings = format!("{one}[server]\nworkers = 1\n");
    let app = TestApp::start(&settings);
    let mut refused = 0;
    for body in [chat("m"), chat_stream("m"), chat("m"), chat("m"), chat("m")] {
        let answer = app.client().chat(&body).await;
        refused += usize::from(answer.body.contains("upstream_credential_refused"));
    }
    assert_eq!(refused, 1, "it was shown once");
}

#[tokio::test]
async fn a_key_of_two_halves_becomes_a_token_of_a_moment() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let base = format!("http://{}", upstream.address);
    let one = upstream::channel("up", &base, "");
    let settings =
        one.replace("openai-compatible", "zhipu-jwt").replace("secret-up", "identity.secretsecret");
    let app = TestApp::start(&settings);
    for body in [chat("m"), chat_stream("m")] {
        assert_eq!(app.client().chat(&body).await.status, 200);
    }
    for seen in upstream.seen() {
        let shown = seen.header("authorization").unwrap_or_default();
        assert!(shown.starts_with("eyJ") && shown.split('.').count() == 3, "{shown}");
        assert!(!shown.contains("secretsecret"));
    }
}
