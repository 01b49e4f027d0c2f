//! Answers as the SDKs expect them, and refusals as the providers word them.

use super::*;

#[actix_web::test]
async fn a_chat_is_echoed_with_its_usage() {
    let mock = Mock::start();
    let answer = mock.json("/v1/chat/completions", "", CHAT).await;
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "m");
    assert_eq!(answer["choices"][0]["message"]["content"], "echo: one two");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["prompt_tokens"], 2);
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    assert_eq!(answer["usage"]["total_tokens"], 5);
    let short = CHAT.replace("\"model\"", "\"max_tokens\":2,\"n\":2,\"model\"");
    let answer = mock.json("/v1/chat/completions", "", &short).await;
    assert_eq!(answer["choices"][1]["message"]["content"], "echo: one");
    assert_eq!(answer["choices"][1]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 4);
}

#[actix_web::test]
async fn a_chat_is_streamed_word_by_word() {
    let mock = Mock::start();
    let wire = mock.call("/v1/chat/completions", "", CHAT_STREAM).await;
    assert!(wire.head.contains("content-type: text/event-stream"), "{}", wire.head);
    assert!(wire.whole && wire.body.ends_with("data: [DONE]\n\n"));
    let chunks = json_frames(&wire.body);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let said: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, "echo: one two");
    assert_eq!(chunks.len(), 5);
    assert_eq!(chunks[4]["choices"][0]["finish_reason"], "stop");
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));

    let wanted = CHAT_STREAM.replace("\"model\"", "\"stream_options\":{\"include_usage\":true},\"model\"");
    let wire = mock.call("/v1/chat/completions", "", &wanted).await;
    let chunks = json_frames(&wire.body);
    assert_eq!(chunks[5]["choices"], serde_json::json!([]));
    assert_eq!(chunks[5]["usage"]["completion_tokens"], 3);
    assert!(chunks[..5].iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
}

#[actix_web::test]
async fn a_tool_is_called_with_arguments_that_fit_its_schema() {
    let mock = Mock::start();
    let tools = r#""tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}}}}}],"#;
    let arguments = r#"{"city": "mock", "days": 1}"#;
    let forced = CHAT.replacen('{', &format!("{{\"tool_choice\":\"required\",{tools}"), 1);
    let answer = mock.json("/v1/chat/completions", "", &forced).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], arguments);
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&"tool_calls".into(), &Value::Null)
    );

    let asked = CHAT_STREAM.replacen('{', &format!("{{{tools}"), 1);
    let wire = mock.call("/v1/chat/completions", "", &asked.replace("two", "tool")).await;
    let chunks = json_frames(&wire.body);
    let calls = || chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0]);
    assert_eq!(calls().next().map(|call| &call["function"]["name"]), Some(&"weather".into()));
    let fragments: Vec<_> =
        calls().filter_map(|call| call["function"]["arguments"].as_str()).filter(|f| !f.is_empty()).collect();
    assert_eq!((fragments.len(), fragments.concat()), (4, arguments.to_owned()));
    let wire = mock.call("/v1/chat/completions", "", &asked).await;
    assert!(!wire.body.contains("tool_calls"), "nobody asked for a tool");
}

