//! Places in a text: in bytes of UTF-8 here (`Segment.startIndex` and `endIndex`), in characters everywhere else.

/// How the characters of a text lie in its bytes. The text may go by in pieces and is not kept: only where the width
/// of its characters changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Offsets {
    runs: Vec<Run>,
    bytes: u64,
    chars: u64,
}

/// Characters of one width.
#[derive(Clone, Copy, Debug)]
struct Run {
    byte: u64,
    char: u64,
    width: u64,
}

impl Offsets {
    /// The text goes on.
    pub fn push(&mut self, text: &str) {
        if text.is_ascii() {
            self.extend(text.len() as u64, 1);
        } else {
            text.chars().for_each(|c| self.extend(1, c.len_utf8() as u64));
        }
    }

    fn extend(&mut self, chars: u64, width: u64) {
        if chars > 0 && self.runs.last().is_none_or(|run| run.width != width) {
            self.runs.push(Run { byte: self.bytes, char: self.chars, width });
        }
        self.bytes += chars * width;
        self.chars += chars;
    }

    /// How many bytes have gone by.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The character that a byte belongs to. Beyond the text its last width goes on.
    pub fn char_at(&self, byte: u64) -> u64 {
        let run = self.runs.partition_point(|run| run.byte <= byte).checked_sub(1);
        run.map_or(byte, |at| {
            let run = self.runs[at];
            run.char + (byte - run.byte) / run.width
        })
    }

    /// The first byte of a character. Beyond the text its last width goes on.
    pub fn byte_at(&self, char: u64) -> u64 {
        let run = self.runs.partition_point(|run| run.char <= char).checked_sub(1);
        run.map_or(char, |at| {
            let run = self.runs[at];
            run.byte.saturating_add((char - run.char).saturating_mul(run.width))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_are_those_of_the_text_however_it_is_cut(text in "[a-cé漢🦀]{0,40}", cut in 0_usize..40) {
            let at = text.char_indices().nth(cut).map_or(text.len(), |(at, _)| at);
            let mut offsets = Offsets::default();
            offsets.push(&text[..at]);
            offsets.push(&text[at..]);
            for (char, (byte, c)) in text.char_indices().enumerate() {
                prop_assert_eq!(offsets.byte_at(char as u64), byte as u64);
                for inside in 0..c.len_utf8() {
                    prop_assert_eq!(offsets.char_at((byte + inside) as u64), char as u64);
                }
            }
            let chars = text.chars().count() as u64;
            prop_assert_eq!(offsets.bytes(), text.len() as u64);
            prop_assert_eq!(offsets.char_at(text.len() as u64), chars);
            prop_assert_eq!(offsets.byte_at(chars), text.len() as u64);
        }
    }

    #[test]
    fn beyond_the_text_nothing_overflows() {
        let mut offsets = Offsets::default();
        assert_eq!((offsets.char_at(u64::MAX), offsets.byte_at(u64::MAX)), (u64::MAX, u64::MAX));
        offsets.push("🦀");
        assert_eq!((offsets.char_at(6), offsets.byte_at(2), offsets.byte_at(u64::MAX)), (1, 8, u64::MAX));
    }
}
