//! Providers as rows: Penstock's own and an operator's, where their requests go and how they look.

use serde_json::json;

use super::support::{TestApp, Upstream, app::KEY, chat, chat_stream, process::run};

fn channel(upstream: &Upstream, provider: &str, more: &str) -> String {
    format!(
        "[[channel]]\nname = \"a\"\nprovider = \"{provider}\"\nbase_url = \"http://{}\"\n\
         credential = \"secret-a\"\n{}{more}\n",
        upstream.address,
        if more.contains("models =") { "" } else { "models = [\"m\"]\n" }
    )
}

fn request_line(upstream: &Upstream) -> String {
    upstream.seen().last().unwrap().head.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn an_operators_row_says_where_and_how_its_provider_is_called_and_changes_live() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let settings = |prefix: &str| {
        format!(
            "[[provider]]\nid = \"acme\"\nprefix = \"{prefix}\"\nauth = \"header:X-Acme\"\n\
             paths = {{ chat_completions = \"/{{model}}/talk?v={{v}}\" }}\nparams = {{ v = \"1\" }}\n\
             quirks = [\"max-tokens-only\"]\norganisation_header = \"X-Acme-Org\"\n{}",
            channel(&upstream, "acme", "params = { v = \"2\" }\norganisation = \"org-7\"\n")
        )
    };
    let app = TestApp::start(&settings("/api"));
    let body = r#"{"model":"m","messages":[],"max_completion_tokens":5}"#;
    assert_eq!(app.client().chat(body).await.status, 200);
    assert_eq!(request_line(&upstream), "POST /api/m/talk?v=2 HTTP/1.1");
    let seen = upstream.seen().pop().unwrap();
    assert_eq!((seen.header("x-acme"), seen.header("x-acme-org")), (Some("secret-a"), Some("org-7")));
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.body, body.replace("max_completion_tokens", "max_tokens"));

    let differences = app.reload(&settings("/other")).await.unwrap();
    assert_eq!(differences, ["channel a: row changed"]);
    assert_eq!(app.client().chat(body).await.status, 200);
    assert_eq!(request_line(&upstream), "POST /other/m/talk?v=2 HTTP/1.1");
    assert_eq!(app.reload(&settings("/other")).await.unwrap(), Vec::<String>::new());

    let gone = app.reload(&channel(&upstream, "acme", "")).await.expect_err("refused");
    assert!(gone.contains("there is no provider \"acme\""), "{gone}");
    assert_eq!(app.client().chat(body).await.status, 200, "the old settings stay in force");
}

#[tokio::test]
async fn a_models_name_does_not_leave_its_place_in_the_path() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let more = "models = [\"m\", \"dots\"]\nmapping = { m = \"../a b?x=1#ü\", dots = \"..\" }\n";
    let app = TestApp::start(&channel(&upstream, "azure", more));
    assert_eq!(app.client().chat(&chat("m")).await.status, 200);
    let wanted = "POST /openai/deployments/..%2Fa%20b%3Fx%3D1%23%C3%BC/chat/completions?api-version=2024-10-21 HTTP/1.1";
    assert_eq!(request_line(&upstream), wanted);
    assert_eq!(upstream.seen()[0].header("api-key"), Some("secret-a"));
    let refused = app.client().chat(&chat("dots")).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (500, "channel_misconfigured"));
    assert_eq!(upstream.count(), 1, "nothing was sent");
}

