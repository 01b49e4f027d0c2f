//! Any body, from a client of any dialect to a provider of any: written as JSON, or refused.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use penstock::{
    provider::{AskBody, BodyNeed, UpstreamBody, row},
    wire::json::Scanner,
};

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first_chunk::<2>() else { return };
    let pair = common::Pair::of(*choice);
    let (ask, adapter) = (pair.ask(), row::adapter(pair.upstream, pair.face));
    let mut scanner = Scanner::new(pair.face.watches());
    let Ok(top) = scanner.push(body).and_then(|()| scanner.finish()) else { return };
    let _ = pair.face.foreseen(&top);
    let body_of = match adapter.body_need(&ask) {
        BodyNeed::Scan => AskBody::Scan(&top),
        BodyNeed::Whole => AskBody::Whole(body),
    };
    match adapter.request(&ask, body_of).map(|request| request.body) {
        Ok(UpstreamBody::Whole(written)) => {
            serde_json::from_slice::<serde_json::Value>(&written).expect("what is written is JSON");
        }
        Ok(UpstreamBody::Edited(edits)) => {
            let (mut at, mut written) = (0, Vec::new());
            for edit in edits {
                written.extend_from_slice(&body[at..edit.start as usize]);
                written.extend_from_slice(&edit.with);
                at = edit.end as usize;
            }
            written.extend_from_slice(&body[at..]);
            // Half a surrogate pair, which no text can hold, is JSON's grammar all the same (RFC 8259, section 8.2).
            serde_json::from_slice::<serde::de::IgnoredAny>(&written).expect("what is edited is JSON");
        }
        Err(failure) => assert!((400..500).contains(&failure.status), "{failure:?}"),
    }
});
