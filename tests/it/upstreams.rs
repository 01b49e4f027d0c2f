//! Every provider with a dialect of its own, through the whole gateway: the mock speaks it, as strictly as the
//! provider would.

mod support;

use serde_json::{Value, json};

pub use self::support::{CASES, deltas, setting};
use self::support::{Case, Provider};
use super::support::{Answer, TestApp, Upstream, upstream::After};
use penstock::mock::{Cut, Garbage, MockSettings};

/// A mock of providers that behaves like this.
pub fn mocked(settings: MockSettings) -> Provider {
    Provider::start(settings)
}

/// A conversation with instructions, a text for each side, and sampling.
fn question(text: &str) -> Value {
    json!({"model": "m", "temperature": 0.5, "max_tokens": 50, "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "yes?"},
        {"role": "user", "content": text},
    ]})
}

fn with(mut body: Value, more: Value) -> String {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

fn tools() -> Value {
    let tool = |name: &str| {
        json!({"type": "function", "function": {"name": name, "description": "looks up",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}})
    };
    json!([tool("weather"), tool("clock")])
}

/// A gateway with one channel to a mock that behaves like this.
fn start(case: &Case, settings: MockSettings) -> (Provider, TestApp) {
    let provider = Provider::start(settings);
    let app = TestApp::start(&setting(case, provider.address));
    (provider, app)
}

fn text_of(answer: &Answer) -> String {
    answer.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_text_comes_whole_with_its_usage() {
    for case in CASES {
        let (_provider, app) = start(case, MockSettings::default());
        let answer = app.client().chat(&question("one two three").to_string()).await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", case.name);
        let json = answer.json();
        assert_eq!(text_of(&answer), "echo: one two three", "{}", case.name);
        assert_eq!(json["model"], "m", "{}", case.name);
        assert_eq!(json["choices"][0]["finish_reason"], "stop", "{}", case.name);
        if case.counts {
            assert_eq!(json["usage"]["completion_tokens"], 4, "{}: {json}", case.name);
            assert!(json["usage"]["prompt_tokens"].as_u64().unwrap() >= 3, "{}: {json}", case.name);
        }
    }
}

#[tokio::test]
async fn a_text_comes_as_a_stream_with_its_usage() {
    for case in CASES {
        let (_provider, app) = start(case, MockSettings::default());
        let asked = json!({"stream": true, "stream_options": {"include_usage": true}});
        let answer = app.client().chat(&with(question("one two three"), asked)).await;
        assert!(answer.status == 200 && answer.complete, "{}: {answer:?}", case.name);
        assert!(answer.body.ends_with("data: [DONE]\n\n"), "{}: {}", case.name, answer.body);
        let chunks = deltas(&answer.body);
        let text: String =
            chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, "echo: one two three", "{}", case.name);
        if case.streams {
            let pieces = chunks
                .iter()
                .filter(|c| c["choices"][0]["delta"]["content"].as_str().is_some_and(|t| !t.is_empty()));
            assert_eq!(pieces.count(), 4, "{}: {}", case.name, answer.body);
        }
        if case.counts {
            let usage = &chunks.last().unwrap()["usage"];
            assert_eq!(usage["completion_tokens"], 4, "{}: {}", case.name, answer.body);
        }
    }
}

#[tokio::test]
async fn a_limit_of_tokens_ends_an_answer_as_length() {
    for case in CASES.iter().filter(|case| case.limits) {
        let (_provider, app) = start(case, MockSettings::default());
        let answer = app.client().chat(&with(question("one two three"), json!({"max_tokens": 2}))).await;
        assert_eq!(answer.json()["choices"][0]["finish_reason"], "length", "{}: {answer:?}", case.name);
        assert_eq!(text_of(&answer), "echo: one", "{}", case.name);
    }
}

#[tokio::test]
async fn tools_are_called_singly_and_at_once_and_their_results_go_back() {
    for case in CASES.iter().filter(|case| case.tools) {
        let (_provider, app) = start(case, MockSettings::default());
        for (text, wanted) in [("use a tool", 1), ("use both tools", 2)] {
            let body = with(question(text), json!({"tools": tools()}));
            let answer = app.client().chat(&body).await;
            assert_eq!(answer.status, 200, "{}: {answer:?}", case.name);
            let wanted = if case.parallel { wanted } else { 1 };
            let choice = answer.json()["choices"][0].clone();
            assert_eq!(choice["finish_reason"], "tool_calls", "{}: {choice}", case.name);
            let calls = choice["message"]["tool_calls"].as_array().unwrap().clone();
            assert_eq!(calls.len(), wanted, "{}: {choice}", case.name);
            for (n, call) in calls.iter().enumerate() {
                assert_eq!(call["function"]["name"], ["weather", "clock"][n], "{}", case.name);
                let arguments: Value =
                    serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
                assert!(arguments["city"].is_string(), "{}: {arguments}", case.name);
            }

            let mut next: Value = serde_json::from_str(&body).unwrap();
            let messages = next["messages"].as_array_mut().unwrap();
            messages.push(choice["message"].clone());
            for call in &calls {
                messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "18 degrees"}));
            }
            let answer = app.client().chat(&next.to_string()).await;
            assert_eq!(answer.status, 200, "{}: {answer:?}", case.name);
            assert!(text_of(&answer).starts_with("echo:"), "{}: {answer:?}", case.name);

            let streamed = with(serde_json::from_str(&body).unwrap(), json!({"stream": true}));
            let answer = app.client().chat(&streamed).await;
            let mut seen = vec![(String::new(), String::new()); wanted];
            for chunk in deltas(&answer.body) {
                for call in chunk["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
                    let (name, arguments) = &mut seen[call["index"].as_u64().unwrap() as usize];
                    name.push_str(call["function"]["name"].as_str().unwrap_or_default());
                    arguments.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
                }
            }
            assert!(
                answer.body.contains(r#""finish_reason":"tool_calls""#),
                "{}: {}",
                case.name,
                answer.body
            );
            for ((name, arguments), wanted) in seen.iter().zip(["weather", "clock"]) {
                assert_eq!(name, wanted, "{}: {}", case.name, answer.body);
                let arguments: Value = serde_json::from_str(arguments).unwrap();
                assert!(arguments["city"].is_string(), "{}: {arguments}", case.name);
            }
        }
    }
}

