//! Fields of a request that its own dialect gave no meaning: which mean nothing elsewhere, which may not be
//! lost, and which are passed on.

use std::borrow::Cow;

use super::{
    fields::ParamError,
    tree::{Json, object, raw},
};
use crate::conversation::{
    Conversation, Format, Function, Part, Source, Tool, ToolCall, ToolChoice, Verbatim,
};

/// Hints and bookkeeping of OpenAI's. Without them the answer means the same.
const HINTS: [&str; 12] = [
    "store",
    "verbosity",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "metadata",
    "service_tier",
    "user",
    "stream_options",
    "background",
];

/// Without these the answer means something else, unless their value says nothing.
const MEANING: [&str; 6] =
    ["functions", "function_call", "logit_bias", "audio", "web_search_options", "moderation"];

/// Adds to `body` what may be meant for the provider, as it was written.
///
/// # Errors
/// [`ParamError`] where a field changes what the answer means and only OpenAI's own dialect has it.
pub fn pass_on<'a>(conversation: &'a Conversation, body: &mut Json<'a>) -> Result<(), ParamError> {
    for (name, value) in &conversation.extra {
        let name = name.as_str();
        if MEANING.contains(&name) {
            if !says_nothing(value) {
                return Err(ParamError::unsupported(name, "is not supported by this model's provider"));
            }
        } else if name == "modalities" {
            text_only(value)?;
        } else if !HINTS.contains(&name) {
            body.add(name, value.into());
        }
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

/// Refuses tools.
///
/// # Errors
/// [`ParamError`] where there are any.
pub fn no_tools(conversation: &Conversation) -> Result<(), ParamError> {
    let spoken = |part: &Part| matches!(part, Part::ToolCall(_) | Part::ToolResult { .. });
    if !conversation.tools.is_empty() {
        return Err(ParamError::unsupported("tools", "are not supported by this model's provider"));
    }
    match conversation.messages.iter().find(|message| message.parts.iter().any(spoken)) {
        Some(message) => Err(ParamError::unsupported(
            &message.path,
            "holds a tool call or result, which this model's provider does not know",
        )),
        None => Ok(()),
    }
}

/// Refuses a shape of the answer.
///
/// # Errors
/// [`ParamError`] where one other than text is wanted.
pub fn plain_format(conversation: &Conversation) -> Result<(), ParamError> {
    match &conversation.format {
        None | Some(Format::Text) => Ok(()),
        Some(_) => {
            Err(ParamError::unsupported("response_format", "is not supported by this model's provider"))
        }
    }
}

/// The text of parts for a provider that takes nothing else; reasoning is left out.
///
/// # Errors
/// [`ParamError`] where a part is no text.
pub fn text_of(parts: &[Part], path: &str) -> Result<String, ParamError> {
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

/// The tools to offer: functions alone, and only those that the choice allows.
///
/// # Errors
/// [`ParamError`] where one is no function.
pub fn functions(conversation: &Conversation) -> Result<Vec<&Function>, ParamError> {
    let among = match &conversation.tool_choice {
        Some(ToolChoice::AutoAmong(names) | ToolChoice::RequiredAmong(names)) => Some(names),
        _ => None,
    };
    let mut all = Vec::new();
    for tool in &conversation.tools {
        match tool {
            Tool::Function(function) if among.is_none_or(|names| names.contains(&function.name)) => {
                all.push(function);
            }
            Tool::Function(_) => {}
            Tool::Other { path, .. } => {
                return Err(ParamError::unsupported(format!("{path}.type"), "must be 'function'"));
            }
        }
    }
    Ok(all)
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

/// The name of the tool whose call had this id; the last one counts, for some providers' ids come again.
pub fn called_name<'a>(conversation: &'a Conversation, call_id: &str) -> Option<&'a str> {
    conversation.messages.iter().rev().flat_map(|message| message.parts.iter().rev()).find_map(|part| {
        match part {
            Part::ToolCall(call) if call.id == call_id => Some(call.name.as_str()),
            _ => None,
        }
    })
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

fn says_nothing(value: &Verbatim) -> bool {
    matches!(value.as_str().trim(), "[]" | "{}" | "null" | "\"none\"")
}

fn text_only(modalities: &Verbatim) -> Result<(), ParamError> {
    match serde_json::from_str::<Vec<String>>(modalities.as_str()) {
        Ok(all) if all.iter().all(|one| one == "text") => Ok(()),
        _ => Err(ParamError::unsupported("modalities", "may only ask for text from this model's provider")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(extra: &[(&str, &str)]) -> Result<String, ParamError> {
        let extra =
            extra.iter().map(|(name, value)| ((*name).to_owned(), Verbatim::parse(value).expect("JSON")));
        let conversation = Conversation { extra: extra.collect(), ..Default::default() };
        let mut body = Json::empty();
        pass_on(&conversation, &mut body)?;
        Ok(String::from_utf8(body.to_bytes().to_vec()).expect("UTF-8"))
    }

    #[test]
    fn hints_are_left_out_and_the_unknown_is_passed_on() {
        let all =
            [("store", "true"), ("functions", "[]"), ("think", "\"low\""), ("modalities", "[\"text\"]")];
        assert_eq!(passed(&all).expect("it can be said"), r#"{"think":"low"}"#);
    }

    #[test]
    fn what_changes_the_answers_meaning_is_refused_by_name() {
        for (name, value) in [
            ("functions", "[{}]"),
            ("logit_bias", "{\"1\":2}"),
            ("modalities", "[\"audio\"]"),
            ("audio", "{\"a\":1}"),
        ] {
            let error = passed(&[(name, value)]).expect_err(name);
            assert_eq!((error.param.as_str(), error.code), (name, ParamError::UNSUPPORTED));
        }
    }

    #[test]
    fn a_text_of_many_parts_is_joined_and_pictures_are_refused() {
        let parts = [Part::text("a"), Part::Thinking { text: "t".into(), signature: None }, Part::text("b")];
        assert_eq!(text_of(&parts, "messages[0]").expect("text"), "a\nb");
        let picture = Part::Audio { format: "wav".into(), data: String::new() };
        assert_eq!(text_of(&[picture], "messages[1]").expect_err("audio").param, "messages[1].content");
    }
}
