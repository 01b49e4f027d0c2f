//! The body of `Converse` and `ConverseStream`; the model stands in the path.

use bytes::Bytes;

use super::blocks;
use crate::{
    conversation::{Conversation, Format, Function, Part, Role, ToolChoice},
    dialect::{
        anthropic_messages::{reasoning_fields, takes_tuning},
        fields::ParamError,
        leftover,
        tree::{Json, list, object, raw, texts},
    },
};

/// Fields of the API itself, which clients may name; anything else unknown is the model's.
const OWN: [&str; 6] = [
    "guardrailConfig",
    "performanceConfig",
    "requestMetadata",
    "promptVariables",
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
];

/// Writes a request.
///
/// # Errors
/// [`ParamError`] that names what this dialect cannot say.
pub(super) fn write(conversation: &Conversation, model: &str) -> Result<Bytes, ParamError> {
    leftover::one_answer(conversation)?;
    leftover::no_logprobs(conversation)?;
    let sampling = &conversation.sampling;
    let is_claude = model.contains("anthropic.") || model.contains("claude");
    let tuned = !is_claude || takes_tuning(conversation, model);
    let inference = object([
        ("maxTokens", sampling.max_tokens.into()),
        ("temperature", sampling.temperature.filter(|_| tuned).map(|t| t.min(1.0)).into()),
        ("topP", sampling.top_p.filter(|_| tuned).into()),
        ("stopSequences", texts(&sampling.stop)),
    ]);
    let mut body = object([
        ("messages", list(messages(conversation)?)),
        ("system", list(system(conversation)?).if_filled()),
        ("inferenceConfig", inference.if_filled()),
        ("toolConfig", tools(conversation)?),
        ("outputConfig", output(conversation)?),
        ("serviceTier", service_tier(conversation)),
    ]);
    let mut more = model_fields(conversation, model);
    let mut unknown = Json::empty();
    leftover::pass_on(conversation, &OWN, &mut unknown)?;
    if let Json::Object(members) = unknown {
        for (name, value) in members {
            if OWN.contains(&name) { body.add(name, value) } else { more.add(name, value) }
        }
    }
    // What the client wrote for the model itself wins.
    body.add("additionalModelRequestFields", more.if_filled());
    Ok(body.to_bytes())
}

fn system(conversation: &Conversation) -> Result<Vec<Json<'_>>, ParamError> {
    let later = conversation.messages.iter().filter(|m| m.role == Role::System).flat_map(|m| &m.parts);
    let mut all = Vec::new();
    for part in conversation.system.iter().chain(later) {
        blocks::push(part, "messages", &mut all)?;
    }
    Ok(all)
}

/// Messages of one role that follow each other are one, since the API wants them in alternation; a turn's
/// results come first.
fn messages(conversation: &Conversation) -> Result<Vec<Json<'_>>, ParamError> {
    let mut turns: Vec<(&str, Vec<Json<'_>>)> = Vec::new();
    for message in &conversation.messages {
        let role = match message.role {
            Role::System => continue,
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let mut content = Vec::new();
        for part in &message.parts {
            blocks::push(part, &message.path, &mut content)?;
        }
        if content.is_empty() {
            continue;
        }
        match turns.last_mut() {
            Some((last, said)) if *last == role => said.append(&mut content),
            _ => turns.push((role, content)),
        }
    }
    if turns.is_empty() {
        let why = "must hold one with content beside the instructions for this model's provider";
        return Err(ParamError::unsupported("messages", why));
    }
    let is_result = |block: &Json<'_>| matches!(block, Json::Object(m) if m[0].0 == "toolResult");
    for (_, content) in &mut turns {
        content.sort_by_key(|block| !is_result(block));
    }
    Ok(turns
        .into_iter()
        .map(|(role, said)| object([("role", role.into()), ("content", list(said))]))
        .collect())
}

fn tools(conversation: &Conversation) -> Result<Json<'_>, ParamError> {
    let mut all = Vec::new();
    for function in leftover::functions(conversation)? {
        all.push(specification(function));
        all.extend(function.cache.map(blocks::cache_point));
    }
    let spoken = called(conversation);
    if conversation.tool_choice == Some(ToolChoice::None) && spoken.is_empty() {
        return Ok(Json::Absent);
    }
    if all.is_empty() {
        // The API wants to know the tools of calls that it is shown.
        all = spoken.into_iter().map(|name| named(name, None, empty_schema())).collect();
    }
    if all.is_empty() {
        return Ok(Json::Absent);
    }
    let choice = match &conversation.tool_choice {
        Some(ToolChoice::Required | ToolChoice::RequiredAmong(_)) => object([("any", Json::empty())]),
        Some(ToolChoice::Tool(name)) => object([("tool", object([("name", name.into())]))]),
        Some(ToolChoice::Auto | ToolChoice::AutoAmong(_)) => object([("auto", Json::empty())]),
        Some(ToolChoice::None) | None => Json::Absent,
    };
    Ok(object([("tools", list(all)), ("toolChoice", choice)]))
}

