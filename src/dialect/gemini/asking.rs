//! Writes a conversation as the body of `generateContent`.
//!
//! What cannot be said, and what becomes of it: media by their ids at other providers and blocks of other
//! providers' tools are refused by name; cache hints, verbosity, service tier, user and proofs that are not
//! Gemini's are left out; a proof goes back in the part that it stood in.

mod wire;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;
use wire::{
    Body, Call, Calling, Config, Content, Declaration, FileData, Inline, Response, Said, ThinkingConfig,
    ToolConfig, WirePart, WireTools,
};

use super::NAME;
use crate::{
    conversation::{
        Conversation, Effort, Format, Message, Part, Reasoning, Role, Source, ToolCall, ToolChoice, Verbatim,
    },
    dialect::{Wanted, fields::ParamError, foreign, proof},
};

const OWN: [&str; 14] = [
    "cachedContent",
    "labels",
    "modelArmorConfig",
    "safetySettings",
    "generationConfig.audioTimestamp",
    "generationConfig.enableAffectiveDialog",
    "generationConfig.enableEnhancedCivicAnswers",
    "generationConfig.imageConfig",
    "generationConfig.mediaResolution",
    "generationConfig.modelSelectionConfig",
    "generationConfig.responseModalities",
    "generationConfig.routingConfig",
    "generationConfig.speechConfig",
    "toolConfig.retrievalConfig",
];

/// Writes a request; the model stands in its path.
///
/// # Errors
/// [`ParamError`] that names what this dialect cannot say.
pub(super) fn write_request(conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Bytes, ParamError> {
    if conversation.sampling.candidates.is_some_and(|n| n > 1) {
        return Err(ParamError::unsupported("n", "must be 1 where the answer is converted"));
    }
    let (config_left, tools_left, passed_on) = left(conversation)?;
    let sampling = &conversation.sampling;
    let (response_mime_type, response_json_schema) = match &conversation.format {
        None => (None, None),
        Some(Format::Text) => (Some("text/plain"), None),
        Some(Format::JsonObject) => (Some("application/json"), None),
        Some(Format::JsonSchema { schema, .. }) => (Some("application/json"), Some(schema)),
    };
    let tools = tools(conversation)?;
    let calling = conversation.tool_choice.as_ref().filter(|_| !tools.is_empty()).map(calling);
    let tool_config = (calling.is_some() || !tools_left.is_empty())
        .then_some(ToolConfig { function_calling_config: calling, passed_on: tools_left });
    let body = Body {
        contents: contents(conversation, wanted.model)?,
        system_instruction: system(conversation),
        tools,
        tool_config,
        generation_config: Config {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k,
            max_output_tokens: sampling.max_tokens,
            stop_sequences: &sampling.stop,
            seed: sampling.seed,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            response_logprobs: sampling.logprobs.map(|_| true),
            logprobs: sampling.logprobs.filter(|top| *top > 0),
            response_mime_type,
            response_json_schema,
            thinking_config: thinking(&conversation.reasoning, wanted.model),
            passed_on: config_left,
        },
        passed_on,
    };
    Ok(serde_json::to_vec(&body).expect("plain structs, and JSON that was parsed before").into())
}

type Left<'a> = BTreeMap<&'a str, &'a Verbatim>;

/// What is passed on: in the generation's settings, in the tools', and at the top.
fn left(conversation: &Conversation) -> Result<(Left<'_>, Left<'_>, Left<'_>), ParamError> {
    let (mut config, mut tools, mut top) = (Left::new(), Left::new(), Left::new());
    for (name, value) in foreign::passed_on(conversation, &OWN)? {
        match (name.strip_prefix("generationConfig."), name.strip_prefix("toolConfig.")) {
            (Some(name), _) => config.insert(name, value),
            (_, Some(name)) => tools.insert(name, value),
            _ => top.insert(name, value),
        };
    }
    Ok((config, tools, top))
}

fn system(conversation: &Conversation) -> Option<Content<'_>> {
    let later = conversation.messages.iter().filter(|m| m.role == Role::System).flat_map(|m| &m.parts);
    let parts: Vec<_> = conversation
        .system
        .iter()
        .chain(later)
        .filter_map(|part| match part {
            Part::Text { text, .. } if !text.is_empty() => {
                Some(WirePart { text: Some(text), ..WirePart::default() })
            }
            _ => None,
        })
        .collect();
    (!parts.is_empty()).then_some(Content { role: None, parts })
}

