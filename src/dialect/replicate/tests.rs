//! Replicate's requests, steps, streams and errors.

use super::*;
use crate::{
    conversation::StopReason,
    dialect::checks::{self, hear, heard, refusal},
};

const STREAM: &str = "event: output\nid: 1:0\ndata: Gr\u{fc}\n\n: hi\n\nevent: logs\nid: 2:0\ndata: loading\n\n\
event: output\nid: 3:0\ndata: ezi\ndata:  \"so\"\n\nevent: done\nid: 4:0\ndata: {}\n\n";

#[test]
fn turns_become_a_prompt_and_sampling_inputs() {
    let request = r#"{"model":"m","temperature":0.5,"max_tokens":9,"stop":["A","B"],"seed":7,"system_prompt":"x",
        "messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"hi"}]}"#;
    let written = |delivery| checks::written(&Replicate, request, "a/b", delivery).expect("it can be said");
    let input = r#""input":{"prompt":"system: Be brief.\nuser: hi\n","max_tokens":9,"temperature":0.5,"seed":7,"stop_sequences":"A,B","system_prompt":"x"}"#;
    assert_eq!(written(Delivery::Whole), format!("{{{input}}}"));
    assert_eq!(written(Delivery::Stream), format!("{{{input},\"stream\":true}}"));
    let headers = |delivery| {
        let conversation = Conversation::default();
        Replicate
            .write(&conversation, &Wanted { model: "a/b", delivery, params: &[] })
            .expect("it can be said")
            .headers
    };
    assert_eq!(headers(Delivery::Whole), [("prefer", "wait".to_owned())]);
    assert!(headers(Delivery::Stream).is_empty());
    let tools = request.replace(r#""seed":7"#, r#""tools":[{"type":"function","function":{"name":"f"}}]"#);
    assert_eq!(checks::written(&Replicate, &tools, "a/b", Delivery::Whole), Err("tools".to_owned()));
}

fn prediction(status: &str, urls: &str) -> String {
    format!(r#"{{"id":"p","status":"{status}","output":null,"error":null,"urls":{{{urls}}}}}"#)
}

#[test]
fn a_step_says_where_the_next_is() {
    let (get, stream, cancel) = (r#""get":"G""#, r#""stream":"S""#, r#""cancel":"C""#);
    let all = format!("{get},{stream},{cancel}");
    let ask = Then::Ask { at: "G".into(), after: PAUSE };
    for (status, wanted, urls, then) in [
        ("starting", Delivery::Stream, &*all, Then::Stream("S".into())),
        ("succeeded", Delivery::Stream, &all, Then::Stream("S".into())),
        ("succeeded", Delivery::Stream, get, Then::Answered),
        ("processing", Delivery::Stream, get, ask.clone()),
        ("processing", Delivery::Whole, &all, ask.clone()),
        ("starting", Delivery::Whole, get, ask),
        ("succeeded", Delivery::Whole, &all, Then::Answered),
        ("failed", Delivery::Stream, &all, Then::Answered),
        ("canceled", Delivery::Whole, "", Then::Answered),
    ] {
        let step = Replicate.after(wanted, prediction(status, urls).as_bytes()).expect("a step");
        assert_eq!(step.then, then, "{status} {urls}");
        assert_eq!(step.cancel.is_some(), urls.contains('C') && then != Then::Answered, "{status} {urls}");
    }
    for garbage in ["", "{}", "[]", r#"{"status":"odd"}"#, r#"{"status":"starting","urls":{}}"#] {
        assert!(matches!(Replicate.after(Delivery::Whole, garbage.as_bytes()), Err(ReadError::Garbage(_))));
    }
}

#[test]
fn a_stream_is_read_wherever_it_is_cut() {
    let heard = hear(&Replicate, STREAM.as_bytes(), 0);
    assert_eq!((heard.text.as_str(), heard.stop), ("Gr\u{fc}ezi\n \"so\"", Some(StopReason::End)));
}

#[test]
fn errors_end_a_stream_and_a_prediction() {
    let begun = "event: output\ndata: a\n\n";
    for (end, message, status) in [
        ("event: error\ndata: {\"detail\":\"it broke\"}\n\n", "it broke", 502),
        ("event: error\ndata: NSFW content\n\n", "NSFW content", 400),
        ("event: done\ndata: {\"reason\":\"canceled\"}\n\n", CANCELLED, 502),
    ] {
        let ended = heard(&Replicate, [begun.as_bytes(), end.as_bytes()]);
        let Some(ReadError::Failed(failure)) = ended.error else { panic!("{ended:?}") };
        assert_eq!((failure.message.as_str(), failure.status), (message, status));
    }
    let failed = prediction("failed", "").replace(r#""error":null"#, r#""error":"it broke""#);
    let error = Replicate.read_whole(failed.as_bytes());
    assert!(matches!(error, Err(ReadError::Failed(f)) if f.message == "it broke" && f.status == 502));
    assert!(matches!(
        Replicate.read_whole(prediction("starting", "").as_bytes()),
        Err(ReadError::Garbage(_))
    ));
    for (status, wanted) in [(401, 401), (402, 402), (404, 404), (422, 422), (429, 429), (500, 500)] {
        let refused = refusal(&Replicate, status, r#"{"title":"x","detail":"why","status":1}"#);
        assert_eq!((refused.status, refused.message.as_str()), (wanted, "why"), "{status}");
    }
    assert_eq!(refusal(&Replicate, 503, "<html>").status, 503);
}

#[test]
fn a_whole_answer_is_read_with_its_counts_where_it_has_any() {
    let body = br#"{"id":"p","status":"succeeded","output":["a"," b"],"metrics":{"predict_time":0.5,
        "input_token_count":9,"output_token_count":2}}"#;
    let reply = Replicate.read_whole(body).expect("an answer");
    assert_eq!((&reply.parts[..], reply.usage.input, reply.usage.output), (&[Part::text("a b")][..], 9, 2));
    let body = br#"{"id":"p","status":"succeeded","output":"a","metrics":{"predict_time":0.5}}"#;
    let reply = Replicate.read_whole(body).expect("an answer");
    assert_eq!((&reply.parts[..], reply.usage), (&[Part::text("a")][..], Usage::default()));
    let picture = br#"{"id":"p","status":"succeeded","output":{"image":"https://x"}}"#;
    assert!(matches!(Replicate.read_whole(picture), Err(ReadError::Garbage(_))));
}
