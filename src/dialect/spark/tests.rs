//! Spark's requests, frames and errors.

use penstock_actors::domain::Usage;

use super::*;
use crate::{
    conversation::StopReason,
    dialect::checks::{self, hear, heard, refusal},
};

const STREAM: &str = "{\"header\":{\"code\":0,\"message\":\"Success\",\"sid\":\"s-1\",\"status\":0},\"payload\":{\"choices\":{\"status\":0,\"seq\":0,\"text\":[{\"reasoning_content\":\"I look\",\"content\":\"\",\"role\":\"assistant\",\"index\":0}]}}}\n\
{\"header\":{\"code\":0,\"message\":\"Success\",\"sid\":\"s-1\",\"status\":1},\"payload\":{\"choices\":{\"status\":1,\"seq\":1,\"text\":[{\"content\":\"Gr\u{fc}ezi \\\"\",\"role\":\"assistant\",\"index\":0}]}}}\n\
{\"header\":{\"code\":0,\"message\":\"Success\",\"sid\":\"s-1\",\"status\":2},\"payload\":{\"choices\":{\"status\":2,\"seq\":2,\"text\":[{\"content\":\"\",\"role\":\"assistant\",\"index\":0,\"function_call\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]},\"usage\":{\"text\":{\"question_tokens\":3,\"prompt_tokens\":20,\"completion_tokens\":5,\"total_tokens\":25}}}}\n";

#[test]
fn a_request_has_the_models_domain_and_its_turns() {
    let request = r#"{"model":"m","temperature":1.5,"max_tokens":9,"auditing":"default","messages":[
        {"role":"system","content":"Be brief."},{"role":"user","content":"Weather?"},
        {"role":"assistant","content":"I look.","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"1","content":"18 degrees"},{"role":"user","content":"So?"}],
        "tools":[{"type":"function","function":{"name":"f","description":"looks"}}]}"#;
    assert_eq!(
        checks::written(&Spark, request, "Spark-Max", Delivery::Whole).expect("it can be said"),
        r#"{"parameter":{"chat":{"domain":"generalv3.5","temperature":1.0,"max_tokens":9,"auditing":"default"}},"payload":{"message":{"text":[{"role":"system","content":"Be brief."},{"role":"user","content":"Weather?"},{"role":"assistant","content":"I look.\nf({})"},{"role":"user","content":"f: 18 degrees\nSo?"}]},"functions":{"text":[{"name":"f","description":"looks","parameters":{"type":"object","properties":{}}}]}}}"#
    );
    let refused = checks::written(&Spark, request, "Spark-Lite", Delivery::Whole);
    assert_eq!(refused, Err("tools".to_owned()));
    let forced = request.replace(r#""auditing":"default""#, r#""tool_choice":"required""#);
    let refused = checks::written(&Spark, &forced, "Spark-Max", Delivery::Whole);
    assert_eq!(refused, Err("tool_choice".to_owned()));
}

#[test]
fn a_models_name_leads_to_its_version_and_domain() {
    for (name, path, domain) in [
        ("Spark-Lite", "v1.1/chat", "lite"),
        ("Spark-Pro", "v3.1/chat", "generalv3"),
        ("Spark-Pro-128K", "chat/pro-128k", "pro-128k"),
        ("Spark-Max", "v3.5/chat", "generalv3.5"),
        ("Spark-Max-32K", "chat/max-32k", "max-32k"),
        ("Spark-4.0-Ultra", "v4.0/chat", "4.0Ultra"),
        ("SparkDesk-v3.5", "v3.5/chat", "generalv3.5"),
        ("SparkDesk-v3.1-128K", "chat/pro-128k", "pro-128k"),
        ("SparkDesk", "v1.1/chat", "lite"),
        ("4.0Ultra", "v4.0/chat", "4.0Ultra"),
        ("generalv3", "v3.1/chat", "generalv3"),
        ("../../x", "v1.1/chat", "lite"),
    ] {
        let model = Model::of(name);
        assert_eq!((model.path, model.domain), (path, domain), "{name}");
        assert_eq!(Spark.in_path(name), path);
    }
}

#[test]
fn frames_are_read_wherever_they_are_cut() {
    let heard = hear(&Spark, STREAM.as_bytes(), 1);
    assert_eq!(
        (heard.id.as_str(), heard.text.as_str(), heard.thinking.as_str()),
        ("s-1", "Gr\u{fc}ezi \"", "I look")
    );
    assert_eq!(heard.calls, [("call_0".to_owned(), "f".to_owned(), r#"{"a":1}"#.to_owned())]);
    assert_eq!(heard.usage, Usage { input: 20, output: 5, ..Usage::default() });
    assert_eq!(heard.stop, Some(StopReason::ToolCalls));
}

#[test]
fn errors_are_told_by_code_and_by_the_refused_opening() {
    for (code, wanted) in [
        (10005, 400),
        (10007, 429),
        (10008, 503),
        (10013, 400),
        (10016, 403),
        (11200, 402),
        (11203, 429),
        (10012, 502),
        (99999, 502),
    ] {
        let frame =
            format!("{{\"header\":{{\"code\":{code},\"message\":\"no\",\"sid\":\"s\",\"status\":2}}}}\n");
        let ended = heard(&Spark, [frame.as_bytes()]);
        let Some(ReadError::Failed(failure)) = ended.error else { panic!("{code}: {ended:?}") };
        assert_eq!((failure.status, failure.code), (wanted, code.to_string()));
    }
    for garbage in ["x\n", "{}\n", "[1]\n", "{\"header\":{}}\n", "{\"header\":{\"code\":0}}\n"] {
        let ended = heard(&Spark, [garbage.as_bytes()]);
        assert!(matches!(ended.error, Some(ReadError::Garbage(_))), "{garbage}");
    }
    let hmac = r#"{"message":"HMAC signature cannot be verified"}"#;
    assert_eq!(refusal(&Spark, 401, hmac).status, 401);
    assert_eq!(refusal(&Spark, 403, hmac).status, 401);
    assert_eq!(refusal(&Spark, 403, r#"{"message":"no"}"#).status, 403);
    assert_eq!(refusal(&Spark, 502, "<html>").status, 502);
    assert!(matches!(Spark.read_whole(b"{}"), Err(ReadError::Garbage(_))));
}
