//! Reads a client's request: `MessageCreateParams` of the official SDKs into a conversation.

mod content;
mod tools;

use crate::{
    conversation::{Conversation, Effort, Format, Message, Reasoning, Role, Sampling, Verbatim},
    dialect::fields::{Fields, ParamError},
};

/// Parses a request body. What has no meaning in a [`Conversation`] is kept in its `extra`.
///
/// # Errors
/// [`ParamError`] that names the first parameter that is wrong.
pub(super) fn parse_request(body: &[u8]) -> Result<Conversation, ParamError> {
    let mut top = Fields::of_body(body)?;
    // These are the call's, and were read when it was admitted.
    for name in ["model", "stream"] {
        top.raw(name);
    }
    let system = content::texts(&mut top, "system")?;
    let messages = messages(&mut top)?;
    let tools = tools::parse(&mut top)?;
    let (tool_choice, parallel_tool_calls) = tools::parse_choice(&mut top)?;
    let sampling = Sampling {
        max_tokens: top.count("max_tokens", 1)?,
        temperature: top.number("temperature", 0.0, 1.0)?,
        top_p: top.number("top_p", 0.0, 1.0)?,
        top_k: top.count("top_k", 0)?,
        stop: top.take("stop_sequences", "an array of strings")?.unwrap_or_default(),
        ..Sampling::default()
    };
    let mut reasoning = thinking(&mut top)?;
    let format = output(&mut top, &mut reasoning)?;
    let user = match top.object("metadata")? {
        Some(mut metadata) => metadata.text("user_id")?,
        None => None,
    };
    let service_tier = top.text("service_tier")?.map(|tier| match tier.as_str() {
        "standard_only" => "default".to_owned(),
        _ => tier,
    });
    Ok(Conversation {
        system,
        messages,
        tools,
        tool_choice,
        parallel_tool_calls,
        sampling,
        format,
        reasoning,
        verbosity: None,
        service_tier,
        user,
        extra: top.rest(),
    })
}

fn messages(top: &mut Fields<'_>) -> Result<Vec<Message>, ParamError> {
    let list = top.list("messages")?.ok_or_else(|| ParamError::missing("messages"))?;
    if list.is_empty() {
        return Err(ParamError::value("messages", "must hold at least one message"));
    }
    list.into_iter()
        .map(|(path, raw)| {
            let mut message = Fields::of(path.clone(), raw)?;
            let role = match message.needed_text("role")?.as_str() {
                "user" => Role::User,
                "assistant" => Role::Assistant,
                "system" => Role::System,
                _ => {
                    let why = "must be 'user', 'assistant' or 'system'";
                    return Err(ParamError::value(message.path("role"), why));
                }
            };
            let parts = content::parts(&mut message, role)?;
            Ok(Message { role, parts, name: None, path })
        })
        .collect()
}

fn thinking(top: &mut Fields<'_>) -> Result<Reasoning, ParamError> {
    let Some(mut thinking) = top.object("thinking")? else { return Ok(Reasoning::default()) };
    let shown = thinking.text("display")?.map(|display| display != "omitted");
    match thinking.needed_text("type")?.as_str() {
        "disabled" => Ok(Reasoning { effort: Some(Effort::None), ..Reasoning::default() }),
        "enabled" => {
            let budget = thinking.count("budget_tokens", 1)?;
            let budget = budget.ok_or_else(|| ParamError::missing(thinking.path("budget_tokens")))?;
            Ok(Reasoning { effort: None, budget: Some(budget), shown: shown.or(Some(true)) })
        }
        // The model decides how much; the effort of `output_config` bounds it.
        "adaptive" | "between_tools" => Ok(Reasoning { shown: shown.or(Some(true)), ..Reasoning::default() }),
        _ => Err(ParamError::value(thinking.path("type"), "must be 'enabled', 'adaptive' or 'disabled'")),
    }
}

