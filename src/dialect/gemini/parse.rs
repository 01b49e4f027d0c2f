//! Reads a client's request: `GenerateContentRequest` into a conversation.

mod content;
mod tools;

use serde_json::value::RawValue;

use super::schema::json_schema;
use crate::{
    conversation::{Conversation, Effort, Format, Message, Reasoning, Sampling, Verbatim},
    dialect::fields::{Fields, ParamError},
};

/// Takes a field by its name in camel case, or else in snake case.
pub(super) fn raw<'a>(fields: &mut Fields<'a>, camel: &str) -> Option<&'a RawValue> {
    let snake: String = camel
        .chars()
        .flat_map(|c| c.is_ascii_uppercase().then_some('_').into_iter().chain([c.to_ascii_lowercase()]))
        .collect();
    let one = fields.raw(camel);
    let other = if snake == camel { None } else { fields.raw(&snake) };
    one.or(other)
}

/// Takes a field as `T`.
pub(super) fn take<'a, T: serde::Deserialize<'a>>(
    fields: &mut Fields<'a>,
    camel: &str,
    expected: &str,
) -> Result<Option<T>, ParamError> {
    let path = fields.path(camel);
    let Some(raw) = raw(fields, camel) else { return Ok(None) };
    serde_json::from_str(raw.get()).map(Some).map_err(|_| ParamError::expected(path, expected))
}

/// Takes an object.
pub(super) fn object<'a>(fields: &mut Fields<'a>, camel: &str) -> Result<Option<Fields<'a>>, ParamError> {
    let path = fields.path(camel);
    raw(fields, camel).map(|raw| Fields::of(path, raw)).transpose()
}

/// Takes the elements of an array, each with its path.
pub(super) fn list<'a>(
    fields: &mut Fields<'a>,
    camel: &str,
) -> Result<Vec<(String, &'a RawValue)>, ParamError> {
    let path = fields.path(camel);
    let all: Vec<&RawValue> = take(fields, camel, "an array")?.unwrap_or_default();
    Ok(all.into_iter().enumerate().map(|(n, raw)| (format!("{path}[{n}]"), raw)).collect())
}

/// Parses a request body. What has no meaning in a [`Conversation`] is kept in its `extra`.
pub(super) fn parse_request(body: &[u8]) -> Result<Conversation, ParamError> {
    conversation(Fields::of_body(body)?)
}

/// Parses a request for a count: the contents alone, or the whole request inside.
pub(super) fn parse_counted(body: &[u8]) -> Result<Conversation, ParamError> {
    let mut top = Fields::of_body(body)?;
    match object(&mut top, "generateContentRequest")? {
        Some(inner) => conversation(inner),
        None => conversation(top),
    }
}

fn conversation(mut top: Fields<'_>) -> Result<Conversation, ParamError> {
    top.raw("model");
    let mut ids = content::Ids::default();
    let system = match raw(&mut top, "systemInstruction") {
        Some(raw) => content::system(raw)?,
        None => Vec::new(),
    };
    let mut messages: Vec<Message> = Vec::new();
    for (path, raw) in list(&mut top, "contents")? {
        messages.push(content::message(path, raw, &mut ids)?);
    }
    if messages.is_empty() {
        return Err(ParamError::missing("contents"));
    }
    let tools = tools::parse(&mut top)?;
    let (tool_choice, left) = tools::parse_choice(&mut top)?;
    let mut config = object(&mut top, "generationConfig")?;
    let (mut sampling, mut reasoning, mut format) = (Sampling::default(), Reasoning::default(), None);
    if let Some(config) = &mut config {
        sampling = self::sampling(config)?;
        reasoning = thinking(config)?;
        format = self::format(config)?;
    }
    let mut extra = top.rest();
    let config_left = config.map(Fields::rest).unwrap_or_default();
    extra.extend(config_left.into_iter().map(|(name, value)| (format!("generationConfig.{name}"), value)));
    extra.extend(left.into_iter().map(|(name, value)| (format!("toolConfig.{name}"), value)));
    Ok(Conversation {
        system,
        messages,
        tools,
        tool_choice,
        sampling,
        reasoning,
        format,
        extra,
        ..Default::default()
    })
}

