//! Anthropic's clients: `/v1/messages` over a provider of their own dialect and over one of another.

use super::support::{
    Exchange, TestApp, Upstream,
    fault::{CHUNKED, chunk, json_head, stream_head},
    upstream::After,
};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/anthropic/", $name))
    };
}

fn channel(upstream: &Upstream, provider: &str) -> String {
    format!(
        "[[channel]]\nname = \"up\"\nprovider = \"{provider}\"\nbase_url = \"http://{}\"\n\
         credential = \"secret-up\"\nmodels = [\"smart\"]\n[channel.mapping]\nsmart = \"their-name\"\n",
        upstream.address
    )
}

async fn answering(sent: &'static str) -> Upstream {
    Upstream::start(move |mut exchange: Exchange| async move {
        exchange.write(json_head(sent.len()) + sent).await;
        After::Keep(exchange)
    })
    .await
}

async fn streaming(sent: &'static str) -> Upstream {
    Upstream::start(move |mut exchange: Exchange| async move {
        exchange.write(stream_head(CHUNKED)).await;
        for frame in sent.split_inclusive("\n\n") {
            exchange.write(chunk(frame)).await;
        }
        exchange.end_stream().await;
        After::Keep(exchange)
    })
    .await
}

const ASKED: &str = r#"{"unknown":{"b":1.50,"a":[]},"model":"smart","max_tokens":64,"messages":[{"role":"user","content":"hi"}]}"#;

#[tokio::test]
async fn the_same_dialect_passes_unchanged_but_for_the_models_name() {
    let upstream = answering(fixture!("tools.json")).await;
    let app = TestApp::start(&channel(&upstream, "anthropic"));
    let client =
        app.client().with_header("anthropic-beta: some-beta").with_header("anthropic-version: 2024-01-01");
    let answer = client.post("/v1/messages", ASKED.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body, fixture!("tools.json").replace("claude-opus-5-5", "smart"));
    assert_eq!(answer.header("request-id"), answer.header("x-request-id"));
    let seen = &upstream.seen()[0];
    assert_eq!(seen.body, ASKED.replace("smart", "their-name"));
    assert_eq!(
        (seen.header("anthropic-beta"), seen.header("anthropic-version"), seen.header("x-api-key")),
        (Some("some-beta"), Some("2024-01-01"), Some("secret-up"))
    );
}

#[tokio::test]
async fn a_stream_of_the_same_dialect_passes_unchanged_but_for_the_models_name() {
    for stream in [fixture!("text.sse"), fixture!("tools.sse"), fixture!("thinking.sse")] {
        let upstream = streaming(stream).await;
        let app = TestApp::start(&channel(&upstream, "anthropic"));
        let asked = ASKED.replace("\"max_tokens\"", "\"stream\":true,\"max_tokens\"");
        let answer = app.client().post("/v1/messages", asked.as_bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body, stream.replace("claude-opus-5-5", "smart"));
    }
}

#[tokio::test]
async fn a_provider_of_another_dialect_answers_as_well() {
    let upstream = answering(
        r#"{"id":"chatcmpl-1","model":"x","choices":[{"index":0,"message":{"role":"assistant","content":"a","tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{\"z\":1.50}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":10,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4}}}"#,
    )
    .await;
    let app = TestApp::start(&channel(&upstream, "openai"));
    let asked = r#"{"model":"smart","max_tokens":64,"system":"s","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t0","content":"r"},{"type":"text","text":"go on"}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}}"#;
    let answer = app.client().post("/v1/messages", asked.as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.body,
        r#"{"id":"msg_1","type":"message","role":"assistant","model":"smart","content":[{"type":"text","text":"a","citations":null},{"type":"tool_use","id":"t","name":"f","input":{"z":1.50}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":6,"cache_creation_input_tokens":0,"cache_read_input_tokens":4,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":7}}"#
    );
    let sent: serde_json::Value = serde_json::from_str(&upstream.seen()[0].body).unwrap();
    assert_eq!(sent["model"], "their-name");
    let roles: Vec<_> =
        sent["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "tool", "user"]);
    assert_eq!(sent["tool_choice"], "required");
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_event_of_the_clients_dialect() {
    let upstream = streaming(
        "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"error\":{\"message\":\"no more\",\"code\":529}}\n\n",
    )
    .await;
    let app = TestApp::start(&channel(&upstream, "openai"));
    let asked = ASKED
        .replace("\"max_tokens\"", "\"stream\":true,\"max_tokens\"")
        .replace("\"unknown\":{\"b\":1.50,\"a\":[]},", "");
    let answer = app.client().post("/v1/messages", asked.as_bytes()).await;
    assert!(answer.body.contains("event: message_start"), "{}", answer.body);
    let (_, last) = answer.body.trim_end().rsplit_once("event: ").unwrap();
    assert!(
        last.starts_with(
            "error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"no more"
        ),
        "{last}"
    );
}

#[tokio::test]
async fn tokens_are_counted_by_the_provider_or_estimated_here() {
    let counts = answering("{\"input_tokens\":7}").await;
    let app = TestApp::start(&channel(&counts, "anthropic"));
    let answer = app.client().post("/v1/messages/count_tokens", ASKED.as_bytes()).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"input_tokens\":7}"));
    assert!(counts.seen()[0].head.starts_with("POST /v1/messages/count_tokens HTTP/1.1\r\n"));
    let other = answering("{}").await;
    let app = TestApp::start(&channel(&other, "openai"));
    let answer = app.client().post("/v1/messages/count_tokens", ASKED.as_bytes()).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"input_tokens\":5}"));
    assert_eq!(other.count(), 0);
    let unknown = ASKED.replace("smart", "none");
    let answer = app.client().post("/v1/messages/count_tokens", unknown.as_bytes()).await;
    assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (404, Some("not_found_error")));
}

#[tokio::test]
async fn refusals_and_lists_of_models_are_in_the_clients_dialect() {
    let upstream = answering("{}").await;
    let app = TestApp::start(&channel(&upstream, "openai"));
    let refused = app.client().with_key("sk-wrong").post("/v1/messages", ASKED.as_bytes()).await;
    let error = refused.json();
    assert_eq!((refused.status, error["type"].as_str()), (401, Some("error")));
    assert_eq!(error["error"]["type"], "authentication_error");
    assert_eq!(error["request_id"].as_str(), refused.header("request-id"));
    let unspoken = app.client().post("/v1/messages", ASKED.replace("\"hi\"", "7").as_bytes()).await;
    assert_eq!(unspoken.json()["error"]["type"], "invalid_request_error", "{}", unspoken.body);
    let list = app.client().with_header("anthropic-version: 2023-06-01").get("/v1/models").await.json();
    assert_eq!(list["data"][0]["type"], "model");
    assert_eq!((list["has_more"].as_bool(), list["first_id"].as_str()), (Some(false), Some("smart")));
    let one = app.client().get("/v1/models/smart").await.json();
    assert_eq!((one["object"].as_str(), one["id"].as_str()), (Some("model"), Some("smart")));
}
