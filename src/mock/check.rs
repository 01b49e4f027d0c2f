//! Whether a request is one that a provider accepts: names, kinds and ranges of parameters.
//!
//! Dialects list their parameters as [`Param`]s; what is wrong is a [`Wrong`], which each dialect words.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A JSON object, one level deep, borrowed from the body. Of a name that stands twice the last holds.
#[derive(Debug)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The value under a name; `null` counts as absent.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.0.iter().rev().find(|(key, _)| key == name)?;
        (value.get() != "null").then_some(*value)
    }

    /// The text under a name, if it is one.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(text)
    }

    /// Whether `true` stands under a name.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.get() == "true")
    }

    /// The number under a name, if it is a whole one that fits.
    pub fn count(&self, name: &str) -> Option<u32> {
        self.get(name)?.get().parse().ok()
    }

    /// The elements under a name; none where it is no array.
    pub fn elements(&self, name: &str) -> Vec<&'a RawValue> {
        self.get(name).map(elements).unwrap_or_default()
    }

    /// The first name that no parameter has.
    pub fn unknown(&self, params: &[Param]) -> Option<&str> {
        let (name, _) = self.0.iter().find(|(name, _)| params.iter().all(|p| p.name != name))?;
        Some(name)
    }

    /// The object under a name, if it is one.
    pub fn object(&self, name: &str) -> Option<Fields<'a>> {
        self.get(name).and_then(object)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((Key(key), value)) = map.next_entry()? {
                    fields.push((key, value));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The elements of an array; none where it is no array.
pub fn elements(value: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(value.get()).unwrap_or_default()
}

/// The members of an object.
pub fn object(value: &RawValue) -> Option<Fields<'_>> {
    serde_json::from_str(value.get()).ok()
}

/// The text of a string.
pub fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let inner = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(value.get()).ok().map(Cow::Owned)
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// `true` or `false`.
    Bool,
    /// A text.
    Text,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A whole number in a range.
    Whole(i64, i64),
    /// A number in a range.
    Number(f64, f64),
    /// An array.
    Array,
    /// An array with at least one element.
    Filled,
    /// An object.
    Object,
    /// A text or an array.
    TextOrArray,
    /// A text or an object.
    TextOrObject,
}

/// A parameter that a dialect knows.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it may be; `null` stands for its absence.
    pub rule: Rule,
    /// Whether it must be there.
    pub required: bool,
}

/// A parameter that may be left out.
pub const fn may(name: &'static str, rule: Rule) -> Param {
    Param { name, rule, required: false }
}

/// A parameter that must be there.
pub const fn must(name: &'static str, rule: Rule) -> Param {
    Param { name, rule, required: true }
}

/// What is wrong with a request. Places are written `messages[0].role`.
#[derive(Clone, Debug, PartialEq)]
pub enum Wrong {
    /// The body is no JSON object.
    NotJson,
    /// A parameter that nobody knows.
    Unknown(String),
    /// A parameter that must be there.
    Missing(String),
    /// A value of the wrong kind.
    Kind {
        /// Where.
        place: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        got: &'static str,
    },
    /// A number out of range.
    Range {
        /// Where.
        place: String,
        /// The range in words.
        expected: String,
        /// The number.
        got: String,
    },
    /// A text that is none of those accepted.
    Value {
        /// Where.
        place: String,
        /// The text.
        got: String,
        /// Those accepted.
        accepted: &'static [&'static str],
    },
    /// An array without elements.
    Empty(String),
}

/// Whether parameters that nobody knows are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// They are.
    Strict,
    /// They are passed over.
    Lenient,
}

/// Reads a body and checks its top level.
///
/// # Errors
/// The first thing that is [`Wrong`]: unknown names first, then parameters in the list's order.
pub fn read<'a>(body: &'a [u8], params: &[Param], strictness: Strictness) -> Result<Fields<'a>, Wrong> {
    let fields: Fields<'a> = serde_json::from_slice(body).map_err(|_| Wrong::NotJson)?;
    if strictness == Strictness::Strict
        && let Some((name, _)) = fields.0.iter().find(|(name, _)| params.iter().all(|p| p.name != name))
    {
        return Err(Wrong::Unknown(name.clone().into_owned()));
    }
    fields.check("", params)?;
    Ok(fields)
}

impl Fields<'_> {
    /// Checks these members of the object that stands at `place`.
    ///
    /// # Errors
    /// The first thing that is [`Wrong`], in the list's order.
    pub fn check(&self, place: &str, params: &[Param]) -> Result<(), Wrong> {
        for param in params {
            let at = || match place {
                "" => param.name.to_owned(),
                _ => format!("{place}.{}", param.name),
            };
            match self.get(param.name) {
                Some(value) => param.rule.check(value, at)?,
                None if param.required => return Err(Wrong::Missing(at())),
                None => {}
            }
        }
        Ok(())
    }
}

impl Rule {
    /// Checks one value.
    ///
    /// # Errors
    /// What is [`Wrong`] with it; `at` tells its place.
    pub fn check(self, value: &RawValue, at: impl Fn() -> String) -> Result<(), Wrong> {
        let json = value.get();
        let first = json.as_bytes().first().copied().unwrap_or_default();
        let number = matches!(first, b'-' | b'0'..=b'9');
        let fits = match self {
            Self::Bool => matches!(first, b't' | b'f'),
            Self::Text | Self::OneOf(_) => first == b'"',
            Self::Whole(..) => json.parse::<i64>().is_ok(),
            Self::Number(..) => number,
            Self::Array | Self::Filled => first == b'[',
            Self::Object => first == b'{',
            Self::TextOrArray => matches!(first, b'"' | b'['),
            Self::TextOrObject => matches!(first, b'"' | b'{'),
        };
        if !fits {
            return Err(Wrong::Kind { place: at(), expected: self.words(), got: kind(json) });
        }
        match self {
            Self::Whole(from, to) if json.parse().is_ok_and(|n: i64| n < from || n > to) => {
                let expected =
                    if to == i64::MAX { format!("{from} or more") } else { format!("{from} to {to}") };
                Err(Wrong::Range { place: at(), expected, got: json.to_owned() })
            }
            Self::Number(from, to) if json.parse().is_ok_and(|n: f64| n < from || n > to) => {
                Err(Wrong::Range { place: at(), expected: format!("{from} to {to}"), got: json.to_owned() })
            }
            Self::OneOf(accepted) => match text(value) {
                Some(given) if !accepted.contains(&&*given) => {
                    Err(Wrong::Value { place: at(), got: given.into_owned(), accepted })
                }
                _ => Ok(()),
            },
            Self::Filled if elements(value).is_empty() => Err(Wrong::Empty(at())),
            _ => Ok(()),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Text | Self::OneOf(_) => "a string",
            Self::Whole(..) => "an integer",
            Self::Number(..) => "a decimal",
            Self::Array | Self::Filled => "an array",
            Self::Object => "an object",
            Self::TextOrArray => "one of a string or array",
            Self::TextOrObject => "one of a string or object",
        }
    }
}

fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ if json.parse::<i64>().is_ok() => "an integer",
        _ => "a decimal",
    }
}
