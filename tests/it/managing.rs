//! Reload on command, and calls explained instead of sent.

use super::support::{Process, TestApp, Upstream, chat};

const PLAIN: &str = "sk-plain-0123456789abcdef";

fn plain() -> String {
    format!("[[key]]\nname = \"plain\"\nsecret = \"{PLAIN}\"\n")
}

#[tokio::test]
async fn a_reload_on_command_says_what_changed_or_what_is_wrong() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let channel = |n: u32| {
        format!("[server]\nwatch = false\n{}", upstream.channel("a", &format!("concurrency = {n}\n")))
    };
    let process = Process::start(&format!("{}{}", channel(1), plain()));
    let client = process.client();
    let write = |settings: &str| {
        let text = super::support::app::with_key(&format!("{settings}{}", plain()));
        std::fs::write(process.dir().join("penstock.toml"), text).unwrap();
    };
    write(&channel(5));
    let answer = client.post("/api/reload", b"").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["data"]["differences"][0], "channel \"a\": concurrency 1 -> 5");
    write("[[channel]]\nname = 5\n");
    let answer = client.post("/api/reload", b"").await;
    assert_eq!((answer.status, answer.json()["success"].as_bool()), (400, Some(false)), "{}", answer.body);
    assert!(answer.json()["data"]["problems"].as_array().is_some_and(|p| !p.is_empty()));
    assert_eq!(client.chat(&chat("m")).await.status, 200, "the old ones stay in force");
    assert_eq!(client.with_key(PLAIN).post("/api/reload", b"").await.status, 403);
    assert_eq!(client.with_key("sk-wrong").post("/api/reload", b"").await.status, 401);
    assert_ne!(client.get("/api/reload").await.status, 200);
}

#[tokio::test]
async fn a_call_that_is_not_sent_is_explained() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let app = TestApp::start(&format!(
        "{}{}{}{}{}[aliases]\nbest = \"m\"\n[limits]\nkey = [\"5 requests per minute\"]\n",
        upstream
            .channel("well", "priority = 2\nmapping = { m = \"up\" }\nlimits = [\"1 request per minute\"]\n"),
        upstream.channel("full", "concurrency = 0\n"),
        upstream.channel("off", "enabled = false\n"),
        upstream.channel("vip", "groups = [\"vip\"]\n"),
        plain(),
    ));
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    let answer = app.client().post("/api/explain", br#"{"model":"best,x","messages":[]}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let data = &answer.json()["data"];
    assert_eq!((&data["models"][0]["asked"], &data["models"][0]["model"]), (&"best".into(), &"m".into()));
    let said: Vec<_> = data["models"][0]["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| format!("{}={}", c["channel"].as_str().unwrap(), c["verdict"].as_str().unwrap()))
        .collect();
    assert_eq!(said, ["well=may_be_tried", "full=full", "off=disabled", "vip=other_group"]);
    let well = &data["models"][0]["candidates"][0];
    assert_eq!((&well["upstream_model"], &well["waiting"]), (&"up".into(), &0.into()));
    let (limit, opens) = (&well["limits"][0], well["limits_open_in_ms"].as_u64());
    assert_eq!(
        (&limit["limit"], &limit["used"], &limit["allowed"]),
        (&"requests_per_minute".into(), &1.into(), &1.into())
    );
    assert!(opens.is_some_and(|ms| (50_000..=62_000).contains(&ms)), "{well}");
    assert_eq!(data["models"][0]["limits"][0]["limit"], "key_requests_per_minute");
    assert_eq!(data["models"][0]["limits"][0]["used"], 1);
    assert_eq!(data["models"][1]["candidates"][0]["verdict"], "other_model");
    assert_eq!(upstream.count(), 1, "nothing was sent");
    for body in [&b""[..], b"{}", b"[]", b"{\"model\":5}", b"\xff"] {
        assert_eq!(app.client().post("/api/explain", body).await.status, 400);
    }
    assert_eq!(app.client().with_key(PLAIN).post("/api/explain", br#"{"model":"m"}"#).await.status, 403);
}

#[tokio::test]
async fn a_call_says_which_channels_were_considered_where_it_wishes_to_know_and_may() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let app = TestApp::start(&format!(
        "{}{}{}",
        upstream.channel("well", "priority = 2\n"),
        upstream.channel("full", "concurrency = 0\n"),
        plain(),
    ));
    let wishing = app.client().with_header("x-penstock-explain: 1");
    let answer = wishing.chat(&chat("m")).await;
    assert_eq!(answer.header("x-penstock-explain"), Some("well=may_be_tried, full=full"));
    assert_eq!(wishing.with_key(PLAIN).chat(&chat("m")).await.header("x-penstock-explain"), None);
    assert_eq!(app.client().chat(&chat("m")).await.header("x-penstock-explain"), None);
}
