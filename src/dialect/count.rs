//! Counts of tokens as providers write them. An answer that was paid for is not lost for a count that is odd.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// More tokens than any answer has; a larger count is a lie, and sums of this many cannot overflow.
pub const MOST: u64 = 1 << 40;

/// A count of tokens. A fraction is cut; what is negative, null or no number is none, what is too large is [`MOST`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count(u64);

impl Count {
    /// The tokens.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Reads one, for a field that is a number itself.
    ///
    /// # Errors
    /// Where the JSON is broken.
    pub fn read<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        Self::deserialize(from).map(Self::get)
    }
}

/// Reads a value that may be null.
///
/// # Errors
/// Where it is neither null nor one of these.
pub fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

struct Counting;

impl<'de> Visitor<'de> for Counting {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count of tokens")
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<Count, E> {
        Ok(Count(count.min(MOST)))
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<Count, E> {
        self.visit_u64(u64::try_from(count).unwrap_or(0))
    }

    fn visit_f64<E: Error>(self, count: f64) -> Result<Count, E> {
        // What is no number becomes 0.
        self.visit_u64(count as u64)
    }

    fn visit_str<E: Error>(self, count: &str) -> Result<Count, E> {
        self.visit_u64(count.parse().unwrap_or(0))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Count, E> {
        Ok(Count(0))
    }

    fn visit_unit<E: Error>(self) -> Result<Count, E> {
        Ok(Count(0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut odd: A) -> Result<Count, A::Error> {
        while odd.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(0))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut odd: A) -> Result<Count, A::Error> {
        while odd.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count(0))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Counting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stands_there_is_a_count() {
        for (written, count) in [
            ("7", 7),
            ("7.0", 7),
            ("7.9", 7),
            ("-3", 0),
            ("-3.5", 0),
            ("1e3", 1000),
            ("1e300", MOST),
            ("18446744073709551615", MOST),
            ("184467440737095516150", MOST),
            ("\"12\"", 12),
            ("\"many\"", 0),
            ("null", 0),
            ("true", 0),
            ("[1,[2]]", 0),
            ("{\"a\":{}}", 0),
        ] {
            assert_eq!(serde_json::from_str::<Count>(written).map(Count::get).ok(), Some(count), "{written}");
        }
        assert!(serde_json::from_str::<Count>("[1").is_err());
        assert_eq!(serde_json::from_str::<Option<Count>>("null").ok(), Some(None));
    }
}
