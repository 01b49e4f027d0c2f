//! Whole translations, from fixtures in `tests/fixtures/anthropic`.
//!
//! `X.sse` and `X.json` are Anthropic's answers, `X.openai.sse` and `X.openai.json` what the client gets.

use bytes::Bytes;
use penstock_actors::domain::Usage;
use proptest::prelude::*;

use super::*;
use crate::{
    dialect::{StreamForm, media::Fetched},
    provider::{AnswerEvent, Endpoint, Garbage},
};

const ANTHROPIC: Converting = Converting::new(Dialect::AnthropicMessages);

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/anthropic/", $name))
    };
}

const STREAMS: [(&str, &str); 3] = [
    (fixture!("text.sse"), fixture!("text.openai.sse")),
    (fixture!("tools.sse"), fixture!("tools.openai.sse")),
    (fixture!("thinking.sse"), fixture!("thinking.openai.sse")),
];

fn ask(delivery: Delivery) -> Ask<'static> {
    Ask {
        endpoint: Endpoint::ChatCompletions,
        face: Dialect::OpenAi,
        model: "smart",
        upstream_model: "claude-opus-5-5",
        delivery,
        usage_wanted: true,
        quirks: &[],
        params: &[],
        max_event: 16 << 20,
        created: 1_760_000_000,
        call_id: "c",
        form: StreamForm::Events,
        echo: None,
        tools: &[],
        media: Fetched::NONE,
    }
}

fn head(content_type: &str) -> AnswerHead<'_> {
    AnswerHead { status: 200, content_type, retry_after: None, framing: crate::provider::Framing::Framed }
}

/// What a reader made of an answer, however it was cut.
#[derive(Debug, Default, PartialEq)]
struct Read {
    bytes: String,
    usage: Usage,
    failed: Option<Failure>,
    done: bool,
    garbage: Option<Garbage>,
}

fn read<'a>(delivery: Delivery, parts: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let content_type = match delivery {
        Delivery::Stream => "text/event-stream; charset=utf-8",
        Delivery::Whole => "application/json",
    };
    let mut reader = ANTHROPIC.reader(&ask(delivery), &head(content_type)).expect("the right type");
    let mut read = Read::default();
    let mut out = Vec::new();
    let mut bytes = Vec::new();
    let mut ended = Ok(());
    for part in parts {
        ended = reader.push(Bytes::copy_from_slice(part), &mut out);
        if ended.is_err() {
            break;
        }
    }
    read.garbage = ended.and_then(|()| reader.finish(&mut out)).err();
    for event in out {
        assert!(!read.done && read.failed.is_none(), "something follows the end: {event:?}");
        match event {
            AnswerEvent::Bytes(more) | AnswerEvent::Aside(more) => bytes.extend_from_slice(&more),
            AnswerEvent::Usage(usage) => read.usage = usage,
            AnswerEvent::Failed(failure) => read.failed = Some(failure),
            AnswerEvent::Done => read.done = true,
        }
    }
    read.bytes = String::from_utf8(bytes).expect("UTF-8");
    read
}

#[test]
fn a_request_of_everything_is_translated() {
    let body = fixture!("request.openai.json");
    let request =
        ANTHROPIC.request(&ask(Delivery::Stream), AskBody::Whole(body.as_bytes())).expect("it can be said");
    assert_eq!(request.headers, [("anthropic-version", "2023-06-01".to_owned())]);
    let UpstreamBody::Whole(bytes) = request.body else { panic!("a body of its own") };
    assert_eq!(std::str::from_utf8(&bytes).expect("UTF-8"), fixture!("request.anthropic.json").trim_end());
}

