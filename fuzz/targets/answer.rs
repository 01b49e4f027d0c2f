//! Any answer, from a provider of any dialect to a client of any: the client gets the same wherever it is cut.
#![no_main]

mod common;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use penstock::provider::{AnswerEvent, AnswerHead, Failure, Framing, row};
use penstock_actors::domain::{Delivery, Usage};

/// What a client gets.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    bytes: Vec<u8>,
    usage: Usage,
    failed: Option<Failure>,
    is_done: bool,
    is_garbage: bool,
}

fn hear(pair: &common::Pair, content_type: &str, parts: &[&[u8]]) -> Option<Heard> {
    let (ask, adapter) = (pair.ask(), row::adapter(pair.upstream, pair.face));
    let head = AnswerHead { status: 200, content_type, retry_after: None, framing: Framing::Framed };
    let mut reader = adapter.reader(&ask, &head).ok()?;
    let (mut heard, mut events, mut read) = (Heard::default(), Vec::new(), Ok(()));
    for part in parts {
        read = reader.push(Bytes::copy_from_slice(part), &mut events);
        if read.is_err() {
            break;
        }
    }
    heard.is_garbage = read.and_then(|()| reader.finish(&mut events)).is_err();
    for event in events {
        assert!(!heard.is_done && heard.failed.is_none(), "{event:?} follows the end");
        match event {
            AnswerEvent::Bytes(bytes) | AnswerEvent::Aside(bytes) => heard.bytes.extend_from_slice(&bytes),
            AnswerEvent::Usage(usage) => heard.usage = usage,
            AnswerEvent::Failed(failure) => heard.failed = Some(failure),
            AnswerEvent::Done => heard.is_done = true,
        }
    }
    Some(heard)
}

/// What passes through goes on before the garbage behind it is seen; how much of it is a matter of the cuts.
fn check(cut: Option<Heard>, whole: &Option<Heard>) {
    match whole {
        Some(Heard { is_garbage: true, .. }) => assert!(cut.is_some_and(|cut| cut.is_garbage)),
        _ => assert_eq!(&cut, whole),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first_chunk::<2>() else { return };
    let Some((cuts, body)) = rest.split_first_chunk::<2>() else { return };
    let pair = common::Pair::of(*choice);
    let stream_type = pair.upstream.upstream().stream_type();
    let content_type = match pair.delivery {
        Delivery::Stream => stream_type,
        Delivery::Whole => "application/json",
    };
    let whole = hear(&pair, content_type, &[body]);
    let passes = pair.upstream == pair.face && pair.delivery == Delivery::Whole;
    let is_json = str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
    if passes && !is_json {
        // Behind the model's name it passes unread; what of it is noticed is a matter of the cuts.
        return;
    }
    check(hear(&pair, content_type, &common::parts(*cuts, body)), &whole);
    if body.len() < 512 {
        let bytes: Vec<_> = body.chunks(1).collect();
        check(hear(&pair, content_type, &bytes), &whole);
    }
});
