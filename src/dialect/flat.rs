//! A conversation as one text, for providers that take a prompt and no messages.

use super::{fields::ParamError, leftover};
use crate::conversation::{Conversation, Message, Role};

/// How a turn is written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// What stands before the system's, the user's and the assistant's text.
    pub names: [&'static str; 3],
    /// What stands behind each.
    pub end: &'static str,
}

impl Style {
    fn name(&self, role: Role) -> &'static str {
        self.names[match role {
            Role::System => 0,
            Role::User => 1,
            Role::Assistant => 2,
        }]
    }
}

/// Writes a conversation as one text; what a user says alone stands as it is. `text_of` reads one turn.
///
/// # Errors
/// What `text_of` says.
pub fn flat<'c>(
    conversation: &'c Conversation,
    style: &Style,
    mut text_of: impl FnMut(&'c Message) -> Result<String, ParamError>,
) -> Result<String, ParamError> {
    if let ([], [Message { role: Role::User, .. }]) = (&conversation.system[..], &conversation.messages[..]) {
        return text_of(&conversation.messages[0]);
    }
    let mut all = String::new();
    let mut add = |role, text: String| {
        if !text.is_empty() {
            all.extend([style.name(role), &text, style.end]);
        }
    };
    add(Role::System, leftover::text_of(&conversation.system, "messages[0]")?);
    for message in &conversation.messages {
        add(message.role, text_of(message)?);
    }
    Ok(all)
}

/// The text of a turn that holds nothing else.
///
/// # Errors
/// [`ParamError`] where it does.
pub fn text_only(message: &Message) -> Result<String, ParamError> {
    leftover::text_of(&message.parts, &message.path)
}

/// The text of the last turn of the user.
///
/// # Errors
/// [`ParamError`] where there is none, or it holds something else.
pub fn last_asked(conversation: &Conversation) -> Result<String, ParamError> {
    let asked = conversation.messages.iter().rev().find(|message| message.role == Role::User);
    let text = asked.map(text_only).transpose()?.unwrap_or_default();
    match text.trim().is_empty() {
        true => {
            Err(ParamError::unsupported("messages", "must hold a text of the user for this model's provider"))
        }
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::Part;

    const STYLE: Style = Style { names: ["S: ", "U: ", "A: "], end: "\n" };

    fn said(role: Role, text: &str) -> Message {
        Message { role, parts: vec![Part::text(text)], name: None, path: "messages[0]".into() }
    }

    #[test]
    fn one_turn_stands_as_it_is_and_more_are_named() {
        let mut conversation =
            Conversation { messages: vec![said(Role::User, "hi")], ..Conversation::default() };
        let written = |c: &Conversation| flat(c, &STYLE, text_only).expect("text");
        assert_eq!(written(&conversation), "hi");
        conversation.messages.extend([said(Role::Assistant, "yes?"), said(Role::User, "so\nit is")]);
        assert_eq!(written(&conversation), "U: hi\nA: yes?\nU: so\nit is\n");
        conversation.system.push(Part::text("brief"));
        assert_eq!(written(&conversation), "S: brief\nU: hi\nA: yes?\nU: so\nit is\n");
        assert_eq!(last_asked(&conversation).expect("text"), "so\nit is");
        assert_eq!(last_asked(&Conversation::default()).expect_err("nothing").param, "messages");
    }
}
