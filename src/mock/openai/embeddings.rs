//! `POST /v1/embeddings`: unit vectors that depend on nothing but the input.

use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::read_body;
use crate::mock::{
    answer::{Answer, Ask, quoted},
    check::{Param, Rule, Wrong, elements, may, must, text},
    failure::Refusal,
    text::count,
};

const PARAMS: &[Param] = &[
    must("model", Rule::Text),
    must("input", Rule::TextOrArray),
    may("dimensions", Rule::Whole(1, 4096)),
    may("encoding_format", Rule::OneOf(&["float", "base64"])),
    may("user", Rule::Text),
];

/// As many as `text-embedding-3-small` has.
const DIMENSIONS: u32 = 1536;

/// Answers.
///
/// # Errors
/// A [`Refusal`] where the request is wrong.
pub fn answer(ask: &Ask<'_>) -> Result<Answer, Refusal> {
    let fields = read_body(ask, PARAMS)?;
    let inputs = inputs(fields.get("input").ok_or(Wrong::Missing("input".into()))?)?;
    let dimensions = fields.count("dimensions").unwrap_or(DIMENSIONS) as usize;
    let base64 = fields.text("encoding_format").as_deref() == Some("base64");
    let mut out = String::with_capacity(128 + inputs.len() * (dimensions * if base64 { 6 } else { 13 } + 64));
    out.push_str("{\"object\":\"list\",\"data\":[");
    for (index, input) in inputs.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(out, "{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":");
        let vector = vector(input.seed, dimensions);
        if base64 {
            out.push('"');
            push_base64(&vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>(), &mut out);
            out.push('"');
        } else {
            for (n, x) in vector.iter().enumerate() {
                let _ = write!(out, "{}{x}", if n > 0 { ',' } else { '[' });
            }
            out.push(']');
        }
        out.push('}');
    }
    let model = fields.text("model").unwrap_or_default();
    let _ = write!(out, "],\"model\":{}", quoted(ask.model(&model)));
    let tokens: u64 = inputs.iter().map(|input| input.tokens).sum();
    if !ask.settings.no_usage {
        let _ = write!(out, ",\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens}}}");
    }
    out.push('}');
    Ok(Answer::plain(out, tokens))
}

struct Input {
    seed: u64,
    tokens: u64,
}

impl Input {
    fn of_text(text: &str) -> Self {
        Self { seed: seed(text.as_bytes()), tokens: count(text) as u64 }
    }

    fn of_tokens(raw: &RawValue, tokens: usize) -> Self {
        Self { seed: seed(raw.get().as_bytes()), tokens: tokens as u64 }
    }
}

/// A text, texts, tokens, or arrays of tokens.
fn inputs(raw: &RawValue) -> Result<Vec<Input>, Refusal> {
    if let Some(text) = text(raw) {
        let empty =
            || Refusal::invalid("'$.input' is invalid: input cannot be an empty string.").about("input");
        return if text.is_empty() { Err(empty()) } else { Ok(vec![Input::of_text(&text)]) };
    }
    let items = elements(raw);
    let Some(first) = items.first() else { return Err(Wrong::Empty("input".into()).into()) };
    if items.len() > 2048 {
        return Err(
            Refusal::invalid("'$.input' is invalid: at most 2048 inputs are accepted.").about("input")
        );
    }
    match first.get().as_bytes().first() {
        Some(b'"') => items
            .iter()
            .enumerate()
            .map(|(n, item)| {
                Rule::Text.check(item, || format!("input[{n}]"))?;
                Ok(Input::of_text(&text(item).unwrap_or_default()))
            })
            .collect(),
        Some(b'[') => items
            .iter()
            .enumerate()
            .map(|(n, item)| {
                Rule::Filled.check(item, || format!("input[{n}]"))?;
                let tokens = elements(item);
                whole(&tokens, &format!("input[{n}]"))?;
                Ok(Input::of_tokens(item, tokens.len()))
            })
            .collect(),
        _ => {
            whole(&items, "input")?;
            Ok(vec![Input::of_tokens(raw, items.len())])
        }
    }
}

fn whole(tokens: &[&RawValue], place: &str) -> Result<(), Wrong> {
    tokens
        .iter()
        .enumerate()
        .try_for_each(|(n, token)| Rule::Whole(0, i64::MAX).check(token, || format!("{place}[{n}]")))
}

/// FNV-1a.
fn seed(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A vector of length one, drawn by SplitMix64.
fn vector(seed: u64, dimensions: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> 40
    };
    let mut all: Vec<f32> = (0..dimensions).map(|_| next() as f32 / 8_388_608.0 - 1.0).collect();
    let length = all.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    all.iter_mut().for_each(|x| *x /= length);
    all
}

/// RFC 4648, section 4.
fn push_base64(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let bits =
            group.iter().enumerate().fold(0_u32, |bits, (n, byte)| bits | u32::from(*byte) << (16 - 8 * n));
        for n in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * n) & 63) as usize];
            out.push(if n <= group.len() { digit.into() } else { '=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_in_the_rfc() {
        for (text, code) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            let mut out = String::new();
            push_base64(text.as_bytes(), &mut out);
            assert_eq!(out, code);
        }
    }

    #[test]
    fn vectors_have_length_one_and_depend_on_the_input() {
        let (a, b) = (vector(seed(b"a"), 64), vector(seed(b"b"), 64));
        assert!((a.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        assert_ne!(a, b);
        assert_eq!(a, vector(seed(b"a"), 64));
    }
}
