//! A request of everything, answers whole and in lines.

use penstock_actors::domain::{Delivery, Usage};

use super::*;
use crate::{
    conversation::{Part, StopReason},
    dialect::checks::{self, EVERYTHING, hear, heard, refusal},
};

const STREAM: &str = concat!(
    r#"{"model":"q","created_at":"2026-11-22T03:04:05.1Z","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}"#,
    "\n",
    r#"{"model":"q","created_at":"2026-11-22T03:04:05.2Z","message":{"role":"assistant","content":"Gr\u00fcezi"},"done":false}"#,
    "\n",
    r#"{"model":"q","created_at":"2026-11-22T03:04:05.3Z","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":"\n"}}},{"id":"c2","function":{"name":"g"}}]},"done":false}"#,
    "\n",
    r#"{"model":"q","created_at":"2026-11-22T03:04:05.4Z","message":{"role":"assistant","content":""},"done_reason":"stop","done":true,"total_duration":1,"prompt_eval_count":26,"eval_count":9}"#,
    "\n"
);

#[test]
fn a_request_of_everything_is_written() {
    let wanted = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/upstreams/ollama.json"));
    let body = checks::written(&Ollama, EVERYTHING, "qwen3", Delivery::Stream).expect("it can be said");
    assert_eq!(body, wanted.trim_end());
}

#[test]
fn reasoning_is_asked_for_by_level_or_at_all() {
    for (model, effort, wanted) in
        [("gpt-oss:20b", "minimal", "\"low\""), ("qwen3", "high", "true"), ("qwen3", "none", "false")]
    {
        let request = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],"reasoning_effort":"{effort}","keep_alive":"5m"}}"#
        );
        let body = checks::written(&Ollama, &request, model, Delivery::Whole).expect("it can be said");
        assert!(body.ends_with(&format!(r#""stream":false,"think":{wanted},"keep_alive":"5m"}}"#)), "{body}");
    }
}

#[test]
fn a_stream_is_read_wherever_it_is_cut() {
    // The last line needs no end.
    let heard = hear(&Ollama, STREAM.as_bytes(), 1);
    assert_eq!((heard.text.as_str(), heard.thinking.as_str()), ("Grüezi", "hm"));
    let call = |id: &str, name: &str, arguments: &str| (id.to_owned(), name.to_owned(), arguments.to_owned());
    assert_eq!(heard.calls, [call("call_202611220304053_0", "f", r#"{"a":"\n"}"#), call("c2", "g", "{}")]);
    assert_eq!(heard.usage, Usage { input: 26, output: 9, ..Usage::default() });
    assert_eq!(heard.stop, Some(StopReason::ToolCalls));
}

#[test]
fn errors_are_told_in_a_stream_and_by_status() {
    let lines =
        STREAM.lines().next().expect("a line").to_owned() + "\n{\"error\":\"an error was encountered\"}\n";
    assert!(matches!(heard(&Ollama, [lines.as_bytes()]).error, Some(ReadError::Failed(_))));
    for (status, body, wanted) in [
        (404, r#"{"error":"model 'x' not found"}"#, 404),
        (400, r#"{"error":"\"x\" does not support tools"}"#, 400),
        (503, r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#, 503),
        (500, r#"{"error":"model requires more system memory (5 GiB) than is available"}"#, 503),
        (502, "<html>", 502),
    ] {
        assert_eq!(refusal(&Ollama, status, body).status, wanted, "{body}");
    }
}

#[test]
fn a_whole_answer_is_read() {
    let line = STREAM.lines().nth(3).expect("a line").replace("\"content\":\"\"", "\"content\":\"Hi\"");
    let reply = Ollama.read_whole(line.as_bytes()).expect("an answer");
    assert_eq!((reply.parts, reply.stop), (vec![Part::text("Hi")], StopReason::End));
    assert!(matches!(
        Ollama.read_whole(STREAM.lines().next().expect("a line").as_bytes()),
        Err(ReadError::Garbage(_))
    ));
}
