//! A request of everything, answers whole and streamed.

use penstock_actors::domain::{Delivery, Usage};

use super::*;
use crate::{
    conversation::{Part, ToolCall},
    dialect::checks::{self, EVERYTHING, hear, heard, refusal},
};

const STREAM: &str = concat!(
    "event: message-start\ndata: {\"id\":\"c-1\",\"type\":\"message-start\",\"delta\":{\"message\":{\"role\":\"assistant\",\"content\":[],\"tool_plan\":\"\",\"tool_calls\":[],\"citations\":[]}}}\n\n",
    "event: tool-plan-delta\ndata: {\"type\":\"tool-plan-delta\",\"delta\":{\"message\":{\"tool_plan\":\"I look\"}}}\n\n",
    "event: content-start\ndata: {\"type\":\"content-start\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"type\":\"text\",\"text\":\"\"}}}}\n\n",
    "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"Gr\u{fc}ezi\"}}}}\n\n",
    "event: content-end\ndata: {\"type\":\"content-end\",\"index\":0}\n\n",
    "event: citation-start\ndata: {\"type\":\"citation-start\",\"index\":0,\"delta\":{\"message\":{\"citations\":{\"start\":1}}}}\n\n",
    "event: tool-call-start\ndata: {\"type\":\"tool-call-start\",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"id\":\"f_1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}}}}\n\n",
    "event: tool-call-delta\ndata: {\"type\":\"tool-call-delta\",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"function\":{\"arguments\":\"{\\\"a\\\":\\\"\\\\\"}}}}}\n\n",
    "event: tool-call-delta\ndata: {\"type\":\"tool-call-delta\",\"index\":0,\"delta\":{\"message\":{\"tool_calls\":{\"function\":{\"arguments\":\"n\\\"}\"}}}}}\n\n",
    "event: tool-call-end\ndata: {\"type\":\"tool-call-end\",\"index\":0}\n\n",
    "event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"TOOL_CALL\",\"usage\":{\"billed_units\":{\"input_tokens\":7,\"output_tokens\":5},\"tokens\":{\"input_tokens\":20.0,\"output_tokens\":5},\"cached_tokens\":8}}}\n\n",
    "data: [DONE]\n\n"
);

#[test]
fn a_request_of_everything_is_written() {
    let wanted = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/upstreams/cohere.json"));
    let body = checks::written(&Cohere, EVERYTHING, "command-a-03-2025", Delivery::Stream);
    assert_eq!(body.expect("it can be said"), wanted.trim_end());
}

#[test]
fn a_tool_that_must_be_called_is_the_only_one_offered() {
    let request = EVERYTHING.replace(
        r#""tool_choice": "auto""#,
        r#""tool_choice":{"type":"function","function":{"name":"clock"}}"#,
    );
    let body = checks::written(&Cohere, &request, "m", Delivery::Whole).expect("it can be said");
    assert!(body.contains(r#""tool_choice":"REQUIRED""#) && !body.contains("Tells the weather"), "{body}");
}

#[test]
fn a_stream_is_read_wherever_it_is_cut() {
    let heard = hear(&Cohere, STREAM.as_bytes(), "data: [DONE]\n\n".len());
    assert_eq!(
        (heard.id.as_str(), heard.text.as_str(), heard.thinking.as_str()),
        ("c-1", "Grüezi", "I look")
    );
    assert_eq!(heard.calls, [("f_1".to_owned(), "f".to_owned(), r#"{"a":"\n"}"#.to_owned())]);
    assert_eq!(heard.usage, Usage { input: 12, cached_read: 8, output: 5, ..Usage::default() });
    assert_eq!(heard.stop, Some(StopReason::ToolCalls));
}

#[test]
fn errors_end_a_stream_and_are_told_by_status() {
    let broken = STREAM.replace("\"TOOL_CALL\"", "\"ERROR\",\"error\":\"it broke\"");
    let ended = heard(&Cohere, [broken.as_bytes()]);
    assert!(matches!(ended.error, Some(ReadError::Failed(f)) if f.message == "it broke"));
    for (status, body, wanted) in [
        (401, r#"{"id":"1","message":"invalid api token"}"#, 401),
        (498, r#"{"message":"invalid token"}"#, 401),
        (429, r#"{"message":"You are using a Trial key, which is limited to 1000 API calls / month."}"#, 402),
        (429, r#"{"message":"too many requests"}"#, 429),
        (422, r#"{"message":"invalid request: messages must not be empty"}"#, 422),
        (404, r#"{"message":"model 'x' not found"}"#, 404),
        (503, "", 503),
    ] {
        assert_eq!(refusal(&Cohere, status, body).status, wanted, "{body}");
    }
}

#[test]
fn a_whole_answer_is_read() {
    let body =
        br#"{"id":"c-1","finish_reason":"TOOL_CALL","message":{"role":"assistant","tool_plan":"I look",
        "tool_calls":[{"id":"f_1","type":"function","function":{"name":"f","arguments":"{}"}}]},
        "usage":{"tokens":{"input_tokens":9,"output_tokens":2}}}"#;
    let reply = Cohere.read_whole(body).expect("an answer");
    let thought = Part::Thinking { text: "I look".into(), signature: None };
    let call = ToolCall { id: "f_1".into(), name: "f".into(), arguments: "{}".into() };
    assert_eq!(reply.parts, [thought, Part::ToolCall(call)]);
    assert_eq!((reply.usage.input, reply.usage.output), (9, 2));
    let failed = br#"{"id":"1","finish_reason":"TIMEOUT","message":{"role":"assistant"}}"#;
    assert!(matches!(Cohere.read_whole(failed), Err(ReadError::Failed(f)) if f.status == 504));
}
