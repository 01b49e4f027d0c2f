//! Round trips of any record, and what becomes of bytes that are none.

use penstock_actors::domain::{AccountId, AttemptFact};
use proptest::prelude::*;

use super::*;
use crate::journal::{
    segment::{FRAME, Parsed, close_frame, parse},
    tests::samples::{any_dispatch, any_progress, any_settlement, dispatch, progress, settlement},
};

fn payload(fact: Fact<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&fact, &mut bytes).unwrap();
    assert_eq!(call_of(&bytes), Some(fact.call()));
    bytes
}

fn frame(fact: Fact<'_>) -> Vec<u8> {
    let mut bytes = vec![0; FRAME];
    bytes.extend(payload(fact));
    close_frame(&mut bytes, 0, fact.kind());
    bytes
}

proptest! {
    #[test]
    fn dispatches_come_back(dispatch in any_dispatch(), progress in proptest::option::of(any_progress())) {
        let bytes = payload(Fact::Dispatch(&dispatch));
        prop_assert_eq!(decode(Kind::Dispatch, &bytes), Ok(Record::Dispatch(dispatch.clone())));
        let further = progress.as_ref().map_or(Vec::new(), |p| payload(Fact::Progress(p)));
        let mut copy = Vec::new();
        encode_open(&bytes, &further, &mut copy);
        prop_assert_eq!(decode(Kind::Open, &copy), Ok(Record::Open(dispatch, progress)));
    }

    #[test]
    fn progress_comes_back(progress in any_progress()) {
        let bytes = payload(Fact::Progress(&progress));
        prop_assert_eq!(decode(Kind::Progress, &bytes), Ok(Record::Progress(progress)));
    }

    #[test]
    fn settlements_come_back(settlement in any_settlement()) {
        let bytes = payload(Fact::Settlement(&settlement));
        prop_assert_eq!(decode_settlement(&bytes), Ok(settlement));
    }

    #[test]
    fn a_payload_cut_anywhere_is_refused(settlement in any_settlement()) {
        let bytes = payload(Fact::Settlement(&settlement));
        for end in 0..bytes.len() {
            prop_assert!(decode_settlement(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_a_record_in_its_only_form_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for kind in [Kind::Dispatch, Kind::Progress, Kind::Settlement, Kind::Open] {
            let mut versioned = bytes.clone();
            versioned.insert(0, VERSION);
            let _ = decode(kind, &bytes);
            let _ = decode(kind, &versioned);
        }
        let _ = parse(&bytes);
    }

    /// Changed bytes behind a good checksum: what is understood encodes to the very same bytes.
    #[test]
    fn what_is_understood_has_one_encoding(settlement in any_settlement(), at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let mut bytes = payload(Fact::Settlement(&settlement));
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if let Ok(other) = decode_settlement(&bytes) {
            prop_assert_eq!(payload(Fact::Settlement(&other)), bytes);
        }
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed(settlement in any_settlement()) {
        let mut bytes = frame(Fact::Settlement(&settlement));
        bytes.extend(frame(Fact::Dispatch(&dispatch(2))));
        let length = frame(Fact::Settlement(&settlement)).len();
        for bit in 0..8 * length {
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!matches!(parse(&bytes), Parsed::Whole(..)), "bit {}", bit);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn a_newer_version_is_said_to_be_unknown() {
    let mut bytes = payload(Fact::Progress(&progress(1, 2)));
    bytes[0] += 1;
    assert_eq!(decode(Kind::Progress, &bytes), Err(Malformed::Unknown));
    assert_eq!(call_of(&bytes), None);
}

#[test]
fn a_chain_of_accounts_is_whole_or_refused() {
    let mut long = dispatch(1);
    long.accounts.0 = vec![AccountId(1); MAX_ACCOUNTS];
    payload(Fact::Dispatch(&long));
    long.accounts.0.push(AccountId(2));
    assert_eq!(encode(&Fact::Dispatch(&long), &mut Vec::new()), Err(TooManyAccounts));
}

#[test]
fn of_many_attempts_the_first_and_the_last_are_kept() {
    let mut many = settlement(1);
    let attempt = |after_ms| AttemptFact { after_ms, ..many.attempts[0].clone() };
    many.attempts = (0..100).map(attempt).collect();
    let kept = decode_settlement(&payload(Fact::Settlement(&many))).unwrap().attempts;
    let after: Vec<_> = kept.iter().map(|a| a.after_ms).collect();
    assert_eq!(after, (0..16).chain(84..100).collect::<Vec<_>>());
}

#[test]
fn the_longest_record_is_within_the_cap() {
    let long = "x".repeat(10 * MAX_TEXT);
    let mut largest = settlement(u128::MAX);
    largest.accounts.0 = vec![AccountId(i64::MIN); MAX_ACCOUNTS];
    for text in [&mut largest.code, &mut largest.model, &mut largest.channel, &mut largest.client_request_id]
    {
        *text = long.clone();
    }
    let attempt = AttemptFact { channel: long.clone(), code: long, ..largest.attempts[0].clone() };
    largest.attempts = vec![attempt; MAX_ATTEMPTS];
    assert!(payload(Fact::Settlement(&largest)).len() < MAX_PAYLOAD);
}

#[test]
fn an_everyday_settlement_is_short() {
    assert!(payload(Fact::Settlement(&settlement(1))).len() < 130);
}
