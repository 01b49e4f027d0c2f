//! `tools` and `tool_choice` of a request.

use serde_json::value::RawValue;

use super::content::cache_hint;
use crate::{
    conversation::{Function, Tool, ToolChoice, Verbatim},
    dialect::fields::{Fields, ParamError},
};

/// Takes `tools`.
pub(super) fn parse(top: &mut Fields<'_>) -> Result<Vec<Tool>, ParamError> {
    top.list("tools")?.unwrap_or_default().into_iter().map(|(path, raw)| tool(path, raw)).collect()
}

fn tool(path: String, raw: &RawValue) -> Result<Tool, ParamError> {
    let mut fields = Fields::of(path.clone(), raw)?;
    // A tool with another type is Anthropic's own.
    if let Some(kind) = fields.text("type")?
        && kind != "custom"
    {
        return Ok(Tool::Other { kind, definition: Verbatim::of(raw), path });
    }
    let path = fields.path("input_schema");
    let schema = fields.raw("input_schema").ok_or_else(|| ParamError::missing(&path))?;
    if !schema.get().starts_with('{') {
        return Err(ParamError::expected(path, "an object"));
    }
    Ok(Tool::Function(Function {
        name: fields.needed_text("name")?,
        description: fields.text("description")?,
        parameters: Some(Verbatim::of(schema)),
        strict: fields.take("strict", "a boolean")?,
        cache: cache_hint(&mut fields)?,
    }))
}

/// Takes `tool_choice`: the choice, and whether several tools may be called at once.
pub(super) fn parse_choice(top: &mut Fields<'_>) -> Result<(Option<ToolChoice>, Option<bool>), ParamError> {
    let Some(mut choice) = top.object("tool_choice")? else { return Ok((None, None)) };
    let disabled: Option<bool> = choice.take("disable_parallel_tool_use", "a boolean")?;
    let kind = match choice.needed_text("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Tool(choice.needed_text("name")?),
        _ => return Err(ParamError::value(choice.path("type"), "must be 'auto', 'any', 'tool' or 'none'")),
    };
    Ok((Some(kind), disabled.map(|disabled| !disabled)))
}
