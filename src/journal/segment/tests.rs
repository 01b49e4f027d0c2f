//! Headers and names.

use super::*;

fn header() -> Header {
    let stream = StreamId { node: 7, boot: 12, worker: 3 };
    Header { stream, segment: 4, base: 1 << 40, prelude: 300, wall_ms: 1_790_000_000_000 }
}

#[test]
fn a_header_comes_back() {
    assert_eq!(Header::decode(&header().encode()), Ok(header()));
}

#[test]
fn a_header_with_any_flipped_bit_or_cut_is_refused() {
    let bytes = header().encode();
    for bit in 0..8 * HEADER {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Header::decode(&flipped), Err(BadHeader::Damaged), "bit {bit}");
    }
    for end in 0..HEADER {
        assert_eq!(Header::decode(&bytes[..end]), Err(BadHeader::Damaged));
    }
}

#[test]
fn a_newer_format_is_named() {
    let mut bytes = header().encode();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..HEADER - 4]);
    bytes[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(Header::decode(&bytes), Err(BadHeader::Format(2)));
}

#[test]
fn names_sort_by_boot_worker_and_number_and_come_back() {
    let name = SegmentName::new(header().stream, 4);
    assert_eq!(name.file(), "00000012-00003-00000004.journal");
    assert_eq!(SegmentName::parse(&name.file()), Some(name));
    for other in ["", "lock", "node.json", "12-3-4.journal", "00000012-00003.journal", "spare-00000001"] {
        assert_eq!(SegmentName::parse(other), None, "{other}");
    }
    assert_eq!(SegmentName::parse("00000012-99999-00000004.journal"), None);
}

#[test]
fn zeros_are_the_end_and_not_a_record() {
    for count in 0..20 {
        assert_eq!(parse(&vec![0; count]), Parsed::Nothing);
    }
}