/// The tools that were called before, each once.
fn called(conversation: &Conversation) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for part in conversation.messages.iter().flat_map(|m| &m.parts) {
        if let Part::ToolCall(call) = part
            && !names.contains(&call.name.as_str())
        {
            names.push(&call.name);
        }
    }
    names
}

fn specification(function: &Function) -> Json<'_> {
    let schema = function.parameters.as_ref().map_or_else(empty_schema, Json::from);
    let mut tool = named(&function.name, function.description.as_deref(), schema);
    if let (Json::Object(members), Some(true)) = (&mut tool, function.strict)
        && let Some((_, specification)) = members.first_mut()
    {
        specification.add("strict", true.into());
    }
    tool
}

fn named<'a>(name: &'a str, description: Option<&'a str>, schema: Json<'a>) -> Json<'a> {
    let specification = object([
        ("name", name.into()),
        ("description", description.filter(|d| !d.is_empty()).into()),
        ("inputSchema", object([("json", schema)])),
    ]);
    object([("toolSpec", specification)])
}

fn empty_schema<'a>() -> Json<'a> {
    raw(r#"{"type":"object","properties":{}}"#)
}

fn output(conversation: &Conversation) -> Result<Json<'_>, ParamError> {
    match &conversation.format {
        None | Some(Format::Text) => Ok(Json::Absent),
        Some(Format::JsonObject) => Err(ParamError::unsupported(
            "response_format.type",
            "must be 'json_schema' for this model's provider, which has no JSON without a schema",
        )),
        Some(Format::JsonSchema { name, description, schema, .. }) => {
            // A schema is a text here.
            let schema = object([
                ("schema", schema.as_str().into()),
                ("name", name.as_ref().into()),
                ("description", description.as_ref().into()),
            ]);
            let structure = object([("jsonSchema", schema)]);
            let format = object([("type", "json_schema".into()), ("structure", structure)]);
            Ok(object([("textFormat", format)]))
        }
    }
}

fn service_tier(conversation: &Conversation) -> Json<'_> {
    match conversation.service_tier.as_deref() {
        Some(tier @ ("default" | "flex" | "priority" | "reserved")) => object([("type", tier.into())]),
        _ => Json::Absent,
    }
}

/// What only some models take, in their own words.
fn model_fields<'a>(conversation: &'a Conversation, model: &str) -> Json<'a> {
    let mut fields = Json::empty();
    let top_k = conversation.sampling.top_k;
    if model.contains("anthropic.") || model.contains("claude") {
        fields.add("top_k", top_k.filter(|_| takes_tuning(conversation, model)).into());
        for (name, value) in reasoning_fields(conversation, model) {
            fields.add(name, raw(&value));
        }
    } else if model.contains("nova") {
        fields.add("inferenceConfig", object([("topK", top_k.into())]).if_filled());
    }
    fields
}
