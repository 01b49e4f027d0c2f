//! Reads a client's request: `ResponseCreateParams` of the official SDKs into a conversation.

mod input;
mod tools;

use crate::{
    conversation::{Conversation, Effort, Format, Message, Part, Reasoning, Role, Sampling, Verbatim},
    dialect::fields::{Fields, ParamError},
};

/// Parses a request body. What has no meaning in a [`Conversation`] is kept in its `extra`.
///
/// # Errors
/// [`ParamError`] that names the first parameter that is wrong.
pub(super) fn parse_request(body: &[u8]) -> Result<Conversation, ParamError> {
    let mut top = Fields::of_body(body)?;
    // These are the call's, or the store's, and were read when it was admitted.
    for name in ["model", "stream", "stream_options", "store", "background"] {
        if name == "background" && top.take::<bool>(name, "a boolean")? == Some(true) {
            let why = "is not supported by this model's provider; use 'stream'";
            return Err(ParamError::unsupported(name, why));
        }
        top.raw(name);
    }
    if top.text("previous_response_id")?.is_some() {
        let why = "names a response that is not stored here; send the whole conversation as 'input'";
        return Err(ParamError::unsupported("previous_response_id", why));
    }
    let system = top.text("instructions")?.map(Part::text).into_iter().collect();
    let messages = messages(&mut top)?;
    let tools = tools::parse(&mut top)?;
    let tool_choice = tools::parse_choice(&mut top)?;
    let parallel_tool_calls = top.take("parallel_tool_calls", "a boolean")?;
    let include: Vec<String> = top.take("include", "an array of strings")?.unwrap_or_default();
    let alternatives = top.count("top_logprobs", 0)?;
    let wants_logprobs = include.iter().any(|one| one == "message.output_text.logprobs");
    let sampling = Sampling {
        temperature: top.number("temperature", 0.0, 2.0)?,
        top_p: top.number("top_p", 0.0, 1.0)?,
        max_tokens: top.count("max_output_tokens", 1)?,
        logprobs: (wants_logprobs || alternatives.is_some_and(|n| n > 0)).then(|| alternatives.unwrap_or(0)),
        ..Sampling::default()
    };
    let reasoning = reasoning(&mut top)?;
    let (format, verbosity) = text(&mut top)?;
    let user = top.text("user")?;
    let user = top.text("safety_identifier")?.or(user);
    let service_tier = top.text("service_tier")?;
    Ok(Conversation {
        system,
        messages,
        tools,
        tool_choice,
        parallel_tool_calls,
        sampling,
        format,
        reasoning,
        verbosity,
        service_tier,
        user,
        extra: top.rest(),
    })
}

fn messages(top: &mut Fields<'_>) -> Result<Vec<Message>, ParamError> {
    let raw = top.raw("input").ok_or_else(|| ParamError::missing("input"))?;
    if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
        let (parts, path) = (vec![Part::text(text)], "input".to_owned());
        return Ok(vec![Message { role: Role::User, parts, name: None, path }]);
    }
    let messages = input::items(raw)?;
    if messages.is_empty() {
        return Err(ParamError::value("input", "must hold at least one item"));
    }
    Ok(messages)
}

fn reasoning(top: &mut Fields<'_>) -> Result<Reasoning, ParamError> {
    let Some(mut reasoning) = top.object("reasoning")? else { return Ok(Reasoning::default()) };
    let effort = match reasoning.text("effort")? {
        Some(word) => Some(
            Effort::of_word(&word)
                .ok_or_else(|| ParamError::value(reasoning.path("effort"), Effort::WORDS))?,
        ),
        None => None,
    };
    let older = reasoning.text("generate_summary")?;
    let shown = reasoning.text("summary")?.or(older).map(|word| word != "none");
    Ok(Reasoning { effort, budget: None, shown })
}

