//! How much a stream says whose events pass through and are not read: the tokens of their texts.

use memchr::{memchr2, memmem::Finder};

use super::estimate;

/// Longest form around a text that is remembered, in bytes.
const LONGEST: usize = 4 << 10;

/// Counts the tokens of the texts in a stream's events, by rule of thumb.
///
/// One event is mostly like the last but for its text: what stood before and behind the last text is compared
/// before anything is searched.
#[derive(Debug)]
pub struct Speech {
    /// Finds where texts stand.
    keys: Vec<Finder<'static>>,
    /// What stood before the last text; empty where nothing is known.
    before: Vec<u8>,
    /// What stood behind it, where no text is.
    behind: Vec<u8>,
    tokens: u64,
}

impl Speech {
    /// Texts are what stands under these keys, each with its quotes and its colon.
    pub fn new(keys: &'static [&'static str]) -> Self {
        let keys = keys.iter().map(Finder::new).collect();
        Self { keys, before: Vec::new(), behind: Vec::new(), tokens: 0 }
    }

    /// The tokens so far.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Takes the next event's data.
    pub fn hear(&mut self, data: &[u8]) {
        if !self.before.is_empty()
            && let Some(text) = data.strip_prefix(&self.before[..])
        {
            let (text, behind) = text.split_at(end_of_text(text));
            self.tokens += estimate::written(text);
            if behind != self.behind {
                self.tokens += self.texts(behind).map(estimate::written).sum::<u64>();
                keep(&mut self.behind, behind);
            }
            return;
        }
        let first = self.texts(data).filter(|text| !text.is_empty()).min_by_key(|text| text.as_ptr());
        self.tokens += self.texts(data).map(estimate::written).sum::<u64>();
        self.before.clear();
        if let Some(first) = first {
            let begin = first.as_ptr() as usize - data.as_ptr() as usize;
            let behind = &data[begin + first.len()..];
            if self.texts(behind).all(<[u8]>::is_empty) {
                keep(&mut self.before, &data[..begin]);
                keep(&mut self.behind, behind);
            }
        }
    }

    fn texts<'d>(&self, data: &'d [u8]) -> impl Iterator<Item = &'d [u8]> {
        self.keys.iter().flat_map(move |key| {
            key.find_iter(data).filter_map(move |at| {
                let text = data[at + key.needle().len()..].trim_ascii_start().strip_prefix(b"\"")?;
                Some(&text[..end_of_text(text)])
            })
        })
    }
}

/// Remembers bytes, unless they are too many.
fn keep(memory: &mut Vec<u8>, bytes: &[u8]) {
    memory.clear();
    if bytes.len() <= LONGEST {
        memory.extend_from_slice(bytes);
    }
}

/// Where a text ends that has begun; at the end of all where that is missing.
fn end_of_text(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if text[at] == b'"' {
            return at;
        }
        at += 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: &[&str] = &["\"content\":", "\"text\":"];

    fn tokens(data: &[u8]) -> u64 {
        let mut speech = Speech::new(KEYS);
        speech.hear(data);
        speech.tokens()
    }

    #[test]
    fn only_the_texts_of_wanted_keys_count() {
        for (data, wanted) in [
            (r#"{"id":"chatcmpl-a:b","choices":[{"delta":{"content":"fox"}}],"obfuscation":"abcdefgh"}"#, 1),
            (r#"{"delta": {"role": "assistant", "content": "the quick, brown fox"}}"#, 5),
            (r#"{"content":"say \"content\":\"x\"","text":"two words"}"#, 11),
            (r#"{"content":"\n"}"#, 1),
            (r#"{"content":"","text":null}"#, 0),
            (r#"{"xcontent":"fox","content":{"text":"a"}}"#, 1),
            (r#"{"content":"cut off"#, 2),
            (r#"{"content":"cut off\"#, 2),
            (r#"{"content""#, 0),
        ] {
            assert_eq!(tokens(data.as_bytes()), wanted, "{data}");
        }
        assert_eq!(tokens(b"{\"text\":\"\xff\xfe\xfd\xfc\xfb\"}"), 2, "what is no UTF-8");
    }

    fn event(texts: &[String], tail: &str) -> String {
        let choices: Vec<_> =
            texts.iter().map(|text| serde_json::json!({"delta": {"content": text}})).collect();
        serde_json::json!({"model": "m", "choices": choices, "x": "content", "z": tail}).to_string()
    }

    proptest! {
        #[test]
        fn texts_count_as_much_written_as_said_whatever_came_before(
            events in proptest::collection::vec(
                (proptest::collection::vec(r#"[a-z :"\\\n,漢é]{0,12}"#, 0..3), "[a-z]{0,2}"), 1..6)
        ) {
            let mut speech = Speech::new(KEYS);
            let mut said = 0;
            for (texts, tail) in &events {
                speech.hear(event(texts, tail).as_bytes());
                said += texts.iter().map(|t| estimate::text(t).max(u64::from(!t.is_empty()))).sum::<u64>();
                prop_assert_eq!(speech.tokens(), said);
            }
        }

        #[test]
        fn no_bytes_make_it_fail(data in proptest::collection::vec(any::<u8>(), 0..60), text in r#"["\\:{}a-z ]{0,40}"#) {
            let mut speech = Speech::new(&["a", "\""]);
            for data in [&data[..], text.as_bytes(), &data[..], text.as_bytes()] {
                speech.hear(data);
            }
        }
    }
}
