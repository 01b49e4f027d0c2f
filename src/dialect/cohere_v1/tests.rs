//! A request of everything that is text, answers whole and in lines.

use penstock_actors::domain::{Delivery, Usage};

use super::*;
use crate::{
    conversation::{Part, StopReason},
    dialect::checks::{self, hear, heard, refusal, wordy},
};

const STREAM: &str = concat!(
    r#"{"is_finished":false,"event_type":"stream-start","generation_id":"g-1"}"#,
    "\n",
    r#"{"is_finished":false,"event_type":"search-results","documents":[{"id":"d1","url":"https://x/1","title":"One"}]}"#,
    "\n",
    r#"{"is_finished":false,"event_type":"text-generation","text":"Gr"}"#,
    "\n",
    r#"{"is_finished":false,"event_type":"text-generation","text":"\u00fcezi"}"#,
    "\n",
    r#"{"is_finished":false,"event_type":"citation-generation","citations":[{"start":0,"end":6,"text":"Gr\u00fcezi","document_ids":["d1"]}]}"#,
    "\n",
    r#"{"is_finished":false,"event_type":"tool-calls-chunk","text":"I look"}"#,
    "\n",
    r#"{"is_finished":false,"event_type":"tool-calls-chunk","tool_call_delta":{"name":"f","index":0}}"#,
    "\n",
    r#"{"is_finished":false,"event_type":"tool-calls-chunk","tool_call_delta":{"index":0,"parameters":"{\"a\":\"\\"}}"#,
    "\n",
    r#"{"is_finished":false,"event_type":"tool-calls-chunk","tool_call_delta":{"index":0,"parameters":"n\"}"}}"#,
    "\n",
    r#"{"is_finished":false,"event_type":"tool-calls-generation","text":"I look","tool_calls":[{"name":"f","parameters":{"a":"\n"}}]}"#,
    "\n",
    r#"{"is_finished":true,"event_type":"stream-end","finish_reason":"COMPLETE","response":{"text":"","generation_id":"g-1","meta":{"billed_units":{"input_tokens":9.0,"output_tokens":4.0},"tokens":{"input_tokens":70.0,"output_tokens":5.0}}}}"#,
    "\n"
);

#[test]
fn a_request_of_everything_that_is_text_is_written() {
    let wanted =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/upstreams/cohere-v1.json"));
    let body = checks::written(&CohereV1, &wordy(), "command-r-plus", Delivery::Stream);
    assert_eq!(body.expect("it can be said"), wanted.trim_end());
}

#[test]
fn results_that_come_last_stand_beside_an_empty_message() {
    let request = r#"{"model":"m","messages":[{"role":"user","content":"x"},
        {"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
        {"role":"tool","tool_call_id":"1","content":"{\"n\":2}"}],
        "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object",
            "properties":{"a":{"type":["integer","null"],"description":"A."},"b":{"enum":["x"]}},"required":["a"]}}}]}"#;
    let body = checks::written(&CohereV1, request, "m", Delivery::Whole).expect("it can be said");
    for part in [
        r#""message":"","stream":false,"chat_history":[{"role":"USER","message":"x"},{"role":"CHATBOT","message":"","tool_calls":[{"name":"f","parameters":{"a":1}}]}]"#,
        r#""tool_results":[{"call":{"name":"f","parameters":{"a":1}},"outputs":[{"n":2}]}]"#,
        r#""a":{"description":"A.","required":true,"type":"int"}"#,
        r#""b":{"description":"(JSON schema: {\"enum\":[\"x\"]})","required":false,"type":"str"}"#,
    ] {
        assert!(body.contains(part), "{part}: {body}");
    }
}

#[test]
fn what_it_cannot_say_is_named() {
    for (more, wanted) in [
        (r#""tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"required""#, "tool_choice"),
        (r#""n":2"#, "n"),
        (r#""logprobs":true"#, "logprobs"),
    ] {
        let request = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{more}}}"#);
        assert_eq!(checks::written(&CohereV1, &request, "m", Delivery::Whole), Err(wanted.to_owned()));
    }
    let last =
        r#"{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]}"#;
    assert_eq!(checks::written(&CohereV1, last, "m", Delivery::Whole), Err("messages[1]".to_owned()));
}

#[test]
fn a_stream_is_read_wherever_it_is_cut() {
    let heard = hear(&CohereV1, STREAM.as_bytes(), 1);
    assert_eq!(
        (heard.id.as_str(), heard.text.as_str(), heard.thinking.as_str()),
        ("g-1", "Gr\u{fc}ezi", "I look")
    );
    assert_eq!(heard.calls, [("call_0".to_owned(), "f".to_owned(), r#"{"a":"\n"}"#.to_owned())]);
    assert_eq!(heard.usage, Usage { input: 70, output: 5, ..Usage::default() });
    assert_eq!(heard.stop, Some(StopReason::ToolCalls));
}

#[test]
fn calls_that_come_at_once_are_heard_too() {
    let lines: Vec<_> = STREAM.lines().filter(|line| !line.contains("tool-calls-chunk")).collect();
    let heard = hear(&CohereV1, (lines.join("\n") + "\n").as_bytes(), 1);
    assert_eq!(heard.calls, [("call_0".to_owned(), "f".to_owned(), r#"{"a":"\n"}"#.to_owned())]);
    assert_eq!(heard.thinking, "I look");
}

#[test]
fn errors_are_told_in_a_stream_and_by_status() {
    let start = STREAM.lines().next().expect("a line");
    for (line, wanted) in [
        (r#"{"event_type":"stream-end","finish_reason":"ERROR"}"#, 502),
        (r#"{"message":"too many tokens"}"#, 502),
    ] {
        let ended = heard(&CohereV1, [format!("{start}\n{line}\n").as_bytes()]);
        assert!(matches!(ended.error, Some(ReadError::Failed(f)) if f.status == wanted), "{line}");
    }
    for (status, message, wanted) in [
        (400, "invalid request", 400),
        (401, "invalid api token", 401),
        (429, "You are using a Trial key, which is limited to 1000 API calls / month.", 402),
        (429, "rate limit exceeded", 429),
        (500, "internal server error", 500),
    ] {
        let refused = refusal(&CohereV1, status, &format!(r#"{{"message":"{message}"}}"#));
        assert_eq!((refused.status, refused.message.as_str()), (wanted, message));
    }
}

#[test]
fn a_whole_answer_is_read() {
    let body = br#"{"text":"Hi","generation_id":"g","finish_reason":"MAX_TOKENS","meta":{"billed_units":{"input_tokens":3,"output_tokens":-1}}}"#;
    let reply = CohereV1.read_whole(body).expect("an answer");
    assert_eq!((reply.parts, reply.stop), (vec![Part::text("Hi")], StopReason::Length));
    assert_eq!(reply.usage, Usage { input: 3, ..Usage::default() });
    for garbage in ["", "{}", "[]", r#"{"text":1}"#] {
        assert!(matches!(CohereV1.read_whole(garbage.as_bytes()), Err(ReadError::Garbage(_))), "{garbage}");
    }
}
