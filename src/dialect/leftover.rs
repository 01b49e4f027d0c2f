//! What writers of requests have in common, where a provider's dialect is small: what they pass on, refuse,
//! and write as OpenAI does.

use std::borrow::Cow;

use super::{
    fields::ParamError,
    foreign,
    tree::{Json, object, raw},
};
use crate::conversation::{
    Conversation, Format, Function, Message, Part, Role, Source, ToolCall, ToolChoice,
};

/// The end user's name where a provider wants one and the client gives none.
pub const NOBODY: &str = "penstock";

/// Adds to `body` what may be meant for the provider, as it was written.
///
/// # Errors
/// [`ParamError`] where a field changes what the answer means and only OpenAI's own dialect has it.
pub fn pass_on<'a>(
    conversation: &'a Conversation,
    own: &[&str],
    body: &mut Json<'a>,
) -> Result<(), ParamError> {
    for (name, value) in foreign::passed_on(conversation, own)? {
        body.add(name, value.into());
    }
    Ok(())
}

/// Refuses what changes the answer's shape or end where a provider has it not.
///
/// # Errors
/// [`ParamError`] with the first of them.
pub fn one_answer(conversation: &Conversation) -> Result<(), ParamError> {
    if conversation.sampling.candidates.is_some_and(|n| n > 1) {
        return Err(ParamError::unsupported("n", "must be 1 for this model's provider"));
    }
    Ok(())
}

/// Refuses log probabilities.
///
/// # Errors
/// [`ParamError`] where they are wanted.
pub fn no_logprobs(conversation: &Conversation) -> Result<(), ParamError> {
    match conversation.sampling.logprobs {
        Some(_) => Err(ParamError::unsupported("logprobs", "is not supported by this model's provider")),
        None => Ok(()),
    }
}

/// Refuses tools, unless none may be called.
///
/// # Errors
/// [`ParamError`] where there are some.
pub fn no_tools(conversation: &Conversation) -> Result<(), ParamError> {
    match conversation.tools.is_empty() || conversation.tool_choice == Some(ToolChoice::None) {
        true => Ok(()),
        false => Err(ParamError::unsupported("tools", "is not supported by this model's provider")),
    }
}

/// Refuses every shape of an answer but text.
///
/// # Errors
/// [`ParamError`] where another is wanted.
pub fn no_format(conversation: &Conversation) -> Result<(), ParamError> {
    match conversation.format {
        None | Some(Format::Text) => Ok(()),
        Some(_) => Err(ParamError::unsupported("response_format", "must be text for this model's provider")),
    }
}

/// Refuses what only a model can be told, for providers that are no bare models: services and applications.
///
/// # Errors
/// [`ParamError`] with the first parameter that changes the answer.
pub fn only_text(conversation: &Conversation) -> Result<(), ParamError> {
    one_answer(conversation)?;
    no_logprobs(conversation)?;
    no_tools(conversation)?;
    no_format(conversation)?;
    match conversation.sampling.stop.is_empty() {
        true => Ok(()),
        false => Err(ParamError::unsupported("stop", "is not supported by this model's provider")),
    }
}

/// The text of parts for a provider that takes nothing else; reasoning is left out.
///
/// # Errors
/// [`ParamError`] where a part is no text.
pub fn text_of<'p>(parts: impl IntoIterator<Item = &'p Part>, path: &str) -> Result<String, ParamError> {
    let mut all = String::new();
    for part in parts {
        let text = match part {
            Part::Text { text, .. } | Part::Refusal(text) => text,
            Part::Thinking { .. } | Part::RedactedThinking { .. } => continue,
            _ => {
                let why = "may only hold text for this model's provider";
                return Err(ParamError::unsupported(format!("{path}.content"), why));
            }
        };
        if !all.is_empty() {
            all.push('\n');
        }
        all.push_str(text);
    }
    Ok(all)
}

/// Appends a text in a line of its own.
pub fn join(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push('\n');
    }
    text.push_str(more);
}

/// The tools to offer: functions alone, and only those that the choice allows.
///
/// # Errors
/// [`ParamError`] where there is no function to offer, or one that is none must be called.
pub fn functions(conversation: &Conversation) -> Result<Vec<&Function>, ParamError> {
    let among = match &conversation.tool_choice {
        Some(ToolChoice::AutoAmong(names) | ToolChoice::RequiredAmong(names)) => Some(names),
        _ => None,
    };
    let allowed = |function: &&Function| among.is_none_or(|names| names.contains(&function.name));
    Ok(foreign::functions(conversation)?.filter(allowed).collect())
}

/// How tools may be chosen, where a provider can force no tool but a named one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice<'a> {
    /// Nothing is said, or there is none to make.
    Unsaid,
    /// No tool.
    None,
    /// As the model likes.
    Auto,
    /// This one.
    This(&'a Function),
}