#[tokio::test]
async fn an_answer_follows_a_schema_or_is_refused_by_name() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "number", "schema": schema}});
    for case in CASES {
        let (_provider, app) = start(case, MockSettings::default());
        let answer = app.client().chat(&with(question("a number"), json!({"response_format": format}))).await;
        if case.schemas {
            assert_eq!(answer.status, 200, "{}: {answer:?}", case.name);
            let said: Value = serde_json::from_str(&text_of(&answer)).unwrap();
            assert!(said["n"].is_i64(), "{}: {said}", case.name);
        } else {
            assert_eq!(
                (answer.status, answer.error_code().as_str()),
                (400, "unsupported_parameter"),
                "{}",
                case.name
            );
            assert!(answer.json()["error"]["param"].as_str().unwrap().starts_with("response_format"));
        }
    }
}

#[tokio::test]
async fn a_picture_goes_along_or_is_refused_by_name() {
    let picture = "data:image/png;base64,iVBORw0KGgo=";
    let content =
        json!([{"type": "text", "text": "what is it"}, {"type": "image_url", "image_url": {"url": picture}}]);
    for case in CASES {
        let (_provider, app) = start(case, MockSettings::default());
        let body = with(question("x"), json!({"messages": [{"role": "user", "content": content}]}));
        let answer = app.client().chat(&body).await;
        if case.pictures {
            assert_eq!(answer.status, 200, "{}: {answer:?}", case.name);
            assert_eq!(text_of(&answer), "echo: what is it", "{}", case.name);
        } else {
            assert_eq!(answer.error_code(), "unsupported_parameter", "{}", case.name);
        }
    }
}