fn sampling(config: &mut Fields<'_>) -> Result<Sampling, ParamError> {
    let logprobs = take(config, "responseLogprobs", "a boolean")?.unwrap_or(false);
    let alternatives: Option<u64> = take(config, "logprobs", "a whole number")?;
    let number = |config: &mut Fields<'_>, name: &str| take::<f64>(config, name, "a number");
    let max_tokens: Option<u64> = take(config, "maxOutputTokens", "a whole number")?;
    Ok(Sampling {
        temperature: number(config, "temperature")?,
        top_p: number(config, "topP")?,
        // The API types it as a float.
        top_k: number(config, "topK")?.map(|k| k as u64),
        max_tokens: max_tokens.filter(|most| *most > 0),
        stop: take(config, "stopSequences", "an array of strings")?.unwrap_or_default(),
        seed: take(config, "seed", "a whole number")?,
        presence_penalty: number(config, "presencePenalty")?,
        frequency_penalty: number(config, "frequencyPenalty")?,
        candidates: take(config, "candidateCount", "a whole number")?,
        logprobs: logprobs.then(|| alternatives.unwrap_or(0)),
    })
}

fn thinking(config: &mut Fields<'_>) -> Result<Reasoning, ParamError> {
    let Some(mut thinking) = object(config, "thinkingConfig")? else { return Ok(Reasoning::default()) };
    let budget: Option<i64> = take(&mut thinking, "thinkingBudget", "a whole number")?;
    let shown = take(&mut thinking, "includeThoughts", "a boolean")?;
    let path = thinking.path("thinkingLevel");
    let level: Option<String> = take(&mut thinking, "thinkingLevel", "a string")?;
    let effort = match level.as_deref() {
        None | Some("THINKING_LEVEL_UNSPECIFIED") => None,
        Some(word) => Some(Effort::of_word(word).ok_or_else(|| {
            ParamError::value(path, "must be 'MINIMAL', 'LOW', 'MEDIUM', 'HIGH' or 'XHIGH'")
        })?),
    };
    // A negative budget leaves it to the model.
    Ok(Reasoning { effort, budget: budget.and_then(|tokens| tokens.try_into().ok()), shown })
}

