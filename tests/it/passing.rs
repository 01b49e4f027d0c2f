//! What passes: bytes go both ways unchanged but for the model name and the usage that is asked for.

use super::support::{TestApp, Upstream, app::KEY, chat, chat_stream, upstream::After};

const MAPPED: &str = "models = [\"m\"]\nmapping = { m = \"up\" }\n[aliases]\nalias = \"m\"\n";

async fn echo() -> Upstream {
    Upstream::start(|exchange| exchange.answer_well("hi")).await
}

#[tokio::test]
async fn request_bytes_pass_but_for_the_model_name() {
    let upstream = echo().await;
    let app = TestApp::start(&upstream.channel("a", MAPPED));
    for template in [
        r#"{"model":MODEL,"messages":[]}"#,
        " \r\n\t{ \"x\" : [ 1 ,2.50, 1e5 ],\n \"model\"\t:\nMODEL ,\"messages\" : [ ] } \n",
        r#"{"x":1,"messages":[{"role":"user","content":"\u0000\ud83d\ude00 ünï 漢字 😀 \/"}],"x":2,"model":MODEL,"x":{"model":"inner"}}"#,
        r#"{"messages":[],"temperature":0.10,"n":12345678901234567890123,"unknown":{"deep":[[[{"model":"m"}]]]},"model":MODEL}"#,
        r#"{"messages":[],"stream":false,"stream_options":null,"user":"a","model":MODEL}"#,
    ] {
        for asked in [r#""m""#, r#""alias""#, r#""\u006d""#] {
            let answer = app.client().chat(&template.replace("MODEL", asked)).await;
            assert_eq!(answer.status, 200, "{template} {}", answer.body);
            assert_eq!(upstream.seen().last().unwrap().body, template.replace("MODEL", "\"up\""));
        }
    }
}

#[tokio::test]
async fn streams_are_asked_for_usage_and_keep_their_other_options() {
    let upstream = echo().await;
    let app = TestApp::start(&upstream.channel("a", ""));
    for (asked, sent) in [
        (
            r#"{"model":"m", "stream":true,"messages":[]}"#,
            r#"{"stream_options":{"include_usage":true},"model":"m", "stream":true,"messages":[]}"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options":{"z":1,"include_usage":false},"messages":[]}"#,
            r#"{"model":"m","stream":true,"stream_options":{"z":1,"include_usage":true},"messages":[]}"#,
        ),
        (
            r#"{"model":"m","stream":true,"stream_options": { "include_usage" : true },"messages":[]}"#,
            r#"{"model":"m","stream":true,"stream_options": { "include_usage" : true },"messages":[]}"#,
        ),
    ] {
        assert_eq!(app.client().chat(asked).await.status, 200);
        let seen = upstream.seen().last().unwrap().body.clone();
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(json(&seen), json(sent));
        assert_eq!(seen.len(), sent.len(), "{seen}");
    }
}

