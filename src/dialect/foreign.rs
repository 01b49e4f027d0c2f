//! Fields and tools of one dialect that another has no place for: which of them may be left out.
//!
//! A conversation's `extra` holds what had no meaning in it, by its name in the client's dialect. Whoever
//! writes it for a provider names the fields of its own; of the others, hints are left out, those without
//! which the answer would mean something else are refused by name, and what nobody knows is passed on: the
//! provider understands it or names it in its error.

use std::collections::BTreeMap;

use super::fields::ParamError;
use crate::conversation::{Conversation, Function, Tool, ToolChoice, Verbatim};

/// What becomes of a field that the provider's dialect has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is left out: the answer means the same without it.
    Hint,
    /// It is refused, unless it says nothing.
    Meaning,
}

/// Every known field at the top of a request that is its dialect's alone, and its fate elsewhere.
pub const FIELDS: &[(&str, Fate)] = &[
    // Chat completions.
    ("audio", Fate::Meaning),
    ("function_call", Fate::Meaning),
    ("functions", Fate::Meaning),
    ("logit_bias", Fate::Meaning),
    ("modalities", Fate::Meaning),
    ("moderation", Fate::Meaning),
    ("prediction", Fate::Hint),
    ("web_search_options", Fate::Meaning),
    // Chat completions and responses.
    ("metadata", Fate::Hint),
    ("prompt_cache_key", Fate::Hint),
    ("prompt_cache_options", Fate::Hint),
    ("prompt_cache_retention", Fate::Hint),
    ("store", Fate::Hint),
    // Responses.
    ("access_programs", Fate::Hint),
    ("background", Fate::Meaning),
    ("background_options", Fate::Hint),
    ("context_management", Fate::Hint),
    ("conversation", Fate::Meaning),
    ("image", Fate::Hint),
    ("include", Fate::Hint),
    ("max_tool_calls", Fate::Hint),
    ("previous_response_id", Fate::Meaning),
    ("prompt", Fate::Meaning),
    ("truncation", Fate::Hint),
    // Messages.
    ("cache_control", Fate::Hint),
    ("container", Fate::Meaning),
    ("diagnostics", Fate::Hint),
    ("inference_geo", Fate::Meaning),
    ("mcp_servers", Fate::Meaning),
    ("speed", Fate::Hint),
    ("user_profile_id", Fate::Hint),
    ("workspace_id", Fate::Hint),
    // Gemini.
    ("cachedContent", Fate::Meaning),
    ("labels", Fate::Hint),
    ("modelArmorConfig", Fate::Hint),
    ("safetySettings", Fate::Hint),
    ("generationConfig.audioTimestamp", Fate::Hint),
    ("generationConfig.enableAffectiveDialog", Fate::Hint),
    ("generationConfig.enableEnhancedCivicAnswers", Fate::Hint),
    ("generationConfig.imageConfig", Fate::Hint),
    ("generationConfig.mediaResolution", Fate::Hint),
    ("generationConfig.modelSelectionConfig", Fate::Hint),
    ("generationConfig.responseModalities", Fate::Meaning),
    ("generationConfig.routingConfig", Fate::Hint),
    ("generationConfig.speechConfig", Fate::Meaning),
    ("toolConfig.retrievalConfig", Fate::Hint),
];

/// The fields to pass on to a provider whose dialect has those named `own`.
///
/// # Errors
/// [`ParamError`] for one that the dialect lacks and that has a meaning.
pub fn passed_on<'a>(
    conversation: &'a Conversation,
    own: &[&str],
) -> Result<BTreeMap<&'a str, &'a Verbatim>, ParamError> {
    let mut passed = BTreeMap::new();
    for (name, value) in &conversation.extra {
        let name = name.as_str();
        match FIELDS.iter().find(|(known, _)| *known == name) {
            Some((_, Fate::Hint)) if !own.contains(&name) => {}
            Some((_, Fate::Meaning)) if !own.contains(&name) => {
                if !says_nothing(value) {
                    return Err(ParamError::unsupported(name, "is not supported by this model's provider"));
                }
            }
            _ => _ = passed.insert(name, value),
        }
    }
    Ok(passed)
}

/// Whether a value is empty, false, or asks for text alone.
fn says_nothing(value: &Verbatim) -> bool {
    use serde_json::Value;
    match serde_json::from_str(value.as_str()) {
        Ok(Value::Array(all)) => {
            all.iter().all(|one| one.as_str().is_some_and(|word| word.eq_ignore_ascii_case("text")))
        }
        Ok(Value::Object(all)) => all.is_empty(),
        Ok(Value::Bool(on)) => !on,
        _ => false,
    }
}

/// The client's functions, for a provider whose dialect has no other tools.
///
/// Tools by another dialect's own definition are left out where the model is free to do without them and has
/// functions besides: agents offer such tools (a search run by the provider, groups of tools) to every model, and
/// one that is not told of them uses the others.
///
/// # Errors
/// A [`ParamError`] that names such a tool, where nothing else is offered or a tool must be called.
pub fn functions(conversation: &Conversation) -> Result<impl Iterator<Item = &Function>, ParamError> {
    fn function(tool: &Tool) -> Option<&Function> {
        match tool {
            Tool::Function(function) => Some(function),
            Tool::Other { .. } => None,
        }
    }
    let tools = &conversation.tools;
    let is_forced = conversation.tool_choice.as_ref().is_some_and(ToolChoice::forces);
    let may_leave_out = !is_forced && tools.iter().any(|tool| function(tool).is_some());
    for tool in tools {
        if let (Tool::Other { kind, path, .. }, false) = (tool, may_leave_out) {
            let shown: String = kind.chars().take(60).collect();
            let why = format!("is '{shown}', which this model's provider has not; use functions");
            return Err(ParamError::unsupported(format!("{path}.type"), why));
        }
    }
    Ok(tools.iter().filter_map(function))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Conversation {
        let extra = [(name.to_owned(), Verbatim::parse(value).expect("JSON"))].into();
        Conversation { extra, ..Conversation::default() }
    }

    #[test]
    fn hints_go_meanings_are_refused_and_the_unknown_passes() {
        let check = |name: &str, value: &str, own: &[&str]| {
            passed_on(&with(name, value), own).map(|passed| passed.len()).map_err(|e| e.param)
        };
        assert_eq!(check("safetySettings", "[1]", &[]), Ok(0));
        assert_eq!(check("logit_bias", r#"{"1":2}"#, &[]), Err("logit_bias".into()));
        assert_eq!(check("logit_bias", r#"{"1":2}"#, &["logit_bias"]), Ok(1));
        assert_eq!(check("logit_bias", "{}", &[]), Ok(0));
        assert_eq!(check("modalities", r#"["text"]"#, &[]), Ok(0));
        assert_eq!(check("modalities", r#"["text","audio"]"#, &[]), Err("modalities".into()));
        assert_eq!(check("background", "false", &[]), Ok(0));
        assert_eq!(check("brand_new", "1", &[]), Ok(1));
    }

    #[test]
    fn no_field_stands_twice() {
        let mut names: Vec<_> = FIELDS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
