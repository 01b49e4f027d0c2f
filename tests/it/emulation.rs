//! Tools for models that have none: told in text, called in text, for clients of every dialect.

use serde_json::{Value, json};

use super::support::{
    Answer, TestApp, Upstream,
    upstream::{After, STREAM_END, completion, event},
};

const SAID: &str = "Let me see.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"K\u{f6}ln\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>\n";

/// A text as it stands inside a JSON text.
fn inside(text: &str) -> String {
    let quoted = json!(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// A provider of OpenAI's dialect that says this, in a stream cut into pieces of so many letters.
async fn saying(text: &'static str, piece: usize) -> Upstream {
    Upstream::start(move |mut exchange| async move {
        if !exchange.wants_stream() {
            exchange.answer(200, "application/json", &completion(&inside(text), "m")).await;
            return After::Keep(exchange);
        }
        exchange.begin_stream().await;
        let letters: Vec<char> = text.chars().collect();
        for piece in letters.chunks(piece) {
            exchange.chunk(&event(&inside(&piece.iter().collect::<String>()))).await;
        }
        exchange.chunk(STREAM_END).await;
        exchange.end_stream().await;
        After::Keep(exchange)
    })
    .await
}

fn emulating(upstream: &Upstream) -> String {
    upstream.channel("a", "quirks = [\"emulate-tools\"]")
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}})
}

fn openai_tools() -> Value {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": schema()}});
    json!([tool("weather"), tool("clock")])
}

fn chat(more: Value) -> String {
    let mut body = json!({"model": "m", "tools": openai_tools(),
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "how is it"}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

/// The events of a stream, as JSON.
fn events(answer: &Answer) -> Vec<Value> {
    let data = answer.body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn tools_are_told_in_the_instructions_and_blocks_become_calls() {
    let upstream = saying(SAID, 3).await;
    let app = TestApp::start(&emulating(&upstream));
    let answer = app.client().chat(&chat(json!({}))).await;
    let choice = answer.json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "tool_calls", "{answer:?}");
    assert_eq!(choice["message"]["content"], "Let me see.\n", "{choice}");
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    let told: Vec<_> = calls.iter().map(|c| (&c["function"]["name"], &c["function"]["arguments"])).collect();
    let wanted = [(&json!("weather"), &json!("{\"city\": \"K\u{f6}ln\"}")), (&json!("clock"), &json!("{}"))];
    assert_eq!(told, wanted, "{choice}");
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert_eq!(answer.json()["usage"]["completion_tokens"], 1, "usage is the provider's");
    let sent: Value = serde_json::from_str(&upstream.seen()[0].body).unwrap();
    assert!(sent.get("tools").is_none() && sent.get("tool_choice").is_none(), "{sent}");
    let system = sent["messages"][0]["content"].as_str().unwrap();
    assert!(system.starts_with("be brief\n\n# Tools") && system.contains(r#"{"name":"weather""#), "{system}");
}

#[tokio::test]
async fn streams_become_calls_event_by_event_wherever_they_are_cut() {
    for piece in [1, 2, 7, 1_000] {
        let upstream = saying(SAID, piece).await;
        let app = TestApp::start(&emulating(&upstream));
        let answer = app.client().chat(&chat(json!({"stream": true}))).await;
        assert!(answer.complete && answer.body.ends_with("data: [DONE]\n\n"), "{answer:?}");
        let (mut text, mut calls, mut finish) =
            (String::new(), vec![(String::new(), String::new()); 2], None);
        for event in events(&answer) {
            let delta = &event["choices"][0]["delta"];
            text.push_str(delta["content"].as_str().unwrap_or_default());
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                let (name, arguments) = &mut calls[call["index"].as_u64().unwrap() as usize];
                name.push_str(call["function"]["name"].as_str().unwrap_or_default());
                arguments.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
            }
            finish = event["choices"][0]["finish_reason"].as_str().map(str::to_owned).or(finish);
        }
        assert_eq!((text.as_str(), finish.as_deref()), ("Let me see.\n", Some("tool_calls")), "{piece}");
        let wanted = [("weather", "{\"city\": \"K\u{f6}ln\"}"), ("clock", "{}")];
        assert_eq!(calls, wanted.map(|(name, arguments)| (name.to_owned(), arguments.to_owned())), "{piece}");
    }
}

#[tokio::test]
async fn clients_of_the_other_dialects_get_calls_in_their_own() {
    let upstream = saying(SAID, 5).await;
    let app = TestApp::start(&emulating(&upstream));
    let tools =
        json!([{"name": "weather", "input_schema": schema()}, {"name": "clock", "input_schema": schema()}]);
    let mut body = json!({"model": "m", "max_tokens": 99, "tools": tools, "messages": [{"role": "user", "content": "x"}]});
    let answer = app.client().post("/v1/messages", body.to_string().as_bytes()).await.json();
    assert_eq!(answer["stop_reason"], "tool_use", "{answer}");
    assert_eq!(answer["content"][1]["input"], json!({"city": "K\u{f6}ln"}), "{answer}");
    assert_eq!(answer["content"][2]["name"], "clock", "{answer}");
    body["stream"] = json!(true);
    let answer = app.client().post("/v1/messages", body.to_string().as_bytes()).await;
    let stop = events(&answer).into_iter().find(|event| event["type"] == "message_delta").unwrap();
    assert_eq!(stop["delta"]["stop_reason"], "tool_use", "{answer:?}");

    let declared =
        json!([{"functionDeclarations": [{"name": "weather", "parameters": schema()}, {"name": "clock"}]}]);
    let body =
        json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}], "tools": declared}).to_string();
    let answer = app.client().post("/v1beta/models/m:generateContent", body.as_bytes()).await.json();
    let parts = &answer["candidates"][0]["content"]["parts"];
    assert_eq!(parts[1]["functionCall"]["args"], json!({"city": "K\u{f6}ln"}), "{answer}");
    assert_eq!(parts[2]["functionCall"]["name"], "clock", "{answer}");

    let tools = json!([{"type": "function", "name": "weather", "parameters": schema()}, {"type": "function", "name": "clock"}]);
    let body = json!({"model": "m", "input": "x", "tools": tools}).to_string();
    let answer = app.client().post("/v1/responses", body.as_bytes()).await.json();
    let kinds: Vec<_> =
        answer["output"].as_array().unwrap().iter().map(|item| item["type"].clone()).collect();
    assert_eq!(kinds, ["message", "function_call", "function_call"], "{answer}");
}