/// The contents. Messages of one role that follow each other are one: a turn's results stand together.
fn contents<'a>(conversation: &'a Conversation, model: &str) -> Result<Vec<Content<'a>>, ParamError> {
    let mut all: Vec<Content<'_>> = Vec::new();
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for message in conversation.messages.iter().filter(|m| m.role != Role::System) {
        let role = if message.role == Role::Assistant { "model" } else { "user" };
        for part in &message.parts {
            if let Part::ToolCall(ToolCall { id, name, .. }) = part {
                names.insert(id, name);
            }
        }
        let mut parts = parts(message, &names)?;
        if model.contains("gemini-3") {
            vouch(&mut parts);
        }
        if parts.is_empty() {
            continue;
        }
        match all.last_mut() {
            Some(last) if last.role == Some(role) => last.parts.append(&mut parts),
            _ => all.push(Content { role: Some(role), parts }),
        }
    }
    if all.is_empty() {
        let why = "must hold one with content beside the instructions for this model's provider";
        return Err(ParamError::unsupported("messages", why));
    }
    Ok(all)
}

/// Gemini 3 refuses a turn's first call without a proof, unless it is told that the call is another model's
/// (ai.google.dev, "Thought signatures").
fn vouch(parts: &mut [WirePart<'_>]) {
    if let Some(first) = parts.iter_mut().find(|part| part.function_call.is_some()) {
        first.thought_signature.get_or_insert("skip_thought_signature_validator");
    }
}

fn parts<'a>(
    message: &'a Message,
    names: &BTreeMap<&'a str, &'a str>,
) -> Result<Vec<WirePart<'a>>, ParamError> {
    let unsupported = |why: &str| ParamError::unsupported(format!("{}.content", message.path), why);
    let mut parts = Vec::new();
    let mut pending = None;
    for part in &message.parts {
        let mut made = match part {
            Part::Text { text, .. } | Part::Refusal(text) if text.is_empty() => continue,
            Part::Text { text, .. } | Part::Refusal(text) => {
                WirePart { text: Some(text), ..WirePart::default() }
            }
            Part::Thinking { signature, .. } => {
                // The thought itself need not go back, its proof must.
                pending = signature.as_deref().and_then(|one| proof::unmark(NAME, one)).or(pending);
                continue;
            }
            Part::RedactedThinking { .. } => continue,
            Part::Image { source, .. } => media(source, "image/jpeg")
                .ok_or_else(|| unsupported("holds an image by its id at another provider; send its bytes"))?,
            Part::File { source, .. } => media(source, "application/pdf")
                .ok_or_else(|| unsupported("holds a file by its id at another provider; send its bytes"))?,
            Part::Audio { format, data } => {
                let mime_type = format!("audio/{}", if format == "mp3" { "mpeg" } else { format });
                WirePart { inline_data: Some(Inline { mime_type, data }), ..WirePart::default() }
            }
            Part::ToolCall(call) => WirePart {
                function_call: Some(Call { name: &call.name, args: args(call, &message.path)? }),
                ..WirePart::default()
            },
            Part::ToolResult { call_id, content, failed, .. } => {
                let name = names.get(call_id.as_str()).copied().ok_or_else(|| {
                    let shown: String = call_id.chars().take(80).collect();
                    unsupported(&format!("answers the tool call '{shown}', which no message before holds"))
                })?;
                let response = Response { name, response: said(content, *failed) };
                parts.push(WirePart { function_response: Some(response), ..WirePart::default() });
                for part in content {
                    if let Part::Image { source, .. } | Part::File { source, .. } = part {
                        let made = media(source, "image/jpeg");
                        parts.push(made.ok_or_else(|| {
                            unsupported("holds an image by its id at another provider; send its bytes")
                        })?);
                    }
                }
                continue;
            }
        };
        made.thought_signature = pending.take();
        parts.push(made);
    }
    if let Some(thought_signature) = pending {
        parts.push(WirePart {
            text: Some(""),
            thought_signature: Some(thought_signature),
            ..WirePart::default()
        });
    }
    Ok(parts)
}

