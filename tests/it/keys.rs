//! Keys in every form, right and wrong, and the channels that they pin.

use super::support::{Client, Process, TestApp, Upstream, app::KEY, chat, upstream::After};

const BARE: &str = "test-0123456789abcdef";
const PLAIN: &str = "sk-plain-0123456789abcdef";

#[tokio::test]
async fn a_key_opens_in_every_form_and_nothing_else_does() {
    let app = TestApp::start("");
    let lines = |lines: &[&[u8]]| {
        let mut bytes = b"GET /v1/models HTTP/1.1\r\nhost: t\r\nconnection: close\r\n".to_vec();
        for line in lines {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    };
    let long = format!("authorization: Bearer sk-{}", "x".repeat(10 << 10));
    let client = Client::without_key(app.address);
    for (headers, status) in [
        (vec![format!("authorization: Bearer {KEY}")], 200),
        (vec![format!("authorization: Bearer {BARE}")], 200),
        (vec![format!("authorization: bearer   {KEY}  ")], 200),
        (vec![format!("authorization: BEARER\t{KEY}\t")], 200),
        (vec![format!("authorization: {KEY}")], 200),
        (vec![format!("authorization: {BARE}")], 200),
        (vec![format!("x-api-key: {KEY}")], 200),
        (vec![format!("api-key: {BARE}")], 200),
        (vec![format!("x-goog-api-key: {KEY}")], 200),
        (vec!["authorization: Bearer ".into(), format!("x-api-key: {KEY}")], 200),
        (vec![], 401),
        (vec!["authorization:".into()], 401),
        (vec!["authorization: Bearer".into()], 401),
        (vec!["authorization: Bearer sk-".into()], 401),
        (vec!["authorization: Bearer wrong".into()], 401),
        (vec![format!("authorization: Basic {KEY}")], 401),
        (vec![format!("authorization: Bearer Bearer {KEY}")], 401),
        (vec![format!("authorization: Bearer {KEY} x")], 401),
        (vec![format!("authorization: Bearer {}", KEY.to_uppercase())], 401),
        (vec![format!("authorization: Bearer {KEY}0")], 401),
        (vec![format!("authorization: Bearer {}", &KEY[..KEY.len() - 1])], 401),
        (vec![format!("authorization: Bearer {KEY}"), "authorization: Bearer x".into()], 401),
        (vec!["authorization: Bearer wrong".into(), format!("x-api-key: {KEY}")], 401),
        (vec![format!("authorization: Bearer {KEY}ü")], 401),
        (vec![format!("x-api-key: {KEY}ü")], 401),
        (vec![long], 401),
    ] {
        let raw: Vec<&[u8]> = headers.iter().map(String::as_bytes).collect();
        let answer = client.send(&lines(&raw)).await;
        assert_eq!(answer.status, status, "{headers:?} {}", answer.body);
        if status == 401 {
            assert_eq!(answer.error_code(), "invalid_api_key");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert_eq!(answer.header("x-should-retry"), Some("false"));
        }
    }
    for (query, status) in [
        (format!("?key={KEY}"), 200),
        (format!("?a=b&key={BARE}&c"), 200),
        (format!("?key={}", KEY.replace('-', "%2D")), 200),
        ("?key=".into(), 401),
        ("?key=%".into(), 401),
        ("?key=%00%ff".into(), 401),
        (format!("?monkey={KEY}"), 401),
    ] {
        let answer = client.get(&format!("/v1/models{query}")).await;
        assert_eq!(answer.status, status, "{query} {}", answer.body);
        assert!(!answer.body.contains(BARE), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused_before_its_body_is_read() {
    let app = TestApp::start("");
    let client = app.client().with_key("sk-wrong");
    let request = client.request("POST", "/v1/chat/completions", &vec![b'x'; 50 << 20]);
    let answer = client.send(&request).await;
    assert_eq!((answer.status, answer.complete), (401, true));
}

#[tokio::test]
async fn a_pin_needs_the_right_and_a_channel_that_serves() {
    let failing = Upstream::start(|mut exchange| async move {
        exchange.answer(500, "application/json", "{}").await;
        After::Keep(exchange)
    })
    .await;
    let good = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let settings = [
        failing.channel("one", "id = 1\n"),
        good.channel("two", "id = 2\n"),
        good.channel("off", "id = 3\nenabled = false\n"),
        good.channel("other", "id = 4\nmodels = [\"x\"]\n"),
        good.channel("vip", "id = 5\ngroups = [\"vip\"]\n"),
        format!("[[key]]\nname = \"plain\"\nsecret = \"{PLAIN}\"\n"),
    ];
    let app = TestApp::start(&settings.concat());
    for (key, status, code) in [
        (format!("{KEY}-2"), 200, ""),
        (format!("{BARE}-2"), 200, ""),
        (format!("{KEY}-1"), 502, "*"),
        (format!("{KEY}-3"), 403, "channel_disabled"),
        (format!("{KEY}-4"), 403, "channel_does_not_serve"),
        (format!("{KEY}-5"), 403, "channel_does_not_serve"),
        (format!("{KEY}-6"), 400, "invalid_channel_id"),
        (format!("{KEY}-99999999999999999999999"), 400, "invalid_channel_id"),
        (format!("{KEY}-x"), 400, "invalid_channel_id"),
        (format!("{KEY}-"), 400, "invalid_channel_id"),
        (format!("{KEY}- 2"), 401, "invalid_api_key"),
        (format!("{KEY}-2-2"), 401, "invalid_api_key"),
        (format!("{PLAIN}-2"), 403, "pin_not_allowed"),
        (format!("{PLAIN}-zz"), 403, "pin_not_allowed"),
        ("sk-wrong-0123456789abcdef-2".into(), 401, "invalid_api_key"),
    ] {
        let answer = app.client().with_key(&key).chat(&chat("m")).await;
        if code == "*" {
            assert!(answer.status >= 500, "{answer:?}");
            continue;
        }
        assert_eq!(answer.status, status, "{key} {}", answer.body);
        match status {
            200 => assert_eq!(answer.header("x-penstock-channel"), Some("two")),
            _ => assert_eq!(answer.error_code(), code, "{key}"),
        }
    }
    assert_eq!(failing.count(), 1, "a pinned call does not fail over");
    assert_eq!(good.count(), 2);
}

#[tokio::test]
async fn no_secret_is_ever_logged() {
    const MARK: &str = "s3cr3tm4rk0123456789";
    let upstream = Upstream::start(|mut exchange| async move {
        // An upstream that repeats the credential it was shown.
        let shown = exchange.header("authorization").unwrap().to_owned();
        let body = format!(r#"{{"error":{{"message":"bad key {shown}"}}}}"#);
        exchange.answer(401, "application/json", &body).await;
        After::Keep(exchange)
    })
    .await;
    let channel = upstream.channel("a", "").replace("secret-a", &format!("cred-{MARK}"));
    let settings =
        format!("[log]\nfilter = \"trace\"\n{channel}[[key]]\nname = \"k\"\nsecret = \"sk-key-{MARK}\"\n");
    let process = Process::start(&settings);
    for key in
        [format!("sk-key-{MARK}"), format!("sk-key-{MARK}-7"), format!("wrong-{MARK}"), format!("ü{MARK}")]
    {
        let answers = [
            process.client().with_key(&key).chat(&chat("m")).await,
            Client::without_key(process.address)
                .with_header(&format!("x-api-key: {key}"))
                .chat(&chat("m"))
                .await,
            Client::without_key(process.address).get(&format!("/v1/models?key={key}")).await,
        ];
        assert!(answers.iter().all(|a| !a.body.contains(MARK) && !a.head.contains(MARK)), "{answers:?}");
    }
    process.reload(&settings.replace("cred-", "other-"), "credential changed");
    let log = process.log();
    let told: Vec<_> = log.lines().filter(|l| l.contains(MARK)).collect();
    assert!(told.is_empty(), "{told:#?}");
}