/// Reads the choice among the functions that are offered.
///
/// # Errors
/// [`ParamError`] where some tool must be called and there are several, or none of this name.
pub fn choice<'a>(conversation: &Conversation, offered: &[&'a Function]) -> Result<Choice<'a>, ParamError> {
    if offered.is_empty() {
        return Ok(Choice::Unsaid);
    }
    let forced = match &conversation.tool_choice {
        None => return Ok(Choice::Unsaid),
        Some(ToolChoice::None) => return Ok(Choice::None),
        Some(ToolChoice::Auto | ToolChoice::AutoAmong(_)) => return Ok(Choice::Auto),
        Some(ToolChoice::Tool(name)) => offered.iter().find(|function| function.name == *name),
        Some(ToolChoice::Required | ToolChoice::RequiredAmong(_)) => {
            offered.first().filter(|_| offered.len() == 1)
        }
    };
    let why = "may force only one tool that is offered for this model's provider";
    forced.map(|function| Choice::This(function)).ok_or_else(|| ParamError::unsupported("tool_choice", why))
}

/// A function that is named, as OpenAI writes a choice.
pub fn openai_named(function: &Function) -> Json<'_> {
    object([("type", "function".into()), ("function", object([("name", (&function.name).into())]))])
}

/// A function as OpenAI writes it, which many copy: `{"type":"function","function":{..}}`.
pub fn openai_tool(function: &Function) -> Json<'_> {
    let schema =
        function.parameters.as_ref().map_or_else(|| raw(r#"{"type":"object","properties":{}}"#), Json::from);
    let inner = object([
        ("name", (&function.name).into()),
        ("description", function.description.as_ref().into()),
        ("parameters", schema),
    ]);
    object([("type", "function".into()), ("function", inner)])
}

/// A tool call as OpenAI writes it: arguments are a text.
pub fn openai_call(call: &ToolCall) -> Json<'_> {
    let arguments = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
    let inner = object([("name", (&call.name).into()), ("arguments", arguments.into())]);
    object([("id", (&call.id).into()), ("type", "function".into()), ("function", inner)])
}

/// The call that had this id; the last one counts, for some providers' ids come again.
pub fn called<'a>(conversation: &'a Conversation, call_id: &str) -> Option<&'a ToolCall> {
    conversation.messages.iter().rev().flat_map(|message| message.parts.iter().rev()).find_map(|part| {
        match part {
            Part::ToolCall(call) if call.id == call_id => Some(call),
            _ => None,
        }
    })
}

/// Whose message it is, as OpenAI writes it.
pub fn role(of: Role) -> &'static str {
    match of {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// The messages as OpenAI orders them: instructions first, then what `write` appends for each.
///
/// # Errors
/// [`ParamError`] where instructions are no text, and what `write` refuses.
pub fn openai_messages<'a>(
    conversation: &'a Conversation,
    mut write: impl FnMut(&'a Message, &mut Vec<Json<'a>>) -> Result<(), ParamError>,
) -> Result<Json<'a>, ParamError> {
    let mut all = Vec::new();
    if !conversation.system.is_empty() {
        let text = text_of(&conversation.system, "messages[0]")?;
        all.push(object([("role", "system".into()), ("content", text.into())]));
    }
    for message in &conversation.messages {
        write(message, &mut all)?;
    }
    Ok(Json::List(all))
}

/// The name of the tool whose call had this id.
pub fn called_name<'a>(conversation: &'a Conversation, call_id: &str) -> Option<&'a str> {
    called(conversation, call_id).map(|call| call.name.as_str())
}

/// A call's arguments, for providers that want an object and no text.
///
/// # Errors
/// [`ParamError`] where they are none.
pub fn arguments<'a>(call: &ToolCall, path: &str) -> Result<Json<'a>, ParamError> {
    let arguments = match call.arguments.trim() {
        "" => Json::empty(),
        written if written.starts_with('{') => raw(written),
        _ => Json::Absent,
    };
    if matches!(arguments, Json::Absent) {
        let why = "holds a tool call whose arguments are no JSON object, which this model's provider needs";
        return Err(ParamError::unsupported(path, why));
    }
    Ok(arguments)
}

/// A picture as a data URL or address, for providers that take both.
///
/// # Errors
/// [`ParamError`] where it is an id.
pub fn url_of<'a>(source: &'a Source, path: &str) -> Result<Cow<'a, str>, ParamError> {
    match source {
        Source::Base64 { media_type, data } => Ok(format!("data:{media_type};base64,{data}").into()),
        Source::Url(url) => Ok(url.into()),
        Source::Id(_) => Err(ParamError::unsupported(
            format!("{path}.content"),
            "must hold the picture itself or its address, not an id, for this model's provider",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_many_parts_is_joined_and_pictures_are_refused() {
        let parts = [Part::text("a"), Part::Thinking { text: "t".into(), signature: None }, Part::text("b")];
        assert_eq!(text_of(&parts, "messages[0]").expect("text"), "a\nb");
        let picture = Part::Audio { format: "wav".into(), data: String::new() };
        assert_eq!(text_of(&[picture], "messages[1]").expect_err("audio").param, "messages[1].content");
    }
}
