//! A conversation as turns of two sides, for providers that know nothing but a user and a model, each in turn.

use super::{fields::ParamError, leftover};
use crate::conversation::{Conversation, Part, Role, ToolCall};

/// What one side says, or a call of a tool with its result.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn<'a> {
    /// The user speaks.
    User(String),
    /// The model speaks.
    Assistant(String),
    /// The model calls a tool and is told the result.
    Tool {
        /// What it said before.
        said: String,
        /// The call.
        call: &'a ToolCall,
        /// The result.
        result: String,
        /// Where the client wrote the result.
        path: &'a str,
    },
}

/// The turns. What one side says in several messages is joined; instructions in the middle count as the user's;
/// calls that were never answered are left out.
///
/// # Errors
/// [`ParamError`] where something is no text, where the user does not speak first and last, or where a result has
/// no call.
pub fn of(conversation: &Conversation) -> Result<Vec<Turn<'_>>, ParamError> {
    let mut all = Vec::new();
    let mut open: Vec<&ToolCall> = Vec::new();
    for message in &conversation.messages {
        let mut said = Vec::new();
        for part in &message.parts {
            match part {
                Part::ToolCall(call) => open.push(call),
                Part::ToolResult { call_id, content, .. } => {
                    let Some(at) = open.iter().position(|call| call.id == *call_id) else {
                        let why = "holds a tool's result whose call is not there";
                        return Err(ParamError::unsupported(&message.path, why));
                    };
                    let said = match all.pop_if(|turn| matches!(turn, Turn::Assistant(_))) {
                        Some(Turn::Assistant(said)) => said,
                        _ => String::new(),
                    };
                    let result = leftover::text_of(content, &message.path)?;
                    all.push(Turn::Tool { said, call: open.remove(at), result, path: &message.path });
                }
                other => said.push(other),
            }
        }
        let text = leftover::text_of(said, &message.path)?;
        if text.is_empty() {
            continue;
        }
        match (message.role, all.last_mut()) {
            (Role::Assistant, Some(Turn::Assistant(before)))
            | (Role::User | Role::System, Some(Turn::User(before))) => leftover::join(before, &text),
            (Role::Assistant, _) => all.push(Turn::Assistant(text)),
            (Role::User | Role::System, _) => all.push(Turn::User(text)),
        }
    }
    let place = |at: Option<&crate::conversation::Message>| {
        at.map_or_else(|| "messages".to_owned(), |message| message.path.clone())
    };
    if !matches!(all.first(), Some(Turn::User(_))) {
        let why = "must be a text of the user's for this model's provider";
        return Err(ParamError::unsupported(place(conversation.messages.first()), why));
    }
    if matches!(all.last(), Some(Turn::Assistant(_))) {
        let why = "must not be the model's own for this model's provider";
        return Err(ParamError::unsupported(place(conversation.messages.last()), why));
    }
    Ok(all)
}

/// The turns of a conversation without tools: whose each is, and what is said.
///
/// # Errors
/// As [`of`], and where a tool was called.
pub fn texts(conversation: &Conversation) -> Result<Vec<(Role, String)>, ParamError> {
    let text = |turn| match turn {
        Turn::User(text) => Ok((Role::User, text)),
        Turn::Assistant(text) => Ok((Role::Assistant, text)),
        Turn::Tool { path, .. } => {
            Err(ParamError::unsupported(path, "may hold no tool's result for this model's provider"))
        }
    };
    of(conversation)?.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai_chat;

    fn said(messages: &str) -> Result<String, String> {
        let request = format!(r#"{{"model":"m","messages":[{messages}]}}"#);
        let conversation = openai_chat::parse_request(request.as_bytes()).expect("a request");
        let turns = of(&conversation).map_err(|error| error.param)?;
        let turn = |turn: Turn<'_>| match turn {
            Turn::User(text) => format!("u:{text}"),
            Turn::Assistant(text) => format!("a:{text}"),
            Turn::Tool { said, call, result, .. } => format!("t:{said}:{}:{result}", call.name),
        };
        Ok(turns.into_iter().map(turn).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn sides_speak_in_turn_and_calls_stand_with_their_results() {
        let user = r#"{"role":"user","content":"x"}"#;
        let model = r#"{"role":"assistant","content":"y"}"#;
        let calls = r#"{"role":"assistant","content":"I look","tool_calls":[
            {"id":"1","type":"function","function":{"name":"f","arguments":"{}"}},
            {"id":"2","type":"function","function":{"name":"g","arguments":"{}"}}]}"#;
        let result = |id: &str| format!(r#"{{"role":"tool","tool_call_id":"{id}","content":"r{id}"}}"#);
        for (messages, wanted) in [
            (format!("{user},{user},{model},{model},{user}"), Ok("u:x\nx a:y\ny u:x")),
            (format!("{user},{calls},{},{}", result("2"), result("1")), Ok("u:x t:I look:g:r2 t::f:r1")),
            (format!("{user},{calls},{},{user}", result("1")), Ok("u:x t:I look:f:r1 u:x")),
            (format!("{user},{}", result("9")), Err("messages[1]")),
            (format!("{model},{user}"), Err("messages[0]")),
            (format!("{user},{model}"), Err("messages[1]")),
            (r#"{"role":"user","content":""}"#.to_owned(), Err("messages[0]")),
        ] {
            assert_eq!(said(&messages), wanted.map(str::to_owned).map_err(str::to_owned), "{messages}");
        }
    }
}
