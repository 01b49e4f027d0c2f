//! OpenAI's Responses clients: what is stored, continued, shown and deleted.

use serde_json::{Value, json};

use super::support::{Client, Exchange, TestApp, Upstream, fault::json_head, upstream::After};

const SAID: &str = r#"{"id":"chatcmpl-1","choices":[{"index":0,"message":{"role":"assistant","content":"first"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;

async fn start() -> (Upstream, TestApp) {
    let upstream = Upstream::start(|mut exchange: Exchange| async move {
        exchange.write(json_head(SAID.len()) + SAID).await;
        After::Keep(exchange)
    })
    .await;
    let channel = format!(
        "[[channel]]\nname = \"chat\"\nprovider = \"openai-compatible\"\nbase_url = \"http://{}\"\nmodels = [\"smart\"]\n",
        upstream.address
    );
    let app = TestApp::start(&channel);
    (upstream, app)
}

async fn create(client: &Client, body: Value) -> Value {
    let answer = client.post("/v1/responses", body.to_string().as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_response_is_shown_continued_and_deleted() {
    let (upstream, app) = start().await;
    let client = app.client();
    let first = create(&client, json!({ "model": "smart", "input": "hi", "instructions": "s" })).await;
    assert_eq!(first["output"][0]["content"][0]["text"], "first");
    assert_eq!((first["instructions"].as_str(), first["status"].as_str()), (Some("s"), Some("completed")));
    let id = first["id"].as_str().unwrap();
    let path = format!("/v1/responses/{id}");
    assert_eq!(client.get(&path).await.json(), first);
    let items = client.get(&format!("{path}/input_items")).await.json();
    assert_eq!((items["object"].as_str(), items["data"][0]["content"].as_str()), (Some("list"), Some("hi")));

    create(&client, json!({ "model": "smart", "input": "more", "previous_response_id": id })).await;
    let sent: Value = serde_json::from_str(&upstream.seen()[1].body).unwrap();
    let said: Vec<_> =
        sent["messages"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
    assert_eq!(said, ["hi", "first", "more"], "instructions are not carried over");

    let gone = client.send(&client.request("DELETE", &path, b"")).await;
    assert_eq!((gone.status, gone.json()["deleted"].as_bool()), (200, Some(true)));
    assert_eq!(client.get(&path).await.status, 404);
    let lost = json!({ "model": "smart", "input": "more", "previous_response_id": id });
    let lost = client.post("/v1/responses", lost.to_string().as_bytes()).await;
    assert_eq!((lost.status, lost.json()["error"]["param"].as_str()), (400, Some("previous_response_id")));
}

#[tokio::test]
async fn a_reference_to_a_stored_item_stands_for_it() {
    let (upstream, app) = start().await;
    let client = app.client();
    let first = create(&client, json!({ "model": "smart", "input": "hi" })).await;
    let item = json!({ "type": "item_reference", "id": first["output"][0]["id"] });
    let input = json!([{ "role": "user", "content": "hi" }, item, { "role": "user", "content": "more" }]);
    let again = json!({ "model": "smart", "input": input, "unknown": 1.5 });
    create(&client, again.clone()).await;
    let sent: Value = serde_json::from_str(&upstream.seen()[1].body).unwrap();
    let said: Vec<_> = sent["messages"].as_array().unwrap().iter().map(|m| &m["content"]).collect();
    assert_eq!(said, ["hi", "first", "more"]);
    let items = client.get(&format!("/v1/responses/{}/input_items", first["id"].as_str().unwrap())).await;
    assert_eq!(items.json()["data"].as_array().unwrap().len(), 1, "the first stays as it was");

    let other = json!({ "model": "smart", "input": [{ "type": "item_reference", "id": "msg_none" }] });
    let unknown = client.post("/v1/responses", other.to_string().as_bytes()).await;
    assert_eq!((unknown.status, unknown.json()["error"]["param"].as_str()), (400, Some("input[0].type")));
}

#[tokio::test]
async fn what_is_not_to_be_stored_is_not() {
    let (_upstream, app) = start().await;
    let client = app.client();
    let answer = create(&client, json!({ "model": "smart", "input": "hi", "store": false })).await;
    assert_eq!(client.get(&format!("/v1/responses/{}", answer["id"].as_str().unwrap())).await.status, 404);
}
