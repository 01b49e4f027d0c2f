//! `tools` and `tool_choice`.

use serde_json::value::RawValue;

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
    let kind = fields.needed_text("type")?;
    if kind != "function" {
        return Ok(Tool::Other { kind, definition: Verbatim::of(raw), path });
    }
    let path = fields.path("parameters");
    let parameters = fields.raw("parameters");
    if parameters.is_some_and(|raw| !raw.get().starts_with('{')) {
        return Err(ParamError::expected(path, "an object"));
    }
    Ok(Tool::Function(Function {
        name: fields.needed_text("name")?,
        description: fields.text("description")?,
        parameters: parameters.map(Verbatim::of),
        strict: fields.take("strict", "a boolean")?,
        cache: None,
    }))
}

/// Takes `tool_choice`.
pub(super) fn parse_choice(top: &mut Fields<'_>) -> Result<Option<ToolChoice>, ParamError> {
    let path = top.path("tool_choice");
    let Some(raw) = top.raw("tool_choice") else { return Ok(None) };
    match raw.get() {
        r#""auto""# => return Ok(Some(ToolChoice::Auto)),
        r#""none""# => return Ok(Some(ToolChoice::None)),
        r#""required""# => return Ok(Some(ToolChoice::Required)),
        _ => {}
    }
    if !raw.get().starts_with('{') {
        let why = "must be 'none', 'auto', 'required' or an object that names a tool";
        return Err(ParamError::value(path, why));
    }
    let mut choice = Fields::of(path, raw)?;
    match choice.needed_text("type")?.as_str() {
        "function" => Ok(Some(ToolChoice::Tool(choice.needed_text("name")?))),
        "allowed_tools" => {
            let mut names = Vec::new();
            for (path, raw) in choice.list("tools")?.unwrap_or_default() {
                names.push(Fields::of(path, raw)?.needed_text("name")?);
            }
            match choice.needed_text("mode")?.as_str() {
                "auto" => Ok(Some(ToolChoice::AutoAmong(names))),
                "required" => Ok(Some(ToolChoice::RequiredAmong(names))),
                _ => Err(ParamError::value(choice.path("mode"), "must be 'auto' or 'required'")),
            }
        }
        _ => Err(ParamError::unsupported(choice.path("type"), "must be 'function' or 'allowed_tools'")),
    }
}