#[tokio::test]
async fn the_usage_event_is_hidden_unless_the_client_asked_for_it() {
    const STREAM: &str = concat!(
        "data: {\"id\":\"1\", \"model\" : \"up-2\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ü\"}}],\"x\":[1]}\n\n",
        "data: {\"id\":\"1\", \"model\" : \"up-2\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    );
    const USAGE: &str = "data: {\"id\":\"1\", \"model\" : \"up-2\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";
    let upstream = Upstream::start(|mut exchange| async move {
        exchange.begin_stream().await;
        for part in [STREAM, USAGE, DONE] {
            exchange.chunk(part).await;
        }
        exchange.end_stream().await;
        After::Keep(exchange)
    })
    .await;
    let app = TestApp::start(&upstream.channel("a", MAPPED));
    let hidden = app.client().chat(&chat_stream("alias")).await;
    assert_eq!(hidden.body, format!("{STREAM}{DONE}").replace("up-2", "alias"));
    assert_eq!(app.metric("penstock_tokens_total{bucket=\"output\"}"), 4.0, "counted all the same");
    let asked = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
    let shown = app.client().chat(asked).await;
    assert_eq!(shown.body, format!("{STREAM}{USAGE}{DONE}").replace("up-2", "m"));
}

#[tokio::test]
async fn whole_answers_pass_but_for_the_model_name() {
    const BODY: &str = "\n{ \"id\":\"c\" ,\"x\":{\"model\":\"inner\"},\"model\" :\t\"up-2\",\"choices\":[ ],\"n\":1.50,\"u\":\"\\u00fc 漢\" }\n";
    let upstream = Upstream::start(|mut exchange| async move {
        exchange.answer(200, "application/json; charset=utf-8", BODY).await;
        After::Keep(exchange)
    })
    .await;
    let app = TestApp::start(&upstream.channel("a", MAPPED));
    for asked in ["m", "alias"] {
        let answer = app.client().chat(&chat(asked)).await;
        assert_eq!(answer.body, BODY.replace("up-2", asked));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn only_named_headers_reach_the_upstream() {
    let upstream = echo().await;
    let app = TestApp::start(&upstream.channel("a", "headers = { \"x-own\" = \"1\" }\n"));
    let client = [
        "openai-beta: assistants=v2",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate: a=b",
        "openai-organization: org",
        "openai-project: proj",
        "cookie: a=b",
        "x-forwarded-for: 1.2.3.4",
        "x-real-ip: 1.2.3.4",
        "forwarded: for=1.2.3.4",
        "x-api-key: sk-other",
        "api-key: sk-other",
        "x-goog-api-key: sk-other",
        "te: trailers",
        "keep-alive: timeout=5",
        "proxy-authorization: Basic x",
        "accept-encoding: br",
        "user-agent: client/1",
        "origin: http://x",
        "x-penstock-mock-delay: 1s",
        "x-own: 2",
    ];
    let client = client.into_iter().fold(app.client(), |c, line| c.with_header(line));
    assert_eq!(client.chat(&chat("m")).await.status, 200);
    let seen = upstream.seen().remove(0);
    let mut names: Vec<_> =
        seen.head.lines().skip(1).filter_map(|l| Some(l.split_once(':')?.0.to_lowercase())).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "accept-encoding",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "openai-beta",
            "traceparent",
            "tracestate",
            "user-agent",
            "x-own"
        ]
    );
    assert_eq!(seen.header("authorization"), Some("Bearer secret-a"));
    assert_eq!(seen.header("host"), Some(upstream.address.to_string().as_str()));
    assert_eq!(seen.header("x-own"), Some("1"));
    assert_eq!(seen.header("accept-encoding"), Some("identity"), "answers are read, so not compressed");
    assert!(!seen.head.contains(KEY));
}

#[tokio::test]
async fn spooled_bodies_pass_intact_with_their_edits() {
    let upstream = echo().await;
    let app = TestApp::start(&upstream.channel("a", MAPPED));
    for size in [1 << 20, 20 << 20] {
        let text: String = (0..size / 10).map(|i| format!("{i:010}")).collect();
        let body = |model: &str, options: &str| {
            format!(r#"{{{options}"messages":["{text}"],"model":"{model}","stream":true,"end":"{text}"}}"#)
        };
        let answer = app.client().chat(&body("m", "")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let seen = upstream.seen().pop().unwrap().body;
        assert!(seen == body("up", r#""stream_options":{"include_usage":true},"#), "{size}");
    }
}

#[tokio::test]
async fn every_endpoint_reaches_its_own_path() {
    let upstream = Upstream::start(|mut exchange| async move {
        exchange.answer(200, "application/json", r#"{"object":"list","model":"up","data":[]}"#).await;
        After::Keep(exchange)
    })
    .await;
    let models = "models = [\"m\", \"omni-moderation-latest\"]\nmapping = { m = \"up\" }\n";
    let app = TestApp::start(&upstream.channel("a", models));
    for (path, body, sent) in [
        ("/v1/embeddings", r#"{"input":["a"],"model":"m"}"#, r#"{"input":["a"],"model":"up"}"#),
        ("/v1/completions", r#"{"model":"m","prompt":"a"}"#, r#"{"model":"up","prompt":"a"}"#),
        ("/v1/moderations", r#"{"input":"a"}"#, r#"{"model":"omni-moderation-latest","input":"a"}"#),
        ("/v1/moderations", r#"{"input":{},"model":"m"}"#, r#"{"input":{},"model":"up"}"#),
    ] {
        let answer = app.client().post(path, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{path} {}", answer.body);
        let seen = upstream.seen().pop().unwrap();
        assert!(seen.head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{}", seen.head);
        assert_eq!(seen.body, sent);
    }
}

#[tokio::test]
async fn a_key_lists_the_models_it_may_use_and_no_others() {
    const NARROW: &str = "sk-narrow-0123456789abcdef";
    let settings = format!(
        "{}[[key]]\nname = \"narrow\"\nsecret = \"{NARROW}\"\nmodels = [\"org/m-1\", \"gone\"]\n",
        super::support::upstream::channel(
            "a",
            "http://127.0.0.1:9",
            "models = [\"org/m-1\", \"m2\"]\n[aliases]\n\"alias/x\" = \"org/m-1\"\nother = \"m2\"\n"
        )
    );
    let app = TestApp::start(&settings);
    let ids = |answer: super::support::Answer| -> Vec<String> {
        let data = answer.json()["data"].as_array().unwrap().clone();
        data.iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(app.client().get("/v1/models").await), ["alias/x", "m2", "org/m-1", "other"]);
    let narrow = app.client().with_key(NARROW);
    assert_eq!(ids(narrow.get("/v1/models").await), ["alias/x", "org/m-1"]);
    for (path, status) in [
        ("/v1/models/org/m-1", 200),
        ("/v1/models/org%2Fm-1", 200),
        ("/models/alias/x", 200),
        ("/v1/models/m2", 404),
        ("/v1/models/other", 404),
        ("/v1/models/gone", 404),
        ("/v1/models/org", 404),
    ] {
        let answer = narrow.get(path).await;
        assert_eq!(answer.status, status, "{path} {}", answer.body);
        if status == 404 {
            assert_eq!(answer.error_code(), "model_not_found");
        }
    }
    for (model, status, code) in [
        ("m2", 403, "model_not_allowed"),
        ("other", 403, "model_not_allowed"),
        ("zzz", 403, "model_not_allowed"),
    ] {
        let answer = narrow.chat(&chat(model)).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{model}");
    }
    let unknown = app.client().chat(&chat("zzz")).await;
    assert_eq!((unknown.status, unknown.error_code().as_str()), (404, "model_not_found"));
}
