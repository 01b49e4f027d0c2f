//! Messages into the turns of a request: user and assistant in alternation, tool results first.

use std::borrow::Cow;

use serde::Serialize;

use super::blocks::{Block, block};
use crate::{
    conversation::{Conversation, Part, Role},
    dialect::fields::ParamError,
};

/// One turn.
#[derive(Debug, Serialize)]
pub(super) struct Turn<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

/// The system prompt: the instructions in front, then those from the middle.
pub(super) fn system(conversation: &Conversation) -> Result<Vec<Block<'_>>, ParamError> {
    let later = conversation.messages.iter().filter(|m| m.role == Role::System).flat_map(|m| &m.parts);
    conversation.system.iter().chain(later).filter_map(|part| block(part, "messages").transpose()).collect()
}

/// The turns. Messages of one role that follow each other are one turn.
pub(super) fn turns(conversation: &Conversation) -> Result<Vec<Turn<'_>>, ParamError> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for message in &conversation.messages {
        let role = match message.role {
            Role::System => continue,
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let blocks = message.parts.iter().filter_map(|part| block(part, &message.path).transpose());
        let mut content = blocks.collect::<Result<Vec<_>, _>>()?;
        if content.is_empty() {
            continue;
        }
        match turns.last_mut() {
            Some(last) if last.role == role => last.content.append(&mut content),
            _ => turns.push(Turn { role, content }),
        }
    }
    for turn in turns.iter_mut().filter(|turn| turn.role == "user") {
        // The API wants the results of a turn's calls before anything else; the sort is stable.
        turn.content.sort_by_key(|block| !matches!(block, Block::ToolResult { .. }));
    }
    if turns.is_empty() {
        return Err(ParamError::unsupported(
            "messages",
            "must hold one with content beside the instructions for this model's provider",
        ));
    }
    trim_prefill(&mut turns);
    Ok(turns)
}

/// Cuts white space from the end of a last assistant turn, which the API refuses there.
fn trim_prefill(turns: &mut [Turn<'_>]) {
    if let Some(Turn { role: "assistant", content }) = turns.last_mut()
        && let Some(Block::Text { text, .. }) = content.last_mut()
    {
        *text = match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim_end()),
            Cow::Owned(text) => Cow::Owned(text.trim_end().to_owned()),
        };
    }
}

/// Whether the assistant's last tool calls come without the reasoning that led to them, which
/// models that think by budget demand to see again.
pub(super) fn calls_without_thinking(conversation: &Conversation) -> bool {
    let spoken = conversation.messages.iter().rev().find(|m| m.role == Role::Assistant);
    spoken.is_some_and(|message| {
        let has = |wanted: fn(&Part) -> bool| message.parts.iter().any(wanted);
        has(|part| matches!(part, Part::ToolCall(_)))
            && !has(|part| {
                matches!(part, Part::Thinking { signature: Some(_), .. } | Part::RedactedThinking { .. })
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::{Message, ToolCall};

    fn check(messages: Vec<(Role, Vec<Part>)>) -> Result<String, ParamError> {
        let messages = messages.into_iter().map(|(role, parts)| Message {
            role,
            parts,
            name: None,
            path: "messages[0]".into(),
        });
        let conversation = Conversation { messages: messages.collect(), ..Default::default() };
        Ok(serde_json::to_string(&turns(&conversation)?).expect("plain structs"))
    }

    fn text(text: &str) -> Vec<Part> {
        vec![Part::text(text)]
    }

    #[test]
    fn neighbours_of_one_role_are_one_turn_with_results_first() {
        let result =
            Part::ToolResult { call_id: "t".into(), content: Vec::new(), failed: false, cache: None };
        let all = check(vec![
            (Role::User, text("a")),
            (Role::System, text("s")),
            (Role::User, text("b")),
            (Role::Assistant, text(" ")),
            (Role::User, vec![result]),
        ]);
        assert_eq!(
            all.expect("valid"),
            r#"[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"},{"type":"text","text":"a"},{"type":"text","text":"b"}]}]"#
        );
    }

    #[test]
    fn a_prefill_ends_without_white_space() {
        let all = check(vec![(Role::User, text("a ")), (Role::Assistant, text("b \n"))]);
        assert_eq!(
            all.expect("valid"),
            r#"[{"role":"user","content":[{"type":"text","text":"a "}]},{"role":"assistant","content":[{"type":"text","text":"b"}]}]"#
        );
    }

    #[test]
    fn instructions_alone_are_no_conversation() {
        assert_eq!(check(vec![(Role::System, text("s"))]).expect_err("no turn").param, "messages");
        assert_eq!(check(vec![(Role::User, text(""))]).expect_err("no turn").code, ParamError::UNSUPPORTED);
    }

    #[test]
    fn calls_are_known_to_lack_their_reasoning() {
        let call = Part::ToolCall(ToolCall { id: "t".into(), name: "f".into(), arguments: String::new() });
        let thought = Part::Thinking { text: String::new(), signature: Some("s".into()) };
        for (parts, lacks) in
            [(vec![call.clone()], true), (vec![thought, call], false), (text("no calls"), false)]
        {
            let message = Message { role: Role::Assistant, parts, name: None, path: String::new() };
            let conversation = Conversation { messages: vec![message], ..Default::default() };
            assert_eq!(calls_without_thinking(&conversation), lacks);
        }
    }
}
