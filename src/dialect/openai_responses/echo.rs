//! What a response repeats of its request.

use bytes::Bytes;
use serde_json::{Value, json};

/// Fields that stand in the response as they stood in the request, and what stands there otherwise.
const REPEATED: [(&str, &str); 18] = [
    ("background", "false"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", "null"),
    ("reasoning", "{\"effort\":null,\"summary\":null}"),
    ("safety_identifier", "null"),
    ("service_tier", "\"default\""),
    ("store", "true"),
    ("temperature", "1.0"),
    ("text", "{\"format\":{\"type\":\"text\"}}"),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_p", "1.0"),
    ("truncation", "\"disabled\""),
];

/// The members, without braces, each with a comma behind it.
pub(super) fn echo(body: &[u8]) -> Option<Bytes> {
    let mut request: serde_json::Map<String, Value> = serde_json::from_slice(body).ok()?;
    let mut members = String::new();
    for (name, otherwise) in REPEATED {
        let value = match request.remove(name).filter(|value| !value.is_null()) {
            Some(Value::String(tier)) if name == "service_tier" && tier == "auto" => {
                json!("default").to_string()
            }
            Some(value) => value.to_string(),
            None => otherwise.to_owned(),
        };
        members.push_str(&format!("\"{name}\":{value},"));
    }
    Some(members.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_repeated_and_the_rest_is_said() {
        let body =
            br#"{"model":"m","input":"hi","instructions":"Be \"brief\".","temperature":0.5,"user":"u"}"#;
        let members = echo(body).expect("an object");
        let text = std::str::from_utf8(&members).expect("UTF-8");
        let read: Value = serde_json::from_str(&format!("{{{}}}", text.trim_end_matches(','))).expect("JSON");
        assert_eq!(read["instructions"], "Be \"brief\".");
        assert_eq!((&read["temperature"], &read["top_p"]), (&json!(0.5), &json!(1.0)));
        assert_eq!(read["tools"], json!([]));
        assert_eq!(echo(b"[]"), None);
    }
}
