//! Dify's requests, streams and errors.

use penstock_actors::domain::Usage;

use super::*;
use crate::{
    conversation::StopReason,
    dialect::checks::{self, hear, heard, refusal},
};

const STREAM: &str = "event: ping\n\ndata: {\"event\": \"workflow_started\", \"task_id\": \"t\", \"workflow_run_id\": \"w\", \"data\": {\"id\": \"w\"}}\n\n\
data: {\"event\": \"agent_thought\", \"id\": \"8\", \"message_id\": \"d-1\", \"position\": 1, \"thought\": \"hm\", \"tool\": \"x\"}\n\n\
data: {\"event\": \"message\", \"message_id\": \"d-1\", \"conversation_id\": \"c\", \"answer\": \"Gr\u{fc}\", \"created_at\": 1}\n\n\
data: {\"event\": \"agent_message\", \"message_id\": \"d-1\", \"answer\": \"\\u00e4 \\\"\\n\"}\n\n\
data: {\"event\": \"message_file\", \"id\": \"f\", \"type\": \"image\", \"belongs_to\": \"assistant\", \"url\": \"https://x/a.png\"}\n\n\
data: {\"event\": \"workflow_finished\", \"data\": {\"id\": \"w\", \"status\": \"succeeded\", \"total_tokens\": 9}}\n\n\
data: {\"event\": \"message_end\", \"id\": \"d-1\", \"metadata\": {\"usage\": {\"prompt_tokens\": 20, \"completion_tokens\": 5, \"total_tokens\": 25, \"latency\": 0.5}, \"retriever_resources\": []}}\n\n";

fn written(app: Dify, request: &str) -> Result<String, String> {
    checks::written(&app, request, "m", Delivery::Whole)
}

#[test]
fn turns_become_one_text_and_addresses_files() {
    let request = r#"{"model":"m","temperature":1,"user":"u","conversation_id":"c","inputs":{"tone":1.50},"messages":[
        {"role":"system","content":"Be brief."},{"role":"user","content":"hi"},{"role":"assistant","content":"yes?"},
        {"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"https://x/a.png"}}]}]}"#;
    assert_eq!(
        written(Dify::Chat, request).expect("it can be said"),
        r#"{"inputs":{"tone":1.50},"query":"SYSTEM: \nBe brief.\nUSER: \nhi\nASSISTANT: \nyes?\nUSER: \nsee\n","response_mode":"streaming","user":"u","files":[{"type":"image","transfer_method":"remote_url","url":"https://x/a.png"}],"conversation_id":"c"}"#
    );
    let alone = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let chat = r#"{"inputs":{},"query":"hi","response_mode":"streaming","user":"penstock"}"#;
    assert_eq!(written(Dify::Chat, alone).expect("it can be said"), chat);
    let completion = chat.replace("{}", r#"{"query":"hi"}"#);
    assert_eq!(written(Dify::Completion, alone).expect("it can be said"), completion);
}

#[test]
fn what_an_application_cannot_be_told_is_refused_by_name() {
    let tool = r#""tools":[{"type":"function","function":{"name":"f"}}]"#;
    let picture = r#"[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]"#;
    for (more, content, param) in [
        (tool, r#""x""#, "tools"),
        (r#""stop":"END""#, r#""x""#, "stop"),
        (r#""n":2"#, r#""x""#, "n"),
        (r#""response_format":{"type":"json_object"}"#, r#""x""#, "response_format"),
        (r#""n":1"#, picture, "messages[0].content"),
    ] {
        let request = format!(r#"{{"model":"m","messages":[{{"role":"user","content":{content}}}],{more}}}"#);
        assert_eq!(written(Dify::Chat, &request), Err(param.to_owned()));
    }
}

#[test]
fn a_stream_is_read_wherever_it_is_cut() {
    let heard = hear(&Dify::Chat, STREAM.as_bytes(), 0);
    assert_eq!(
        (heard.id.as_str(), heard.text.as_str()),
        ("d-1", "Gr\u{fc}\u{e4} \"\n\n![](https://x/a.png)\n")
    );
    assert_eq!(heard.usage, Usage { input: 20, output: 5, ..Usage::default() });
    assert_eq!(heard.stop, Some(StopReason::End));
}

#[test]
fn a_failed_workflow_a_replaced_text_and_an_error_are_told() {
    let failed = STREAM.replace("\"succeeded\"", "\"failed\", \"error\": \"node 3 broke\"");
    let error = heard(&Dify::Chat, [failed.as_bytes()]).error;
    assert!(matches!(error, Some(ReadError::Failed(f)) if f.message == "node 3 broke" && f.status == 502));
    let replaced =
        "data: {\"event\":\"message_replace\",\"answer\":\"no\"}\n\ndata: {\"event\":\"message_end\"}\n\n";
    assert_eq!(heard(&Dify::Chat, [replaced.as_bytes()]).stop, Some(StopReason::Refused));
    let error = "data: {\"event\":\"error\",\"status\":400,\"code\":\"provider_quota_exceeded\",\"message\":\"no\"}\n\n";
    let error = heard(&Dify::Chat, [error.as_bytes()]).error;
    assert!(matches!(error, Some(ReadError::Failed(f)) if f.status == 402));
    for garbage in ["data: {\n\n", "data: [1]\n\n", "data: {\"event\":\"message_end\"}"] {
        let error = heard(&Dify::Chat, [garbage.as_bytes()]).error;
        assert!(matches!(error, Some(ReadError::Garbage(_))), "{garbage}");
    }
}

#[test]
fn refusals_are_told_by_code() {
    for (status, code, wanted) in [
        (401, "unauthorized", 401),
        (400, "invalid_param", 400),
        (400, "app_unavailable", 404),
        (400, "provider_not_initialize", 403),
        (400, "provider_quota_exceeded", 402),
        (400, "completion_request_error", 502),
        (429, "too_many_requests", 429),
        (500, "internal_server_error", 500),
        (503, "unheard_of", 503),
    ] {
        let body = format!(r#"{{"code":"{code}","message":"no","status":{status}}}"#);
        let refused = refusal(&Dify::Chat, status, &body);
        assert_eq!((refused.status, refused.code.as_str()), (wanted, code));
    }
    assert_eq!(refusal(&Dify::Chat, 502, "<html>").status, 502);
}

#[test]
fn a_whole_answer_is_read() {
    let body = br#"{"event":"message","task_id":"t","message_id":"d-1","mode":"chat","answer":"so",
        "metadata":{"usage":{"prompt_tokens":9,"completion_tokens":-2}}}"#;
    let reply = Dify::Chat.read_whole(body).expect("an answer");
    assert_eq!((reply.id.as_str(), &reply.parts[..]), ("d-1", &[Part::text("so")][..]));
    assert_eq!((reply.usage.input, reply.usage.output), (9, 0));
    for garbage in ["", "{}", "[]", r#"{"answer":null}"#] {
        assert!(matches!(Dify::Chat.read_whole(garbage.as_bytes()), Err(ReadError::Garbage(_))), "{garbage}");
    }
}