#[actix_web::test]
async fn a_response_format_binds_the_text() {
    let mock = Mock::start();
    let schema = r#""response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object","properties":{"ok":{"type":"boolean"}}}}},"#;
    let answer = mock.json("/v1/chat/completions", "", &CHAT.replacen('{', &format!("{{{schema}"), 1)).await;
    assert_eq!(answer["choices"][0]["message"]["content"], r#"{"ok": true}"#);
    let object = CHAT.replacen('{', "{\"response_format\":{\"type\":\"json_object\"},", 1);
    let answer = mock.json("/v1/chat/completions", "", &object.replace("two", "JSON")).await;
    assert_eq!(answer["choices"][0]["message"]["content"], r#"{"echo": "one JSON"}"#);
    assert_eq!(status(&mock.call("/v1/chat/completions", "", &object).await), 400);
}

#[actix_web::test]
async fn messages_come_in_anthropics_shape() {
    let mock = Mock::start();
    let answer = mock.json("/v1/messages", "", MESSAGES).await;
    assert_eq!(answer["content"][0]["text"], "echo: one two");
    assert_eq!((&answer["stop_reason"], &answer["usage"]["output_tokens"]), (&"end_turn".into(), &3.into()));
    let wire = mock.call("/v1/messages", "", MESSAGES_STREAM).await;
    let names: Vec<_> = wire.body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let mut expected = vec!["message_start", "content_block_start", "ping"];
    expected.extend(["content_block_delta"; 3]);
    expected.extend(["content_block_stop", "message_delta", "message_stop"]);
    assert_eq!(names, expected);
    let events = json_frames(&wire.body);
    assert!(names.iter().zip(&events).all(|(name, event)| event["type"] == *name));
    let said: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(said, "echo: one two");
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 2);
    assert_eq!(events[7]["usage"]["output_tokens"], 3);
    let tools = MESSAGES_STREAM.replacen('{', r#"{"tool_choice":{"type":"tool","name":"f"},"tools":[{"name":"f","input_schema":{"type":"object","properties":{"a":{"type":"integer"}}}}],"#, 1);
    let events = json_frames(&mock.call("/v1/messages", "", &tools).await.body);
    let input: String = events.iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
    assert_eq!((&*input, &events[1]["content_block"]["name"]), (r#"{"a": 1}"#, &"f".into()));
    let whole = mock.json("/v1/messages", "", &tools.replace("\"stream\":true,", "")).await;
    assert_eq!((&whole["content"][0]["input"]["a"], &whole["stop_reason"]), (&1.into(), &"tool_use".into()));
    let count = MESSAGES.replace("\"max_tokens\":9,", "");
    assert_eq!(mock.json("/v1/messages/count_tokens", "", &count).await["input_tokens"], 2);
}

#[actix_web::test]
async fn the_other_endpoints_answer() {
    let mock = Mock::start();
    let answer = mock.json("/v1/embeddings", "", EMBEDDINGS).await;
    assert_eq!(answer["data"][1]["embedding"].as_array().map(Vec::len), Some(4));
    assert_eq!(answer["usage"]["prompt_tokens"], 3);
    let base64 = EMBEDDINGS.replacen('{', "{\"encoding_format\":\"base64\",", 1);
    let answer = mock.json("/v1/embeddings", "", &base64).await;
    assert_eq!(answer["data"][0]["embedding"].as_str().map(str::len), Some(24));
    let answer =
        mock.json("/v1/completions", "", r#"{"model":"m","prompt":["a b",[1,2,3]]}"#).await.to_string();
    assert!(
        answer.contains("echo: a b")
            && answer.contains("echo: 1 2 3")
            && answer.contains("\"prompt_tokens\":5")
    );
    let wire =
        mock.call("/v1/completions", "", r#"{"model":"m","prompt":"a","stream":true,"max_tokens":1}"#).await;
    let chunks = json_frames(&wire.body);
    assert_eq!((&chunks[0]["choices"][0]["text"], chunks.len()), (&"echo:".into(), 2));
    assert_eq!(chunks[1]["choices"][0]["finish_reason"], "length");
    let answer = mock.json("/v1/moderations", "", r#"{"input":["fine","violence"]}"#).await;
    assert_eq!(
        (&answer["results"][0]["flagged"], &answer["results"][1]["flagged"]),
        (&false.into(), &true.into())
    );
    assert_eq!(mock.json("/v1/models", "", "").await["object"], "list");
    assert_eq!(mock.json("/v1/models/x", "", "").await["id"], "x");
    let theirs = mock.json("/v1/models", "x-api-key: k\r\nanthropic-version: 2023-06-01\r\n", "").await;
    assert_eq!((&theirs["has_more"], &theirs["data"][0]["type"]), (&false.into(), &"model".into()));
}

#[actix_web::test]
async fn what_a_provider_refuses_is_refused() {
    let mock = Mock::start();
    let unknown = CHAT.replacen('{', "{\"color\":1,", 1);
    let lenient = "x-penstock-mock-lenient: 1\r\n";
    for (path, headers, body, code, text) in [
        ("/v1/chat/completions", "bare", CHAT, 401, "invalid_api_key"),
        ("/v1/messages", "bare", MESSAGES, 401, "authentication_error"),
        ("/v1/messages", "barex-api-key: k\r\n", MESSAGES, 400, "anthropic-version"),
        ("/v1/chat/completions", "", "{", 400, "could not parse"),
        ("/v1/chat/completions", "", &*unknown, 400, "Unrecognized request argument supplied: color"),
        ("/v1/chat/completions", lenient, &*unknown, 200, "echo: one two"),
        ("/v1/chat/completions", "x-penstock-mock-cut: never\r\n", CHAT, 400, "x-penstock-mock-cut"),
        ("/v1/messages", "x-penstock-mock-oops: 1\r\n", MESSAGES, 400, "x-penstock-mock-oops"),
        ("/v1/chats", "", CHAT, 404, "unknown_url"),
        ("/v1/chat/completions", "", "", 405, "Not allowed to GET"),
        ("/v1/embeddings", "", r#"{"model":"m","input":""}"#, 400, "empty string"),
        ("/v1/moderations", "", r#"{"input":[7]}"#, 400, "input[0]"),
    ] {
        let wire = mock.call(path, headers, body).await;
        assert_eq!(status(&wire), code, "{path} {headers} {body}");
        assert!(wire.body.contains(text), "{}", wire.body);
    }
    let totals = mock.totals().await;
    assert_eq!((&totals["refused"], &totals["completed"]), (&11.into(), &1.into()));
}
