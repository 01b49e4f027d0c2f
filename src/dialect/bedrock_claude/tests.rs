//! Anthropic's fixtures inside AWS' event stream.

use penstock_actors::domain::Delivery;

use super::*;
use crate::dialect::checks::{self, hear, heard};

const TEXT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/anthropic/tools.sse"));

fn message(headers: &[(&str, &str)], payload: String) -> Vec<u8> {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Message { headers, payload: payload.into() }.encode().to_vec()
}

fn chunk(frame: &str) -> Vec<u8> {
    let data = crate::wire::sse::parse(frame.as_bytes()).data.unwrap_or_default().into_owned();
    let payload = format!(r#"{{"bytes":"{}","p":"abcdef"}}"#, STANDARD.encode(data));
    message(&[(":event-type", "chunk"), (":message-type", "event")], payload)
}

#[test]
fn a_stream_says_what_anthropics_own_says() {
    let bytes: Vec<u8> = TEXT.split_inclusive("\n\n").flat_map(chunk).collect();
    let whole = heard(&BedrockClaude, [&bytes[..]]);
    assert_eq!(whole, heard(&AnthropicMessages, [TEXT.as_bytes()]));
    assert!(whole.stop.is_some() && !whole.calls.is_empty());
    for cut in 0..=bytes.len() {
        assert_eq!(heard(&BedrockClaude, [&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        assert_eq!(
            heard(&BedrockClaude, [&bytes[..cut]]).stop.is_some(),
            cut == bytes.len(),
            "ended at {cut}"
        );
    }
}

#[test]
fn exceptions_and_broken_chunks_end_a_stream() {
    let exception = [(":exception-type", "modelStreamErrorException"), (":message-type", "exception")];
    let ended = hear(&BedrockClaude, &message(&exception, r#"{"message":"no"}"#.into()), 0);
    assert!(matches!(ended.error, Some(ReadError::Failed(f)) if f.message == "no"));
    for payload in ["", "{}", r#"{"bytes":"*"}"#, r#"{"bytes":"bm8="}"#] {
        let bytes = message(&[(":event-type", "chunk"), (":message-type", "event")], payload.into());
        assert!(
            matches!(heard(&BedrockClaude, [&bytes[..]]).error, Some(ReadError::Garbage(_))),
            "{payload}"
        );
    }
}

#[test]
fn model_and_delivery_stand_in_the_path_alone() {
    let request = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}"#;
    let body = checks::written(&BedrockClaude, request, "anthropic.claude-opus-4-6-v1", Delivery::Stream);
    assert_eq!(
        body.expect("it can be said"),
        r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":4096,"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}"#
    );
}
