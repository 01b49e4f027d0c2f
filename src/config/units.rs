//! Sizes, durations and dollars as operators write them: `"64MiB"`, `"90s"`, `12.50`, or plain numbers of bytes
//! and seconds.

use std::time::Duration;

use penstock_actors::domain::{Money, Ratio};
use serde::{Deserialize, Deserializer, de::Error};

use super::decimal::{self, Beyond};

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

/// A decimal number, as its digits: written as a number or as a text.
struct Digits(String);

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Whole(i64),
            Decimal(f64),
            Text(String),
        }
        const FORM: &str = "must be a number such as 12.50, or a text of one";
        Ok(Self(match Written::deserialize(from).map_err(|_| D::Error::custom(FORM))? {
            Written::Whole(number) => number.to_string(),
            // The shortest decimal that is this float: what was written, as far as a float can hold it.
            Written::Decimal(number) => number.to_string(),
            Written::Text(text) => text,
        }))
    }
}

/// An amount of dollars, read exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dollars(pub(super) Money);

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Digits(digits) = Digits::deserialize(from)?;
        let nanos = decimal::parse(&digits, 9, Beyond::Refuse).map_err(D::Error::custom)?;
        Ok(Self(Money::from_nanos(nanos)))
    }
}

/// A factor, read exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Factor(pub(super) Ratio);

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Digits(digits) = Digits::deserialize(from)?;
        decimal::parse(&digits, 6, Beyond::Refuse)
            .map(|millionths| Self(Ratio(millionths)))
            .map_err(D::Error::custom)
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

    #[test]
    fn dollars_are_read_exactly_however_they_are_written() {
        #[derive(Deserialize)]
        struct Row {
            usd: Dollars,
        }
        let read = |text: &str| toml::from_str::<Row>(&format!("usd = {text}")).ok().map(|r| r.usd.0.nanos());
        for (text, nanos) in [
            ("5", Some(5_000_000_000)),
            ("12.50", Some(12_500_000_000)),
            ("\"0.000000001\"", Some(1)),
            ("0.1", Some(100_000_000)),
            ("0", Some(0)),
            ("-1", None),
            ("\"1e3\"", None),
            ("nan", None),
            ("inf", None),
            ("true", None),
            ("\"0.0000000001\"", None),
            ("99999999999999", None),
        ] {
            assert_eq!(read(text), nanos, "{text}");
        }
    }
}
