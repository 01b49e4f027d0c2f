//! Every face over every dialect: streams and whole answers, cut at every byte.
//!
//! A provider's bytes are made by its dialect's own writer, so that nothing is said in one dialect alone.

use bytes::{Bytes, BytesMut};
use penstock_actors::domain::{Delivery, Endpoint, Usage};

use crate::{
    conversation::{Delta, StopReason},
    dialect::{AnswerHeader, Dialect, Framing, StreamForm, media::Fetched},
    provider::{AnswerEvent, AnswerHead, Ask, row},
};

const ALL: [Dialect; 4] =
    [Dialect::OpenAi, Dialect::AnthropicMessages, Dialect::Gemini, Dialect::OpenAiResponses];

fn deltas() -> Vec<Delta> {
    let call = |index: u32| Delta::ToolCallStart { index, id: format!("t{index}"), name: "f".into() };
    let arguments = |index, fragment: &str| Delta::ToolCallArguments { index, fragment: fragment.into() };
    vec![
        Delta::Start { id: "1".into() },
        Delta::Thinking("h\u{e4}m \"".into()),
        Delta::Text("a\n\u{1f30a}".into()),
        Delta::Text("b".into()),
        call(0),
        arguments(0, "{\"x\":\"\\u00"),
        arguments(0, "e4\"}"),
        call(1),
        arguments(1, "{}"),
        Delta::Usage(Usage { input: 3, cached_read: 2, output: 5, ..Usage::default() }),
        Delta::Stop(StopReason::ToolCalls),
    ]
}

/// The stream that a provider of this dialect sends.
fn stream(dialect: Dialect) -> Bytes {
    let header = AnswerHeader {
        model: "their-name",
        created: 7,
        call_id: "c-1",
        usage_wanted: true,
        form: StreamForm::Events,
        echo: None,
    };
    let mut writer = dialect.face().expect("a face").writer(&header);
    let mut out = BytesMut::new();
    for delta in deltas() {
        writer.write(&delta, &mut out);
    }
    out.freeze()
}

/// What a client gets, and what is counted, however the provider's bytes are cut.
fn read(
    face: Dialect,
    upstream: Dialect,
    form: StreamForm,
    parts: &[&[u8]],
) -> (String, Option<Usage>, bool) {
    let ask = Ask {
        endpoint: Endpoint::ChatCompletions,
        face,
        model: "ours",
        upstream_model: "their-name",
        delivery: Delivery::Stream,
        usage_wanted: true,
        quirks: &[],
        params: &[],
        max_event: 1 << 20,
        created: 7,
        call_id: "c-1",
        form,
        echo: None,
        tools: &[],
        media: Fetched::NONE,
    };
    let head = AnswerHead {
        status: 200,
        content_type: "text/event-stream",
        retry_after: None,
        framing: Framing::Framed,
    };
    let mut reader = row::adapter(upstream, face).reader(&ask, &head).expect("the right type");
    let mut out = Vec::new();
    let mut garbage = false;
    for part in parts {
        garbage |= reader.push(Bytes::copy_from_slice(part), &mut out).is_err();
    }
    garbage |= reader.finish(&mut out).is_err();
    let (mut bytes, mut usage, mut done) = (Vec::new(), None, false);
    for event in out {
        match event {
            AnswerEvent::Bytes(more) | AnswerEvent::Aside(more) => bytes.extend_from_slice(&more),
            AnswerEvent::Usage(more) => usage = Some(more),
            AnswerEvent::Done => done = true,
            AnswerEvent::Failed(failure) => panic!("{failure:?}"),
        }
    }
    (String::from_utf8(bytes).expect("UTF-8"), usage, done && !garbage)
}

#[test]
fn every_pair_reads_a_stream_alike_wherever_it_is_cut() {
    for upstream in ALL {
        let sent = stream(upstream);
        for face in ALL {
            let pair = format!("{} over {}", face.name(), upstream.name());
            let whole = read(face, upstream, StreamForm::Events, &[&sent]);
            let (said, usage, done) = &whole;
            assert!(*done, "{pair}: {said}");
            assert!(said.contains("ours") && !said.contains("their-name"), "{pair}: {said}");
            assert_eq!(usage.map(|u| (u.prompt(), u.cached_read, u.completion())), Some((5, 2, 5)), "{pair}");
            for cut in 0..sent.len() {
                let (left, right) = sent.split_at(cut);
                assert_eq!(
                    read(face, upstream, StreamForm::Events, &[left, right]),
                    whole,
                    "{pair} cut at {cut}"
                );
                let (_, _, done) = read(face, upstream, StreamForm::Events, &[left]);
                // Behind a finish reason, OpenAI's imitators may leave `[DONE]` out, and Gemini says no more.
                let is_finished = ["finish_reason\":\"", "finishReason\":\""]
                    .iter()
                    .any(|word| String::from_utf8_lossy(left).contains(word));
                assert!(!done || is_finished || sent.len() - cut <= 2, "{pair} ends at {cut}");
            }
            let bytes: Vec<&[u8]> = sent.chunks(1).collect();
            assert_eq!(read(face, upstream, StreamForm::Events, &bytes), whole, "{pair} byte by byte");
        }
    }
}

#[test]
fn every_face_says_the_same_as_where_no_conversion_was_needed() {
    for upstream in ALL {
        let sent = stream(upstream);
        let (same, ..) = read(upstream, upstream, StreamForm::Events, &[&sent]);
        let renamed = String::from_utf8(sent.to_vec()).expect("UTF-8").replace("their-name", "ours");
        assert_eq!(same, renamed, "{}", upstream.name());
    }
}

#[test]
fn an_array_of_chunks_is_json_from_every_provider() {
    for upstream in ALL {
        let sent = stream(upstream);
        for cut in [0, sent.len() / 3, sent.len() / 2] {
            let (left, right) = sent.split_at(cut);
            let (array, ..) = read(Dialect::Gemini, upstream, StreamForm::Array, &[left, right]);
            let chunks: Vec<serde_json::Value> = serde_json::from_str(&array).expect(&array);
            assert!(
                chunks.len() > 3 && chunks.iter().all(|chunk| chunk["modelVersion"] == "ours"),
                "{array}"
            );
        }
    }
}
