//! Requests, events whose data is bare text, and errors.

use penstock_actors::domain::Usage;

use super::*;
use crate::{
    conversation::{Part, StopReason},
    dialect::checks::{self, hear, heard, refusal},
};

const STREAM: &str = "event:add\nid:z-1\ndata:Gr\u{fc}ezi\n\n\
event:add\nid:z-1\ndata: there\ndata:\ndata:you\n\n\
event:finish\nid:z-1\ndata:\nmeta:{\"task_status\":\"SUCCESS\",\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":4,\"total_tokens\":11},\"task_id\":\"t\",\"request_id\":\"r\"}\n\n";

const ASKED: &str = r#"{"model":"m","temperature":0,"top_p":1,"max_tokens":9,"ref":{"enable":false},"messages":[
    {"role":"system","content":"Be brief."},{"role":"user","content":"a"},{"role":"assistant","content":"b"},
    {"role":"user","content":"c"},{"role":"user","content":"d"}]}"#;

#[test]
fn instructions_are_the_beginning_of_what_the_user_says() {
    let body = checks::written(&ZhipuV3, ASKED, "chatglm_turbo", Delivery::Stream).expect("it can be said");
    assert_eq!(
        body,
        r#"{"prompt":[{"role":"user","content":"Be brief.\na"},{"role":"assistant","content":"b"},{"role":"user","content":"c\nd"}],"temperature":0.01,"top_p":0.99,"incremental":true,"return_type":"text","ref":{"enable":false}}"#
    );
    let body = checks::written(&ZhipuV3, ASKED, "chatglm_turbo", Delivery::Whole).expect("it can be said");
    assert!(!body.contains("incremental"), "{body}");
    let tools =
        ASKED.replace(r#""max_tokens":9"#, r#""tools":[{"type":"function","function":{"name":"f"}}]"#);
    assert_eq!(checks::written(&ZhipuV3, &tools, "m", Delivery::Whole), Err("tools".to_owned()));
}

#[test]
fn a_stream_is_read_wherever_it_is_cut() {
    let heard = hear(&ZhipuV3, STREAM.as_bytes(), 0);
    assert_eq!((heard.id.as_str(), heard.text.as_str()), ("z-1", "Gr\u{fc}ezi there\n\nyou"));
    assert_eq!(heard.usage, Usage { input: 7, output: 4, ..Usage::default() });
    assert_eq!(heard.stop, Some(StopReason::End));
}

#[test]
fn an_interruption_is_a_refusal_and_an_error_fails() {
    let begun = STREAM.split_inclusive("\n\n").next().expect("an event");
    let ended = heard(&ZhipuV3, [format!("{begun}event:interrupted\nid:z\ndata:sensitive\n\n").as_bytes()]);
    assert_eq!((ended.text.as_str(), ended.stop), ("Gr\u{fc}ezi", Some(StopReason::Refused)));
    for (event, wanted) in [
        ("event:error\ndata:{\"code\":1302,\"msg\":\"slow\",\"success\":false}\n\n", 429),
        ("event:error\ndata:broken\n\n", 502),
        ("data:{\"code\":1002,\"msg\":\"no\",\"success\":false}\n\n", 401),
    ] {
        let ended = heard(&ZhipuV3, [format!("{begun}{event}").as_bytes()]);
        assert!(matches!(ended.error, Some(ReadError::Failed(f)) if f.status == wanted), "{event}");
    }
}

#[test]
fn errors_come_with_a_good_status_and_are_told_by_code() {
    for (code, wanted) in [
        (1002, 401),
        (1113, 402),
        (1211, 404),
        (1261, 400),
        (1301, 400),
        (1302, 429),
        (1305, 503),
        (1234, 502),
        (7, 502),
    ] {
        let body = format!(r#"{{"code":{code},"msg":"no","success":false}}"#);
        let read = ZhipuV3.read_whole(body.as_bytes());
        assert!(matches!(&read, Err(ReadError::Failed(f)) if f.status == wanted), "{code}: {read:?}");
    }
    assert_eq!(refusal(&ZhipuV3, 429, r#"{"code":1303,"msg":"no","success":false}"#).status, 429);
    assert_eq!(refusal(&ZhipuV3, 502, "<html>").status, 502);
}

#[test]
fn a_whole_answer_is_read() {
    let body = br#"{"code":200,"msg":"ok","success":true,"data":{"request_id":"r","task_id":"t","task_status":"SUCCESS",
        "choices":[{"role":"assistant","content":"\"Hi\""}],"usage":{"total_tokens":11}}}"#;
    let reply = ZhipuV3.read_whole(body).expect("an answer");
    assert_eq!((reply.id.as_str(), reply.stop), ("r", StopReason::End));
    assert_eq!(reply.parts, [Part::text("\"Hi\"")]);
    assert_eq!(reply.usage, Usage { input: 11, ..Usage::default() });
    for garbage in ["", "{}", "[]", r#"{"code":200,"success":true,"data":{"choices":[]}}"#] {
        assert!(matches!(ZhipuV3.read_whole(garbage.as_bytes()), Err(ReadError::Garbage(_))), "{garbage}");
    }
}
