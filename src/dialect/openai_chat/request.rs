//! The top level of a chat completions request.

use super::{messages, tools};
use crate::{
    conversation::{Conversation, Effort, Format, Reasoning, Sampling, Verbatim},
    dialect::fields::{Fields, ParamError},
};

/// Parses a request body. What has no meaning in a [`Conversation`] is kept in its `extra`.
///
/// # Errors
/// [`ParamError`] that names the first parameter that is wrong.
pub fn parse_request(body: &[u8]) -> Result<Conversation, ParamError> {
    let mut top = Fields::of_body(body)?;
    // These are the call's, and were read when it was admitted.
    for name in ["model", "stream", "stream_options"] {
        top.raw(name);
    }
    let (system, messages) = messages::parse(&mut top)?;
    let tools = tools::parse(&mut top)?;
    let tool_choice = tools::parse_choice(&mut top)?;
    let parallel_tool_calls = top.take("parallel_tool_calls", "a boolean")?;
    let sampling = sampling(&mut top)?;
    let format = format(&mut top)?;
    let reasoning = reasoning(&mut top)?;
    let verbosity = top.text("verbosity")?;
    let service_tier = top.text("service_tier")?;
    let user = top.text("user")?;
    let user = top.text("safety_identifier")?.or(user);
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

fn sampling(top: &mut Fields<'_>) -> Result<Sampling, ParamError> {
    let most = top.count("max_tokens", 1)?;
    let logprobs = top.take("logprobs", "a boolean")?.unwrap_or(false);
    let alternatives = top.count("top_logprobs", 0)?;
    Ok(Sampling {
        temperature: top.number("temperature", 0.0, 2.0)?,
        top_p: top.number("top_p", 0.0, 1.0)?,
        top_k: top.count("top_k", 0)?,
        max_tokens: top.count("max_completion_tokens", 1)?.or(most),
        stop: stop(top)?,
        seed: top.take("seed", "a whole number")?,
        presence_penalty: top.number("presence_penalty", -2.0, 2.0)?,
        frequency_penalty: top.number("frequency_penalty", -2.0, 2.0)?,
        candidates: top.count("n", 1)?,
        logprobs: logprobs.then(|| alternatives.unwrap_or(0)),
    })
}

fn stop(top: &mut Fields<'_>) -> Result<Vec<String>, ParamError> {
    const EXPECTED: &str = "a string or an array of strings";
    let path = top.path("stop");
    let Some(raw) = top.raw("stop") else { return Ok(Vec::new()) };
    let parsed = if raw.get().starts_with('"') {
        serde_json::from_str(raw.get()).map(|one| vec![one])
    } else {
        serde_json::from_str::<Vec<String>>(raw.get())
    };
    match parsed {
        Ok(all) => Ok(all.into_iter().filter(|text| !text.is_empty()).collect()),
        Err(_) => Err(ParamError::expected(path, EXPECTED)),
    }
}

fn format(top: &mut Fields<'_>) -> Result<Option<Format>, ParamError> {
    let Some(mut format) = top.object("response_format")? else { return Ok(None) };
    match format.needed_text("type")?.as_str() {
        "text" => Ok(Some(Format::Text)),
        "json_object" => Ok(Some(Format::JsonObject)),
        "json_schema" => {
            let mut inner = format.needed_object("json_schema")?;
            let path = inner.path("schema");
            let schema = inner.raw("schema").ok_or_else(|| ParamError::missing(&path))?;
            if !schema.get().starts_with('{') {
                return Err(ParamError::expected(path, "an object"));
            }
            Ok(Some(Format::JsonSchema {
                name: inner.text("name")?,
                description: inner.text("description")?,
                schema: Verbatim::of(schema),
                strict: inner.take("strict", "a boolean")?,
            }))
        }
        _ => Err(ParamError::value(format.path("type"), "must be 'text', 'json_object' or 'json_schema'")),
    }
}

fn reasoning(top: &mut Fields<'_>) -> Result<Reasoning, ParamError> {
    let Some(word) = top.text("reasoning_effort")? else { return Ok(Reasoning::default()) };
    let effort = Effort::of_word(&word)
        .ok_or_else(|| ParamError::value(top.path("reasoning_effort"), Effort::WORDS))?;
    Ok(Reasoning { effort: Some(effort), ..Reasoning::default() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_wrong_parameter_is_named() {
        let user = r#"{"role":"user","content":"hi"}"#;
        for (body, param, code) in [
            ("[]".to_owned(), "", "invalid_json"),
            ("{".to_owned(), "", "invalid_json"),
            ("{}".to_owned(), "messages", "missing_required_parameter"),
            (r#"{"messages":{}}"#.to_owned(), "messages", "invalid_type"),
            (r#"{"messages":[]}"#.to_owned(), "messages", "invalid_value"),
            (format!(r#"{{"messages":[{user},1]}}"#), "messages[1]", "invalid_type"),
            (format!(r#"{{"messages":[{user}],"temperature":3}}"#), "temperature", "invalid_value"),
            (format!(r#"{{"messages":[{user}],"max_tokens":0}}"#), "max_tokens", "invalid_value"),
            (format!(r#"{{"messages":[{user}],"max_tokens":1.5}}"#), "max_tokens", "invalid_type"),
            (format!(r#"{{"messages":[{user}],"stop":[1]}}"#), "stop", "invalid_type"),
            (format!(r#"{{"messages":[{user}],"stop":7}}"#), "stop", "invalid_type"),
            (
                format!(r#"{{"messages":[{user}],"reasoning_effort":"huge"}}"#),
                "reasoning_effort",
                "invalid_value",
            ),
            (
                format!(r#"{{"messages":[{user}],"response_format":{{"type":"json_schema"}}}}"#),
                "response_format.json_schema",
                "missing_required_parameter",
            ),
            (
                format!(r#"{{"messages":[{user}],"response_format":{{"type":"xml"}}}}"#),
                "response_format.type",
                "invalid_value",
            ),
        ] {
            let error = parse_request(body.as_bytes()).expect_err(&body);
            assert_eq!((error.param.as_str(), error.code), (param, code), "{body}");
        }
    }

    #[test]
    fn the_newer_names_win_and_the_rest_is_kept() {
        let parsed = parse_request(
            br#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}],"max_tokens":5,
            "max_completion_tokens":7,"user":"u","safety_identifier":"s","stop":"x","n":2,"logprobs":true,
            "top_k":3,"new_field":{"b":1,"a":2.0},"seed":null,"reasoning_effort":"xhigh"}"#,
        )
        .expect("valid");
        assert_eq!(parsed.sampling.max_tokens, Some(7));
        assert_eq!(parsed.user.as_deref(), Some("s"));
        assert_eq!(parsed.sampling.stop, ["x"]);
        assert_eq!(parsed.sampling.candidates, Some(2));
        assert_eq!(parsed.sampling.logprobs, Some(0));
        assert_eq!(parsed.sampling.top_k, Some(3));
        assert_eq!(parsed.reasoning.effort, Some(Effort::ExtraHigh));
        assert_eq!(parsed.extra.keys().collect::<Vec<_>>(), ["new_field"]);
        assert_eq!(parsed.extra["new_field"].as_str(), r#"{"b":1,"a":2.0}"#);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse_request(&body);
        }

        #[test]
        fn no_messages_make_it_panic(inner in r#"[\[\]{}",:0-9a-z_ ]{0,64}"#) {
            let _ = parse_request(format!(r#"{{"messages":[{{"role":"user","content":{inner}}}]}}"#).as_bytes());
        }
    }
}
