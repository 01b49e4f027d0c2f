//! Questions, answers with documents, and errors.

use penstock_actors::domain::Usage;

use super::*;
use crate::{
    conversation::Part,
    dialect::{
        checks::{self, hear, heard, refusal},
        openai_chat,
    },
};

const STREAM: &str = concat!(
    "data: {\"content\":\"Gr\u{fc}\",\"finish\":false,\"model\":\"m\",\"documents\":[{\"title\":\"On [x]\",\"url\":\"https://x/1\"}]}\n\n",
    "data: {\"content\":\"ezi\",\"finish\":false,\"model\":\"m\",\"documents\":[]}\n\n",
    "data: {\"content\":\"\",\"finish\":true,\"model\":\"m\",\"documents\":[]}\n\n"
);

#[test]
fn the_last_question_is_asked_of_the_channels_library() {
    let request = r#"{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},
        {"role":"assistant","content":"b"},{"role":"user","content":"c"}]}"#;
    let conversation = openai_chat::parse_request(request.as_bytes()).expect("a request");
    let params = [("library_id".into(), "lib-1".into())];
    let wanted = Wanted { model: "gpt", delivery: Delivery::Stream, params: &params };
    let written = Library.write(&conversation, &wanted).expect("it can be said");
    assert_eq!(&written.body[..], br#"{"model":"gpt","query":"c","libraryId":"lib-1","stream":true}"#);
    let mute = r#"{"model":"m","messages":[{"role":"assistant","content":"b"}]}"#;
    assert_eq!(checks::written(&Library, mute, "m", Delivery::Whole), Err("messages".to_owned()));
}

#[test]
fn a_stream_ends_with_its_documents() {
    let heard = hear(&Library, STREAM.as_bytes(), 0);
    assert_eq!(heard.text, "Gr\u{fc}ezi\n\n1. [On \\[x\\]](https://x/1)");
    assert_eq!((heard.usage, heard.stop), (Usage::default(), Some(StopReason::End)));
}

#[test]
fn errors_come_with_a_good_status_too() {
    let body = r#"{"success":false,"errCode":429,"message":"slow"}"#;
    assert!(matches!(Library.read_whole(body.as_bytes()), Err(ReadError::Failed(f)) if f.status == 429));
    assert!(matches!(
        heard(&Library, [format!("data: {body}\n\n").as_bytes()]).error,
        Some(ReadError::Failed(_))
    ));
    assert_eq!(refusal(&Library, 401, r#"{"success":false,"errCode":401,"message":"no"}"#).status, 401);
    assert_eq!(refusal(&Library, 500, r#"{"success":false,"errCode":7,"message":"no"}"#).status, 500);
    assert_eq!(refusal(&Library, 503, "<html>").status, 503);
}

#[test]
fn a_whole_answer_is_read() {
    let body =
        br#"{"success":true,"answer":"Hi","documents":[{"title":"","url":"https://x/2"}],"errCode":0}"#;
    let reply = Library.read_whole(body).expect("an answer");
    let [Part::Text { text, citations, .. }] = &reply.parts[..] else { panic!("{:?}", reply.parts) };
    assert_eq!(
        (text.as_str(), citations[0].url.as_str()),
        ("Hi\n\n1. [https://x/2](https://x/2)", "https://x/2")
    );
    // "Hi", a blank line and "1. " stand before the link.
    assert_eq!(citations[0].place, Some((7, 33)));
    for garbage in ["", "{}", "[]", r#"{"success":true}"#] {
        assert!(matches!(Library.read_whole(garbage.as_bytes()), Err(ReadError::Garbage(_))), "{garbage}");
    }
}