#[test]
fn every_stream_is_translated_wherever_it_is_cut() {
    for (stream, expected) in STREAMS {
        let bytes = stream.as_bytes();
        let whole = read(Delivery::Stream, [bytes]);
        assert_eq!(whole.bytes, expected);
        assert!(whole.done && whole.garbage.is_none() && whole.failed.is_none());
        for cut in 0..=bytes.len() {
            assert_eq!(read(Delivery::Stream, [&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        }
        assert_eq!(read(Delivery::Stream, bytes.chunks(1)), whole);
    }
}

#[test]
fn line_ends_of_any_kind_are_the_same_stream() {
    for (stream, expected) in STREAMS {
        let windows = stream.replace('\n', "\r\n");
        assert_eq!(read(Delivery::Stream, windows.as_bytes().chunks(3)).bytes, expected);
    }
}

#[test]
fn a_stream_cut_short_is_never_done() {
    for (stream, _) in STREAMS {
        // At an event's border, and anywhere else but after the last event's.
        for cut in 0..stream.len() {
            let read = read(Delivery::Stream, [&stream.as_bytes()[..cut]]);
            assert!(!read.done && read.failed.is_none(), "cut at {cut}");
            assert!(read.garbage.is_some(), "cut at {cut}");
            assert!(
                !read.bytes.contains("[DONE]") && !read.bytes.contains("\"finish_reason\":\""),
                "cut at {cut}"
            );
        }
    }
}

#[test]
fn usage_is_told_while_the_stream_runs_and_at_its_end() {
    let stream = fixture!("text.sse");
    let whole = read(Delivery::Stream, [stream.as_bytes()]);
    let expected = Usage {
        input: 25,
        cached_read: 1024,
        cache_write_5m: 300,
        cache_write_1h: 100,
        output: 15,
        ..Usage::default()
    };
    assert_eq!(whole.usage, expected);
    let cut = stream.find("event: content_block_start").expect("there is one");
    let started = read(Delivery::Stream, [&stream.as_bytes()[..cut]]);
    assert_eq!(started.usage, Usage { output: 1, ..expected });
    assert_eq!(started.bytes, "", "nothing is said yet");
    let thought = read(Delivery::Stream, [fixture!("thinking.sse").as_bytes()]).usage;
    assert_eq!((thought.output, thought.reasoning), (38, 96));
}

#[test]
fn an_error_in_the_stream_fails_it_wherever_it_is_cut() {
    let bytes = fixture!("error.sse").as_bytes();
    let whole = read(Delivery::Stream, [bytes]);
    let failure = whole.failed.as_ref().expect("it failed");
    assert_eq!((failure.status, failure.next), (529, Next::FailoverUncertain));
    assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("overloaded_error", "Overloaded"));
    assert!(whole.bytes.ends_with("\n\n") && whole.bytes.contains("The first"), "{}", whole.bytes);
    assert!(!whole.done && !whole.bytes.contains("[DONE]") && whole.garbage.is_none());
    for cut in 0..=bytes.len() {
        assert_eq!(read(Delivery::Stream, [&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
    }
}

#[test]
fn whole_answers_are_translated_wherever_they_are_cut() {
    for (answer, expected) in [
        (fixture!("text.json"), fixture!("text.openai.json")),
        (fixture!("tools.json"), fixture!("tools.openai.json")),
    ] {
        let whole = read(Delivery::Whole, [answer.as_bytes()]);
        assert_eq!(whole.bytes, expected.trim_end());
        assert!(whole.done && whole.garbage.is_none());
        assert_eq!(read(Delivery::Whole, answer.as_bytes().chunks(1)), whole);
        for cut in 0..answer.trim_end().len() {
            let read = read(Delivery::Whole, [&answer.as_bytes()[..cut]]);
            assert!(!read.done && read.bytes.is_empty() && read.garbage.is_some(), "cut at {cut}");
        }
    }
}

#[test]
fn an_answer_without_an_end_is_not_held_for_ever() {
    let mebibyte = vec![b'x'; 1 << 20];
    for delivery in [Delivery::Stream, Delivery::Whole] {
        let read = read(delivery, std::iter::repeat_n(mebibyte.as_slice(), 20));
        assert!(read.garbage.is_some_and(|why| why.0.contains("16777216")), "{delivery:?}");
    }
}

#[test]
fn an_error_in_a_good_status_is_a_failure() {
    let body = br#"{"type":"error","error":{"type":"api_error","message":"Internal server error"}}"#;
    let failed = read(Delivery::Whole, [&body[..]]);
    assert_eq!(failed.failed.map(|f| (f.status, f.next)), Some((500, Next::Failover)));
    assert!(!failed.done);
}

#[test]
fn an_answer_of_the_wrong_type_is_refused() {
    for (delivery, content_type, fine) in [
        (Delivery::Stream, "text/event-stream", true),
        (Delivery::Stream, "Text/Event-Stream;charset=UTF-8", true),
        (Delivery::Stream, "application/json", true),
        (Delivery::Stream, "", false),
        (Delivery::Whole, "application/json; charset=utf-8", true),
        (Delivery::Whole, "", true),
        (Delivery::Whole, "text/event-stream", true),
        (Delivery::Whole, "text/html", false),
    ] {
        match ANTHROPIC.reader(&ask(delivery), &head(content_type)) {
            Ok(_) => assert!(fine, "{content_type}"),
            Err(failure) => {
                assert!(!fine, "{content_type}");
                assert_eq!((failure.fault, failure.next), (Fault::Upstream, Next::Failover));
            }
        }
    }
}

#[test]
fn what_cannot_be_said_is_refused_by_name() {
    let refused = |rest: &str| {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],{rest}}}"#);
        ANTHROPIC.request(&ask(Delivery::Whole), AskBody::Whole(body.as_bytes())).expect_err(rest)
    };
    for (rest, param) in [
        (r#""n":2"#, "n"),
        (r#""logprobs":true"#, "logprobs"),
        (r#""stop":["END","\n"]"#, "stop"),
        (r#""audio":{"voice":"x"}"#, "audio"),
        (r#""modalities":["text","audio"]"#, "modalities"),
        (r#""functions":[{"name":"f"}]"#, "functions"),
        (r#""logit_bias":{"1":2}"#, "logit_bias"),
        (r#""web_search_options":{"search_context_size":"low"}"#, "web_search_options"),
        (r#""response_format":{"type":"json_object"}"#, "response_format.type"),
        (r#""tools":[{"type":"custom","custom":{"name":"c"}}]"#, "tools[0].type"),
        (r#""system":"x""#, "system"),
    ] {
        let failure = refused(rest);
        assert_eq!(failure.param.as_deref(), Some(param), "{rest}");
        assert_eq!(
            (failure.status, failure.fault, failure.next),
            (400, Fault::Client, Next::Failover),
            "{rest}"
        );
    }
    assert_eq!(refused(r#""temperature":"hot""#).next, Next::Tell);
    let audio = br#"{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"format":"wav","data":"QQ=="}}]}]}"#;
    let failure = ANTHROPIC.request(&ask(Delivery::Whole), AskBody::Whole(audio)).expect_err("audio");
    assert_eq!(failure.param.as_deref(), Some("messages[0].content"));
}

#[test]
fn tools_of_another_provider_are_left_out_where_functions_stand_beside_them() {
    const CHAT: Converting = Converting::new(Dialect::OpenAi);
    let ask = Ask { endpoint: Endpoint::Responses, face: Dialect::OpenAiResponses, ..ask(Delivery::Stream) };
    let written = |tools: &str, rest: &str| {
        let body = format!(r#"{{"model":"m","input":"hi","tools":[{tools}]{rest}}}"#);
        CHAT.request(&ask, AskBody::Whole(body.as_bytes())).map(|request| match request.body {
            UpstreamBody::Whole(body) => String::from_utf8(body.to_vec()).unwrap(),
            UpstreamBody::Edited(_) => panic!("a converted body is whole"),
        })
    };
    let (search, function) =
        (r#"{"type":"web_search"}"#, r#"{"type":"function","name":"run","parameters":{}}"#);
    let both = format!("{search},{function}");
    let sent = written(&both, "").unwrap();
    assert!(sent.contains(r#""name":"run""#) && !sent.contains("web_search"), "{sent}");
    assert_eq!(written(search, "").unwrap_err().code, "unsupported_parameter");
    let forced = written(&both, r#","tool_choice":"required""#).unwrap_err();
    assert_eq!(forced.param.as_deref(), Some("tools[0].type"));
}

#[test]
fn what_says_nothing_is_not_refused() {
    let body = br#"{"messages":[{"role":"user","content":"hi"}],"n":1,"logprobs":false,"functions":[],
        "logit_bias":{},"modalities":["text"],"temperature":1.7,"response_format":{"type":"text"},
        "thinking":{"type":"enabled","budget_tokens":1024},"reasoning_effort":"high","metadata":{"user_id":"m"},"user":"u"}"#;
    let request = ANTHROPIC.request(&ask(Delivery::Whole), AskBody::Whole(body)).expect("it can be said");
    assert_eq!(
        request.body,
        UpstreamBody::Whole(Bytes::from_static(
            br#"{"model":"claude-opus-5-5","max_tokens":5120,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"thinking":{"type":"enabled","budget_tokens":1024},"metadata":{"user_id":"m"}}"#
        ))
    );
}

#[test]
fn other_endpoints_and_other_bodies_are_not_ours() {
    let other = Ask { endpoint: Endpoint::Embeddings, ..ask(Delivery::Whole) };
    let failure = ANTHROPIC.request(&other, AskBody::Whole(b"{}")).expect_err("no embeddings");
    assert_eq!(
        (failure.status, failure.code.as_str(), failure.next),
        (400, "endpoint_not_supported", Next::Failover)
    );
    let scan = crate::wire::json::TopLevel::default();
    let failure = ANTHROPIC.request(&ask(Delivery::Whole), AskBody::Scan(&scan)).expect_err("a defect");
    assert_eq!(failure.fault, Fault::Gateway);
    assert_eq!(ANTHROPIC.body_need(&ask(Delivery::Whole)), BodyNeed::Whole);
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..8)) {
        for delivery in [Delivery::Stream, Delivery::Whole] {
            let _ = read(delivery, parts.iter().map(Vec::as_slice));
        }
    }

    #[test]
    fn no_damage_to_a_stream_makes_a_reader_panic(at in 0usize..2000, byte in any::<u8>()) {
        for (stream, _) in STREAMS {
            let mut bytes = stream.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read(Delivery::Stream, [bytes.as_slice()]);
        }
    }

    #[test]
    fn no_damage_to_a_request_makes_it_panic(at in 0usize..4000, byte in any::<u8>()) {
        let mut bytes = fixture!("request.openai.json").as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = ANTHROPIC.request(&ask(Delivery::Stream), AskBody::Whole(&bytes));
    }
}