#[tokio::test]
async fn a_picture_by_its_address_reaches_those_that_fetch_nothing_as_bytes() {
    let files = Upstream::start(|mut exchange| async move {
        exchange.write(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n\x89PNG\r\n\x1a\n").await;
        After::Keep(exchange)
    })
    .await;
    for case in CASES.iter().filter(|case| case.pictures) {
        let provider = Provider::start(MockSettings::default());
        let media = "[media]\nallow_hosts = [\"127.0.0.1\"]\n";
        let app = TestApp::start(&format!("{media}{}", setting(case, provider.address)));
        let picture =
            json!({"type": "image_url", "image_url": {"url": format!("http://{}/x.png", files.address)}});
        let content = json!([{"type": "text", "text": "what is it"}, picture]);
        let body = with(question("x"), json!({"messages": [{"role": "user", "content": content}]}));
        let before = files.count();
        let answer = app.client().chat(&body).await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", case.name);
        assert_eq!(text_of(&answer), "echo: what is it", "{}", case.name);
        let fetched = !["cohere", "hunyuan", "cloudflare-run"].contains(&case.name);
        assert_eq!(files.count() - before, usize::from(fetched), "{}", case.name);
    }
    // Like to like passes, but for who fetches nothing at all.
    let case = CASES.iter().find(|case| case.name == "vertex-claude").unwrap();
    let provider = Provider::start(MockSettings::default());
    let media = "[media]\nallow_hosts = [\"127.0.0.1\"]\n";
    let app = TestApp::start(&format!("{media}{}", setting(case, provider.address)));
    let source = json!({"type": "url", "url": format!("http://{}/x.png", files.address)});
    let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "what is it"}, {"type": "image", "source": source}]}]});
    let before = files.count();
    let answer = app.client().post("/v1/messages", body.to_string().as_bytes()).await;
    assert_eq!((answer.status, files.count() - before), (200, 1), "{answer:?}");
}

#[tokio::test]
async fn what_a_provider_refuses_has_its_class_and_its_words() {
    for case in CASES {
        for (status, fault) in [
            (400, "client"),
            (401, "upstream"),
            (403, "upstream"),
            (404, "upstream"),
            (429, "upstream"),
            (500, "upstream"),
            (503, "upstream"),
        ] {
            let provider = Provider::start(MockSettings { status: Some(status), ..MockSettings::default() });
            // Who is refused for a while would wait that off.
            let setting =
                setting(case, provider.address).replace("name = \"up\"", "name = \"up\"\npacing = false");
            let app = TestApp::start(&setting);
            for stream in [false, true] {
                let answer = app.client().chat(&with(question("hi"), json!({"stream": stream}))).await;
                let error = answer.json()["error"].clone();
                assert_eq!(answer.status, case.told(status), "{} {status}: {answer:?}", case.name);
                assert_eq!(error["fault"], fault, "{} {status}: {error}", case.name);
                assert!(!error["message"].as_str().unwrap().contains("<"), "{} {status}: {error}", case.name);
            }
        }
    }
}

#[tokio::test]
async fn a_throttled_provider_is_passed_over() {
    for case in CASES {
        let throttled = Provider::start(MockSettings {
            status: Some(429),
            retry_after: Some(7),
            ..MockSettings::default()
        });
        let good = Provider::start(MockSettings::default());
        let second = setting(case, good.address).replace("name = \"up\"", "name = \"second\"\npriority = -1");
        let app = TestApp::start(&(setting(case, throttled.address) + &second));
        let answer = app.client().chat(&question("hi there").to_string()).await;
        assert_eq!(text_of(&answer), "echo: hi there", "{}: {answer:?}", case.name);
        assert_eq!(answer.header("x-penstock-channel"), Some("second"), "{}", case.name);
    }
}

