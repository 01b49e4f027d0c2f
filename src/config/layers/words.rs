//! What the deserialiser says of a wrong type, in the words of people who write settings.

/// The sentence; never the value, which may be a secret in the wrong place.
pub(super) fn of(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("invalid type: ")
        && let Some((got, expected)) = rest.rsplit_once(", expected ")
    {
        return format!("must be {}, not {}", wanted(expected), got_kind(got));
    }
    if let Some(rest) = message.strip_prefix("invalid value: ")
        && let Some((_, expected)) = rest.rsplit_once(", expected ")
    {
        return format!("must be {}", wanted(expected));
    }
    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("{} is missing", field.trim_matches('`'));
    }
    if message.starts_with("unknown variant")
        && let Some((_, expected)) = message.rsplit_once(", expected ")
    {
        return format!("must be {}", expected.trim_start_matches("one of ").replace('`', "\""));
    }
    if message.contains("socket address") {
        return "must be an address and a port such as \"127.0.0.1:3000\"".to_owned();
    }
    message.to_owned()
}

/// What the parser says of a line that is no TOML.
pub(super) fn of_syntax(message: &str) -> String {
    match message.split_once(", expected ") {
        Some((
            "invalid float" | "invalid integer" | "invalid datetime" | "string values must be quoted",
            _,
        )) => "no value of TOML; a text stands in quotation marks".to_owned(),
        Some((problem, "nothing")) => problem.to_owned(),
        _ => message.to_owned(),
    }
}

fn wanted(expected: &str) -> &str {
    match expected {
        "i32" => "a whole number from -2147483648 to 2147483647",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 up",
        "a boolean" => "true or false",
        "a string" | "path string" => "a text in quotation marks",
        "a sequence" => "a list",
        "a map" => "a table",
        "socket address" => "an address and a port such as \"127.0.0.1:3000\"",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

fn got_kind(got: &str) -> &str {
    match got.split([' ', '`']).next().unwrap_or_default() {
        "string" => "a text",
        "integer" => "a number",
        "floating" => "a number with a fraction",
        "boolean" => "true or false",
        "sequence" => "a list",
        "map" => "a table",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_in_plain_words_without_the_value() {
        for (said, words) in [
            (
                "invalid type: string \"sk-secret\", expected u32",
                "must be a whole number from 0 to 4294967295, not a text",
            ),
            (
                "invalid type: integer `5`, expected a string",
                "must be a text in quotation marks, not a number",
            ),
            ("invalid value: integer `-1`, expected u32", "must be a whole number from 0 to 4294967295"),
            ("missing field `name`", "name is missing"),
            ("unknown variant `xml`, expected `text` or `json`", "must be \"text\" or \"json\""),
            ("invalid socket address syntax", "must be an address and a port such as \"127.0.0.1:3000\""),
            ("a size is a number", "a size is a number"),
        ] {
            assert_eq!(of(said), words);
        }
    }
}
