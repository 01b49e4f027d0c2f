//! The matrix: clients of every dialect over providers of every dialect, through the program and its mock.

use serde_json::{Value, json};

use super::support::{Answer, TestApp};

const CLIENTS: [&str; 4] = ["openai", "anthropic", "gemini", "openai-responses"];
const PROVIDERS: [&str; 4] = ["openai", "anthropic", "gemini", "openai-responses"];
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// A gateway with one channel for each provider's dialect, all of which lead to one strict mock.
fn start() -> TestApp {
    let listener = penstock::mock::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            penstock::mock::serve(listener, penstock::mock::MockSettings::default(), 1).unwrap().await
        })
    });
    let channels: String = PROVIDERS
        .iter()
        .map(|provider| {
            format!(
                "[[channel]]\nname = \"to-{provider}\"\nprovider = \"{provider}\"\nbase_url = \"http://{address}\"\n\
                 credential = \"x\"\nmodels = [\"{provider}\"]\n[channel.mapping]\n{provider} = \"their-name\"\n"
            )
        })
        .collect();
    TestApp::start(&channels)
}

/// What a client says, in no dialect.
#[derive(Default)]
struct Said {
    text: &'static str,
    has_tool: bool,
    has_image: bool,
    has_results: bool,
    has_schema: bool,
    thinks: bool,
    streams: bool,
}

fn schema() -> Value {
    json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] })
}

fn openai(model: &str, said: &Said) -> (String, Value) {
    let mut content = vec![json!({ "type": "text", "text": said.text })];
    if said.has_image {
        let url = format!("data:image/png;base64,{PIXEL}");
        content.push(json!({ "type": "image_url", "image_url": { "url": url } }));
    }
    let mut messages = vec![];
    if said.has_results {
        let call = |id: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } });
        messages.push(json!({ "role": "user", "content": "hi" }));
        messages.push(json!({ "role": "assistant", "tool_calls": [call("1"), call("2")] }));
        messages.push(json!({ "role": "tool", "tool_call_id": "1", "content": "one" }));
        messages.push(json!({ "role": "tool", "tool_call_id": "2", "content": "two" }));
    }
    messages.push(json!({ "role": "user", "content": content }));
    let mut body = json!({ "model": model, "messages": messages, "max_tokens": 4096 });
    if said.has_tool {
        body["tools"] = json!([{ "type": "function", "function": { "name": "f", "parameters": schema() } }]);
    }
    if said.has_schema {
        body["response_format"] =
            json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": schema() } });
    }
    if said.thinks {
        body["reasoning_effort"] = "low".into();
    }
    if said.streams {
        body["stream"] = true.into();
        body["stream_options"] = json!({ "include_usage": true });
    }
    ("/v1/chat/completions".into(), body)
}

fn anthropic(model: &str, said: &Said) -> (String, Value) {
    let mut content = vec![json!({ "type": "text", "text": said.text })];
    if said.has_image {
        let source = json!({ "type": "base64", "media_type": "image/png", "data": PIXEL });
        content.push(json!({ "type": "image", "source": source }));
    }
    let mut messages = vec![];
    if said.has_results {
        let call = |id: &str| json!({ "type": "tool_use", "id": id, "name": "f", "input": {} });
        messages.push(json!({ "role": "user", "content": "hi" }));
        messages.push(json!({ "role": "assistant", "content": [call("1"), call("2")] }));
        for id in ["2", "1"] {
            content.insert(0, json!({ "type": "tool_result", "tool_use_id": id, "content": "done" }));
        }
    }
    messages.push(json!({ "role": "user", "content": content }));
    let mut body = json!({ "model": model, "messages": messages, "max_tokens": 4096 });
    if said.has_tool {
        body["tools"] = json!([{ "name": "f", "input_schema": schema() }]);
    }
    if said.has_schema {
        body["output_config"] = json!({ "format": { "type": "json_schema", "schema": schema() } });
    }
    if said.thinks {
        body["thinking"] = json!({ "type": "enabled", "budget_tokens": 1024 });
    }
    if said.streams {
        body["stream"] = true.into();
    }
    ("/v1/messages".into(), body)
}

