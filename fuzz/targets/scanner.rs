//! Any body: the scanner accepts what a strict parser accepts, wherever it is cut, and says where fields stand.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use penstock::{
    dialect::Told,
    wire::json::{JsonError, Scanner, TopLevel},
};
use serde::de::IgnoredAny;

fn scan(pair: &common::Pair, parts: &[&[u8]]) -> Result<TopLevel, JsonError> {
    let mut scanner = Scanner::new(pair.face.watches());
    for part in parts {
        scanner.push(part)?;
    }
    scanner.finish()
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first_chunk::<2>() else { return };
    let Some((cuts, body)) = rest.split_first_chunk::<2>() else { return };
    let pair = common::Pair::of(*choice);
    let whole = scan(&pair, &[body]);
    let cut = scan(&pair, &common::parts(*cuts, body));
    // Of several mistakes the one that is told may be another.
    assert_eq!(cut.ok().as_ref(), whole.as_ref().ok());
    let parsed = serde_json::from_slice::<IgnoredAny>(body).is_ok() && std::str::from_utf8(body).is_ok();
    let is_object = parsed && body.trim_ascii_start().starts_with(b"{");
    match &whole {
        Ok(top) => {
            assert!(is_object, "the scanner took {:?}", String::from_utf8_lossy(body));
            for field in pair.face.watches().iter().filter_map(|watch| top.field(watch.name)) {
                let at = field.start as usize..field.end as usize;
                serde_json::from_slice::<IgnoredAny>(&body[at]).expect("a field's place holds a value");
            }
            let _ = pair.face.facts(pair.endpoint, &Told::default(), top);
        }
        // Its own limits, which a parser has not.
        Err(JsonError::TooDeep | JsonError::Duplicate(_) | JsonError::TooLong(_)) => {}
        Err(error) => assert!(!is_object, "the scanner says {error:?} of {:?}", String::from_utf8_lossy(body)),
    }
});
