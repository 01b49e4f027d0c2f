//! `tools` and `tool_choice` of a chat completions request, and cache hints, which tools share with parts.

use serde_json::value::RawValue;

use crate::{
    conversation::{CacheHint, Function, Tool, ToolChoice, Verbatim},
    dialect::fields::{Fields, ParamError},
};

/// Takes `tools`.
pub(super) fn parse(top: &mut Fields<'_>) -> Result<Vec<Tool>, ParamError> {
    top.list("tools")?.unwrap_or_default().into_iter().map(|(path, raw)| tool(path, raw)).collect()
}

fn tool(path: String, raw: &RawValue) -> Result<Tool, ParamError> {
    let mut fields = Fields::of(path, raw)?;
    let kind = fields.needed_text("type")?;
    if kind != "function" {
        let path = fields.own_path().to_owned();
        return Ok(Tool::Other { kind, definition: Verbatim::of(raw), path });
    }
    let cache = cache_hint(&mut fields)?;
    let mut inner = fields.needed_object("function")?;
    let path = inner.path("parameters");
    let parameters = inner.raw("parameters");
    if parameters.is_some_and(|raw| !raw.get().starts_with('{')) {
        return Err(ParamError::expected(path, "an object"));
    }
    Ok(Tool::Function(Function {
        name: inner.needed_text("name")?,
        description: inner.text("description")?,
        parameters: parameters.map(Verbatim::of),
        strict: inner.take("strict", "a boolean")?,
        cache: cache.or(cache_hint(&mut inner)?),
    }))
}

/// Takes `tool_choice`.
pub(super) fn parse_choice(top: &mut Fields<'_>) -> Result<Option<ToolChoice>, ParamError> {
    const WORDS: &str = "must be 'none', 'auto', 'required' or an object that names a tool";
    let path = top.path("tool_choice");
    let Some(raw) = top.raw("tool_choice") else { return Ok(None) };
    if raw.get().starts_with('"') {
        return match raw.get() {
            r#""auto""# => Ok(Some(ToolChoice::Auto)),
            r#""none""# => Ok(Some(ToolChoice::None)),
            // `any` is what other dialects call it.
            r#""required""# | r#""any""# => Ok(Some(ToolChoice::Required)),
            _ => Err(ParamError::value(path, WORDS)),
        };
    }
    let mut choice = Fields::of(path, raw)?;
    match choice.needed_text("type")?.as_str() {
        "function" => {
            let mut function = choice.needed_object("function")?;
            Ok(Some(ToolChoice::Tool(function.needed_text("name")?)))
        }
        "allowed_tools" => allowed(choice.needed_object("allowed_tools")?).map(Some),
        _ => Err(ParamError::unsupported(choice.path("type"), "must be 'function' or 'allowed_tools'")),
    }
}

fn allowed(mut choice: Fields<'_>) -> Result<ToolChoice, ParamError> {
    let mut names = Vec::new();
    for (path, raw) in choice.list("tools")?.unwrap_or_default() {
        let mut tool = Fields::of(path, raw)?;
        names.push(tool.needed_object("function")?.needed_text("name")?);
    }
    match choice.needed_text("mode")?.as_str() {
        "auto" => Ok(ToolChoice::AutoAmong(names)),
        "required" => Ok(ToolChoice::RequiredAmong(names)),
        _ => Err(ParamError::value(choice.path("mode"), "must be 'auto' or 'required'")),
    }
}

/// Takes `cache_control` or `prompt_cache_breakpoint`, the hints on parts and tools.
pub(super) fn cache_hint(fields: &mut Fields<'_>) -> Result<Option<CacheHint>, ParamError> {
    for name in ["cache_control", "prompt_cache_breakpoint"] {
        if let Some(mut hint) = fields.object(name)? {
            return Ok(Some(match hint.text("ttl")?.as_deref() {
                None | Some("5m") => CacheHint::Brief,
                Some(_) => CacheHint::Long,
            }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(json: &str) -> Result<Option<ToolChoice>, ParamError> {
        let body = format!(r#"{{"tool_choice":{json}}}"#);
        parse_choice(&mut Fields::of_body(body.as_bytes()).expect("an object"))
    }

    #[test]
    fn tool_choices_are_read_in_all_their_shapes() {
        assert_eq!(choice("null"), Ok(None));
        assert_eq!(choice(r#""auto""#), Ok(Some(ToolChoice::Auto)));
        assert_eq!(choice(r#""required""#), Ok(Some(ToolChoice::Required)));
        assert_eq!(choice(r#""none""#), Ok(Some(ToolChoice::None)));
        assert_eq!(
            choice(r#"{"type":"function","function":{"name":"f"}}"#),
            Ok(Some(ToolChoice::Tool("f".into())))
        );
        assert_eq!(
            choice(
                r#"{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"f"}}]}}"#
            ),
            Ok(Some(ToolChoice::RequiredAmong(vec!["f".into()])))
        );
        for (json, param) in [
            (r#""maybe""#, "tool_choice"),
            ("7", "tool_choice"),
            (r#"{"type":"function"}"#, "tool_choice.function"),
            (r#"{"type":"function","function":{}}"#, "tool_choice.function.name"),
            (r#"{"type":"custom","custom":{"name":"c"}}"#, "tool_choice.type"),
        ] {
            assert_eq!(choice(json).expect_err(json).param, param, "{json}");
        }
    }

    #[test]
    fn a_schema_keeps_its_key_order_and_numbers() {
        let schema = r##"{"type":"object","properties":{"z":{"$ref":"#/$defs/a"},"a":{"maximum":1.50}},"$defs":{"a":{}}}"##;
        let body = format!(
            r#"{{"tools":[{{"type":"function","function":{{"name":"f","parameters":{schema},"strict":true}}}}]}}"#
        );
        let tools = parse(&mut Fields::of_body(body.as_bytes()).expect("an object")).expect("valid");
        let [Tool::Function(function)] = tools.as_slice() else { panic!("one function: {tools:?}") };
        assert_eq!(function.parameters.as_ref().map(Verbatim::as_str), Some(schema));
        assert_eq!(function.strict, Some(true));
    }
}
