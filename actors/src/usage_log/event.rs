//! A settlement on its way through the ring: where it stands in the journal, and a copy of what stands there.

use super::ring::Ring;
use crate::domain::StreamId;

/// Words of a slot: with sequence and length, eight cache lines.
pub(super) const WORDS: usize = 62;
/// Words before the copy.
const HEAD: usize = 4;

/// The ring that carries settlements.
pub type UsageRing = Ring<WORDS>;

/// A settlement, as the journal has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageEvent<'a> {
    /// The journal's stream.
    pub stream: StreamId,
    /// Where the stream's settlement before this one ends; 0 for the first.
    pub from: u64,
    /// Where this one ends.
    pub to: u64,
    /// The settlement in the journal's encoding; empty where it was too long for a slot.
    pub payload: &'a [u8],
}

impl<'a> UsageEvent<'a> {
    /// The longest encoded settlement that a slot holds. A longer one is pushed without its copy, and
    /// consumers read it in the journal.
    pub const LONGEST: usize = (WORDS - HEAD) * 8;

    /// Pushes the event. Never waits.
    pub fn push(&self, ring: &UsageRing) {
        let payload = if self.payload.len() > Self::LONGEST { &[] } else { self.payload };
        let mut words = [0; WORDS];
        words[0] = self.from;
        words[1] = self.to;
        words[2] = u64::from(self.stream.node) << 32 | u64::from(self.stream.boot);
        words[3] = u64::from(self.stream.worker) << 32 | payload.len() as u64;
        for (word, bytes) in words[HEAD..].iter_mut().zip(payload.chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(eight);
        }
        ring.push(&words[..HEAD + payload.len().div_ceil(8)]);
    }

    /// Reads an event from a slot's words; its bytes go into `bytes`. `None` for words that are no event.
    pub fn read(words: &[u64], bytes: &'a mut Vec<u8>) -> Option<Self> {
        let (&[from, to, place, rest], payload) = words.split_first_chunk::<HEAD>()?;
        let length = (rest & u64::from(u32::MAX)) as usize;
        bytes.clear();
        bytes.extend(payload.iter().flat_map(|word| word.to_le_bytes()));
        let payload = bytes.get(..length)?;
        let stream = StreamId { node: (place >> 32) as u32, boot: place as u32, worker: (rest >> 32) as u16 };
        Some(Self { stream, from, to, payload })
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId { node: 7, boot: u32::MAX, worker: StreamId::RECOVERY };

    /// The payload that arrives of one that was pushed.
    fn arrives(payload: &[u8]) -> Vec<u8> {
        let ring = UsageRing::new(2, 1);
        let pushed = UsageEvent { stream: STREAM, from: u64::MAX - 9, to: u64::MAX, payload };
        pushed.push(&ring);
        let mut bytes = Vec::new();
        let mut arrived = None;
        ring.reader(0).read(1, |words| {
            let event = UsageEvent::read(words, &mut bytes).expect("an event");
            assert_eq!((event.stream, event.from, event.to), (STREAM, pushed.from, pushed.to));
            arrived = Some(event.payload.to_vec());
        });
        arrived.expect("pushed")
    }

    #[test]
    fn an_event_arrives_as_it_was_pushed() {
        for length in [0, 1, 7, 8, 9, 200, UsageEvent::LONGEST] {
            let payload: Vec<u8> = (0..length).map(|n| n as u8 | 1).collect();
            assert_eq!(arrives(&payload), payload, "{length} bytes");
        }
    }

    #[test]
    fn a_settlement_that_is_too_long_arrives_without_its_copy() {
        assert_eq!(arrives(&[1; UsageEvent::LONGEST + 1]), [0u8; 0]);
    }

    #[test]
    fn a_slot_is_eight_cache_lines_and_words_that_are_no_event_are_refused() {
        assert_eq!((2 + WORDS) * 8, 512);
        assert_eq!(UsageEvent::LONGEST, 464);
        let mut bytes = Vec::new();
        assert_eq!(UsageEvent::read(&[1, 2, 3], &mut bytes), None);
        assert_eq!(UsageEvent::read(&[1, 2, 3, 9, 0], &mut bytes), None, "nine bytes in one word");
    }
}
