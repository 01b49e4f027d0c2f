//! JSON that is about to be written: borrowed where it can be, in the order it is given.
//!
//! For dialects whose requests are small variations of each other, where a struct for each object would say
//! no more than the names in it. What is absent is left out of its object.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap as _, SerializeSeq as _},
};

use crate::conversation::Verbatim;

/// A JSON value.
#[derive(Clone, Debug)]
pub enum Json<'a> {
    /// Nothing: left out of its object.
    Absent,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A whole number.
    Whole(i64),
    /// A text.
    Text(Cow<'a, str>),
    /// A value as someone else wrote it.
    Raw(Cow<'a, Verbatim>),
    /// An array.
    List(Vec<Json<'a>>),
    /// An object, in this order.
    Object(Vec<(&'a str, Json<'a>)>),
}

/// Makes an object.
pub fn object<'a, const N: usize>(members: [(&'a str, Json<'a>); N]) -> Json<'a> {
    Json::Object(members.into())
}

/// Makes an array.
pub fn list<'a>(items: impl IntoIterator<Item = Json<'a>>) -> Json<'a> {
    Json::List(items.into_iter().collect())
}

/// Makes an array of texts; nothing where there are none.
pub fn texts(items: &[String]) -> Json<'_> {
    list(items.iter().map(|item| item.as_str().into())).if_filled()
}

/// The value of a JSON text; nothing where it is none.
pub fn raw(text: &str) -> Json<'static> {
    Verbatim::parse(text).map_or(Json::Absent, |value| Json::Raw(Cow::Owned(value)))
}

impl<'a> Json<'a> {
    /// An object without members.
    pub fn empty() -> Self {
        Self::Object(Vec::new())
    }

    /// The value, or nothing where it holds nothing.
    pub fn if_filled(self) -> Self {
        match self.is_empty() {
            true => Self::Absent,
            false => self,
        }
    }

    /// Whether it holds nothing that would be written.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::List(items) => items.is_empty(),
            Self::Object(members) => members.iter().all(|(_, value)| matches!(value, Self::Absent)),
            _ => false,
        }
    }

    /// Adds a member to an object that has no such one; anything else stays as it is.
    pub fn add(&mut self, name: &'a str, value: Json<'a>) {
        if let Self::Object(members) = self
            && members.iter().all(|(known, held)| *known != name || matches!(held, Self::Absent))
        {
            members.retain(|(known, _)| *known != name);
            members.push((name, value));
        }
    }

    /// The value as bytes.
    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("texts, finite numbers and JSON that was parsed before").into()
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => serializer.serialize_f64(*value),
            Self::Whole(value) => serializer.serialize_i64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Raw(value) => value.serialize(serializer),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Self::Object(members) => {
                let mut map = serializer.serialize_map(None)?;
                for (name, value) in members.iter().filter(|(_, value)| !matches!(value, Self::Absent)) {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'a, T: Into<Json<'a>>> From<Option<T>> for Json<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}

impl From<bool> for Json<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Json<'_> {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<u64> for Json<'_> {
    fn from(value: u64) -> Self {
        Self::Whole(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Json<'_> {
    fn from(value: i64) -> Self {
        Self::Whole(value)
    }
}

impl<'a> From<&'a str> for Json<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Json<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> From<&'a String> for Json<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text.as_str().into())
    }
}

impl<'a> From<Cow<'a, str>> for Json<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a Verbatim> for Json<'a> {
    fn from(value: &'a Verbatim) -> Self {
        Self::Raw(Cow::Borrowed(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_in_order_without_what_is_absent() {
        let schema = Verbatim::parse(r#"{"z":1.50,"a":2}"#).expect("JSON");
        let mut value = object([
            ("b", "é\"".into()),
            ("a", Some(1_u64).into()),
            ("none", None::<bool>.into()),
            ("list", list([true.into(), 0.5.into(), (-3_i64).into()])),
            ("schema", (&schema).into()),
            ("raw", raw("[1,2]")),
            ("broken", raw("{")),
            ("texts", texts(&[])),
        ]);
        value.add("a", "twice".into());
        value.add("none", "once".into());
        assert_eq!(
            &value.to_bytes()[..],
            r#"{"b":"é\"","a":1,"list":[true,0.5,-3],"schema":{"z":1.50,"a":2},"raw":[1,2],"none":"once"}"#
                .as_bytes()
        );
        assert!(object([("a", Json::Absent)]).is_empty() && !value.is_empty());
    }
}
