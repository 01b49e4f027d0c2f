//! Reads OpenAI's usage object (`CompletionUsage`, `CreateEmbeddingResponse.usage`): a few numbers, of which
//! every answer has some, so it is read by hand.

use penstock_actors::domain::Usage;

use crate::dialect::count::MOST;

/// Splits OpenAI's totals into disjoint buckets; `None` where the object is not one of theirs.
///
/// What follows the object is not looked at.
pub(crate) fn usage(raw: &[u8]) -> Option<Usage> {
    const OF_PROMPT: [&[u8]; 4] = [b"cached_tokens", b"cache_write_tokens", b"audio_tokens", b"image_tokens"];
    const OF_COMPLETION: [&[u8]; 3] = [b"reasoning_tokens", b"audio_tokens", b"image_tokens"];
    let (mut prompt, mut completion) = (None, None);
    let (mut of_prompt, mut of_completion) = ([None; 4], [None; 3]);
    Reader(raw).members(|key, value| match key {
        b"prompt_tokens" => value.count_into(&mut prompt),
        b"completion_tokens" => value.count_into(&mut completion),
        b"prompt_tokens_details" => value.details(OF_PROMPT, &mut of_prompt),
        b"completion_tokens_details" => value.details(OF_COMPLETION, &mut of_completion),
        _ => value.skip(),
    })?;
    // No answer has more; a provider that lies must not overflow sums.
    let (mut input, mut output) = (prompt.unwrap_or(0).min(MOST), completion.unwrap_or(0).min(MOST));
    let [cached_read, cache_write_5m, audio_in, image_in] =
        of_prompt.map(|told| Usage::take(&mut input, told.unwrap_or(0)));
    let [reasoning, audio_out, image_out] =
        of_completion.map(|told| Usage::take(&mut output, told.unwrap_or(0)));
    Some(Usage {
        input,
        cached_read,
        cache_write_5m,
        output,
        reasoning,
        audio_in,
        image_in,
        audio_out,
        image_out,
        ..Usage::default()
    })
}

