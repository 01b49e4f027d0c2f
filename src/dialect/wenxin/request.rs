//! The body of a chat.

use bytes::Bytes;
use penstock_actors::domain::Delivery;

use crate::{
    conversation::{Conversation, Format, Function},
    dialect::{
        fields::ParamError,
        leftover::{self, Choice},
        tree::{Json, list, object, raw, texts},
        turns::{self, Turn},
        upstream::Wanted,
    },
};

/// The least temperature: 0 is refused.
const LEAST_TEMPERATURE: f64 = 0.01;
/// The least limit of tokens.
const LEAST_TOKENS: u64 = 2;
/// What the model says between a tool's result and the user's next word, for sides must speak in turn.
const BETWEEN: &str = "OK.";

/// Writes a request.
///
/// # Errors
/// [`ParamError`] that names what this dialect cannot say.
pub(super) fn write(conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Bytes, ParamError> {
    leftover::one_answer(conversation)?;
    leftover::no_logprobs(conversation)?;
    let sampling = &conversation.sampling;
    let mut functions = leftover::functions(conversation)?;
    let choice = leftover::choice(conversation, &functions)?;
    if choice == Choice::None {
        functions.clear();
    }
    let forced = match choice {
        Choice::This(function) => leftover::openai_named(function),
        Choice::Unsaid | Choice::None | Choice::Auto => Json::Absent,
    };
    let system = leftover::text_of(&conversation.system, "messages[0]")?;
    let penalty = sampling.frequency_penalty.filter(|p| *p > 0.0).map(|p| 1.0 + p.min(2.0) / 2.0);
    let mut body = object([
        ("messages", list(messages(conversation)?)),
        ("system", Some(system).filter(|text| !text.is_empty()).into()),
        ("stream", (wanted.delivery == Delivery::Stream).into()),
        ("functions", list(functions.into_iter().map(function)).if_filled()),
        ("tool_choice", forced),
        ("temperature", sampling.temperature.map(|t| t.clamp(LEAST_TEMPERATURE, 1.0)).into()),
        ("top_p", sampling.top_p.into()),
        ("penalty_score", penalty.into()),
        ("stop", texts(&sampling.stop)),
        ("max_output_tokens", sampling.max_tokens.map(|n| n.max(LEAST_TOKENS)).into()),
        ("response_format", format(conversation)?.into()),
        ("user_id", conversation.user.as_ref().into()),
    ]);
    leftover::pass_on(conversation, &[], &mut body)?;
    Ok(body.to_bytes())
}

/// A function; what it does must be said.
fn function(function: &Function) -> Json<'_> {
    let schema =
        function.parameters.as_ref().map_or_else(|| raw(r#"{"type":"object","properties":{}}"#), Json::from);
    object([
        ("name", (&function.name).into()),
        ("description", function.description.as_ref().unwrap_or(&function.name).into()),
        ("parameters", schema),
    ])
}

fn messages(conversation: &Conversation) -> Result<Vec<Json<'_>>, ParamError> {
    let spoken = |role: &'static str, text: String| object([("role", role.into()), ("content", text.into())]);
    let mut all = Vec::new();
    let mut told_result = false;
    for turn in turns::of(conversation)? {
        match turn {
            Turn::User(text) => {
                if told_result {
                    all.push(spoken("assistant", BETWEEN.to_owned()));
                }
                all.push(spoken("user", text));
                told_result = false;
            }
            Turn::Assistant(text) => {
                all.push(spoken("assistant", text));
                told_result = false;
            }
            Turn::Tool { said, call, result, .. } => {
                let arguments = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
                let made = object([("name", (&call.name).into()), ("arguments", arguments.into())]);
                all.push(object([
                    ("role", "assistant".into()),
                    ("content", said.into()),
                    ("function_call", made),
                ]));
                // An empty content is refused.
                let result = if result.trim().is_empty() { "{}".to_owned() } else { result };
                all.push(object([
                    ("role", "function".into()),
                    ("name", (&call.name).into()),
                    ("content", result.into()),
                ]));
                told_result = true;
            }
        }
    }
    Ok(all)
}

fn format(conversation: &Conversation) -> Result<Option<&'static str>, ParamError> {
    match &conversation.format {
        None | Some(Format::Text) => Ok(None),
        Some(Format::JsonObject) => Ok(Some("json_object")),
        Some(Format::JsonSchema { .. }) => Err(ParamError::unsupported(
            "response_format.type",
            "must be 'json_object' for this model's provider, which follows no schema",
        )),
    }
}
