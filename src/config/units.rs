//! Sizes and durations as operators write them: `"64MiB"`, `"90s"`, or plain numbers of bytes and seconds.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(from).map_err(|_| D::Error::custom(SIZE_FORM))? {
            NumberOrText::Number(bytes) => Ok(Self(bytes)),
            NumberOrText::Text(text) => size(&text).map(Self).ok_or_else(|| D::Error::custom(SIZE_FORM)),
        }
    }
}

const SIZE_FORM: &str = "a size is a number of bytes or a text such as \"64MiB\"";

fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let factor: u64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const FORM: &str = "a duration is a number of seconds or a text such as \"90s\", \"500ms\", \"5m\"";
        match NumberOrText::deserialize(from).map_err(|_| D::Error::custom(FORM))? {
            NumberOrText::Number(seconds) => Ok(Self(Duration::from_secs(seconds))),
            NumberOrText::Text(text) => match text.trim().parse() {
                Ok(seconds) => Ok(Self(Duration::from_secs(seconds))),
                Err(_) => humantime::parse_duration(&text).map(Self).map_err(|_| D::Error::custom(FORM)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_bytes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("64MiB", Some(64 << 20)),
            ("2 kb", Some(2048)),
            ("1G", Some(1 << 30)),
            ("MiB", None),
            ("-1", None),
            ("1.5MiB", None),
            ("99999999999999G", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }
}
