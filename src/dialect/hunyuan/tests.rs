//! Hunyuan's requests, streams and errors.

use penstock_actors::domain::{Delivery, Usage};

use super::*;
use crate::{
    conversation::{Part, ToolCall},
    dialect::checks::{self, EVERYTHING, hear, heard, refusal},
};

const STREAM: &str = "data: {\"Note\":\"n\",\"Choices\":[{\"Delta\":{\"Role\":\"assistant\",\"Content\":\"\",\"ReasoningContent\":\"I look\"},\"FinishReason\":\"\"}],\"Created\":1,\"Id\":\"h-1\",\"Usage\":{\"PromptTokens\":20,\"CompletionTokens\":1,\"TotalTokens\":21}}\n\n\
data: {\"Choices\":[{\"Delta\":{\"Role\":\"assistant\",\"Content\":\"Gr\u{fc}ezi\"},\"FinishReason\":\"\"}],\"Id\":\"h-1\"}\n\n\
data: {\"Choices\":[{\"Delta\":{\"ToolCalls\":[{\"Id\":\"f_1\",\"Type\":\"function\",\"Function\":{\"Name\":\"f\",\"Arguments\":\"\"},\"Index\":0}]},\"FinishReason\":\"\"}],\"Id\":\"h-1\"}\n\n\
data: {\"Choices\":[{\"Delta\":{\"ToolCalls\":[{\"Function\":{\"Arguments\":\"{\\\"a\\\":\\\"\\\\\"},\"Index\":0}]},\"FinishReason\":\"\"}],\"Id\":\"h-1\"}\n\n\
data: {\"Choices\":[{\"Delta\":{\"ToolCalls\":[{\"Function\":{\"Arguments\":\"n\\\"}\"},\"Index\":0}]},\"FinishReason\":\"\"}],\"Id\":\"h-1\"}\n\n\
data: {\"Choices\":[{\"Delta\":{\"Content\":\"\"},\"FinishReason\":\"tool_calls\"}],\"Id\":\"h-1\",\"Usage\":{\"PromptTokens\":20,\"CompletionTokens\":5,\"TotalTokens\":25,\"PromptTokensDetails\":{\"CachedTokens\":8}}}\n\n";

#[test]
fn a_request_says_everything() {
    let wanted = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/upstreams/hunyuan.json"));
    let body = checks::written(&Hunyuan, EVERYTHING, "hunyuan-turbos-vision", Delivery::Stream);
    assert_eq!(body.expect("it can be said"), wanted.trim_end());
}

#[test]
fn one_tool_can_be_forced_and_some_tool_only_where_there_is_one() {
    let forced = |choice: &str| {
        let request = EVERYTHING.replace(r#""tool_choice": "auto""#, &format!(r#""tool_choice":{choice}"#));
        checks::written(&Hunyuan, &request, "m", Delivery::Whole)
    };
    let body = forced(r#"{"type":"function","function":{"name":"clock"}}"#).expect("it can be said");
    assert!(
        body.contains(r#""ToolChoice":"custom","CustomTool":{"Type":"function","Function":{"Name":"clock""#)
    );
    assert_eq!(forced(r#""required""#), Err("tool_choice".to_owned()));
}

#[test]
fn a_stream_is_read_wherever_it_is_cut() {
    let heard = hear(&Hunyuan, STREAM.as_bytes(), 0);
    assert_eq!(
        (heard.id.as_str(), heard.text.as_str(), heard.thinking.as_str()),
        ("h-1", "Gr\u{fc}ezi", "I look")
    );
    assert_eq!(heard.calls, [("f_1".to_owned(), "f".to_owned(), r#"{"a":"\n"}"#.to_owned())]);
    assert_eq!(heard.usage, Usage { input: 12, cached_read: 8, output: 5, ..Usage::default() });
    assert_eq!(heard.stop, Some(StopReason::ToolCalls));
}

#[test]
fn errors_end_a_stream_and_are_told_by_code() {
    let broken = STREAM.replace(
        "\"FinishReason\":\"tool_calls\"}]",
        "\"FinishReason\":\"\"}],\"ErrorMsg\":{\"Msg\":\"it broke\",\"Code\":4001}",
    );
    let ended = heard(&Hunyuan, [broken.as_bytes()]);
    assert!(matches!(ended.error, Some(ReadError::Failed(f)) if f.message == "it broke" && f.code == "4001"));
    for (code, wanted) in [
        ("AuthFailure.SignatureFailure", 401),
        ("AuthFailure.UnauthorizedOperation", 403),
        ("RequestLimitExceeded", 429),
        ("FailedOperation.ServiceStopArrears", 402),
        ("FailedOperation.EngineRequestTimeout", 504),
        ("FailedOperation.EngineServerError", 502),
        ("InvalidParameterValue.Model", 404),
        ("InvalidParameter", 400),
        ("OperationDenied.TextIllegalDetected", 400),
        ("Unheard.Of", 502),
    ] {
        let body =
            format!(r#"{{"Response":{{"Error":{{"Code":"{code}","Message":"no"}},"RequestId":"r"}}}}"#);
        let Err(ReadError::Failed(failure)) = Hunyuan.read_whole(body.as_bytes()) else { panic!("{code}") };
        assert_eq!((failure.status, failure.code.as_str()), (wanted, code));
        let refused = refusal(&Hunyuan, 400, &body);
        let told = if code == "Unheard.Of" { 400 } else { wanted };
        assert_eq!((refused.status, refused.message.as_str()), (told, "no"), "{code}");
    }
    assert_eq!(refusal(&Hunyuan, 503, "<html>").status, 503);
}

#[test]
fn a_whole_answer_is_read() {
    let body = br#"{"Response":{"RequestId":"r","Id":"h-1","Choices":[{"Index":0,"FinishReason":"tool_calls","Message":
        {"Role":"assistant","Content":"so","ReasoningContent":"hm","ToolCalls":[{"Id":"f_1","Type":"function","Index":0,
        "Function":{"Name":"f","Arguments":"{}"}}]}}],"Usage":{"PromptTokens":9,"CompletionTokens":2,"TotalTokens":11}}}"#;
    let reply = Hunyuan.read_whole(body).expect("an answer");
    let thought = Part::Thinking { text: "hm".into(), signature: None };
    let call = ToolCall { id: "f_1".into(), name: "f".into(), arguments: "{}".into() };
    assert_eq!(reply.parts, [thought, Part::text("so"), Part::ToolCall(call)]);
    assert_eq!((reply.usage.input, reply.usage.output, reply.stop), (9, 2, StopReason::ToolCalls));
    for garbage in ["", "{}", "[]", r#"{"Response":{}}"#, r#"{"Response":{"Choices":[]}}"#] {
        assert!(matches!(Hunyuan.read_whole(garbage.as_bytes()), Err(ReadError::Garbage(_))), "{garbage}");
    }
}
