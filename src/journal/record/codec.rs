//! The alphabet of the journal's encoding: variable-length numbers, texts, and a reader that never panics.
//!
//! Numbers are LEB128, signed ones zigzag first; each has one encoding only, so that equal records are equal bytes.

use super::Malformed;

/// The longest text that is kept, in bytes; longer ones are cut at a character's border.
pub const MAX_TEXT: usize = 256;

/// Writes at the end of a buffer.
#[derive(Debug)]
pub struct Out<'a>(pub &'a mut Vec<u8>);

impl Out<'_> {
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn unsigned(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub fn signed(&mut self, number: i64) {
        self.unsigned(((number << 1) ^ (number >> 63)) as u64);
    }

    pub fn text(&mut self, text: &str) {
        let mut kept = text.len().min(MAX_TEXT);
        while !text.is_char_boundary(kept) {
            kept -= 1;
        }
        self.unsigned(kept as u64);
        self.bytes(&text.as_bytes()[..kept]);
    }
}

/// Reads from the front of some bytes.
#[derive(Debug)]
pub struct In<'a>(pub &'a [u8]);

impl<'a> In<'a> {
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn unsigned(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed::Number);
            }
            number |= bits << shift;
            if byte < 0x80 {
                // A last group of zeros would be a second encoding of the same number.
                return if byte == 0 && shift > 0 { Err(Malformed::Number) } else { Ok(number) };
            }
        }
        Err(Malformed::Number)
    }

    pub fn signed(&mut self) -> Result<i64, Malformed> {
        let number = self.unsigned()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub fn narrow<N: TryFrom<u64>>(&mut self) -> Result<N, Malformed> {
        N::try_from(self.unsigned()?).map_err(|_| Malformed::Number)
    }

    pub fn text(&mut self) -> Result<String, Malformed> {
        let count: usize = self.narrow()?;
        if count > MAX_TEXT {
            return Err(Malformed::Text);
        }
        let text = std::str::from_utf8(self.bytes(count)?).map_err(|_| Malformed::Text)?;
        Ok(text.to_owned())
    }

    pub fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Long) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_at_the_borders_come_back() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::MAX / 2, u64::MAX] {
            let mut bytes = Vec::new();
            Out(&mut bytes).unsigned(number);
            Out(&mut bytes).signed(number as i64);
            let mut from = In(&bytes);
            assert_eq!((from.unsigned(), from.signed()), (Ok(number), Ok(number as i64)));
            assert_eq!(from.end(), Ok(()));
        }
    }

    #[test]
    fn a_number_has_one_encoding_and_no_more_than_64_bits() {
        for bytes in [&[0x80, 0x00][..], &[0xff, 0x80, 0x00], &[0xff; 10], &[0xff; 11]] {
            assert_eq!(In(bytes).unsigned(), Err(Malformed::Number), "{bytes:x?}");
        }
        let two_to_the_64 = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02];
        assert_eq!(In(&two_to_the_64).unsigned(), Err(Malformed::Number));
        assert_eq!(In(&[0x80]).unsigned(), Err(Malformed::Short));
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let mut bytes = Vec::new();
        Out(&mut bytes).text(&format!("{}é", "x".repeat(MAX_TEXT - 1)));
        assert_eq!(In(&bytes).text(), Ok("x".repeat(MAX_TEXT - 1)));
    }
}
