//! Schemas: Gemini's own (OpenAPI's subset, types in capitals) as JSON schemas.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::value::RawValue;

use crate::conversation::Verbatim;

/// Makes a JSON schema: types in small letters, `nullable` as a type; the order of keys is kept.
pub(super) fn json_schema(raw: &RawValue) -> Verbatim {
    let made = value(raw, 0).and_then(|text| Verbatim::parse(&text));
    made.unwrap_or_else(|| Verbatim::of(raw))
}

/// Deeper nesting stays as it was written.
const DEEPEST: u32 = 64;

/// The members of an object, in their order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A schema as text; `None` where it is no object.
fn value(raw: &RawValue, depth: u32) -> Option<String> {
    if depth > DEEPEST {
        return Some(raw.get().to_owned());
    }
    let Members(members) = serde_json::from_str(raw.get()).ok()?;
    let nullable = members.iter().any(|(name, value)| name == "nullable" && value.get() == "true");
    let mut made = Vec::with_capacity(members.len());
    for (name, value_of) in members {
        let text = match name.as_str() {
            "nullable" | "propertyOrdering" | "property_ordering" => continue,
            "type" => types(&value_of, nullable),
            "properties" | "$defs" | "defs" => each_member(&value_of, depth),
            "items" | "additionalProperties" => value(&value_of, depth + 1),
            "anyOf" | "any_of" => each_element(&value_of, depth),
            _ => None,
        };
        let name = match name.as_str() {
            "any_of" => "anyOf".to_owned(),
            _ => name,
        };
        made.push((name, text.and_then(|text| RawValue::from_string(text).ok()).unwrap_or(value_of)));
    }
    serde_json::to_string(&Members(made)).ok()
}

fn types(raw: &RawValue, nullable: bool) -> Option<String> {
    let word: String = serde_json::from_str(raw.get()).ok()?;
    let word = word.to_ascii_lowercase();
    Some(if nullable { format!("[\"{word}\",\"null\"]") } else { format!("\"{word}\"") })
}

fn each_member(raw: &RawValue, depth: u32) -> Option<String> {
    let Members(members) = serde_json::from_str(raw.get()).ok()?;
    let made = members.into_iter().map(|(name, schema)| {
        let text = value(&schema, depth + 1).and_then(|text| RawValue::from_string(text).ok());
        (name, text.unwrap_or(schema))
    });
    serde_json::to_string(&Members(made.collect())).ok()
}

fn each_element(raw: &RawValue, depth: u32) -> Option<String> {
    let all: Vec<Box<RawValue>> = serde_json::from_str(raw.get()).ok()?;
    let made: Vec<_> = all
        .into_iter()
        .map(|schema| {
            let text = value(&schema, depth + 1).and_then(|text| RawValue::from_string(text).ok());
            text.unwrap_or(schema)
        })
        .collect();
    serde_json::to_string(&made).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_rewritten_at_every_level_in_their_order() {
        let raw = RawValue::from_string(
            r#"{"type":"OBJECT","properties":{"z":{"type":"STRING","nullable":true},"a":{"type":"ARRAY","items":{"type":"INTEGER","minimum":1.50}}},"required":["z"],"propertyOrdering":["z","a"],"anyOf":[{"type":"NULL"}]}"#.to_owned(),
        )
        .expect("JSON");
        assert_eq!(
            json_schema(&raw).as_str(),
            r#"{"type":"object","properties":{"z":{"type":["string","null"]},"a":{"type":"array","items":{"type":"integer","minimum":1.50}}},"required":["z"],"anyOf":[{"type":"null"}]}"#
        );
        let plain = RawValue::from_string("7".to_owned()).expect("JSON");
        assert_eq!(json_schema(&plain).as_str(), "7");
    }
}