fn gemini(model: &str, said: &Said) -> (String, Value) {
    let mut parts = vec![json!({ "text": said.text })];
    if said.has_image {
        parts.push(json!({ "inlineData": { "mimeType": "image/png", "data": PIXEL } }));
    }
    let mut contents = vec![];
    if said.has_results {
        let call = json!({ "functionCall": { "name": "f", "args": {} } });
        contents.push(json!({ "role": "user", "parts": [{ "text": "hi" }] }));
        contents.push(json!({ "role": "model", "parts": [call, call] }));
        for result in ["two", "one"] {
            let result = json!({ "name": "f", "response": { "output": result } });
            parts.insert(0, json!({ "functionResponse": result }));
        }
    }
    contents.push(json!({ "role": "user", "parts": parts }));
    let mut body = json!({ "contents": contents, "generationConfig": { "maxOutputTokens": 4096 } });
    if said.has_tool {
        body["tools"] =
            json!([{ "functionDeclarations": [{ "name": "f", "parametersJsonSchema": schema() }] }]);
    }
    if said.has_schema {
        body["generationConfig"]["responseMimeType"] = "application/json".into();
        body["generationConfig"]["responseJsonSchema"] = schema();
    }
    if said.thinks {
        body["generationConfig"]["thinkingConfig"] = json!({ "thinkingBudget": 1024 });
    }
    let method = if said.streams { "streamGenerateContent?alt=sse" } else { "generateContent" };
    (format!("/v1beta/models/{model}:{method}"), body)
}

fn responses(model: &str, said: &Said) -> (String, Value) {
    let mut content = vec![json!({ "type": "input_text", "text": said.text })];
    if said.has_image {
        let url = format!("data:image/png;base64,{PIXEL}");
        content.push(json!({ "type": "input_image", "image_url": url, "detail": "auto" }));
    }
    let mut input = vec![];
    if said.has_results {
        input.push(json!({ "role": "user", "content": "hi" }));
        for id in ["1", "2"] {
            input.push(json!({ "type": "function_call", "call_id": id, "name": "f", "arguments": "{}" }));
        }
        for id in ["1", "2"] {
            input.push(json!({ "type": "function_call_output", "call_id": id, "output": "done" }));
        }
    }
    input.push(json!({ "role": "user", "content": content }));
    let mut body = json!({ "model": model, "input": input, "max_output_tokens": 4096 });
    if said.has_tool {
        body["tools"] = json!([{ "type": "function", "name": "f", "parameters": schema() }]);
    }
    if said.has_schema {
        body["text"] = json!({ "format": { "type": "json_schema", "name": "n", "schema": schema() } });
    }
    if said.thinks {
        body["reasoning"] = json!({ "effort": "low" });
    }
    if said.streams {
        body["stream"] = true.into();
    }
    ("/v1/responses".into(), body)
}

async fn ask(app: &TestApp, client: &str, model: &str, said: &Said) -> Answer {
    let (path, body) = match client {
        "openai" => openai(model, said),
        "anthropic" => anthropic(model, said),
        "gemini" => gemini(model, said),
        _ => responses(model, said),
    };
    app.client().post(&path, body.to_string().as_bytes()).await
}

/// What an answer says: its text, the arguments of its tool call, and the tokens read and written.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    text: String,
    arguments: String,
    read: u64,
    written: u64,
}

fn heard(client: &str, answer: &Answer) -> Heard {
    let mut heard = Heard::default();
    let events: Vec<Value> =
        match answer.header("content-type").unwrap_or_default().starts_with("text/event-stream") {
            true => answer
                .body
                .lines()
                .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
                .collect(),
            false => vec![answer.json()],
        };
    for event in &events {
        match client {
            "openai" => heard.openai(event),
            "anthropic" => heard.anthropic(event),
            "gemini" => heard.gemini(event),
            _ => heard.responses(event),
        }
    }
    heard
}

impl Heard {
    fn count(&mut self, read: &Value, written: &Value) {
        self.read = read.as_u64().unwrap_or(self.read);
        self.written = written.as_u64().unwrap_or(self.written);
    }

    fn say(&mut self, text: &Value) {
        self.text.push_str(text.as_str().unwrap_or_default());
    }

    fn openai(&mut self, event: &Value) {
        for said in [&event["choices"][0]["delta"], &event["choices"][0]["message"]] {
            self.say(&said["content"]);
            let arguments = said["tool_calls"][0]["function"]["arguments"].as_str();
            self.arguments.push_str(arguments.unwrap_or_default());
        }
        self.count(&event["usage"]["prompt_tokens"], &event["usage"]["completion_tokens"]);
    }

    fn anthropic(&mut self, event: &Value) {
        self.say(&event["delta"]["text"]);
        self.arguments.push_str(event["delta"]["partial_json"].as_str().unwrap_or_default());
        for block in event["content"].as_array().into_iter().flatten() {
            self.say(&block["text"]);
            if block["type"] == "tool_use" {
                self.arguments = block["input"].to_string();
            }
        }
        for usage in [&event["message"]["usage"], &event["usage"]] {
            self.count(&usage["input_tokens"], &usage["output_tokens"]);
        }
    }

