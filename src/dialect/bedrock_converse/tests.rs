//! A request of everything, answers whole and streamed.

use penstock_actors::domain::{Delivery, Usage};

use super::*;
use crate::{
    conversation::{Part, ToolCall},
    dialect::checks::{self, EVERYTHING, hear, heard},
    wire::aws_events::Message,
};

fn message(kind: (&str, &str), payload: &str) -> Vec<u8> {
    let kind_of = if kind.0 == ":event-type" { "event" } else { "exception" };
    let headers = [kind, (":content-type", "application/json"), (":message-type", kind_of)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Message { headers: headers.into(), payload: payload.to_owned().into() }.encode().to_vec()
}

fn stream(events: &[(&str, &str)]) -> Vec<u8> {
    events.iter().flat_map(|(kind, payload)| message((":event-type", kind), payload)).collect()
}

const TALK: &[(&str, &str)] = &[
    ("messageStart", r#"{"p":"abc","role":"assistant"}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}},"p":"a"}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"sig"}}}"#),
    ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"text":"Gr\u00fc"}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"text":"ezi"}}"#),
    ("contentBlockStop", r#"{"contentBlockIndex":1}"#),
    ("contentBlockStart", r#"{"contentBlockIndex":2,"start":{"toolUse":{"toolUseId":"t1","name":"f"}}}"#),
    ("contentBlockStart", r#"{"contentBlockIndex":3,"start":{"toolUse":{"toolUseId":"t2","name":"g"}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"{\"b\":\"\\"}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"toolUse":{"input":"{}"}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"toolUse":{"input":"n\"}"}}}"#),
    ("newEvent", r#"[]"#),
    ("messageStop", r#"{"stopReason":"tool_use"}"#),
    (
        "metadata",
        r#"{"metrics":{"latencyMs":9},"usage":{"inputTokens":10,"outputTokens":5,"totalTokens":22,"cacheReadInputTokens":4,"cacheWriteInputTokens":3}}"#,
    ),
];

#[test]
fn a_request_of_everything_is_written() {
    let wanted =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/upstreams/bedrock-converse.json"));
    let body = checks::written(&BedrockConverse, EVERYTHING, "us.amazon.nova-pro-v1:0", Delivery::Stream);
    assert_eq!(body.expect("it can be said"), wanted.trim_end());
}

#[test]
fn a_claude_is_asked_to_reason_in_its_own_words() {
    let request = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":0.5,"top_k":3,
        "reasoning_effort":"high","max_tokens":4096,"guardrailConfig":{"guardrailIdentifier":"g"},"anthropic_beta":["b"]}"#;
    let body = checks::written(
        &BedrockConverse,
        request,
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        Delivery::Whole,
    );
    assert_eq!(
        body.expect("it can be said"),
        r#"{"messages":[{"role":"user","content":[{"text":"x"}]}],"inferenceConfig":{"maxTokens":4096},"guardrailConfig":{"guardrailIdentifier":"g"},"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":3276},"anthropic_beta":["b"]}}"#
    );
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    for (more, param) in [
        (r#""n":2"#, "n"),
        (r#""logprobs":true"#, "logprobs"),
        (r#""response_format":{"type":"json_object"}"#, "response_format.type"),
        (r#""logit_bias":{"1":2}"#, "logit_bias"),
        (r#""messages":[{"role":"system","content":"x"}]"#, "messages"),
        (
            r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://h/a.png"}}]}]"#,
            "messages[0].content",
        ),
    ] {
        let messages =
            if more.contains("messages") { "" } else { r#","messages":[{"role":"user","content":"x"}]"# };
        let request = format!(r#"{{"model":"m",{more}{messages}}}"#);
        let refused = checks::written(&BedrockConverse, &request, "m", Delivery::Whole).expect_err(more);
        assert_eq!(refused, param);
    }
}

#[test]
fn a_stream_is_read_wherever_it_is_cut() {
    let bytes = stream(TALK);
    // The usage comes after the stop reason: without it the answer is whole, and its usage missing.
    let last = message((":event-type", "metadata"), TALK[TALK.len() - 1].1).len();
    let whole = heard(&BedrockConverse, [&bytes[..]]);
    assert_eq!((whole.text.as_str(), whole.thinking.as_str()), ("Grüezi", "hm"));
    assert_eq!(whole.proofs, ["sig"]);
    let call = |id: &str, name: &str, arguments: &str| (id.to_owned(), name.to_owned(), arguments.to_owned());
    assert_eq!(whole.calls, [call("t1", "f", "{}"), call("t2", "g", r#"{"b":"\n"}"#)]);
    assert_eq!(
        whole.usage,
        Usage { input: 10, cached_read: 4, cache_write_5m: 3, output: 5, ..Usage::default() }
    );
    assert_eq!(whole.stop, Some(StopReason::ToolCalls));
    for cut in 0..=bytes.len() {
        assert_eq!(heard(&BedrockConverse, [&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        let broken = heard(&BedrockConverse, [&bytes[..cut]]);
        let complete = cut == bytes.len() || cut == bytes.len() - last;
        assert_eq!(broken.stop.is_some(), complete, "ended at {cut}");
    }
}

#[test]
fn exceptions_and_disorder_end_a_stream() {
    let mut bytes = stream(&TALK[..5]);
    bytes.extend(message((":exception-type", "throttlingException"), r#"{"message":"slow"}"#));
    let ended = hear(&BedrockConverse, &bytes, 0);
    assert!(matches!(ended.error, Some(ReadError::Failed(f)) if f.status == 429 && f.message == "slow"));
    for wrong in [&[TALK[4]][..], &[TALK[0], TALK[0]], &[TALK[0], TALK[9]], &[TALK[0], TALK[13], TALK[4]]] {
        let ended = heard(&BedrockConverse, [&stream(wrong)[..]]);
        assert!(matches!(ended.error, Some(ReadError::Garbage(_))), "{wrong:?}");
    }
}

#[test]
fn a_whole_answer_is_read() {
    let body = br#"{"metrics":{"latencyMs":1},"output":{"message":{"role":"assistant","content":[
        {"reasoningContent":{"reasoningText":{"text":"hm","signature":"s"}}},{"text":"Hi"},{"newBlock":{}},
        {"toolUse":{"toolUseId":"t","name":"f","input":{"z":1.50}}}]}},"stopReason":"tool_use",
        "usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5}}"#;
    let reply = BedrockConverse.read_whole(body).expect("an answer");
    let call = ToolCall { id: "t".into(), name: "f".into(), arguments: r#"{"z":1.50}"#.into() };
    let thought = Part::Thinking { text: "hm".into(), signature: Some("s".into()) };
    assert_eq!(reply.parts, [thought, Part::text("Hi"), Part::ToolCall(call)]);
    assert_eq!((reply.usage.input, reply.usage.output, reply.stop), (3, 2, StopReason::ToolCalls));
    assert!(matches!(BedrockConverse.read_whole(b"{}"), Err(ReadError::Garbage(_))));
}