fn text(top: &mut Fields<'_>) -> Result<(Option<Format>, Option<String>), ParamError> {
    let Some(mut text) = top.object("text")? else { return Ok((None, None)) };
    let verbosity = text.text("verbosity")?;
    let Some(mut format) = text.object("format")? else { return Ok((None, verbosity)) };
    let format = match format.needed_text("type")?.as_str() {
        "text" => Format::Text,
        "json_object" => Format::JsonObject,
        "json_schema" => {
            let path = format.path("schema");
            let schema = format.raw("schema").ok_or_else(|| ParamError::missing(&path))?;
            if !schema.get().starts_with('{') {
                return Err(ParamError::expected(path, "an object"));
            }
            Format::JsonSchema {
                name: format.text("name")?,
                description: format.text("description")?,
                schema: Verbatim::of(schema),
                strict: format.take("strict", "a boolean")?,
            }
        }
        _ => {
            let why = "must be 'text', 'json_object' or 'json_schema'";
            return Err(ParamError::value(format.path("type"), why));
        }
    };
    Ok((Some(format), verbosity))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conversation::{Source, Tool, ToolChoice};

    #[test]
    fn a_request_of_everything_is_read() {
        let body = br#"{"model":"m","instructions":"s","input":[
              {"role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"https://x/y","detail":"low"},
                {"type":"input_file","file_data":"data:application/pdf;base64,QQ==","filename":"f"}]},
              {"type":"reasoning","id":"rs","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"gemini:U0lH"},
              {"type":"message","role":"assistant","id":"msg","status":"completed","content":[{"type":"output_text","text":"b","annotations":[]}]},
              {"type":"function_call","call_id":"1","name":"f","arguments":"{}"},{"type":"function_call","call_id":"2","name":"f","arguments":"{}"},
              {"type":"function_call_output","call_id":"1","output":"x"},{"type":"function_call_output","call_id":"2","output":[{"type":"input_text","text":"y"}]},
              {"role":"developer","content":"d"}],
            "tools":[{"type":"function","name":"f","parameters":{"z":1.50},"strict":false},{"type":"web_search"}],"tool_choice":{"type":"function","name":"f"},
            "text":{"format":{"type":"json_schema","name":"n","schema":{}},"verbosity":"low"},"reasoning":{"effort":"high","summary":"auto"},
            "include":["message.output_text.logprobs"],"top_logprobs":2,"max_output_tokens":9,"metadata":{"a":"b"},"store":false}"#;
        let read = parse_request(body).expect("valid");
        assert_eq!(read.messages.len(), 4, "the model's items are one message, the results another");
        let [
            Part::Text { .. },
            Part::Image { detail: Some(_), .. },
            Part::File { source: Source::Base64 { .. }, .. },
        ] = &read.messages[0].parts[..]
        else {
            panic!("{:?}", read.messages[0])
        };
        let [
            Part::Thinking { signature: Some(_), .. },
            Part::Text { .. },
            Part::ToolCall(_),
            Part::ToolCall(_),
        ] = &read.messages[1].parts[..]
        else {
            panic!("{:?}", read.messages[1])
        };
        assert_eq!(read.messages[2].parts.len(), 2);
        assert_eq!(read.messages[3].role, Role::System);
        assert!(matches!(&read.tools[..], [Tool::Function(_), Tool::Other { .. }]));
        assert_eq!(read.tool_choice, Some(ToolChoice::Tool("f".into())));
        assert_eq!((read.reasoning.effort, read.reasoning.shown), (Some(Effort::High), Some(true)));
        assert_eq!((read.sampling.logprobs, read.verbosity.as_deref()), (Some(2), Some("low")));
        assert_eq!(read.extra.keys().collect::<Vec<_>>(), ["metadata"]);
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        for (body, param) in [
            ("{}", "input"),
            (r#"{"input":[]}"#, "input"),
            (r#"{"input":7}"#, "input"),
            (r#"{"input":[{"type":"item_reference","id":"x"}]}"#, "input[0].type"),
            (r#"{"input":[{"role":"user","content":[{"type":"sound"}]}]}"#, "input[0].content[0].type"),
            (r#"{"input":[{"type":"function_call","name":"f","arguments":"{}"}]}"#, "input[0].call_id"),
            (r#"{"input":"a","background":true}"#, "background"),
            (r#"{"input":"a","text":{"format":{"type":"xml"}}}"#, "text.format.type"),
            (r#"{"input":"a","reasoning":{"effort":"huge"}}"#, "reasoning.effort"),
        ] {
            assert_eq!(parse_request(body.as_bytes()).expect_err(body).param, param, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(inner in r#"[\[\]{}",:0-9a-z_ ]{0,64}"#) {
            let _ = parse_request(format!(r#"{{"input":[{inner}]}}"#).as_bytes());
        }
    }
}