fn format(config: &mut Fields<'_>) -> Result<Option<Format>, ParamError> {
    let media: Option<String> = take(config, "responseMimeType", "a string")?;
    let own = raw(config, "responseSchema");
    let json = raw(config, "responseJsonSchema");
    let schema = match (json, own) {
        (Some(json), _) => Some(Verbatim::of(json)),
        (None, Some(own)) => Some(json_schema(own)),
        (None, None) => None,
    };
    Ok(match (media.as_deref(), schema) {
        (_, Some(schema)) => {
            Some(Format::JsonSchema { name: None, description: None, schema, strict: Some(true) })
        }
        (Some("application/json"), None) => Some(Format::JsonObject),
        (Some("text/plain"), None) => Some(Format::Text),
        (Some(_), None) => {
            return Err(ParamError::unsupported(
                config.path("responseMimeType"),
                "must be 'text/plain' or 'application/json'",
            ));
        }
        (None, None) => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conversation::{Part, Role, Source, Tool, ToolChoice};

    #[test]
    fn base64_of_either_alphabet_is_handed_on_in_the_usual_one() {
        for (written, expected) in [("-_-_", "+/+/"), ("QQ==", "QQ=="), ("QQ", "QQ=="), ("_w==", "/w==")] {
            let body = format!(
                r#"{{"contents":[{{"role":"user","parts":[{{"inlineData":{{"mimeType":"image/png","data":"{written}"}}}}]}}]}}"#
            );
            let read = parse_request(body.as_bytes()).expect("valid");
            let Part::Image { source: Source::Base64 { data, .. }, .. } = &read.messages[0].parts[0] else {
                panic!("an image")
            };
            assert_eq!(data, expected);
        }
    }

    #[test]
    fn a_request_of_everything_is_read_in_both_spellings() {
        let camel = r#"{"systemInstruction":{"parts":[{"text":"Be brief."}]},
            "contents":[{"role":"user","parts":[{"text":"hi"},{"inlineData":{"mimeType":"image/png","data":"QQ=="}},
                {"fileData":{"mimeType":"application/pdf","fileUri":"https://x/y.pdf"}}]},
              {"role":"model","parts":[{"text":"hm","thought":true},{"functionCall":{"name":"f","args":{"z":1.50}},"thoughtSignature":"U0lH"},
                {"functionCall":{"name":"f","args":{}}}]},
              {"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"one"}}},{"functionResponse":{"name":"f","response":{"a":2}}}]}],
            "tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT"}}]},{"googleSearch":{}}],
            "toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}},
            "generationConfig":{"maxOutputTokens":9,"topK":3,"responseLogprobs":true,"logprobs":2,"thinkingConfig":{"thinkingBudget":2048,"includeThoughts":true},
                "responseMimeType":"application/json","responseSchema":{"type":"STRING"},"mediaResolution":"LOW"},
            "safetySettings":[]}"#;
        let snake = camel
            .replace("systemInstruction", "system_instruction")
            .replace("inlineData", "inline_data")
            .replace("mimeType", "mime_type")
            .replace("functionCall\"", "function_call\"")
            .replace("functionResponse", "function_response")
            .replace("generationConfig", "generation_config")
            .replace("maxOutputTokens", "max_output_tokens");
        for body in [camel, &snake] {
            let read = parse_request(body.as_bytes()).expect("valid");
            assert_eq!(read.system, [Part::text("Be brief.")]);
            assert!(matches!(&read.messages[0].parts[1], Part::Image { source: Source::Base64 { .. }, .. }));
            assert!(matches!(&read.messages[0].parts[2], Part::File { source: Source::Url(_), .. }));
            assert_eq!(read.messages[1].role, Role::Assistant);
            let calls: Vec<_> = read.messages[1]
                .parts
                .iter()
                .filter_map(|p| if let Part::ToolCall(c) = p { Some(c) } else { None })
                .collect();
            assert_eq!(calls[0].arguments, r#"{"z":1.50}"#);
            let results: Vec<_> = read.messages[2]
                .parts
                .iter()
                .filter_map(|p| if let Part::ToolResult { call_id, .. } = p { Some(call_id) } else { None })
                .collect();
            assert_eq!([&calls[0].id, &calls[1].id], results[..], "results answer calls in order");
            assert!(matches!(&read.tools[..], [Tool::Function(_), Tool::Other { .. }]));
            assert_eq!(read.tool_choice, Some(ToolChoice::RequiredAmong(vec!["f".into()])));
            assert_eq!((read.sampling.max_tokens, read.sampling.logprobs), (Some(9), Some(2)));
            assert_eq!((read.reasoning.budget, read.reasoning.shown), (Some(2048), Some(true)));
            assert!(
                matches!(&read.format, Some(Format::JsonSchema { schema, .. }) if schema.as_str() == r#"{"type":"string"}"#)
            );
            assert_eq!(
                read.extra.keys().collect::<Vec<_>>(),
                ["generationConfig.mediaResolution", "safetySettings"]
            );
        }
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        for (body, param) in [
            ("{}", "contents"),
            (r#"{"contents":[{"role":"tool","parts":[{"text":"a"}]}]}"#, "contents[0].role"),
            (r#"{"contents":[{"parts":[{"sound":1}]}]}"#, "contents[0].parts[0]"),
            (r#"{"contents":[{"parts":7}]}"#, "contents[0].parts"),
            (
                r#"{"contents":[{"parts":[{"text":"a"}]}],"generationConfig":{"temperature":"x"}}"#,
                "generationConfig.temperature",
            ),
            (
                r#"{"contents":[{"parts":[{"text":"a"}]}],"generationConfig":{"thinkingConfig":{"thinkingLevel":"HUGE"}}}"#,
                "generationConfig.thinkingConfig.thinkingLevel",
            ),
            (
                r#"{"contents":[{"parts":[{"text":"a"}]}],"tools":[{"functionDeclarations":[{}]}]}"#,
                "tools[0].functionDeclarations[0].name",
            ),
        ] {
            assert_eq!(parse_request(body.as_bytes()).expect_err(body).param, param, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_parts_make_it_panic(inner in r#"[\[\]{}",:0-9a-z_ ]{0,64}"#) {
            let _ = parse_request(format!(r#"{{"contents":[{{"parts":{inner}}}]}}"#).as_bytes());
        }
    }
}
