//! What is wrong with a request, as a table.

use super::*;

const PARAMS: &[Param] = &[
    must("model", Rule::Text),
    must("messages", Rule::Filled),
    may("n", Rule::Whole(1, 8)),
    may("temperature", Rule::Number(0.0, 2.0)),
    may("effort", Rule::OneOf(&["low", "high"])),
    may("stop", Rule::TextOrArray),
];

fn wrong(body: &str) -> Option<Wrong> {
    read(body.as_bytes(), PARAMS, Strictness::Strict).err()
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let kind = |place: &str, expected, got| Some(Wrong::Kind { place: place.into(), expected, got });
    let range = |place: &str, expected: &str, got: &str| {
        Some(Wrong::Range { place: place.into(), expected: expected.into(), got: got.into() })
    };
    for (body, expected) in [
        (r#"{"model":"m","messages":[1],"n":null,"stop":"x"}"#, None),
        ("{\"model\":\"m\",\"messages\":[1]", Some(Wrong::NotJson)),
        ("[]", Some(Wrong::NotJson)),
        (r#"{"messages":[1]}"#, Some(Wrong::Missing("model".into()))),
        (r#"{"model":null,"messages":[1]}"#, Some(Wrong::Missing("model".into()))),
        (r#"{"model":"m","messages":[]}"#, Some(Wrong::Empty("messages".into()))),
        (r#"{"model":"m","messages":[1],"x":1}"#, Some(Wrong::Unknown("x".into()))),
        (r#"{"model":1,"messages":[1]}"#, kind("model", "a string", "an integer")),
        (r#"{"model":"m","messages":[1],"n":1.5}"#, kind("n", "an integer", "a decimal")),
        (r#"{"model":"m","messages":[1],"n":9}"#, range("n", "1 to 8", "9")),
        (r#"{"model":"m","messages":[1],"temperature":2.5}"#, range("temperature", "0 to 2", "2.5")),
        (r#"{"model":"m","messages":[1],"temperature":true}"#, kind("temperature", "a decimal", "a boolean")),
        (r#"{"model":"m","messages":[1],"stop":{}}"#, kind("stop", "one of a string or array", "an object")),
        (
            r#"{"model":"m","messages":[1],"effort":"no"}"#,
            Some(Wrong::Value { place: "effort".into(), got: "no".into(), accepted: &["low", "high"] }),
        ),
    ] {
        assert_eq!(wrong(body), expected, "{body}");
    }
    let lenient = read(br#"{"model":"m","messages":[1],"x":1}"#, PARAMS, Strictness::Lenient);
    assert!(lenient.is_ok());
}

#[test]
fn texts_are_borrowed_where_nothing_is_escaped() {
    let fields = read(br#"{"mod\u0065l":"a\nb","messages":["m"],"model":"c"}"#, PARAMS, Strictness::Strict)
        .expect("well formed");
    assert!(matches!(fields.text("model"), Some(Cow::Borrowed("c"))));
    assert_eq!(fields.elements("messages").len(), 1);
}
