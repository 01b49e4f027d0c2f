//! DashScope's requests, streams and errors.

use penstock_actors::domain::{Delivery, Usage};

use super::*;
use crate::{
    conversation::{Part, ToolCall},
    dialect::checks::{self, EVERYTHING, hear, heard, refusal, wordy},
};

const STREAM: &str = "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"\",\"reasoning_content\":\"I look\"},\"finish_reason\":\"null\"}]},\"usage\":{\"total_tokens\":21,\"input_tokens\":20,\"output_tokens\":1},\"request_id\":\"d-1\"}\n\n\
id:2\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"Gr\u{fc}ezi\"},\"finish_reason\":\"null\"}]},\"request_id\":\"d-1\"}\n\n\
id:3\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"choices\":[{\"message\":{\"content\":\"\",\"tool_calls\":[{\"index\":0,\"id\":\"f_1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]},\"finish_reason\":\"null\"}]},\"request_id\":\"d-1\"}\n\n\
id:4\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"choices\":[{\"message\":{\"content\":\"\",\"tool_calls\":[{\"index\":0,\"id\":\"\",\"type\":\"function\",\"function\":{\"arguments\":\"{\\\"a\\\":\\\"\\\\\"}}]},\"finish_reason\":\"null\"}]},\"request_id\":\"d-1\"}\n\n\
id:5\nevent:result\n:HTTP_STATUS/200\ndata:{\"output\":{\"choices\":[{\"message\":{\"content\":\"\",\"tool_calls\":[{\"index\":0,\"id\":\"\",\"function\":{\"arguments\":\"n\\\"}\"}}]},\"finish_reason\":\"tool_calls\"}]},\"usage\":{\"total_tokens\":25,\"input_tokens\":20,\"output_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":8},\"output_tokens_details\":{\"reasoning_tokens\":2}},\"request_id\":\"d-1\"}\n\n";

#[test]
fn a_request_says_everything_that_is_text() {
    let wanted =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/upstreams/dashscope.json"));
    let body = checks::written(&DashScope, &wordy(), "qwen-plus", Delivery::Stream);
    assert_eq!(body.expect("it can be said"), wanted.trim_end());
    let seen = checks::written(&DashScope, EVERYTHING, "qwen-plus", Delivery::Stream);
    assert_eq!(seen, Err("messages[1].content".to_owned()));
}

#[test]
fn one_tool_can_be_forced_and_some_tool_only_where_there_is_one() {
    let forced = |tools: &str| {
        let request = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"tools":[{tools}],"tool_choice":"required"}}"#
        );
        checks::written(&DashScope, &request, "m", Delivery::Whole)
    };
    let (f, g) =
        (r#"{"type":"function","function":{"name":"f"}}"#, r#"{"type":"function","function":{"name":"g"}}"#);
    assert_eq!(forced(&format!("{f},{g}")), Err("tool_choice".to_owned()));
    let body = forced(f).expect("it can be said");
    assert!(body.contains(r#""tool_choice":{"type":"function","function":{"name":"f"}}"#), "{body}");
}

#[test]
fn a_stream_is_read_wherever_it_is_cut() {
    let heard = hear(&DashScope, STREAM.as_bytes(), 0);
    assert_eq!(
        (heard.id.as_str(), heard.text.as_str(), heard.thinking.as_str()),
        ("d-1", "Gr\u{fc}ezi", "I look")
    );
    assert_eq!(heard.calls, [("f_1".to_owned(), "f".to_owned(), r#"{"a":"\n"}"#.to_owned())]);
    assert_eq!(heard.usage, Usage { input: 12, cached_read: 8, output: 3, reasoning: 2, ..Usage::default() });
    assert_eq!(heard.stop, Some(StopReason::ToolCalls));
}

#[test]
fn errors_end_a_stream_and_are_told_by_code() {
    let broken = format!(
        "{}id:6\nevent:error\n:HTTP_STATUS/400\ndata:{{\"code\":\"DataInspectionFailed\",\"message\":\"no\",\"request_id\":\"d\"}}\n\n",
        STREAM.replace("\"finish_reason\":\"tool_calls\"", "\"finish_reason\":\"null\"")
    );
    let ended = heard(&DashScope, [broken.as_bytes()]);
    assert!(matches!(ended.error, Some(ReadError::Failed(f)) if f.code == "DataInspectionFailed"));
    for (status, code, wanted) in [
        (401, "InvalidApiKey", 401),
        (403, "Model.AccessDenied", 403),
        (403, "AllocationQuota.FreeTierOnly", 402),
        (400, "Arrearage", 402),
        (429, "Throttling.RateQuota", 429),
        (429, "Throttling", 429),
        (400, "InvalidParameter", 400),
        (400, "DataInspectionFailed", 400),
        (404, "ModelNotFound", 404),
        (500, "InternalError.Algo", 500),
        (503, "ModelServingError", 503),
        (418, "Unheard.Of", 418),
    ] {
        let body = format!(r#"{{"code":"{code}","message":"no","request_id":"r"}}"#);
        let refused = refusal(&DashScope, status, &body);
        assert_eq!((refused.status, refused.code.as_str()), (wanted, code));
    }
    assert_eq!(refusal(&DashScope, 503, "<html>").status, 503);
}

#[test]
fn a_whole_answer_is_read() {
    let body = br#"{"request_id":"d-1","output":{"choices":[{"finish_reason":"tool_calls","message":{"role":"assistant",
        "content":[{"text":"so"}],"reasoning_content":"hm","tool_calls":[{"id":"","index":0,"type":"function",
        "function":{"name":"f","arguments":"{}"}}]}}]},"usage":{"input_tokens":9,"output_tokens":2}}"#;
    let reply = DashScope.read_whole(body).expect("an answer");
    let thought = Part::Thinking { text: "hm".into(), signature: None };
    let call = ToolCall { id: "call_0".into(), name: "f".into(), arguments: "{}".into() };
    assert_eq!(reply.parts, [thought, Part::text("so"), Part::ToolCall(call)]);
    assert_eq!((reply.usage.input, reply.usage.output, reply.stop), (9, 2, StopReason::ToolCalls));
    for garbage in ["", "{}", "[]", r#"{"output":{}}"#, r#"{"output":{"choices":[]}}"#] {
        assert!(matches!(DashScope.read_whole(garbage.as_bytes()), Err(ReadError::Garbage(_))), "{garbage}");
    }
}