/// Reads JSON from the front; `None` where something else stands there.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    /// Reads an object, each value by `read`.
    fn members(&mut self, mut read: impl FnMut(&[u8], &mut Self) -> Option<()>) -> Option<()> {
        self.eat(b'{')?;
        if self.eat(b'}').is_some() {
            return Some(());
        }
        loop {
            let key = self.string()?;
            self.eat(b':')?;
            read(key, self)?;
            if self.eat(b',').is_none() {
                return self.eat(b'}');
            }
        }
    }

    /// Reads a count that has not been read before, or null. Some providers write counts with a fraction, which is cut.
    fn count_into(&mut self, number: &mut Option<u64>) -> Option<()> {
        if self.null() {
            return Some(());
        }
        let digits = self.digits()?;
        if digits.len() > 1 && digits[0] == b'0' {
            return None;
        }
        if let Some(fraction) = self.0.strip_prefix(b".") {
            self.0 = fraction;
            self.digits()?;
        }
        if matches!(self.0.first(), Some(b'e' | b'E')) {
            return None;
        }
        let read =
            digits.iter().try_fold(0_u64, |sum, d| sum.checked_mul(10)?.checked_add(u64::from(d - b'0')));
        match number.replace(read?) {
            None => Some(()),
            Some(_) => None,
        }
    }

    /// At least one digit.
    fn digits(&mut self) -> Option<&'b [u8]> {
        let end = self.0.iter().position(|b| !b.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        self.0 = rest;
        (end > 0).then_some(digits)
    }

    /// Reads these members of an object; it and each of them may be null or missing.
    fn details<const N: usize>(&mut self, names: [&[u8]; N], numbers: &mut [Option<u64>; N]) -> Option<()> {
        if self.null() {
            return Some(());
        }
        self.members(|key, value| match names.iter().position(|name| *name == key) {
            Some(at) => value.count_into(&mut numbers[at]),
            None => value.skip(),
        })
    }

    /// Passes any value over, counting brackets only.
    fn skip(&mut self) -> Option<()> {
        self.space();
        let mut depth = 0_usize;
        loop {
            match *self.0.first()? {
                b'"' => {
                    self.string()?;
                }
                open @ (b'{' | b'[') => {
                    depth += 1;
                    self.eat(open)?;
                }
                b'}' | b']' if depth == 0 => return None,
                close @ (b'}' | b']') => {
                    depth -= 1;
                    self.eat(close)?;
                }
                b',' | b':' if depth == 0 => return None,
                _ => {
                    let more =
                        |b: &u8| !matches!(b, b'"' | b'{' | b'[' | b'}' | b']') && (depth > 0 || *b != b',');
                    let end = self.0.iter().position(|b| !more(b)).unwrap_or(self.0.len());
                    self.0 = &self.0[end..];
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// The inside of a string, as it is written.
    fn string(&mut self) -> Option<&'b [u8]> {
        self.eat(b'"')?;
        let text = self.0;
        let mut at = 0;
        loop {
            at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
            if text[at] == b'"' {
                self.0 = &text[at + 1..];
                return Some(&text[..at]);
            }
            at += 2;
        }
    }

    fn null(&mut self) -> bool {
        self.space();
        match self.0.strip_prefix(b"null") {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        self.space();
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    fn space(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn totals_are_split_into_disjoint_buckets() {
        let raw = br#"{"prompt_tokens":10,"completion_tokens":7,"total_tokens":17,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":5}}"#;
        let usage = usage(raw).expect("usage");
        assert_eq!((usage.input, usage.cached_read, usage.output, usage.reasoning), (6, 4, 2, 5));
        assert_eq!((usage.prompt(), usage.completion()), (10, 7));
    }

    #[test]
    fn tokens_of_recordings_and_pictures_have_buckets_of_their_own() {
        let raw = br#"{"prompt_tokens":100,"completion_tokens":70,"prompt_tokens_details":{"audio_tokens":30,"cached_tokens":20,"cache_write_tokens":5,"text_tokens":50,"image_tokens":10},"completion_tokens_details":{"accepted_prediction_tokens":0,"audio_tokens":40,"reasoning_tokens":10,"image_tokens":900}}"#;
        assert_eq!(usage(raw), Some(Usage::of([35, 20, 5, 0, 0, 10, 30, 10, 40, 20])));
    }

    #[test]
    fn odd_objects_are_read_as_far_as_they_are_theirs() {
        for (raw, wanted) in [
            ("{}", Some((0, 0))),
            (" { \"completion_tokens\" : 3 , \"prompt_tokens\":0 } tail", Some((0, 3))),
            (r#"{"x":{"prompt_tokens":[9,"}"]},"y":"\"}","z":-1.5e3,"prompt_tokens":2}"#, Some((2, 0))),
            (
                r#"{"prompt_tokens":2,"prompt_tokens_details":null,"completion_tokens_details":{"reasoning_tokens":null,"a":[{}]}}"#,
                Some((2, 0)),
            ),
            (r#"{"prompt_tokens":2,"prompt_tokens_details":{"cached_tokens":9}}"#, Some((2, 0))),
            (r#"{"prompt_tokens":18446744073709551615}"#, Some((MOST, 0))),
            (r#"{"prompt_tokens":18446744073709551616}"#, None),
            (r#"{"prompt_tokens":1,"prompt_tokens":1}"#, None),
            (r#"{"prompt_tokens":"1"}"#, None),
            (r#"{"prompt_tokens":null,"completion_tokens":2}"#, Some((0, 2))),
            (r#"{"prompt_tokens":11.0,"completion_tokens": 2.75}"#, Some((11, 2))),
            (r#"{"prompt_tokens":1.}"#, None),
            (r#"{"prompt_tokens":.5}"#, None),
            (r#"{"prompt_tokens":1.0e2}"#, None),
            (r#"{"prompt_tokens":-1}"#, None),
            (r#"{"prompt_tokens":01}"#, None),
            (r#"{"prompt_tokens_details":[]}"#, None),
            ("null", None),
            ("[]", None),
            ("", None),
        ] {
            let read = usage(raw.as_bytes()).map(|u| (u.prompt(), u.completion()));
            assert_eq!(read, wanted, "{raw}");
        }
        let whole = r#"{"a":[1,{"b":"\\"}],"prompt_tokens":12,"prompt_tokens_details":{"cached_tokens":1}}"#;
        for end in 0..whole.len() {
            assert_eq!(usage(&whole.as_bytes()[..end]), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn what_a_json_parser_finds_is_found(
            numbers in proptest::collection::vec(proptest::option::of(0_u64..1 << 50), 4),
            other in r#"[a-z\\"{}\[\], é]{0,12}"#,
        ) {
            let raw = serde_json::json!({
                "prompt_tokens": numbers[0].unwrap_or(1), "other": [other, {"prompt_tokens": other}, null, 1.5, true],
                "prompt_tokens_details": numbers[2].map(|n| serde_json::json!({"cached_tokens": n, "x": {}})),
                "completion_tokens": numbers[1].unwrap_or(2),
                "completion_tokens_details": {"reasoning_tokens": numbers[3], "other": other},
            });
            let (prompt, completion) = (numbers[0].unwrap_or(1).min(MOST), numbers[1].unwrap_or(2).min(MOST));
            for text in [raw.to_string(), serde_json::to_string_pretty(&raw).expect("json")] {
                let read = usage(text.as_bytes()).expect("usage");
                prop_assert_eq!((read.prompt(), read.completion()), (prompt, completion));
                prop_assert_eq!(read.cached_read, numbers[2].unwrap_or(0).min(prompt));
                prop_assert_eq!(read.reasoning, numbers[3].unwrap_or(0).min(completion));
            }
        }

        #[test]
        fn no_bytes_make_it_fail_otherwise(raw in r#"[{}\[\]",:0-9a\\ntuple_]{0,40}"#) {
            let _ = usage(raw.as_bytes());
        }
    }
}
