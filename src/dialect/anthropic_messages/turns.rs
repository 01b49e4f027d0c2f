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
        return Err(ParamError::value(
            "messages",
            "must hold at least one message with content beside the instructions",
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
