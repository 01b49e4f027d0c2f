//! A value that satisfies a simple JSON schema: what the mock says where a schema binds it.

use serde_json::{Map, Value};

/// Nesting after which only what is required is filled in, and `null` taken where it is allowed.
const DEEP: usize = 6;
/// Nesting after which nothing more is filled in.
const DEEPEST: usize = 32;

/// Makes a value for a schema, and writes it with a space after each comma and colon, so that it
/// has words to stream.
pub fn answer_to(schema: &str) -> String {
    let root: Value = serde_json::from_str(schema).unwrap_or_default();
    let mut out = String::new();
    spaced(&sample(&root, &root, 0), &mut out);
    out
}

fn sample(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > DEEPEST {
        return Value::Null;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|path| find(root, path)) {
        return sample(target, root, depth + 1);
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|all| all.first()) {
        return first.clone();
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema.get(key).and_then(Value::as_array) {
            let null = choices.iter().find(|choice| type_of(choice) == Some("null"));
            let other = choices.iter().find(|choice| type_of(choice) != Some("null"));
            let chosen = if depth >= DEEP { null.or(other) } else { other.or(null) };
            return chosen.map_or(Value::Null, |chosen| sample(chosen, root, depth + 1));
        }
    }
    if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
        let mut merged = Map::new();
        for part in all {
            match sample(part, root, depth + 1) {
                Value::Object(members) => merged.extend(members),
                other => return other,
            }
        }
        return merged.into();
    }
    match type_of(schema) {
        Some("object") => object(schema, root, depth),
        Some("array") => {
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).clamp(0, 64);
            let most = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
            let wanted = if depth >= DEEP && schema.get("minItems").is_none() { 0 } else { least.min(most) };
            let item =
                schema.get("items").map_or(Value::from("mock"), |items| sample(items, root, depth + 1));
            (0..wanted).map(|_| item.clone()).collect::<Vec<_>>().into()
        }
        Some("string") => text(schema).into(),
        Some("integer") => integer(schema).into(),
        Some("number") => number(schema),
        Some("boolean") => true.into(),
        Some("null") => Value::Null,
        _ => "mock".into(),
    }
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .filter(|(name, _)| depth < DEEP || is_required(name))
        .map(|(name, schema)| (name.clone(), sample(schema, root, depth + 1)))
        .collect::<Map<_, _>>()
        .into()
}

fn text(schema: &Value) -> String {
    let plain = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "2025-01-01T00:00:00Z",
        Some("date") => "2025-01-01",
        Some("time") => "00:00:00Z",
        Some("email") => "mock@example.com",
        Some("uri") => "https://example.com/",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        _ => "mock",
    };
    let bound = |key| schema.get(key).and_then(Value::as_u64).map(|n| n.min(4096) as usize);
    let mut text = plain.to_owned();
    while text.len() < bound("minLength").unwrap_or(0) {
        text.push('k');
    }
    text.truncate(bound("maxLength").unwrap_or(usize::MAX));
    text
}

fn integer(schema: &Value) -> i64 {
    let bound = |key| schema.get(key).and_then(Value::as_f64);
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|n| n.floor() + 1.0));
    let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|n| n.ceil() - 1.0));
    let wanted = least.map_or(1.0, |least| least.ceil().max(1.0)).min(most.map_or(f64::MAX, f64::floor));
    wanted as i64
}

fn number(schema: &Value) -> Value {
    let bound = |key| schema.get(key).and_then(Value::as_f64);
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|n| n + 0.5));
    let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|n| n - 0.5));
    least.map_or(1.5, |least| least.max(1.5)).min(most.unwrap_or(f64::MAX)).into()
}

const TYPES: [&str; 7] = ["object", "array", "string", "integer", "number", "boolean", "null"];

/// The schema's type; of several the first that is not `null`. Properties without a type mean an object.
/// Gemini's own schemas write types in capitals.
fn type_of(schema: &Value) -> Option<&'static str> {
    let known = |name: &str| TYPES.into_iter().find(|known| known.eq_ignore_ascii_case(name));
    match schema.get("type") {
        Some(Value::String(one)) => known(one),
        Some(Value::Array(all)) => {
            let mut names = all.iter().filter_map(Value::as_str).filter_map(known);
            names.clone().find(|name| *name != "null").or_else(|| names.next())
        }
        _ => schema.get("properties").map(|_| "object").or_else(|| schema.get("items").map(|_| "array")),
    }
}

/// The schema under a local reference, `#` or `#/$defs/Name`.
fn find<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    root.pointer(path.strip_prefix('#')?)
}

fn spaced(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            out.push('{');
            for (n, (name, value)) in members.iter().enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push_str(": ");
                spaced(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, value) in items.iter().enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                spaced(value, out);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_satisfies_its_schema() {
        for (schema, value) in [
            (
                r#"{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"integer"}}}"#,
                r#"{"a": 1, "b": "mock"}"#,
            ),
            (r#"{"type":"array","items":{"type":"boolean"},"minItems":2}"#, "[true, true]"),
            (r#"{"enum":["x","y"]}"#, r#""x""#),
            (r#"{"type":["null","number"]}"#, "1.5"),
            (r#"{"anyOf":[{"type":"null"},{"const":7}]}"#, "7"),
            (r#"{"type":"OBJECT","properties":{"a":{"type":"STRING"}}}"#, r#"{"a": "mock"}"#),
            (r#"{"type":"integer","minimum":5}"#, "5"),
            (r#"{"type":"integer","maximum":-2}"#, "-2"),
            (r#"{"type":"string","minLength":6}"#, r#""mockkk""#),
            (
                r##"{"$defs":{"N":{"type":"string","format":"date"}},"properties":{"d":{"$ref":"#/$defs/N"}}}"##,
                r#"{"d": "2025-01-01"}"#,
            ),
            ("{}", r#""mock""#),
        ] {
            assert_eq!(answer_to(schema), value, "{schema}");
        }
    }

    #[test]
    fn a_schema_that_holds_itself_comes_to_an_end() {
        let list = r##"{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"required":["next"]}"##;
        assert!(answer_to(list).ends_with("null}}}") || answer_to(list).contains("null"));
        assert!(!answer_to(r##"{"$ref":"#"}"##).is_empty());
    }
}