    fn gemini(&mut self, event: &Value) {
        for part in event["candidates"][0]["content"]["parts"].as_array().into_iter().flatten() {
            self.say(&part["text"]);
            if let Some(call) = part.get("functionCall") {
                self.arguments = call["args"].to_string();
            }
        }
        let usage = &event["usageMetadata"];
        self.count(&usage["promptTokenCount"], &usage["candidatesTokenCount"]);
    }

    fn responses(&mut self, event: &Value) {
        let response = event.get("response").unwrap_or(event);
        if response["status"] == "in_progress" {
            return;
        }
        for item in response["output"].as_array().into_iter().flatten() {
            self.say(&item["content"][0]["text"]);
            self.arguments.push_str(item["arguments"].as_str().unwrap_or_default());
        }
        self.count(&response["usage"]["input_tokens"], &response["usage"]["output_tokens"]);
    }
}

/// Asks through every pair and has the answer looked at.
async fn check(said: Said, looks_right: impl Fn(&Heard) -> bool) {
    let app = start();
    let mut wrong = Vec::new();
    for client in CLIENTS {
        for provider in PROVIDERS {
            let answer = ask(&app, client, provider, &said).await;
            let heard = if answer.status == 200 { heard(client, &answer) } else { Heard::default() };
            if !looks_right(&heard) {
                wrong.push(format!(
                    "{client} over {provider}: {heard:?} in {} {}",
                    answer.status, answer.body
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_pair_carries_text_and_counts_it() {
    let said = Said { text: "hello there", ..Said::default() };
    check(said, |heard| heard.text == "echo: hello there" && (heard.read, heard.written) == (2, 3)).await;
}

#[tokio::test]
async fn every_pair_carries_a_stream_and_counts_it() {
    let said = Said { text: "hello there", streams: true, ..Said::default() };
    check(said, |heard| heard.text == "echo: hello there" && (heard.read, heard.written) == (2, 3)).await;
}

#[tokio::test]
async fn every_pair_carries_a_tool_call_whole_and_streamed() {
    for streams in [false, true] {
        let said = Said { text: "use the tool", has_tool: true, streams, ..Said::default() };
        check(said, |heard| {
            let arguments: Value = serde_json::from_str(&heard.arguments).unwrap_or_default();
            arguments == json!({ "city": "mock" })
        })
        .await;
    }
}

#[tokio::test]
async fn every_pair_carries_the_results_of_parallel_calls() {
    let said = Said { text: "go on", has_results: true, ..Said::default() };
    check(said, |heard| heard.text.ends_with("go on")).await;
}

#[tokio::test]
async fn every_pair_carries_an_image() {
    let said = Said { text: "see", has_image: true, ..Said::default() };
    check(said, |heard| heard.text == "echo: see").await;
}

#[tokio::test]
async fn every_pair_carries_a_wish_for_reasoning() {
    let said = Said { text: "think", thinks: true, ..Said::default() };
    check(said, |heard| heard.text == "echo: think").await;
}

#[tokio::test]
async fn every_pair_carries_a_schema_for_the_answer() {
    let said = Said { text: "x", has_schema: true, ..Said::default() };
    check(said, |heard| {
        serde_json::from_str::<Value>(&heard.text).is_ok_and(|v| v == json!({ "city": "mock" }))
    })
    .await;
}

#[tokio::test]
async fn every_client_is_refused_in_its_own_dialect() {
    let app = start();
    for client in CLIENTS {
        let answer = ask(&app, client, "nobody", &Said { text: "x", ..Said::default() }).await;
        let error = &answer.json()["error"];
        let word = match client {
            "anthropic" => &error["type"],
            "gemini" => &error["status"],
            _ => &error["code"],
        };
        let wanted = match client {
            "anthropic" => "not_found_error",
            "gemini" => "NOT_FOUND",
            _ => "model_not_found",
        };
        assert_eq!((answer.status, word.as_str()), (404, Some(wanted)), "{client}: {}", answer.body);
    }
}

#[tokio::test]
async fn geminis_clients_get_embeddings_of_openais_providers() {
    let app = start();
    let one = json!({ "model": "models/openai", "content": { "parts": [{ "text": "hello there" }] } });
    let answer = app.client().post("/v1beta/models/openai:embedContent", one.to_string().as_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.json()["embedding"]["values"].as_array().unwrap().len() > 1, "{}", answer.body);
    let several = json!({ "requests": [one, one] });
    let answer =
        app.client().post("/v1beta/models/openai:batchEmbedContents", several.to_string().as_bytes()).await;
    assert_eq!(answer.json()["embeddings"].as_array().unwrap().len(), 2, "{}", answer.body);
}
