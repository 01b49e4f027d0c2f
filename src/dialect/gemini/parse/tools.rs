//! `tools` and `toolConfig`.

use std::collections::BTreeMap;

use super::{super::schema::json_schema, list, object, raw, take};
use crate::{
    conversation::{Function, Tool, ToolChoice, Verbatim},
    dialect::fields::{Fields, ParamError},
};

/// Takes `tools`: functions, and what else a tool may be, by its key.
pub(super) fn parse(top: &mut Fields<'_>) -> Result<Vec<Tool>, ParamError> {
    let mut all = Vec::new();
    for (path, tool) in list(top, "tools")? {
        let mut fields = Fields::of(path.clone(), tool)?;
        for (path, raw_function) in list(&mut fields, "functionDeclarations")? {
            let mut function = Fields::of(path, raw_function)?;
            let json = raw(&mut function, "parametersJsonSchema");
            let own = raw(&mut function, "parameters");
            all.push(Tool::Function(Function {
                name: function.needed_text("name")?,
                description: function.text("description")?,
                parameters: json.map(Verbatim::of).or_else(|| own.map(json_schema)),
                strict: None,
                cache: None,
            }));
        }
        for (kind, value) in fields.rest() {
            let definition = Verbatim::parse(&format!("{{\"{kind}\":{}}}", value.as_str())).unwrap_or(value);
            all.push(Tool::Other { kind, definition, path: path.clone() });
        }
    }
    Ok(all)
}

type Left = BTreeMap<String, Verbatim>;

/// Takes `toolConfig`: the choice, and what else it holds.
pub(super) fn parse_choice(top: &mut Fields<'_>) -> Result<(Option<ToolChoice>, Left), ParamError> {
    let Some(mut config) = object(top, "toolConfig")? else { return Ok((None, Left::new())) };
    let choice = match object(&mut config, "functionCallingConfig")? {
        None => None,
        Some(mut calling) => {
            let names: Vec<String> =
                take(&mut calling, "allowedFunctionNames", "an array of strings")?.unwrap_or_default();
            match (calling.text("mode")?.as_deref(), names.as_slice()) {
                (None | Some("MODE_UNSPECIFIED"), _) => None,
                (Some("NONE"), _) => Some(ToolChoice::None),
                (Some("AUTO" | "VALIDATED"), []) => Some(ToolChoice::Auto),
                (Some("AUTO" | "VALIDATED"), _) => Some(ToolChoice::AutoAmong(names)),
                (Some("ANY"), []) => Some(ToolChoice::Required),
                (Some("ANY"), _) => Some(ToolChoice::RequiredAmong(names)),
                (Some(_), _) => {
                    let why = "must be 'AUTO', 'ANY', 'NONE' or 'VALIDATED'";
                    return Err(ParamError::value(calling.path("mode"), why));
                }
            }
        }
    };
    Ok((choice, config.rest()))
}