#[tokio::test]
async fn a_provider_may_speak_another_dialect_at_each_endpoint() {
    let upstream = Upstream::start(async |mut exchange| {
        let (kind, body) = match exchange.head.contains("/messages") {
            true => (
                "application/json",
                r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}"#,
            ),
            false => (
                "application/json",
                r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}"#,
            ),
        };
        exchange.answer(200, kind, body).await;
        super::support::upstream::After::Keep(exchange)
    })
    .await;
    let app = TestApp::start(&format!(
        "[[provider]]\nid = \"both\"\nendpoints = [\"chat_completions\", \"embeddings\"]\n\
         dialects = {{ chat_completions = \"anthropic\" }}\n{}",
        channel(&upstream, "both", "")
    ));
    let answer = app.client().chat(&chat("m")).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "hi", "{}", answer.body);
    assert_eq!(request_line(&upstream), "POST /v1/messages HTTP/1.1");
    let answer = app.client().post("/v1/embeddings", br#"{"model":"m","input":"x"}"#).await;
    assert_eq!(answer.json()["data"][0]["embedding"], json!([0.5]));
    assert_eq!(request_line(&upstream), "POST /v1/embeddings HTTP/1.1");
    let answer = app.client().post("/v1/completions", br#"{"model":"m","prompt":"x"}"#).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (400, "endpoint_not_supported"));
}

#[tokio::test]
async fn quirks_rewrite_bodies_of_any_size() {
    let upstream = Upstream::start(|exchange| exchange.answer_well("hi")).await;
    let app = TestApp::start(&channel(&upstream, "mistral", ""));
    // In memory, and beyond what is kept there.
    for filling in [10, 600 << 10] {
        let text = "x".repeat(filling);
        let body = format!(
            r#"{{"user":"u","model":"m","stream":true,"messages":[{{"role":"user","content":"{text}"}}],"seed":1,"stream_options":{{"include_usage":true}},"max_completion_tokens":9,"store":false}}"#
        );
        let wanted = format!(
            r#"{{"model":"m","stream":true,"messages":[{{"role":"user","content":"{text}"}}],"random_seed":1,"max_tokens":9}}"#
        );
        let answer = app.client().chat(&body).await;
        assert!(answer.complete && answer.body.contains("[DONE]"), "{answer:?}");
        let sent = upstream.seen().pop().unwrap().body;
        assert!(sent == wanted, "{filling}: {}", &sent[..sent.len().min(300)]);
    }
    app.reload(&channel(&upstream, "deepseek", "")).await.unwrap();
    let body = r#"{"model":"m","messages":[{"role":"developer","content":"x"}]}"#;
    app.client().chat(body).await;
    assert_eq!(upstream.seen().pop().unwrap().body, body.replace("developer", "system"));
    app.client().chat(&chat_stream("m")).await;
    assert!(upstream.seen().pop().unwrap().body.contains("include_usage"));
}

#[tokio::test]
async fn models_say_what_is_known_of_them() {
    const PLAIN: &str = "sk-plain-0123456789abcdef";
    let settings = |facts: &str| {
        let channel = super::support::upstream::channel(
            "a",
            "http://127.0.0.1:9",
            "models = [\"gpt-4o\", \"mine\", \"renamed\"]\nmapping = { renamed = \"openai/gpt-4o-mini\" }\n\
             [aliases]\nnick = \"gpt-4o\"\n",
        );
        format!("{channel}[[key]]\nname = \"plain\"\nsecret = \"{PLAIN}\"\n{facts}")
    };
    let app = TestApp::start(&settings(""));
    let model = async |key: &str, name: &str| {
        app.client().with_key(key).get(&format!("/v1/models/{name}")).await.json()
    };
    let known = json!({
        "id": "gpt-4o", "object": "model", "created": 1_626_777_600, "owned_by": "openai-compatible",
        "context_window": 128_000, "max_output_tokens": 16_384,
        "capabilities": ["tools", "vision", "json", "pdf"],
    });
    assert_eq!(model(PLAIN, "gpt-4o").await, known);
    let routed = model(KEY, "gpt-4o").await;
    assert_eq!(
        (&routed["provider"], &routed["context_window"]),
        (&json!("openai-compatible"), &json!(128_000))
    );
    assert_eq!(model(PLAIN, "nick").await["context_window"], 128_000);
    assert_eq!(model(PLAIN, "renamed").await["context_window"], 128_000);
    let unknown =
        json!({ "id": "mine", "object": "model", "created": 1_626_777_600, "owned_by": "openai-compatible" });
    assert_eq!(model(PLAIN, "mine").await, unknown);
    let listed = app.client().with_key(PLAIN).get("/v1/models").await.json();
    assert_eq!((&listed["object"], &listed["data"][0]), (&json!("list"), &known));

    let facts = "[model.mine]\ncontext_window = 8192\ncapabilities = [\"tools\"]\n[model.gpt-4o]\nmax_output_tokens = 5\n";
    assert_eq!(app.reload(&settings(facts)).await.unwrap(), ["models: changed"]);
    let mine = model(PLAIN, "mine").await;
    assert_eq!((&mine["context_window"], &mine["capabilities"]), (&json!(8192), &json!(["tools"])));
    let known = model(PLAIN, "gpt-4o").await;
    assert_eq!((&known["max_output_tokens"], &known["context_window"]), (&json!(5), &json!(128_000)));
}

#[test]
fn check_names_the_place_or_the_key_of_a_wrong_row() {
    let dir = tempfile::tempdir().unwrap();
    const CHANNEL: &str = "[[channel]]\nname = \"a\"\ncredential = \"k\"\nmodels = [\"m\"]\nprovider = ";
    for (text, words) in [
        ("[[provider]]\nid = \"a\"\nbase_ulr = \"x\"\n".to_owned(), &["line 3", "base_ulr", "base_url"][..]),
        ("[[provider]]\nid = \"a\"\none_api = \"5\"\n".to_owned(), &["line 3", "one_api"]),
        ("[[provider]]\nname = \"a\"\n".to_owned(), &["line 1", "id"]),
        (
            "[[provider]]\nid = \"openai\"\n".to_owned(),
            &["provider \"openai\": id: is a provider of Penstock's own"],
        ),
        (
            "[[provider]]\nid = \"a\"\n[[provider]]\nid = \"a\"\n".to_owned(),
            &["provider \"a\": id: another provider has this id"],
        ),
        (
            "[[provider]]\nid = \"a\"\ndialect = \"x\"\n".to_owned(),
            &["provider \"a\": dialect: there is no dialect \"x\""],
        ),
        (
            "[[provider]]\nid = \"a\"\npaths = { embeddings = \"/{modell}\" }\n".to_owned(),
            &["provider \"a\": paths", "{modell}", "known are model"],
        ),
        (
            format!("{CHANNEL}\"opnai\"\n"),
            &["channel \"a\": provider", "did you mean openai?", "penstock docs providers"],
        ),
        (format!("{CHANNEL}\"azure\"\n"), &["channel \"a\": base_url: provider azure needs one"]),
        (format!("{CHANNEL}\"cloudflare\"\n"), &["channel \"a\": params: provider cloudflare needs account"]),
        (
            format!("{CHANNEL}\"cloudflare\"\nparams = {{ account = \"../x\" }}\n"),
            &["channel \"a\": params: \"../x\" must be letters"],
        ),
        (
            format!("{CHANNEL}\"groq\"\norganisation = \"x\"\n"),
            &["channel \"a\": organisation: provider groq knows no organisation"],
        ),
        (
            format!("{CHANNEL}\"groq\"\nquirks = [\"request-stream-usage\", \"drop-stream-options\"]\n"),
            &["channel \"a\": quirks", "contradict"],
        ),
        ("[model.x]\ncontext_windows = 5\n".to_owned(), &["line 2", "context_windows", "context_window"]),
        ("[model.x]\ncapabilities = [\"singing\"]\n".to_owned(), &["line 2", "singing", "tools"]),
        ("[model.x]\ncontext_window = -5\n".to_owned(), &["line 2"]),
    ] {
        std::fs::write(dir.path().join("penstock.toml"), &text).unwrap();
        let output = run(dir.path(), &["check"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}\n{said}");
        for word in words {
            assert!(said.contains(word), "{word} is not in\n{said}\nfor\n{text}");
        }
    }
}

#[test]
fn docs_prints_every_provider_and_quirk() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["docs", "providers"]);
    let page = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for words in ["| `openai` |", "| `deepseek` |", "| `system-for-developer` |"] {
        assert!(page.contains(words), "{words}");
    }
}
