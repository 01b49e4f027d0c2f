//! Any bad answer of any provider: an error with a status of errors, in every client's dialect as JSON.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use penstock::provider::{AnswerHead, Framing, row};

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first_chunk::<2>() else { return };
    let Some((status, body)) = rest.split_first_chunk::<2>() else { return };
    let pair = common::Pair::of(*choice);
    let status = 300 + u16::from_le_bytes(*status) % 300;
    let head = AnswerHead { status, content_type: "application/json", retry_after: None, framing: Framing::Framed };
    let failure = row::adapter(pair.upstream, pair.face).failure(&head, body);
    assert!((400..600).contains(&failure.status), "{failure:?}");
    assert!(!failure.message.is_empty() && !failure.code.is_empty(), "{failure:?}");
    let told = pair.face.error_body(&failure, "call");
    serde_json::from_slice::<serde_json::Value>(&told).expect("an error is JSON");
});
