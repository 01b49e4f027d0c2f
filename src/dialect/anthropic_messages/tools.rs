//! Tools and the choice among them.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::blocks::CacheControl;
use crate::{
    conversation::{Conversation, Function, Tool, ToolChoice, Verbatim},
    dialect::fields::ParamError,
};

/// One of the request's tools: a function, or one of Anthropic's own as the client wrote it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum WireTool<'a> {
    Function {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        input_schema: Cow<'a, RawValue>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        strict: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Own(&'a Verbatim),
}

/// The request's `tool_choice`.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum WireChoice<'a> {
    Auto {
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        disable_parallel_tool_use: bool,
    },
    Any {
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        disable_parallel_tool_use: bool,
    },
    Tool {
        name: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        disable_parallel_tool_use: bool,
    },
    None,
}

/// The tools, without those that the choice leaves out.
pub(super) fn tools(conversation: &Conversation) -> Result<Vec<WireTool<'_>>, ParamError> {
    let among = match &conversation.tool_choice {
        Some(ToolChoice::AutoAmong(names) | ToolChoice::RequiredAmong(names)) => Some(names),
        _ => None,
    };
    let mut all = Vec::new();
    for tool in &conversation.tools {
        match tool {
            Tool::Function(function) if among.is_none_or(|names| names.contains(&function.name)) => {
                all.push(wire_tool(function));
            }
            Tool::Function(_) => {}
            // OpenAI's custom tools answer in free text, and Anthropic's own have names of their own.
            Tool::Other { kind, path, .. } if kind == "custom" => {
                return Err(ParamError::unsupported(format!("{path}.type"), "must be 'function'"));
            }
            Tool::Other { definition, .. } => all.push(WireTool::Own(definition)),
        }
    }
    Ok(all)
}

fn wire_tool(function: &Function) -> WireTool<'_> {
    WireTool::Function {
        name: &function.name,
        description: function.description.as_deref(),
        input_schema: input_schema(function.parameters.as_ref()),
        strict: function.strict.unwrap_or(false),
        cache_control: function.cache.map(CacheControl::from),
    }
}

/// The schema as written, with the `type` that the API demands and OpenAI does not.
fn input_schema(parameters: Option<&Verbatim>) -> Cow<'_, RawValue> {
    #[derive(serde::Deserialize)]
    struct Typed<'a> {
        #[serde(borrow, rename = "type")]
        kind: Option<&'a RawValue>,
    }
    let text = parameters.map_or("{}", Verbatim::as_str);
    if let Some(parameters) = parameters
        && let Ok(Typed { kind: Some(_) }) = serde_json::from_str::<Typed<'_>>(text)
    {
        return Cow::Borrowed(parameters.raw());
    }
    let rest = text.trim_start_matches('{').trim_start();
    let typed = match rest {
        "}" => r#"{"type":"object","properties":{}}"#.to_owned(),
        rest => format!(r#"{{"type":"object",{rest}"#),
    };
    match (RawValue::from_string(typed), parameters) {
        (Ok(raw), _) => Cow::Owned(raw),
        // A schema with two types, say: the provider names what it does not like.
        (Err(_), Some(parameters)) => Cow::Borrowed(parameters.raw()),
        (Err(_), None) => Cow::Borrowed(RawValue::NULL),
    }
}

/// The choice; `None` where there is nothing to choose, or nothing to say.
pub(super) fn choice(conversation: &Conversation) -> Option<WireChoice<'_>> {
    if conversation.tools.is_empty() {
        return None;
    }
    let disable_parallel_tool_use = conversation.parallel_tool_calls == Some(false);
    match &conversation.tool_choice {
        None if !disable_parallel_tool_use => None,
        None | Some(ToolChoice::Auto | ToolChoice::AutoAmong(_)) => {
            Some(WireChoice::Auto { disable_parallel_tool_use })
        }
        Some(ToolChoice::None) => Some(WireChoice::None),
        Some(ToolChoice::Required | ToolChoice::RequiredAmong(_)) => {
            Some(WireChoice::Any { disable_parallel_tool_use })
        }
        Some(ToolChoice::Tool(name)) => Some(WireChoice::Tool { name, disable_parallel_tool_use }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_gets_the_type_it_lacks_and_keeps_the_rest() {
        for (schema, expected) in [
            (None, r#"{"type":"object","properties":{}}"#),
            (Some("{ }"), r#"{"type":"object","properties":{}}"#),
            (Some(r#"{"properties":{"z":{},"a":{}}}"#), r#"{"type":"object","properties":{"z":{},"a":{}}}"#),
            (Some(r#"{"$defs":{},"type":"object"}"#), r#"{"$defs":{},"type":"object"}"#),
        ] {
            let parameters = schema.map(|text| Verbatim::parse(text).expect("JSON"));
            assert_eq!(input_schema(parameters.as_ref()).get(), expected);
        }
    }

    #[test]
    fn every_choice_is_said() {
        let tool = Tool::Function(Function {
            name: "f".into(),
            description: None,
            parameters: None,
            strict: None,
            cache: None,
        });
        for (choice_, parallel, expected) in [
            (None, None, "null"),
            (None, Some(true), "null"),
            (None, Some(false), r#"{"type":"auto","disable_parallel_tool_use":true}"#),
            (Some(ToolChoice::Auto), None, r#"{"type":"auto"}"#),
            (Some(ToolChoice::None), Some(false), r#"{"type":"none"}"#),
            (Some(ToolChoice::Required), Some(false), r#"{"type":"any","disable_parallel_tool_use":true}"#),
            (Some(ToolChoice::Tool("f".into())), None, r#"{"type":"tool","name":"f"}"#),
            (Some(ToolChoice::RequiredAmong(vec!["f".into()])), None, r#"{"type":"any"}"#),
        ] {
            let conversation = Conversation {
                tools: vec![tool.clone()],
                tool_choice: choice_,
                parallel_tool_calls: parallel,
                ..Default::default()
            };
            assert_eq!(serde_json::to_string(&choice(&conversation)).expect("plain"), expected);
        }
        let nothing = Conversation { tool_choice: Some(ToolChoice::Auto), ..Default::default() };
        assert_eq!(choice(&nothing), None);
    }
}
