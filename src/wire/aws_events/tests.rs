//! Messages whole, cut at every byte, and damaged.

use proptest::prelude::*;

use super::*;

/// A message with a header of every kind, as botocore 1.44 reads it.
const EVERY_KIND: &str = "000000810000006a44c3ce0d0b3a6576656e742d74797065070011636f6e74656e74426c6f636b44656c74\
    61047472756500016e0400000007016206000300ff01027473080000000000000005017509000000000000000000000000000000\
    000d3a6d6573736167652d747970650700056576656e747b2261223a317db4386056";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("a digit") as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn messages<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Message>, BadEvents> {
    let mut framer = EventFramer::new(1 << 20);
    let mut all = Vec::new();
    for part in parts {
        framer.push(part, |message| all.push(message))?;
    }
    match framer.is_at_border() {
        true => Ok(all),
        false => Err(BadEvents::Length),
    }
}

fn message(name: &str, value: &str, payload: &[u8]) -> Message {
    Message { headers: vec![(name.to_owned(), value.to_owned())], payload: Bytes::copy_from_slice(payload) }
}

#[test]
fn headers_of_every_kind_are_passed_and_texts_kept() {
    let all = messages([&bytes(EVERY_KIND)[..]]).expect("a message");
    assert_eq!(all[0].header(":event-type"), Some("contentBlockDelta"));
    assert_eq!((all[0].header(":message-type"), all[0].header("n")), (Some("event"), None));
    assert_eq!(&all[0].payload[..], b"{\"a\":1}");
}

#[test]
fn messages_are_the_same_wherever_the_bytes_are_cut() {
    let mut stream = bytes(EVERY_KIND);
    stream.extend_from_slice(&message(":event-type", "x", b"").encode());
    stream.extend_from_slice(&message(":event-type", "metadata", b"{}").encode());
    let whole = messages([&stream[..]]).expect("messages");
    assert_eq!(whole.len(), 3);
    for cut in 0..=stream.len() {
        assert_eq!(messages([&stream[..cut], &stream[cut..]]).as_ref(), Ok(&whole), "cut at {cut}");
    }
    assert_eq!(messages(stream.chunks(1)), Ok(whole));
}

#[test]
fn every_damaged_byte_is_noticed() {
    let good = bytes(EVERY_KIND);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(messages([&bad[..]]).is_err(), "byte {at}");
    }
}

#[test]
fn impossible_lengths_are_refused_before_their_bytes_come() {
    let prelude = |total: u32, headers: u32| {
        let mut out = [total.to_be_bytes(), headers.to_be_bytes()].concat();
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out
    };
    for (total, headers, wanted) in [
        (15, 0, BadEvents::Length),
        (0, 0, BadEvents::Length),
        (100, 90, BadEvents::Length),
        (u32::MAX, u32::MAX, BadEvents::Length),
        (300_000, 200_000, BadEvents::Length),
        (2 << 20, 0, BadEvents::TooLong(1 << 20)),
    ] {
        let mut framer = EventFramer::new(1 << 20);
        assert_eq!(framer.push(&prelude(total, headers), |_| ()), Err(wanted), "{total} {headers}");
    }
}

#[test]
fn malformed_headers_are_refused() {
    for headers in [&b"\x00\x07\x00\x00"[..], b"\x01a\x0a", b"\x01a\x07\x00\x09x", b"\x05a", b"\x01a"] {
        let total = (PRELUDE + headers.len() + TRAILER) as u32;
        let mut out = [total.to_be_bytes(), (headers.len() as u32).to_be_bytes()].concat();
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out.extend_from_slice(headers);
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        assert_eq!(messages([&out[..]]), Err(BadEvents::Headers), "{headers:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_cut(
        all in proptest::collection::vec(("[a-z:-]{1,20}", "[a-zé]{0,30}", proptest::collection::vec(any::<u8>(), 0..50)), 0..5),
        size in 1_usize..40,
    ) {
        let all: Vec<_> = all.iter().map(|(name, value, payload)| message(name, value, payload)).collect();
        let stream = all.iter().flat_map(|message| message.encode().to_vec()).collect::<Vec<_>>();
        prop_assert_eq!(messages(stream.chunks(size)), Ok(all));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = messages([&bytes[..]]);
    }
}
