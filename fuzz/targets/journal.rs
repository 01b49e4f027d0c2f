//! Any payload of a record: read to something that is written the same again, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock::journal::record::{Fact, Kind, Record, decode, encode};

fuzz_target!(|data: &[u8]| {
    let Some((kind, payload)) = data.split_first() else { return };
    let Some(kind) = Kind::from_byte(kind % 5) else { return };
    let Ok(record) = decode(kind, payload) else { return };
    let fact = match &record {
        Record::Dispatch(dispatch) => Fact::Dispatch(dispatch),
        Record::Progress(progress) => Fact::Progress(progress),
        Record::Settlement(settlement) => Fact::Settlement(settlement),
        Record::Open(..) => return,
    };
    let mut again = Vec::new();
    encode(&fact, &mut again).expect("what was read can be written");
    assert_eq!(decode(kind, &again).expect("what was written can be read"), record);
});