#[tokio::test]
async fn calls_and_results_go_back_as_text() {
    let upstream = saying("18 degrees, I am told.", 9).await;
    let app = TestApp::start(&emulating(&upstream));
    let body = json!({"model": "m", "tools": openai_tools(), "messages": [
        {"role": "user", "content": "how is it"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Rome\"}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "18 degrees"},
    ]});
    let answer = app.client().chat(&body.to_string()).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "18 degrees, I am told.", "{answer}");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
    let sent: Value = serde_json::from_str(&upstream.seen()[0].body).unwrap();
    let said: Vec<_> = sent["messages"].as_array().unwrap()[1..]
        .iter()
        .map(|m| (m["role"].as_str(), m["content"].as_str()))
        .collect();
    let call = "<tool_call>\n{\"name\":\"weather\",\"arguments\":{\"city\":\"Rome\"}}\n</tool_call>";
    let result = "<tool_response name=\"weather\" id=\"c1\">\n18 degrees\n</tool_response>";
    let wanted =
        [(Some("user"), Some("how is it")), (Some("assistant"), Some(call)), (Some("user"), Some(result))];
    assert_eq!(said, wanted, "{sent}");
}

#[tokio::test]
async fn what_is_no_call_stays_text() {
    const ODD: &str = "<tool_call>{\"name\": \"rm\", \"arguments\": {}}</tool_call> and <tool_call> {oh}";
    let upstream = saying(ODD, 2).await;
    let app = TestApp::start(&emulating(&upstream));
    let answer = app.client().chat(&chat(json!({}))).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], ODD, "{answer}");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
    let answer = app.client().chat(&chat(json!({"stream": true}))).await;
    let text: String = events(&answer)
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text, ODD, "{answer:?}");
}

#[tokio::test]
async fn without_tools_or_where_none_may_be_called_an_answer_is_left_alone() {
    let upstream = saying(SAID, 4).await;
    let app = TestApp::start(&emulating(&upstream));
    for body in [chat(json!({"tool_choice": "none"})), chat(json!({"tools": []}))] {
        let answer = app.client().chat(&body).await.json();
        assert_eq!(answer["choices"][0]["message"]["content"], SAID, "{answer}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
    }
    assert!(!upstream.seen().iter().any(|seen| seen.body.contains("# Tools")));
}

#[tokio::test]
async fn other_dialects_of_providers_are_told_tools_alike() {
    let upstream = Upstream::start(|mut exchange| async move {
        let answer = json!({"model": "x", "created_at": "2026-01-01T00:00:00Z", "done": true, "done_reason": "stop",
            "message": {"role": "assistant", "content": SAID}, "prompt_eval_count": 3, "eval_count": 1});
        exchange.answer(200, "application/json", &answer.to_string()).await;
        After::Keep(exchange)
    })
    .await;
    let app = TestApp::start(&format!(
        "[[channel]]\nname = \"a\"\nprovider = \"ollama-native\"\nbase_url = \"http://{}\"\nmodels = [\"m\"]\n\
         quirks = [\"emulate-tools\"]\n",
        upstream.address
    ));
    // Ollama's own dialect cannot force a call; told in text, it can be asked for.
    let answer = app.client().chat(&chat(json!({"tool_choice": "required"}))).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls", "{answer}");
    let sent = &upstream.seen()[0].body;
    assert!(sent.contains("You must call a tool now.") && !sent.contains("\"tools\""), "{sent}");
}

#[tokio::test]
async fn a_channel_of_anthropics_dialect_emulates_too() {
    let upstream = Upstream::start(|mut exchange| async move {
        let answer = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "x",
            "content": [{"type": "text", "text": SAID}], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 3, "output_tokens": 1}});
        exchange.answer(200, "application/json", &answer.to_string()).await;
        After::Keep(exchange)
    })
    .await;
    let app = TestApp::start(&format!(
        "[[channel]]\nname = \"a\"\nprovider = \"anthropic-compatible\"\nbase_url = \"http://{}\"\nmodels = [\"m\"]\n\
         quirks = [\"emulate-tools\"]\n",
        upstream.address
    ));
    let tools =
        json!([{"name": "weather", "input_schema": schema()}, {"name": "clock", "input_schema": schema()}]);
    let body = json!({"model": "m", "max_tokens": 99, "tools": tools, "messages": [{"role": "user", "content": "x"}]});
    let answer = app.client().post("/v1/messages", body.to_string().as_bytes()).await.json();
    assert_eq!(answer["stop_reason"], "tool_use", "like to like, too: {answer}");
    assert!(!upstream.seen()[0].body.contains("input_schema"));
}