/// Takes `output_config`: the effort joins the reasoning, the format is given back.
fn output(top: &mut Fields<'_>, reasoning: &mut Reasoning) -> Result<Option<Format>, ParamError> {
    let older = top.object("output_format")?;
    let newer = match top.object("output_config")? {
        None => None,
        Some(mut config) => {
            if let Some(word) = config.text("effort")?
                && reasoning.effort != Some(Effort::None)
            {
                let effort = Effort::of_word(&word)
                    .ok_or_else(|| ParamError::value(config.path("effort"), Effort::WORDS))?;
                reasoning.effort = Some(effort);
            }
            config.object("format")?
        }
    };
    let Some(mut format) = newer.or(older) else { return Ok(None) };
    match format.needed_text("type")?.as_str() {
        "json_schema" => {
            let path = format.path("schema");
            let schema = format.raw("schema").ok_or_else(|| ParamError::missing(&path))?;
            if !schema.get().starts_with('{') {
                return Err(ParamError::expected(path, "an object"));
            }
            // This dialect's schemas always bind.
            let schema = Verbatim::of(schema);
            Ok(Some(Format::JsonSchema { name: None, description: None, schema, strict: Some(true) }))
        }
        _ => Err(ParamError::value(format.path("type"), "must be 'json_schema'")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conversation::{CacheHint, Part, Source, Tool, ToolChoice};

    #[test]
    fn a_request_of_everything_is_read() {
        let body = br#"{"model":"m","stream":true,"max_tokens":100,
            "system":[{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral","ttl":"1h"}}],
            "messages":[
              {"role":"user","content":"hi"},
              {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},
                {"type":"text","text":"a"},{"type":"tool_use","id":"t1","name":"f","input":{"z":1.50}}]},
              {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","is_error":true,
                "content":[{"type":"text","text":"no"},{"type":"image","source":{"type":"url","url":"https://x/y"}}]}]},
              {"role":"user","content":[{"type":"document","title":"d","source":{"type":"base64","media_type":"application/pdf","data":"QQ=="}},
                {"type":"document","source":{"type":"text","media_type":"text/plain","data":"plain"}}]}],
            "tools":[{"name":"f","description":"d","input_schema":{"type":"object"},"strict":true},
              {"type":"web_search_20250305","name":"web_search"}],
            "tool_choice":{"type":"any","disable_parallel_tool_use":true},
            "thinking":{"type":"enabled","budget_tokens":2048},"output_config":{"effort":"xhigh"},
            "metadata":{"user_id":"u"},"service_tier":"standard_only","stop_sequences":["X"],"top_k":3,"new":{"a":1}}"#;
        let read = parse_request(body).expect("valid");
        assert!(matches!(&read.system[..], [Part::Text { cache: Some(CacheHint::Long), .. }]));
        assert_eq!(read.messages.len(), 4);
        let [Part::Thinking { .. }, Part::Text { .. }, Part::ToolCall(call)] = &read.messages[1].parts[..]
        else {
            panic!("{:?}", read.messages[1])
        };
        assert_eq!(call.arguments, r#"{"z":1.50}"#);
        let [Part::ToolResult { failed: true, content, .. }] = &read.messages[2].parts[..] else { panic!() };
        assert!(matches!(&content[1], Part::Image { source: Source::Url(_), .. }));
        assert!(matches!(&read.messages[3].parts[..], [Part::File { .. }, Part::Text { .. }]));
        assert!(matches!(&read.tools[..], [Tool::Function(_), Tool::Other { .. }]));
        assert_eq!(read.tool_choice, Some(ToolChoice::Required));
        assert_eq!(read.parallel_tool_calls, Some(false));
        assert_eq!((read.reasoning.effort, read.reasoning.budget), (Some(Effort::ExtraHigh), Some(2048)));
        assert_eq!((read.user.as_deref(), read.service_tier.as_deref()), (Some("u"), Some("default")));
        assert_eq!(read.extra.keys().collect::<Vec<_>>(), ["new"]);
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        for (rest, param) in [
            (r#""messages":[]"#, "messages"),
            (r#""messages":[{"role":"tool","content":"x"}]"#, "messages[0].role"),
            (r#""messages":[{"role":"user"}]"#, "messages[0].content"),
            (r#""messages":[{"role":"user","content":[{"type":"sound"}]}]"#, "messages[0].content[0].type"),
            (
                r#""messages":[{"role":"user","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]}]"#,
                "messages[0].content[0].type",
            ),
            (
                r#""messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":1}]}]"#,
                "messages[0].content[0].input",
            ),
            (r#""messages":[{"role":"user","content":"x"}],"system":7"#, "system"),
            (r#""messages":[{"role":"user","content":"x"}],"temperature":1.5"#, "temperature"),
            (r#""messages":[{"role":"user","content":"x"}],"tools":[{"name":"f"}]"#, "tools[0].input_schema"),
            (
                r#""messages":[{"role":"user","content":"x"}],"thinking":{"type":"enabled"}"#,
                "thinking.budget_tokens",
            ),
            (
                r#""messages":[{"role":"user","content":"x"}],"output_config":{"effort":"huge"}"#,
                "output_config.effort",
            ),
            (
                r#""messages":[{"role":"user","content":"x"}],"tool_choice":{"type":"maybe"}"#,
                "tool_choice.type",
            ),
        ] {
            let error = parse_request(format!("{{{rest}}}").as_bytes()).expect_err(rest);
            assert_eq!(error.param, param, "{rest}");
        }
    }

    proptest! {
        #[test]
        fn no_content_makes_it_panic(inner in r#"[\[\]{}",:0-9a-z_ ]{0,64}"#) {
            let _ = parse_request(format!(r#"{{"messages":[{{"role":"user","content":{inner}}}]}}"#).as_bytes());
        }
    }
}
