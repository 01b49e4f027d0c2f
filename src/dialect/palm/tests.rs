//! Requests, answers and errors.

use penstock_actors::domain::{Delivery, Usage};

use super::*;
use crate::{
    conversation::Part,
    dialect::checks::{self, refusal},
};

const ASKED: &str = r#"{"model":"m","temperature":1.5,"top_p":0.5,"max_tokens":9,"messages":[
    {"role":"system","content":"Be brief."},{"role":"user","content":"a"},{"role":"assistant","content":"b"},
    {"role":"user","content":"c"}]}"#;

#[test]
fn two_authors_speak_in_turn() {
    let body = checks::written(&Palm, ASKED, "chat-bison-001", Delivery::Stream).expect("it can be said");
    assert_eq!(
        body,
        r#"{"prompt":{"context":"Be brief.","messages":[{"author":"0","content":"a"},{"author":"1","content":"b"},{"author":"0","content":"c"}]},"temperature":1.0,"topP":0.5}"#
    );
    let shaped = ASKED.replace(r#""max_tokens":9"#, r#""response_format":{"type":"json_object"}"#);
    assert_eq!(checks::written(&Palm, &shaped, "m", Delivery::Whole), Err("response_format".to_owned()));
}

#[test]
fn an_answer_is_read_and_counts_nothing() {
    let body = br#"{"candidates":[{"author":"1","content":"Hi","citationMetadata":{"citationSources":[
        {"startIndex":0,"endIndex":2,"uri":"https://x/1","license":""}]}}],"messages":[{"author":"0","content":"a"}]}"#;
    let reply = Palm.read_whole(body).expect("an answer");
    let [Part::Text { text, citations, .. }] = &reply.parts[..] else { panic!("{:?}", reply.parts) };
    assert_eq!((text.as_str(), citations[0].place), ("Hi", Some((0, 2))));
    assert_eq!((reply.usage, reply.stop), (Usage::default(), StopReason::End));
    let blocked = br#"{"messages":[{"author":"0","content":"a"}],"filters":[{"reason":"SAFETY"}]}"#;
    let reply = Palm.read_whole(blocked).expect("an answer");
    assert_eq!((reply.parts.len(), reply.stop), (0, StopReason::Refused));
    for garbage in ["", "{}", "[]", r#"{"candidates":[{}]}"#] {
        assert!(matches!(Palm.read_whole(garbage.as_bytes()), Err(ReadError::Garbage(_))), "{garbage}");
    }
}

#[test]
fn errors_are_googles() {
    let body = |code: u16, status: &str| {
        format!(r#"{{"error":{{"code":{code},"message":"no","status":"{status}"}}}}"#)
    };
    for (code, word) in [(400, "INVALID_ARGUMENT"), (429, "RESOURCE_EXHAUSTED"), (503, "UNAVAILABLE")] {
        assert_eq!(refusal(&Palm, code, &body(code, word)).status, code);
    }
    let inside = Palm.read_whole(body(429, "RESOURCE_EXHAUSTED").as_bytes());
    assert!(matches!(inside, Err(ReadError::Failed(f)) if f.status == 429));
}
