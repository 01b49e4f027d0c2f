//! Wenxin's requests, streams and errors.

use penstock_actors::domain::{Delivery, Usage};

use super::*;
use crate::{
    conversation::{Part, StopReason},
    dialect::checks::{self, hear, heard, refusal, wordy},
};

const STREAM: &str = concat!(
    "data: {\"id\":\"as-1\",\"object\":\"chat.completion\",\"created\":1,\"sentence_id\":0,\"is_end\":false,\"is_truncated\":false,\"result\":\"Gr\u{fc}\",\"need_clear_history\":false,\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":1,\"total_tokens\":21}}\n\n",
    "data: {\"id\":\"as-1\",\"sentence_id\":1,\"is_end\":false,\"result\":\"ezi\"}\n\n",
    "data: {\"id\":\"as-1\",\"sentence_id\":2,\"is_end\":true,\"result\":\"\",\"finish_reason\":\"function_call\",\"function_call\":{\"name\":\"f\",\"thoughts\":\"I look\",\"arguments\":\"{\\\"a\\\":\\\"\\\\n\\\"}\"},\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":5,\"total_tokens\":25}}\n\n"
);

#[test]
fn a_request_of_everything_that_is_text_is_written() {
    let wanted = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/upstreams/wenxin.json"));
    let body = checks::written(&Wenxin, &wordy(), "completions_pro", Delivery::Stream);
    assert_eq!(body.expect("it can be said"), wanted.trim_end());
}

#[test]
fn a_stream_is_read_wherever_it_is_cut() {
    let heard = hear(&Wenxin, STREAM.as_bytes(), 0);
    assert_eq!(
        (heard.id.as_str(), heard.text.as_str(), heard.thinking.as_str()),
        ("as-1", "Gr\u{fc}ezi", "I look")
    );
    assert_eq!(heard.calls, [("call_0".to_owned(), "f".to_owned(), r#"{"a":"\n"}"#.to_owned())]);
    assert_eq!(heard.usage, Usage { input: 20, output: 5, ..Usage::default() });
    assert_eq!(heard.stop, Some(StopReason::ToolCalls));
}

#[test]
fn errors_come_with_a_good_status_and_are_told_by_code() {
    for (code, wanted) in [
        (1, 502),
        (3, 404),
        (6, 403),
        (17, 402),
        (18, 429),
        (110, 401),
        (111, 401),
        (336_003, 400),
        (336_007, 400),
        (336_100, 503),
        (336_501, 429),
        (999, 502),
    ] {
        let body = format!(r#"{{"error_code":{code},"error_msg":"no","id":"as"}}"#);
        let read = Wenxin.read_whole(body.as_bytes());
        assert!(
            matches!(&read, Err(ReadError::Failed(f)) if f.status == wanted && f.code == code.to_string()),
            "{read:?}"
        );
        let ended = heard(&Wenxin, [format!("data: {body}\n\n").as_bytes()]);
        assert!(matches!(ended.error, Some(ReadError::Failed(f)) if f.status == wanted), "{code}");
    }
    assert_eq!(refusal(&Wenxin, 400, r#"{"error_code":336002,"error_msg":"no"}"#).status, 400);
    assert_eq!(refusal(&Wenxin, 503, "<html>").status, 503);
}

#[test]
fn a_whole_answer_is_read() {
    let body = br#"{"id":"as-1","object":"chat.completion","result":"Hi","is_truncated":true,"need_clear_history":false,
        "search_info":{"search_results":[{"index":1,"url":"https://x/1","title":"One"}]},
        "usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#;
    let reply = Wenxin.read_whole(body).expect("an answer");
    assert_eq!((reply.usage.input, reply.usage.output, reply.stop), (9, 2, StopReason::Length));
    let [Part::Text { text, citations, .. }] = &reply.parts[..] else { panic!("{:?}", reply.parts) };
    assert_eq!((text.as_str(), citations[0].url.as_str()), ("Hi", "https://x/1"));
    let banned = br#"{"id":"a","result":"no","need_clear_history":true,"ban_round":-1}"#;
    assert_eq!(Wenxin.read_whole(banned).expect("an answer").stop, StopReason::Refused);
    for garbage in ["", "{}", "[]", r#"{"result":1}"#] {
        assert!(matches!(Wenxin.read_whole(garbage.as_bytes()), Err(ReadError::Garbage(_))), "{garbage}");
    }
}
