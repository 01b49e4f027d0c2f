//! The messages of a chat: whether they are well formed, how many words they have, and what was asked last.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::mock::{
    check::{Fields, Param, Rule, Wrong, elements, may, must, object, text},
    failure::Refusal,
    text::count,
};

const MESSAGE: &[Param] = &[
    must("role", Rule::OneOf(&["system", "assistant", "user", "function", "tool", "developer"])),
    may("content", Rule::TextOrArray),
    may("name", Rule::Text),
    may("refusal", Rule::Text),
    may("audio", Rule::Object),
    may("function_call", Rule::Object),
    may("tool_calls", Rule::Filled),
    may("tool_call_id", Rule::Text),
];

const CALL: &[Param] = &[must("id", Rule::Text), must("type", Rule::OneOf(&["function", "custom"]))];
const FUNCTION: &[Param] = &[must("name", Rule::Text), must("arguments", Rule::Text)];
const CUSTOM: &[Param] = &[must("name", Rule::Text), must("input", Rule::Text)];

/// What is known of the messages.
#[derive(Debug, Default)]
pub struct Talk {
    /// Words over all messages.
    pub words: u64,
    /// The text of the last user message.
    pub asked: String,
    /// Whether the last message is the user's, so that tools have not been called for it yet.
    pub user_is_last: bool,
    /// Whether any message mentions JSON.
    pub names_json: bool,
}

/// Reads and checks the messages.
///
/// # Errors
/// A [`Refusal`] where one of them is wrong.
pub fn read(messages: &[&RawValue], wants_json: bool) -> Result<Talk, Refusal> {
    let mut talk = Talk::default();
    let mut asked: Option<&RawValue> = None;
    let mut open: Vec<Cow<'_, str>> = Vec::new();
    for (n, raw) in messages.iter().enumerate() {
        let place = format!("messages[{n}]");
        Rule::Object.check(raw, || place.clone())?;
        let message = object(raw).ok_or(Wrong::NotJson)?;
        message.check(&place, MESSAGE)?;
        let role = message.text("role").unwrap_or_default();
        if role == "tool" {
            answer_call(&message, &place, &mut open)?;
        } else {
            all_answered(&open, &place)?;
            open.clear();
        }
        if role == "assistant" {
            for (n, call) in message.elements("tool_calls").into_iter().enumerate() {
                open.push(tool_call(call, &format!("{place}.tool_calls[{n}]"))?);
            }
        }
        match message.get("content") {
            Some(content) => each_text(content, &role, &place, |text| {
                talk.words += count(text) as u64;
                talk.names_json |= wants_json && text.to_ascii_lowercase().contains("json");
            })?,
            None if role == "assistant" && !open.is_empty() => {}
            None if ["function_call", "audio", "refusal"].iter().any(|name| message.get(name).is_some()) => {}
            None => return Err(Wrong::Missing(format!("{place}.content")).into()),
        }
        talk.user_is_last = role == "user";
        if talk.user_is_last {
            asked = message.get("content");
        }
    }
    all_answered(&open, "messages")?;
    if let Some(content) = asked {
        each_text(content, "user", "messages", |text| {
            talk.asked.push_str(if talk.asked.is_empty() { "" } else { " " });
            talk.asked.push_str(text);
        })?;
    }
    Ok(talk)
}

fn answer_call<'a>(message: &Fields<'a>, place: &str, open: &mut Vec<Cow<'a, str>>) -> Result<(), Refusal> {
    let id = message.text("tool_call_id").ok_or_else(|| Wrong::Missing(format!("{place}.tool_call_id")))?;
    match open.iter().position(|one| *one == id) {
        Some(at) => {
            open.remove(at);
            Ok(())
        }
        None => Err(Refusal::invalid(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
        )
        .about(format!("{place}.role"))),
    }
}

fn all_answered(open: &[Cow<'_, str>], place: &str) -> Result<(), Refusal> {
    if open.is_empty() {
        return Ok(());
    }
    let ids = open.join(", ");
    Err(Refusal::invalid(format!("An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {ids}"))
        .about(place))
}

fn tool_call<'a>(raw: &'a RawValue, place: &str) -> Result<Cow<'a, str>, Refusal> {
    Rule::Object.check(raw, || place.to_owned())?;
    let call = object(raw).ok_or(Wrong::NotJson)?;
    call.check(place, CALL)?;
    let (kind, params) = if call.text("type").as_deref() == Some("custom") {
        ("custom", CUSTOM)
    } else {
        ("function", FUNCTION)
    };
    let place = format!("{place}.{kind}");
    call.object(kind).ok_or_else(|| Wrong::Missing(place.clone()))?.check(&place, params)?;
    Ok(call.text("id").unwrap_or_default())
}