/// A medium by its bytes or its address; `usual` is the kind of an address that does not tell.
fn media<'a>(source: &'a Source, usual: &'static str) -> Option<WirePart<'a>> {
    match source {
        Source::Base64 { media_type, data } => {
            let inline_data = Some(Inline { mime_type: media_type.clone(), data });
            Some(WirePart { inline_data, ..WirePart::default() })
        }
        Source::Url(file_uri) => {
            let path = file_uri.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
            let kinds = [
                (".png", "image/png"),
                (".webp", "image/webp"),
                (".gif", "image/gif"),
                (".jpg", "image/jpeg"),
                (".jpeg", "image/jpeg"),
                (".pdf", "application/pdf"),
                (".mp4", "video/mp4"),
                (".mp3", "audio/mpeg"),
                (".wav", "audio/wav"),
            ];
            let known = kinds.iter().find(|(end, _)| path.ends_with(end)).map(|(_, kind)| *kind);
            // Files that were uploaded to Gemini are known there.
            let uploaded = file_uri.contains("googleapis.com/");
            let mime_type = known.or((!uploaded).then_some(usual));
            Some(WirePart { file_data: Some(FileData { mime_type, file_uri }), ..WirePart::default() })
        }
        Source::Id(_) => None,
    }
}

fn args<'a>(call: &'a ToolCall, path: &str) -> Result<&'a RawValue, ParamError> {
    let text = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if raw.get().starts_with('{') => Ok(raw),
        _ => {
            let id: String = call.id.chars().take(80).collect();
            let why = format!(
                "holds the call '{id}', whose arguments are not a JSON object, which this model's provider demands"
            );
            Err(ParamError::unsupported(format!("{path}.tool_calls"), why))
        }
    }
}

fn said(content: &[Part], failed: bool) -> Said {
    let mut text = String::new();
    for part in content {
        if let Part::Text { text: more, .. } | Part::Refusal(more) = part {
            text.push_str(more);
        }
    }
    if failed {
        return Said::Error { error: text };
    }
    match serde_json::from_str::<Box<RawValue>>(&text) {
        Ok(raw) if raw.get().starts_with('{') => Said::Object(raw),
        _ => Said::Output { output: text },
    }
}

fn tools(conversation: &Conversation) -> Result<Vec<WireTools<'_>>, ParamError> {
    let declared = foreign::functions(conversation)?.map(|function| Declaration {
        name: &function.name,
        description: function.description.as_deref(),
        parameters_json_schema: function.parameters.as_ref(),
    });
    let function_declarations: Vec<_> = declared.collect();
    Ok(if function_declarations.is_empty() { Vec::new() } else { vec![WireTools { function_declarations }] })
}

fn calling(choice: &ToolChoice) -> Calling<'_> {
    let (mode, allowed_function_names): (_, &[String]) = match choice {
        ToolChoice::Auto => ("AUTO", &[]),
        ToolChoice::None => ("NONE", &[]),
        ToolChoice::Required => ("ANY", &[]),
        ToolChoice::Tool(name) => ("ANY", std::slice::from_ref(name)),
        ToolChoice::RequiredAmong(names) => ("ANY", names),
        // Names are for calls that must be; `VALIDATED` may also speak.
        ToolChoice::AutoAmong(names) => ("VALIDATED", names),
    };
    Calling { mode, allowed_function_names }
}

/// How much to reason: models since Gemini 3 want a word, those before a number of tokens.
fn thinking(reasoning: &Reasoning, model: &str) -> Option<ThinkingConfig> {
    let effort = reasoning.effort_or_budget();
    if effort.is_none() && reasoning.shown.is_none() {
        return None;
    }
    let off = effort == Some(Effort::None);
    let include_thoughts = if off { None } else { reasoning.shown.or(Some(true)) };
    let by_word = !(model.contains("gemini-2") || model.contains("gemini-1"));
    let level = effort.filter(|_| by_word).map(|effort| match effort {
        Effort::None | Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::ExtraHigh | Effort::Max => "high",
    });
    let budget = effort.filter(|_| !by_word).map(|effort| {
        reasoning.budget.unwrap_or(match effort {
            Effort::None => 0,
            Effort::Minimal => 512,
            Effort::Low => 1_024,
            Effort::Medium => 8_192,
            Effort::High | Effort::ExtraHigh | Effort::Max => 24_576,
        })
    });
    Some(ThinkingConfig { include_thoughts, thinking_budget: budget, thinking_level: level })
}

#[cfg(test)]
mod tests {
    use penstock_actors::domain::Delivery;

    use super::*;
    use crate::dialect::{gemini::parse::parse_request, openai_chat};

