//! Requests, answers in their envelope, streams of both kinds, and errors.

use penstock_actors::domain::{Delivery, Usage};

use super::*;
use crate::{
    conversation::{Part, StopReason, ToolCall},
    dialect::checks::{self, EVERYTHING, hear, heard, refusal},
};

const STREAM: &str = concat!(
    "data: {\"response\":\"Gr\u{fc}\",\"p\":\"abc\"}\n\n",
    "data: {\"response\":\"ezi\"}\n\n",
    "data: {\"response\":\"\",\"tool_calls\":[{\"name\":\"f\",\"arguments\":{\"a\":\"\\n\"}}]}\n\n",
    "data: {\"response\":\"\",\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":5,\"total_tokens\":25,\"prompt_tokens_details\":{\"cached_tokens\":8}}}\n\n",
    "data: [DONE]\n\n"
);
const CHOICES: &str = concat!(
    "data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"reasoning_content\":\"hm\"}}]}\n\n",
    "data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n",
    "data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"t1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n",
    "data: {\"id\":\"c-1\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n",
    "data: {\"id\":\"c-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":3}}\n\n",
    "data: [DONE]\n\n"
);

#[test]
fn a_request_of_everything_is_written() {
    let wanted =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/upstreams/cloudflare.json"));
    let body = checks::written(&Cloudflare, EVERYTHING, "@cf/meta/llama-4", Delivery::Stream);
    assert_eq!(body.expect("it can be said"), wanted.trim_end());
}

#[test]
fn a_stream_is_read_wherever_it_is_cut() {
    let heard = hear(&Cloudflare, STREAM.as_bytes(), 0);
    assert_eq!(heard.text, "Gr\u{fc}ezi");
    assert_eq!(heard.calls, [("call_0".to_owned(), "f".to_owned(), r#"{"a":"\n"}"#.to_owned())]);
    assert_eq!(heard.usage, Usage { input: 12, cached_read: 8, output: 5, ..Usage::default() });
    assert_eq!(heard.stop, Some(StopReason::ToolCalls));
    let heard = hear(&Cloudflare, CHOICES.as_bytes(), 0);
    assert_eq!((heard.id.as_str(), heard.text.as_str(), heard.thinking.as_str()), ("c-1", "Hi", "hm"));
    assert_eq!(heard.calls, [("t1".to_owned(), "f".to_owned(), "{}".to_owned())]);
    assert_eq!((heard.usage.output, heard.stop), (3, Some(StopReason::ToolCalls)));
}

#[test]
fn errors_are_told_by_code_wherever_they_stand() {
    let body = |code: i64| {
        format!(
            r#"{{"result":null,"success":false,"errors":[{{"code":{code},"message":"no"}}],"messages":[]}}"#
        )
    };
    for (status, code, wanted) in [
        (400, 5004, 400),
        (400, 5007, 404),
        (401, 10_000, 401),
        (403, 5018, 403),
        (429, 3036, 402),
        (429, 3040, 503),
        (429, 971, 429),
        (500, 77, 500),
    ] {
        let refused = refusal(&Cloudflare, status, &body(code));
        assert_eq!((refused.status, refused.code), (wanted, code.to_string()));
    }
    assert_eq!(refusal(&Cloudflare, 502, "<html>").status, 502);
    assert!(
        matches!(Cloudflare.read_whole(body(3040).as_bytes()), Err(ReadError::Failed(f)) if f.status == 503)
    );
    let ended =
        heard(&Cloudflare, [b"data: {\"errors\":[{\"code\":3036,\"message\":\"no\"}]}\n\n".as_slice()]);
    assert!(matches!(ended.error, Some(ReadError::Failed(f)) if f.status == 402));
}

#[test]
fn a_whole_answer_is_read_in_both_forms() {
    let body = br#"{"result":{"response":{"n":1},"usage":{"prompt_tokens":9,"completion_tokens":2}},"success":true,"errors":[],"messages":[]}"#;
    let reply = Cloudflare.read_whole(body).expect("an answer");
    assert_eq!((reply.parts, reply.stop), (vec![Part::text(r#"{"n":1}"#)], StopReason::End));
    let body = br#"{"result":{"id":"c-1","choices":[{"message":{"content":null,"reasoning":"hm","tool_calls":[{"id":"t1",
        "function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]},"success":true,"errors":[],"messages":[]}"#;
    let reply = Cloudflare.read_whole(body).expect("an answer");
    let thought = Part::Thinking { text: "hm".into(), signature: None };
    let call = ToolCall { id: "t1".into(), name: "f".into(), arguments: "{}".into() };
    assert_eq!(reply.parts, [thought, Part::ToolCall(call)]);
    for garbage in ["", "{}", "[]", r#"{"result":{},"success":true,"errors":[]}"#] {
        assert!(matches!(Cloudflare.read_whole(garbage.as_bytes()), Err(ReadError::Garbage(_))), "{garbage}");
    }
}
