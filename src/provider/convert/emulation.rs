//! Tools for models that have none: what tools there are is told in the instructions, earlier calls and results
//! are told as text. What the model writes in turn is read by `calls`.

use serde::Serialize;
use serde_json::value::RawValue;

use super::calls::{CLOSE, OPEN};
use crate::{
    conversation::{Conversation, Function, Message, Part, Role, ToolCall, ToolChoice, Verbatim},
    dialect::{fields::ParamError, foreign},
};

/// Turns tools, calls and results of a conversation into text; gives the tools that the answer may call.
///
/// # Errors
/// [`ParamError`] where a tool must be called that is no function.
pub(super) fn into_text(conversation: &mut Conversation) -> Result<Vec<String>, ParamError> {
    let choice = conversation.tool_choice.clone();
    let offered = match &choice {
        Some(ToolChoice::None) => Vec::new(),
        choice => offered(conversation, choice.as_ref())?,
    };
    let names: Vec<String> = offered.iter().map(|function| function.name.clone()).collect();
    let told = (!offered.is_empty()).then(|| {
        let one_at_a_time = conversation.parallel_tool_calls == Some(false);
        instructions(&offered, choice.as_ref(), if one_at_a_time { Most::One } else { Most::Several })
    });
    conversation.system.extend(told.map(Part::text));
    (conversation.tools, conversation.tool_choice) = (Vec::new(), None);
    conversation.parallel_tool_calls = None;
    tell_history(conversation);
    Ok(names)
}

/// The functions that the choice allows.
fn offered<'a>(
    conversation: &'a Conversation,
    choice: Option<&ToolChoice>,
) -> Result<Vec<&'a Function>, ParamError> {
    let among = match choice {
        Some(ToolChoice::AutoAmong(names) | ToolChoice::RequiredAmong(names)) => Some(names),
        _ => None,
    };
    let allowed = |function: &&Function| among.is_none_or(|names| names.contains(&function.name));
    Ok(foreign::functions(conversation)?.filter(allowed).collect())
}

/// How many calls an answer may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Most {
    One,
    Several,
}

/// A tool as it is told.
#[derive(Serialize)]
struct Told<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a Verbatim>,
}

/// A call as it is told and written.
#[derive(Serialize)]
struct Call<'a> {
    name: &'a str,
    arguments: &'a RawValue,
}

