//! What the mock says, piece by piece: one word with the white space before it is one token.

use bytes::{BufMut, BytesMut};

/// Words that are still to be said. Nothing is rendered before its time, so that a slow stream of
/// any length holds no more than its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    source: Source,
    left: u32,
    /// Whether a limit cuts the text short.
    pub shortened: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Text { text: String, at: usize },
    Filler { at: usize },
    Huge { bytes: usize },
}

/// The first of these is said without the space before it.
const FILLER: [&str; 16] = [
    " water", " falls", " through", " the", " gate", " and", " turns", " what", " stands", " below", " it",
    " until", " the", " river", " runs", " on",
];

impl Words {
    /// The words of a text.
    pub fn of(text: String) -> Self {
        let left = u32::try_from(count(&text)).unwrap_or(u32::MAX);
        Self { source: Source::Text { text, at: 0 }, left, shortened: false }
    }

    /// So many words of no meaning.
    pub fn filler(words: u32) -> Self {
        Self { source: Source::Filler { at: 0 }, left: words, shortened: false }
    }

    /// One word of so many bytes.
    pub fn huge(bytes: u32) -> Self {
        Self { source: Source::Huge { bytes: bytes as usize }, left: 1, shortened: false }
    }

    /// The same words, but no more than `most`.
    pub fn limited(mut self, most: Option<u32>) -> Self {
        if let Some(most) = most.filter(|most| *most < self.left) {
            self.left = most;
            self.shortened = true;
        }
        self
    }

    /// How many words are left.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// How many bytes the words take at most, before they are escaped.
    pub fn len_hint(&self) -> usize {
        match &self.source {
            Source::Text { text, .. } => text.len(),
            Source::Filler { .. } => self.left as usize * 8,
            Source::Huge { bytes } => *bytes,
        }
    }

    /// Writes the next word, as it stands inside a JSON string. Tells whether there was one.
    pub fn write_next(&mut self, out: &mut BytesMut) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        match &mut self.source {
            Source::Text { text, at } => {
                let rest = &text[*at..];
                let end = if self.left == 0 && !self.shortened { rest.len() } else { word_end(rest) };
                escape(&rest[..end], out);
                *at += end;
            }
            Source::Filler { at } => {
                let word = FILLER[*at % FILLER.len()];
                out.extend_from_slice(if *at == 0 { word.trim_start() } else { word }.as_bytes());
                *at += 1;
            }
            Source::Huge { bytes } => out.put_bytes(b'x', *bytes),
        }
        true
    }

    /// Writes all that is left.
    pub fn write_all(mut self, out: &mut BytesMut) {
        out.reserve(self.len_hint());
        while self.write_next(out) {}
    }
}

/// How many words a text has.
pub fn count(text: &str) -> usize {
    text.split_ascii_whitespace().count()
}

/// Where the first word of `text` ends, the white space before it included.
fn word_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let start = bytes.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(bytes.len());
    bytes[start..].iter().position(u8::is_ascii_whitespace).map_or(bytes.len(), |n| start + n)
}

/// Writes a text as it stands inside a JSON string (RFC 8259, section 7).
pub fn escape(text: &str, out: &mut BytesMut) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let hex = |n: u8| char::from_digit(n.into(), 16).map_or(b'0', |c| c as u8);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[from..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(mut words: Words) -> Vec<String> {
        let mut all = Vec::new();
        let mut out = BytesMut::new();
        while words.write_next(&mut out) {
            all.push(String::from_utf8(out.split().to_vec()).expect("text"));
        }
        all
    }

    #[test]
    fn a_piece_is_a_word_and_the_space_before_it() {
        assert_eq!(pieces(Words::of(" one  two\n".into())), [" one", "  two\\n"]);
        assert_eq!(pieces(Words::of("one two three".into()).limited(Some(2))), ["one", " two"]);
        assert!(Words::of("one two".into()).limited(Some(1)).shortened);
        assert!(!Words::of("one two".into()).limited(Some(2)).shortened);
        assert_eq!(pieces(Words::filler(3)), ["water", " falls", " through"]);
        assert_eq!(pieces(Words::huge(3)), ["xxx"]);
        assert!(pieces(Words::of(String::new())).is_empty());
    }

    proptest! {
        #[test]
        fn the_pieces_of_a_text_are_the_text(text in "[ \\n\"\\\\a-cé\\x00-\\x1f]{0,40}") {
            let words = Words::of(text.clone());
            let left = words.left() as usize;
            let all = pieces(words);
            prop_assert_eq!(all.len(), left);
            let said: String = serde_json::from_str(&format!("\"{}\"", all.concat())).expect("a JSON string");
            prop_assert_eq!(said, if left == 0 { String::new() } else { text });
        }
    }
}
