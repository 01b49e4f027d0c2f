//! What is accepted and refused, as a table.

use super::{
    authorise,
    check::{Request, messages},
};
use crate::mock::{check::Strictness, failure::Refusal};

fn ask(rest: &str) -> Result<(u64, String), Refusal> {
    let body = format!("{{\"model\":\"m\",\"max_tokens\":8,{rest}}}");
    let take = |request: Request<'_>| (request.words, request.asked);
    messages(body.as_bytes(), Strictness::Strict).map(take)
}

#[test]
fn words_are_counted_and_the_last_user_is_heard() {
    let heard = ask(
        r#""system":[{"type":"text","text":"be kind"}],"messages":[{"role":"user","content":"first"},
        {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"two words"},{"type":"text","text":"and now"}]}]"#,
    );
    assert_eq!(heard, Ok((7, "and now".into())));
}

#[test]
fn malformed_requests_are_refused_in_anthropics_words() {
    let user = r#"{"role":"user","content":"x"}"#;
    let uses = r#"{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{}}]}"#;
    for (rest, sentence) in [
        (r#""messages":[]"#.to_owned(), "messages: at least one message is required"),
        (r#""messages":{}"#.to_owned(), "messages: Input should be a valid list"),
        (r#""messages":[{"content":"x"}]"#.to_owned(), "messages.0.role: Field required"),
        (
            r#""messages":[{"role":"tool","content":"x"}]"#.to_owned(),
            "messages.0.role: Input should be 'user'",
        ),
        (r#""messages":[{"role":"user"}]"#.to_owned(), "messages.0.content: Field required"),
        (
            r#""messages":[{"role":"user","content":[{"type":"text","text":""}]}]"#.to_owned(),
            "must be non-empty",
        ),
        (
            r#""messages":[{"role":"user","content":[{"type":"vide"}]}]"#.to_owned(),
            "messages.0.content.0: Input tag 'vide'",
        ),
        (r#""messages":[{"role":"assistant","content":"x"}]"#.to_owned(), "first message must use"),
        (format!(r#""messages":[{user}],"x":1"#), "x: Extra inputs are not permitted"),
        (format!(r#""messages":[{user}],"temperature":1.5"#), "temperature: Input should be 0 to 1"),
        (
            format!(r#""messages":[{user}],"tool_choice":{{"type":"any"}}"#),
            "only be specified while providing tools",
        ),
        (format!(r#""messages":[{user}],"tools":[{{"name":"f"}}]"#), "tools.0.input_schema: Field required"),
        (
            r#""messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}]"#.to_owned(),
            "messages.0.content.0: unexpected `tool_use_id`",
        ),
        (format!(r#""messages":[{user},{uses}]"#), "without `tool_result` blocks immediately after: t"),
        (format!(r#""messages":[{user},{uses},{user}]"#), "messages.1: `tool_use` ids"),
    ] {
        let refused = ask(&rest).expect_err(&rest);
        assert_eq!((refused.status, refused.kind), (400, "invalid_request_error"));
        assert!(refused.message.contains(sentence), "{}", refused.message);
    }
    let no_limit =
        messages(br#"{"model":"m","messages":[]}"#, Strictness::Strict).expect_err("no max_tokens");
    assert_eq!(no_limit.message, "max_tokens: Field required");
}

#[test]
fn a_key_and_a_version_are_wanted() {
    assert_eq!(authorise(Some("k"), None, Some("2023-06-01")), Ok(()));
    assert_eq!(authorise(None, Some("Bearer k"), Some("2023-06-01")), Ok(()));
    let status = |key, version| authorise(key, None, version).map_err(|r| (r.status, r.kind));
    assert_eq!(status(None, Some("2023-06-01")), Err((401, "authentication_error")));
    assert_eq!(status(Some("k"), None), Err((400, "invalid_request_error")));
    assert_eq!(status(Some("k"), Some("latest")), Err((400, "invalid_request_error")));
}