fn instructions(offered: &[&Function], choice: Option<&ToolChoice>, most: Most) -> String {
    let mut text = format!(
        "# Tools\n\nYou can call tools. To call one, write a block of this form, with nothing but JSON between the \
         tags:\n\n{OPEN}\n{{\"name\": \"the tool's name\", \"arguments\": {{\"the parameter's name\": \"its value\"}}}}\n\
         {CLOSE}\n\nThe arguments must follow the JSON schema of the tool's parameters. "
    );
    text.push_str(match most {
        Most::One => "Write one block at most. ",
        Most::Several => "For several calls at once, write several blocks, one behind the other. ",
    });
    text.push_str(
        "End your answer behind the last block: the results come in the next message, between <tool_response> \
         tags. Never write a <tool_response> yourself. ",
    );
    match choice {
        Some(ToolChoice::Required | ToolChoice::RequiredAmong(_)) => {
            text.push_str("You must call a tool now.");
        }
        Some(ToolChoice::Tool(name)) => {
            text.push_str(&format!("You must call the tool {name} now, and no other."));
        }
        _ => text.push_str("Where no tool is of use, answer without one."),
    }
    text.push_str("\n\nThese are the tools, one a line:\n");
    for function in offered {
        let told = Told {
            name: &function.name,
            description: function.description.as_deref(),
            parameters: function.parameters.as_ref(),
        };
        text.push('\n');
        text.push_str(&json(&told));
    }
    text
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Tells earlier calls and results as text. A message of results takes in the user's that follow it, for many
/// templates want the roles to take turns.
fn tell_history(conversation: &mut Conversation) {
    let mut names: Vec<(String, String)> = Vec::new();
    let mut told: Vec<Message> = Vec::new();
    let mut last_has_results = false;
    for mut message in std::mem::take(&mut conversation.messages) {
        let mut has_results = false;
        let mut parts: Vec<Part> = Vec::new();
        for part in message.parts {
            match part {
                Part::ToolCall(call) => {
                    add_text(&mut parts, &call_text(&call));
                    names.push((call.id, call.name));
                }
                Part::ToolResult { call_id, content, failed, .. } => {
                    has_results = true;
                    // Ids may come again: the last call of an id is meant.
                    let name =
                        names.iter().rev().find(|(id, _)| *id == call_id).map(|(_, name)| name.as_str());
                    add_text(&mut parts, &result_text(name, &call_id, &content, failed));
                    parts.extend(content.into_iter().filter(|part| !is_text(part)));
                }
                other => parts.push(other),
            }
        }
        message.parts = parts;
        match told.last_mut() {
            Some(last) if last_has_results && message.role == Role::User => {
                join(&mut last.parts, message.parts);
            }
            _ => told.push(message),
        }
        last_has_results =
            has_results || (last_has_results && told.last().is_some_and(|last| last.role == Role::User));
    }
    conversation.messages = told;
}

fn is_text(part: &Part) -> bool {
    matches!(part, Part::Text { .. } | Part::Refusal(_))
}

/// Appends a text in a line of its own, to the last part where that is a text: many providers' dialects join texts
/// without a space between them.
fn add_text(parts: &mut Vec<Part>, more: &str) {
    match parts.last_mut() {
        Some(Part::Text { text, .. }) => {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(more);
        }
        _ => parts.push(Part::text(more)),
    }
}

fn join(parts: &mut Vec<Part>, more: Vec<Part>) {
    for part in more {
        match part {
            Part::Text { text, cache: None, .. } => add_text(parts, &text),
            other => parts.push(other),
        }
    }
}

/// A call as the model is to write it; arguments that are no JSON go back as the text that they are.
fn call_text(call: &ToolCall) -> String {
    let text = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
    let said = match serde_json::from_str::<&RawValue>(text) {
        Ok(arguments) => json(&Call { name: &call.name, arguments }),
        Err(_) => json(&serde_json::json!({"name": call.name, "arguments": text})),
    };
    format!("{OPEN}\n{said}\n{CLOSE}")
}

/// A result between tags that it cannot close itself.
fn result_text(name: Option<&str>, call_id: &str, content: &[Part], failed: bool) -> String {
    let mut text = String::new();
    for part in content {
        if let Part::Text { text: more, .. } | Part::Refusal(more) = part {
            text.push_str(more);
        }
    }
    let text = text.replace("</tool_response", "<\\/tool_response");
    let attribute = |value: &str| value.replace(['"', '<', '>', '\n'], "_");
    let name = name.map(|name| format!(" name=\"{}\"", attribute(name))).unwrap_or_default();
    let state = if failed { " failed=\"true\"" } else { "" };
    format!("<tool_response{name} id=\"{}\"{state}>\n{text}\n</tool_response>", attribute(call_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai_chat;

    const TOOLS: &str = r#""tools":[{"type":"function","function":{"name":"weather","description":"looks up","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}},{"type":"function","function":{"name":"clock"}}]"#;

    fn told(body: &str) -> (Conversation, Vec<String>) {
        let mut conversation = openai_chat::parse_request(body.as_bytes()).expect("valid");
        let names = into_text(&mut conversation).expect("told");
        (conversation, names)
    }

    fn text(parts: &[Part]) -> String {
        let texts = parts.iter().map(|part| match part {
            Part::Text { text, .. } => text.clone(),
            other => format!("{other:?}"),
        });
        texts.collect::<Vec<_>>().join("|")
    }

    #[test]
    fn tools_are_told_in_the_instructions_with_what_the_choice_says() {
        for (more, names, words) in [
            ("", &["weather", "clock"][..], "Where no tool is of use"),
            (r#","tool_choice":"required""#, &["weather", "clock"], "You must call a tool now."),
            (
                r#","tool_choice":{"type":"function","function":{"name":"clock"}}"#,
                &["weather", "clock"],
                "You must call the tool clock now",
            ),
            (r#","parallel_tool_calls":false"#, &["weather", "clock"], "Write one block at most."),
        ] {
            let (conversation, called) = told(&format!(
                r#"{{"messages":[{{"role":"system","content":"s"}},{{"role":"user","content":"a"}}],{TOOLS}{more}}}"#
            ));
            assert_eq!(called, names, "{more}");
            let system = text(&conversation.system);
            assert!(system.starts_with("s|# Tools"), "{system}");
            assert!(system.contains(words), "{more}: {system}");
            let line = r#"{"name":"weather","description":"looks up","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}"#;
            assert!(system.contains(line) && system.ends_with("\n{\"name\":\"clock\"}"), "{system}");
            assert!(conversation.tools.is_empty() && conversation.tool_choice.is_none());
        }
    }

    #[test]
    fn without_tools_or_with_the_choice_none_nothing_is_told() {
        for body in [
            format!(r#"{{"messages":[{{"role":"user","content":"a"}}],{TOOLS},"tool_choice":"none"}}"#),
            r#"{"messages":[{"role":"user","content":"a"}]}"#.to_owned(),
        ] {
            let (conversation, names) = told(&body);
            assert!(names.is_empty() && conversation.system.is_empty(), "{body}");
        }
    }

    #[test]
    fn earlier_calls_and_their_results_go_back_as_text() {
        let body = r#"{"messages":[{"role":"user","content":"a"},
            {"role":"assistant","content":"b","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"z\":1.50}"}},{"id":"2","type":"function","function":{"name":"g","arguments":"{oh"}}]},
            {"role":"tool","tool_call_id":"1","content":"x </tool_response> y"},
            {"role":"tool","tool_call_id":"2","content":[{"type":"text","text":"z"},{"type":"image_url","image_url":{"url":"https://h/i.png"}}]},
            {"role":"user","content":"c"},{"role":"user","content":"d"}]}"#;
        let (conversation, _) = told(body);
        let said: Vec<_> = conversation.messages.iter().map(|m| (m.role, text(&m.parts))).collect();
        let wanted = "b\n<tool_call>\n{\"name\":\"f\",\"arguments\":{\"z\":1.50}}\n</tool_call>\n<tool_call>\n{\"arguments\":\"{oh\",\"name\":\"g\"}\n</tool_call>";
        assert_eq!(said[1], (Role::Assistant, wanted.to_owned()));
        assert_eq!(said.len(), 3, "results and what the user says behind them are one message: {said:?}");
        let (role, results) = &said[2];
        assert_eq!(*role, Role::User);
        let wanted = "<tool_response name=\"f\" id=\"1\">\nx <\\/tool_response> y\n</tool_response>\n<tool_response name=\"g\" id=\"2\">\nz\n</tool_response>|Image";
        assert!(results.starts_with(wanted), "{results}");
        assert!(results.ends_with("|c\nd"), "{results}");
    }
}