#[tokio::test]
async fn an_error_inside_a_good_status_is_one() {
    for case in CASES {
        let (_provider, app) =
            start(case, MockSettings { garbage: Some(Garbage::Error200), ..MockSettings::default() });
        for stream in [false, true] {
            let answer = app.client().chat(&with(question("hi"), json!({"stream": stream}))).await;
            assert!(answer.status >= 400, "{} stream {stream}: {answer:?}", case.name);
            assert_eq!(answer.json()["error"]["fault"], "upstream", "{}: {answer:?}", case.name);
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_never_ends_well() {
    for case in CASES.iter().filter(|case| case.streams) {
        for settings in [
            MockSettings { cut: Some(Cut::AfterFrames(3)), ..MockSettings::default() },
            MockSettings { no_done: true, ..MockSettings::default() },
            MockSettings { garbage: Some(Garbage::TruncatedJson), ..MockSettings::default() },
        ] {
            if settings.no_done && !case.ends {
                continue;
            }
            let (_provider, app) = start(case, settings.clone());
            let answer = app.client().chat(&with(question("one two three"), json!({"stream": true}))).await;
            assert!(!answer.body.contains("[DONE]"), "{} {settings:?}: {answer:?}", case.name);
            assert!(answer.body.contains("\"error\""), "{} {settings:?}: {answer:?}", case.name);
        }
    }
}

#[tokio::test]
async fn a_wrong_credential_is_the_providers_refusal() {
    for case in CASES {
        let Some(wrong) = case.wrong_credential else { continue };
        let provider = Provider::start(MockSettings::default());
        let app = TestApp::start(&setting(&Case { credential: wrong, ..*case }, provider.address));
        let answer = app.client().chat(&question("hi").to_string()).await;
        assert_eq!(
            (answer.status, answer.error_code().as_str()),
            (401, "upstream_credential_refused"),
            "{}: {answer:?}",
            case.name
        );
    }
}

/// What the books say of a call once it is settled, or in the end.
async fn settled(app: &TestApp, answer: &Answer) -> Value {
    let path = format!("/api/calls/{}", answer.header("x-request-id").unwrap());
    let mut call = Value::Null;
    for _ in 0..1_000 {
        call = app.client().get(&path).await.json()["data"].clone();
        if call["state"] == "settled" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    call
}

#[tokio::test]
async fn what_a_provider_does_not_count_is_counted_here_and_marked() {
    let uncounted = |case: &&Case| matches!(case.name, "palm" | "aiproxy-library");
    for case in CASES.iter().filter(uncounted) {
        let (_provider, app) = start(case, MockSettings::default());
        for stream in [false, true] {
            let answer = app.client().chat(&with(question("one two three"), json!({"stream": stream}))).await;
            let call = settled(&app, &answer).await;
            assert_eq!(call["usage"]["source"], "estimated", "{} stream {stream}: {call}", case.name);
            for name in ["input", "output"] {
                assert!(call["usage"][name].as_u64().unwrap() > 0, "{} stream {stream}: {call}", case.name);
            }
        }
    }
}

#[tokio::test]
async fn a_library_names_the_documents_that_it_rests_on() {
    let case = CASES.iter().find(|case| case.name == "aiproxy-library").unwrap();
    let (_provider, app) = start(case, MockSettings::default());
    let list = "\n\n1. [On \\[documents\\]](https://example.com/1)\n2. [https://example.com/2](https://example.com/2)";
    let answer = app.client().chat(&question("which documents").to_string()).await;
    assert_eq!(text_of(&answer), format!("echo: which documents{list}"));
    let answer = app.client().chat(&with(question("which documents"), json!({"stream": true}))).await;
    let chunks = deltas(&answer.body);
    let text: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, format!("echo: which documents{list}"));
}

#[tokio::test]
async fn wenxin_embeds_texts_for_openais_clients() {
    let case = CASES.iter().find(|case| case.name == "wenxin").unwrap();
    let (_provider, app) = start(case, MockSettings::default());
    for (encoding, first) in [("float", json!([0.5, 3.0])), ("base64", json!("AAAAPwAAQEA="))] {
        let body = json!({"model": "m", "input": ["one", "two words"], "encoding_format": encoding});
        let answer = app.client().post("/v1/embeddings", body.to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let json = answer.json();
        assert_eq!((&json["model"], &json["object"]), (&json!("m"), &json!("list")), "{json}");
        assert_eq!(json["data"][0]["embedding"], first, "{json}");
        assert_eq!(
            (&json["data"][1]["index"], &json["usage"]["prompt_tokens"]),
            (&json!(1), &json!(3)),
            "{json}"
        );
    }
    let tokens = br#"{"model":"m","input":[1,2]}"#;
    let answer = app.client().post("/v1/embeddings", tokens).await;
    assert_eq!((answer.status, answer.error_code().as_str()), (400, "unsupported_parameter"), "{answer:?}");
}

#[tokio::test]
async fn what_a_provider_does_not_count_is_estimated_and_marked() {
    for case in CASES.iter().filter(|case| ["deepl-free", "coze", "replicate", "cohere"].contains(&case.name))
    {
        let (_provider, app) = start(case, MockSettings { no_usage: true, ..MockSettings::default() });
        for stream in [false, true] {
            let answer = app.client().chat(&with(question("one two three"), json!({"stream": stream}))).await;
            assert_eq!(answer.status, 200, "{}: {answer:?}", case.name);
            let call = settled(&app, &answer).await;
            let usage = &call["usage"];
            assert_eq!(usage["source"], "estimated", "{} stream {stream}: {call}", case.name);
            assert!(usage["input"].as_u64() > Some(0), "{}: {call}", case.name);
            assert!(!stream || usage["output"].as_u64() > Some(0), "{}: {call}", case.name);
        }
    }
}
