//! Any bytes: each framer gives the same frames wherever they are cut.
#![no_main]

mod common;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use penstock::wire::{
    aws_events::{BadEvents, EventFramer, Message},
    lines::LineFramer,
    sse::{self, SseFramer},
};

fn events(parts: &[&[u8]]) -> (Vec<Bytes>, Bytes) {
    let (mut framer, mut frames) = (SseFramer::new(1 << 20), Vec::new());
    for part in parts {
        framer.push(Bytes::copy_from_slice(part), |frame| frames.push(frame)).expect("below the cap");
    }
    (frames, framer.finish())
}

fn lines(parts: &[&[u8]]) -> Vec<Bytes> {
    let (mut framer, mut lines) = (LineFramer::new(1 << 20), Vec::new());
    for part in parts {
        framer.push(Bytes::copy_from_slice(part), |line| lines.push(line)).expect("below the cap");
    }
    framer.finish(|line| lines.push(line));
    lines
}

fn messages(parts: &[&[u8]]) -> (Vec<Message>, Result<(), BadEvents>) {
    let (mut framer, mut messages) = (EventFramer::new(1 << 20), Vec::new());
    let read = parts.iter().try_for_each(|part| framer.push(part, |message| messages.push(message)));
    (messages, read)
}

fuzz_target!(|data: &[u8]| {
    let Some((cuts, body)) = data.split_first_chunk::<2>() else { return };
    let whole = events(&[body]);
    assert_eq!(events(&common::parts(*cuts, body)), whole);
    let bytes: Vec<_> = body.chunks(1).collect();
    assert_eq!(events(&bytes), whole);
    let all: Vec<u8> = whole.0.iter().chain([&whole.1]).flatten().copied().collect();
    assert_eq!(all, body, "no byte is lost");
    for frame in &whole.0 {
        let _ = sse::parse(frame);
    }

    let whole = lines(&[body]);
    assert_eq!(lines(&common::parts(*cuts, body)), whole);
    assert_eq!(lines(&bytes), whole);

    let whole = messages(&[body]);
    assert_eq!(messages(&common::parts(*cuts, body)), whole);
    assert_eq!(messages(&bytes), whole);
    for message in whole.0 {
        let again = messages(&[&message.encode()]);
        assert_eq!(again, (vec![message], Ok(())), "what was read can be written and read again");
    }
});
