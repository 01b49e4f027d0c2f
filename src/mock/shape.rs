//! Whole shapes of requests: what may stand where, at any depth.
//!
//! For providers whose requests are nested deeper than a list of parameters can say.

use serde_json::Value;

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Anything.
    Any,
    /// `true` or `false`.
    Bool,
    /// A text.
    Text,
    /// A text that is not empty.
    Filled,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// Base64.
    Base64,
    /// A number in a range.
    Number(f64, f64),
    /// A whole number of at least this.
    Whole(i64),
    /// An array of such values.
    List(&'static Shape),
    /// An array of at least one such value.
    Some(&'static Shape),
    /// An object with these members and no others.
    Object(&'static [Member]),
    /// The same, but with exactly one of them.
    Union(&'static [Member]),
    /// Any object.
    Map,
    /// Either.
    Or(&'static Shape, &'static Shape),
}

/// A member of an object: its name, what it may be, whether it must be there.
pub type Member = (&'static str, Shape, Needed);

/// Whether a member must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// It must.
    Must,
    /// It may.
    May,
}

pub use Needed::{May, Must};

/// A tool call as OpenAI writes it, which many copy.
pub const OPENAI_CALL: Shape = Shape::Object(&[
    ("id", Shape::Filled, Must),
    ("type", Shape::OneOf(&["function"]), Must),
    ("function", Shape::Object(&[("name", Shape::Filled, Must), ("arguments", Shape::Text, Must)]), Must),
]);
/// A tool as OpenAI writes it.
pub const OPENAI_TOOL: Shape = Shape::Object(&[
    ("type", Shape::OneOf(&["function"]), Must),
    (
        "function",
        Shape::Object(&[
            ("name", Shape::Filled, Must),
            ("description", Shape::Text, May),
            ("parameters", Shape::Map, Must),
        ]),
        Must,
    ),
]);
/// The choice of a tool as OpenAI writes it.
pub const OPENAI_CHOICE: Shape = Shape::Object(&[
    ("type", Shape::OneOf(&["function"]), Must),
    ("function", Shape::Object(&[("name", Shape::Filled, Must)]), Must),
]);

impl Shape {
    /// Reads a body that must have this shape.
    ///
    /// # Errors
    /// A sentence that names the place.
    pub fn read(&self, body: &[u8]) -> Result<Value, String> {
        let value = serde_json::from_slice(body).map_err(|_| "the body is not valid JSON".to_owned())?;
        self.check(&value, "body")?;
        Ok(value)
    }

    /// Checks a value that stands at `place`.
    ///
    /// # Errors
    /// A sentence that names the place.
    pub fn check(&self, value: &Value, place: &str) -> Result<(), String> {
        let must =
            |fits: bool, what: &str| if fits { Ok(()) } else { Err(format!("{place} must be {what}")) };
        match self {
            Self::Any => Ok(()),
            Self::Bool => must(value.is_boolean(), "a boolean"),
            Self::Text => must(value.is_string(), "a string"),
            Self::Filled => must(value.as_str().is_some_and(|t| !t.trim().is_empty()), "a filled string"),
            Self::OneOf(words) => must(
                value.as_str().is_some_and(|t| words.contains(&t)),
                &format!("one of {}", words.join(", ")),
            ),
            Self::Base64 => must(value.as_str().is_some_and(is_base64), "base64"),
            Self::Number(from, to) => must(
                value.as_f64().is_some_and(|n| (*from..=*to).contains(&n)),
                &format!("a number from {from} to {to}"),
            ),
            Self::Whole(least) => must(
                value.as_i64().is_some_and(|n| n >= *least),
                &format!("a whole number of at least {least}"),
            ),
            Self::List(item) | Self::Some(item) => {
                let Some(items) = value.as_array() else { return must(false, "an array") };
                must(!items.is_empty() || matches!(self, Self::List(_)), "an array of at least one")?;
                items.iter().enumerate().try_for_each(|(n, one)| item.check(one, &format!("{place}[{n}]")))
            }
            Self::Object(members) => {
                let Some(object) = value.as_object() else { return must(false, "an object") };
                if let Some(name) = object.keys().find(|name| members.iter().all(|(known, ..)| known != name))
                {
                    return Err(format!("{place} has an unknown field {name}"));
                }
                members.iter().try_for_each(|(name, shape, needed)| match object.get(*name) {
                    Some(value) => shape.check(value, &format!("{place}.{name}")),
                    None if *needed == Must => Err(format!("{place} has no {name}")),
                    None => Ok(()),
                })
            }
            Self::Union(members) => {
                Self::Object(members).check(value, place)?;
                must(value.as_object().is_some_and(|o| o.len() == 1), "an object with exactly one field")
            }
            Self::Map => must(value.is_object(), "an object"),
            Self::Or(one, other) => one.check(value, place).or_else(|_| other.check(value, place)),
        }
    }
}

fn is_base64(text: &str) -> bool {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    !text.is_empty() && STANDARD.decode(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_place_is_named() {
        const SHAPE: Shape = Shape::Object(&[
            (
                "a",
                Shape::Some(&Shape::Union(&[("t", Shape::Filled, May), ("n", Shape::Whole(1), May)])),
                Must,
            ),
            ("b", Shape::Or(&Shape::Bool, &Shape::OneOf(&["x"])), May),
        ]);
        for (body, said) in [
            (r#"{"a":[{"t":"x"},{"n":1}],"b":"x"}"#, ""),
            ("{", "the body is not valid JSON"),
            ("{}", "body has no a"),
            (r#"{"a":[]}"#, "body.a must be an array of at least one"),
            (r#"{"a":[{"t":" "}]}"#, "body.a[0].t must be a filled string"),
            (r#"{"a":[{"t":"x","n":1}]}"#, "body.a[0] must be an object with exactly one field"),
            (r#"{"a":[{"n":0}]}"#, "body.a[0].n must be a whole number of at least 1"),
            (r#"{"a":[{"n":1}],"c":1}"#, "body has an unknown field c"),
            (r#"{"a":[{"n":1}],"b":"y"}"#, "body.b must be one of x"),
        ] {
            assert_eq!(SHAPE.read(body.as_bytes()).err().unwrap_or_default(), said, "{body}");
        }
    }
}