    fn check(body: &str, model: &str) -> Result<String, ParamError> {
        let conversation = openai_chat::parse_request(body.as_bytes())?;
        let written =
            write_request(&conversation, &Wanted { model, delivery: Delivery::Stream, params: &[] })?;
        Ok(String::from_utf8(written.to_vec()).expect("UTF-8"))
    }

    #[test]
    fn parallel_results_stand_together_and_are_named_after_their_calls() {
        let body = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},
            {"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"z\":1.50}"}},{"id":"2","type":"function","function":{"name":"g","arguments":""}}]},
            {"role":"tool","tool_call_id":"1","content":"{\"a\":1}"},{"role":"tool","tool_call_id":"2","content":"plain"}]}"#;
        let wanted = r#"{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{"z":1.50}}},{"functionCall":{"name":"g","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"a":1}}},{"functionResponse":{"name":"g","response":{"output":"plain"}}}]}],"systemInstruction":{"parts":[{"text":"s"}]}}"#;
        assert_eq!(check(body, "gemini-2.5-pro").as_deref(), Ok(wanted));
        let vouched = check(body, "gemini-3-pro").expect("valid");
        assert!(
            vouched.contains(r#""args":{"z":1.50}},"thoughtSignature":"skip_thought_signature_validator"}"#),
            "{vouched}"
        );
    }

    #[test]
    fn a_proof_goes_back_in_the_part_that_it_stood_in() {
        let body = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","reasoning_content":"hm","reasoning_content_signature":"gemini:U0lH"}]}"#;
        let written = check(body, "gemini-3-pro").expect("valid");
        assert!(written.contains(r#"{"text":"b","thoughtSignature":"U0lH"}"#), "{written}");
        let foreign = check(&body.replace("gemini:", ""), "gemini-3-pro").expect("valid");
        assert!(!foreign.contains("thoughtSignature"), "{foreign}");
    }

    #[test]
    fn what_was_asked_is_read_back_as_it_was() {
        let body = r#"{"contents":[{"role":"user","parts":[{"text":"a"},{"inlineData":{"mimeType":"image/png","data":"QQ=="}},{"fileData":{"mimeType":"image/png","fileUri":"https://x/y.png"}}]}],"tools":[{"functionDeclarations":[{"name":"f","description":"d","parametersJsonSchema":{"type":"object"}}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}},"generationConfig":{"temperature":0.5,"topP":0.25,"topK":3,"maxOutputTokens":9,"stopSequences":["x"],"seed":4,"presencePenalty":1.0,"frequencyPenalty":-1.0,"responseLogprobs":true,"logprobs":2,"responseMimeType":"application/json","responseJsonSchema":{"z":1.50},"mediaResolution":"LOW"},"safetySettings":[{"a":1}]}"#;
        let read = parse_request(body.as_bytes()).expect("valid");
        let wanted = Wanted { model: "gemini-2.5-pro", delivery: Delivery::Whole, params: &[] };
        let written = write_request(&read, &wanted).expect("valid");
        assert_eq!(std::str::from_utf8(&written), Ok(body));
    }

    #[test]
    fn reasoning_is_a_word_or_a_number_by_the_models_age() {
        let with = |model: &str| {
            check(r#"{"messages":[{"role":"user","content":"a"}],"reasoning_effort":"low"}"#, model)
                .expect("valid")
        };
        assert!(
            with("gemini-2.5-pro")
                .contains(r#""thinkingConfig":{"includeThoughts":true,"thinkingBudget":1024}"#)
        );
        assert!(
            with("gemini-3-pro")
                .contains(r#""thinkingConfig":{"includeThoughts":true,"thinkingLevel":"low"}"#)
        );
    }

    #[test]
    fn what_cannot_be_said_is_refused_by_name() {
        for (body, param) in [
            (r#"{"messages":[{"role":"user","content":"a"}],"n":2}"#, "n"),
            (r#"{"messages":[{"role":"user","content":"a"}],"logit_bias":{"1":1}}"#, "logit_bias"),
            (r#"{"messages":[{"role":"tool","tool_call_id":"x","content":"a"}]}"#, "messages[0].content"),
            (r#"{"messages":[{"role":"system","content":"a"}]}"#, "messages"),
        ] {
            assert_eq!(check(body, "m").expect_err(body).param, param, "{body}");
        }
    }
}
