//! How much an event of a stream says, where it passes through and is not read: the tokens of its texts.

use memchr::{memchr, memchr2};

use super::estimate;

/// The tokens of the texts that stand in a JSON document under any of these keys, by rule of thumb.
pub fn tokens(data: &[u8], keys: &[&[u8]]) -> u64 {
    let (mut rest, mut sum) = (data, 0);
    while let Some(colon) = memchr(b':', rest) {
        let (before, behind) = (&rest[..colon], rest[colon + 1..].trim_ascii_start());
        let is_wanted = keys.iter().any(|key| ends_with_key(before, key));
        rest = behind;
        if let Some(text) = behind.strip_prefix(b"\"").filter(|_| is_wanted) {
            let (text, behind) = text.split_at(end_of_text(text));
            sum += estimate::written(text);
            rest = behind;
        }
    }
    sum
}

/// Whether a key stands at the end. Inside a text its quotes would be escaped.
fn ends_with_key(before: &[u8], key: &[u8]) -> bool {
    let opened = before.strip_suffix(b"\"").and_then(|before| before.strip_suffix(key));
    opened.and_then(|before| before.strip_suffix(b"\"")).is_some_and(|before| !before.ends_with(b"\\"))
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

    const KEYS: &[&[u8]] = &[b"content", b"text"];

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
            assert_eq!(tokens(data.as_bytes(), KEYS), wanted, "{data}");
        }
        assert_eq!(tokens(b"{\"text\":\"\xff\xfe\xfd\xfc\xfb\"}", KEYS), 2, "what is no UTF-8");
    }

    proptest! {
        #[test]
        fn a_text_counts_as_much_written_as_said(text in r#"[a-z :"\\\n,漢é]{1,30}"#) {
            let data = serde_json::json!({"model": "m", "choices": [{"delta": {"content": text}}], "x": "content"});
            let said = estimate::text(&text).max(1);
            prop_assert_eq!(tokens(data.to_string().as_bytes(), KEYS), said);
        }

        #[test]
        fn no_bytes_make_it_fail(data in proptest::collection::vec(any::<u8>(), 0..60), text in r#"["\\:{}a-z ]{0,40}"#) {
            let _ = (tokens(&data, KEYS), tokens(text.as_bytes(), &[b"a", b""]));
        }
    }
}