/// Hands each text of a content to `each`.
fn each_text(content: &RawValue, role: &str, place: &str, mut each: impl FnMut(&str)) -> Result<(), Wrong> {
    if let Some(text) = text(content) {
        each(&text);
        return Ok(());
    }
    for (n, raw) in elements(content).into_iter().enumerate() {
        let place = || format!("{place}.content[{n}]");
        Rule::Object.check(raw, place)?;
        let part = object(raw).ok_or(Wrong::NotJson)?;
        let accepted: &[&str] = match role {
            "user" => &["text", "image_url", "input_audio", "file"],
            "assistant" => &["text", "refusal"],
            _ => &["text"],
        };
        part.check(&place(), &[must("type", Rule::Text)])?;
        let kind = part.text("type").unwrap_or_default();
        let Some(name) = accepted.iter().find(|name| **name == kind) else {
            const ALL: &[&str] = &["text", "image_url", "input_audio", "file", "refusal"];
            return Err(Wrong::Value {
                place: format!("{}.type", place()),
                got: kind.into_owned(),
                accepted: ALL,
            });
        };
        let rule = if matches!(*name, "text" | "refusal") { Rule::Text } else { Rule::Object };
        part.check(&place(), &[must(name, rule)])?;
        if let Some(text) = part.text("text") {
            each(&text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(messages: &str) -> Result<Talk, Refusal> {
        read(&serde_json::from_str::<Vec<&RawValue>>(messages).expect("an array"), true)
    }

    #[test]
    fn words_are_counted_and_the_last_user_is_heard() {
        let talk = talk(
            r#"[{"role":"system","content":"answer in JSON"},{"role":"user","content":"first"},
            {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"c","content":"four words of result"},
            {"role":"user","content":[{"type":"text","text":"see\nthis"},{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"now"}]}]"#,
        )
        .expect("well formed");
        assert_eq!((talk.words, &*talk.asked), (11, "see\nthis now"));
        assert!(talk.user_is_last && talk.names_json);
    }

    #[test]
    fn malformed_messages_are_refused_at_their_place() {
        let call = r#"{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}"#;
        for (messages, param, sentence) in [
            ("[1]".to_owned(), "messages[0]", "expected an object"),
            (r#"[{"content":"x"}]"#.to_owned(), "messages[0].role", "Missing required"),
            (r#"[{"role":"robot","content":"x"}]"#.to_owned(), "messages[0].role", "Invalid value: 'robot'"),
            (r#"[{"role":"user"}]"#.to_owned(), "messages[0].content", "Missing required"),
            (r#"[{"role":"user","content":7}]"#.to_owned(), "messages[0].content", "string or array"),
            (
                r#"[{"role":"user","content":[{"type":"vide"}]}]"#.to_owned(),
                "messages[0].content[0].type",
                "'vide'",
            ),
            (
                r#"[{"role":"user","content":[{"type":"text"}]}]"#.to_owned(),
                "messages[0].content[0].text",
                "Missing",
            ),
            (r#"[{"role":"tool","content":"x"}]"#.to_owned(), "messages[0].tool_call_id", "Missing required"),
            (
                r#"[{"role":"tool","tool_call_id":"c","content":"x"}]"#.to_owned(),
                "messages[0].role",
                "preceeding",
            ),
            (format!("[{call}]"), "messages", "followed by tool messages"),
            (format!(r#"[{call},{{"role":"user","content":"x"}}]"#), "messages[1]", "messages: c"),
            (format!("[{}]", call.replace("\"id\":\"c\",", "")), "messages[0].tool_calls[0].id", "Missing"),
        ] {
            let refused = talk(&messages).expect_err(&messages);
            assert_eq!(refused.param.as_deref(), Some(param), "{messages}");
            assert!(refused.message.contains(sentence), "{}", refused.message);
        }
    }
}
