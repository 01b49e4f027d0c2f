//! Bedrock: Converse, and Claude invoked; streams in AWS' event stream.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, SECRET, Seen, Speech, wrong};
use crate::{
    mock::{
        answer::{Answer, Ask, Said},
        anthropic,
        body::Part,
        shape::{May, Must, Shape},
    },
    provider::signing::{Scheme, Unsigned},
    wire::{aws_events::Message, sse},
};

const BYTES: Shape = Shape::Union(&[
    ("bytes", Shape::Base64, May),
    ("s3Location", Shape::Object(&[("uri", Shape::Filled, Must), ("bucketOwner", Shape::Text, May)]), May),
]);
const IMAGE: Shape = Shape::Object(&[
    ("format", Shape::OneOf(&["png", "jpeg", "gif", "webp"]), Must),
    ("source", BYTES, Must),
]);
const DOCUMENT: Shape = Shape::Object(&[
    ("format", Shape::OneOf(&["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"]), Must),
    ("name", Shape::Filled, Must),
    ("source", BYTES, Must),
]);
const CACHE_POINT: Shape =
    Shape::Object(&[("type", Shape::OneOf(&["default"]), Must), ("ttl", Shape::OneOf(&["5m", "1h"]), May)]);
const RESULT: Shape = Shape::Object(&[
    ("toolUseId", Shape::Filled, Must),
    (
        "content",
        Shape::List(&Shape::Union(&[
            ("text", Shape::Text, May),
            ("json", Shape::Map, May),
            ("image", IMAGE, May),
            ("document", DOCUMENT, May),
        ])),
        Must,
    ),
    ("status", Shape::OneOf(&["success", "error"]), May),
]);
const REASONING: Shape = Shape::Union(&[
    ("reasoningText", Shape::Object(&[("text", Shape::Text, Must), ("signature", Shape::Text, May)]), May),
    ("redactedContent", Shape::Base64, May),
]);
const BLOCK: Shape = Shape::Union(&[
    ("text", Shape::Filled, May),
    ("image", IMAGE, May),
    ("document", DOCUMENT, May),
    ("audio", Shape::Object(&[("format", Shape::Filled, Must), ("source", BYTES, Must)]), May),
    (
        "toolUse",
        Shape::Object(&[
            ("toolUseId", Shape::Filled, Must),
            ("name", Shape::Filled, Must),
            ("input", Shape::Map, Must),
        ]),
        May,
    ),
    ("toolResult", RESULT, May),
    ("cachePoint", CACHE_POINT, May),
    ("reasoningContent", REASONING, May),
]);
const MESSAGE: Shape = Shape::Object(&[
    ("role", Shape::OneOf(&["user", "assistant"]), Must),
    ("content", Shape::Some(&BLOCK), Must),
]);
const SYSTEM: Shape = Shape::Union(&[("text", Shape::Filled, May), ("cachePoint", CACHE_POINT, May)]);
const INFERENCE: Shape = Shape::Object(&[
    ("maxTokens", Shape::Whole(1), May),
    ("temperature", Shape::Number(0.0, 1.0), May),
    ("topP", Shape::Number(0.0, 1.0), May),
    ("stopSequences", Shape::List(&Shape::Filled), May),
]);
const SPECIFICATION: Shape = Shape::Object(&[
    ("name", Shape::Filled, Must),
    ("description", Shape::Filled, May),
    ("inputSchema", Shape::Object(&[("json", Shape::Map, Must)]), Must),
    ("strict", Shape::Bool, May),
]);
const TOOLS: Shape = Shape::Object(&[
    (
        "tools",
        Shape::Some(&Shape::Union(&[("toolSpec", SPECIFICATION, May), ("cachePoint", CACHE_POINT, May)])),
        Must,
    ),
    (
        "toolChoice",
        Shape::Union(&[
            ("auto", Shape::Object(&[]), May),
            ("any", Shape::Object(&[]), May),
            ("tool", Shape::Object(&[("name", Shape::Filled, Must)]), May),
        ]),
        May,
    ),
]);
const SCHEMA: Shape = Shape::Object(&[
    ("schema", Shape::Filled, Must),
    ("name", Shape::Text, May),
    ("description", Shape::Text, May),
]);
const FORMAT: Shape = Shape::Object(&[
    ("type", Shape::OneOf(&["json_schema"]), Must),
    ("structure", Shape::Object(&[("jsonSchema", SCHEMA, Must)]), Must),
]);
const CONVERSE: Shape = Shape::Object(&[
    ("messages", Shape::Some(&MESSAGE), Must),
    ("system", Shape::Some(&SYSTEM), May),
    ("inferenceConfig", INFERENCE, May),
    ("toolConfig", TOOLS, May),
    ("outputConfig", Shape::Object(&[("textFormat", FORMAT, May), ("effort", Shape::Text, May)]), May),
    ("guardrailConfig", Shape::Map, May),
    ("additionalModelRequestFields", Shape::Map, May),
    ("additionalModelResponseFieldPaths", Shape::List(&Shape::Text), May),
    ("promptVariables", Shape::Map, May),
    ("requestMetadata", Shape::Map, May),
    ("performanceConfig", Shape::Map, May),
    (
        "serviceTier",
        Shape::Object(&[("type", Shape::OneOf(&["priority", "default", "flex", "reserved"]), Must)]),
        May,
    ),
]);

/// The provider.
pub struct Bedrock;

impl Foreign for Bedrock {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        authorise(seen, ask.body)?;
        let (model, method) = seen.path.trim_start_matches("/model/").split_once('/').unwrap_or_default();
        match method {
            "converse" => converse(ask, false),
            "converse-stream" => converse(ask, true),
            "invoke" => invoke(ask, model, false),
            "invoke-with-response-stream" => invoke(ask, model, true),
            _ => Err(Refusal { status: 404, ..wrong("UnknownOperationException") }),
        }
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        let kind = match refusal.status {
            400 => "ValidationException",
            401 => "UnrecognizedClientException",
            403 => "AccessDeniedException",
            404 => "ResourceNotFoundException",
            429 => "ThrottlingException",
            503 => "ServiceUnavailableException",
            _ => "InternalServerException",
        };
        json!({"__type": kind, "message": refusal.message}).to_string().into()
    }

    fn error_event(&self, refusal: &Refusal) -> Bytes {
        let headers = [(":exception-type", "internalServerException"), (":message-type", "exception")];
        message(&headers, json!({"message": refusal.message}).to_string())
    }

    fn stream_type(&self) -> &'static str {
        "application/vnd.amazon.eventstream"
    }
}

/// Checks the signature, made with [`SECRET`] less than five minutes ago.
fn authorise(seen: &Seen<'_>, body: &[u8]) -> Result<(), Refusal> {
    let refused = |why: &str| Refusal { status: 403, kind: "access_denied", ..wrong(why) };
    if seen.shown("Bearer").is_some() {
        return Ok(());
    }
    let shown = seen.header("authorization").ok_or_else(|| refused("Missing Authentication Token"))?;
    let scope =
        shown.split_once("Credential=").and_then(|(_, rest)| rest.split_once(',')).map(|(scope, _)| scope);
    let parts: Vec<_> = scope.unwrap_or_default().split('/').collect();
    let &[access, _, region, "bedrock", "aws4_request"] = &parts[..] else {
        return Err(refused("Credential should be scoped to the service: 'bedrock'."));
    };
    let signed_at =
        seen.header("x-amz-date").and_then(time_of).ok_or_else(|| refused("the date is missing"))?;
    if seen
        .now
        .duration_since(signed_at)
        .or_else(|e| Ok::<_, ()>(e.duration()))
        .is_ok_and(|d| d.as_secs() > 300)
    {
        return Err(refused("Signature expired"));
    }
    let query = if seen.query.is_empty() { String::new() } else { format!("?{}", seen.query) };
    let host = seen.header("host").unwrap_or_default();
    let uri = format!("http://{host}{}{query}", seen.path).parse().map_err(|_| refused("no address"))?;
    let token = seen.header("x-amz-security-token").unwrap_or_default();
    let credential = format!("{access}|{SECRET}|{region}|{token}");
    let wanted = Scheme::SigV4.sign(&credential, &Unsigned { uri: &uri, body, region: None }, signed_at);
    match wanted.ok().and_then(|all| all.headers.into_iter().find(|(name, _)| *name == "authorization")) {
        Some((_, wanted)) if wanted == shown => Ok(()),
        _ => Err(refused("The request signature we calculated does not match the signature you provided.")),
    }
}

/// Reads `20261122T030405Z`.
fn time_of(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let spread = |digits: &str, cuts: [usize; 2], with: char| {
        Some(format!(
            "{}{with}{}{with}{}",
            digits.get(..cuts[0])?,
            digits.get(cuts[0]..cuts[1])?,
            digits.get(cuts[1]..)?
        ))
    };
    let written = format!("{}T{}Z", spread(date, [4, 6], '-')?, spread(time, [2, 4], ':')?);
    humantime::parse_rfc3339(&written).ok().filter(|time| *time > UNIX_EPOCH + Duration::from_secs(1))
}

fn converse(ask: &Ask<'_>, streams: bool) -> Result<Answer, Refusal> {
    let request = CONVERSE.read(ask.body).map_err(wrong)?;
    let prompt = prompt(&request)?;
    let words = prompt.words;
    let speech = prompt.speech(ask);
    let tokens = speech.tokens();
    let stop = match (speech.calls.is_empty(), speech.words.shortened) {
        (false, _) => "tool_use",
        (true, true) => "max_tokens",
        (true, false) => "end_turn",
    };
    let usage = json!({"inputTokens": words, "outputTokens": tokens, "totalTokens": words + u64::from(tokens),
        "cacheReadInputTokens": 0, "cacheWriteInputTokens": 0});
    let said = match streams {
        true => Said::Stream(stream(ask, &speech, stop, &usage)),
        false => {
            let mut body = json!({"output": {"message": {"role": "assistant", "content": content(ask, &speech)}},
                "stopReason": stop, "metrics": {"latencyMs": 1}});
            if !ask.settings.no_usage {
                body["usage"] = usage;
            }
            Said::Whole(body.to_string().into(), tokens)
        }
    };
    Ok(Answer { prompt_tokens: words, said })
}

fn content(ask: &Ask<'_>, speech: &Speech) -> Vec<Value> {
    if speech.calls.is_empty() {
        return vec![json!({"text": speech.text()})];
    }
    let call = |(n, (name, arguments)): (usize, &(String, String))| {
        let input: Value = serde_json::from_str(arguments).unwrap_or_default();
        json!({"toolUse": {"toolUseId": call_id(ask, n), "name": name, "input": input}})
    };
    speech.calls.iter().enumerate().map(call).collect()
}

fn call_id(ask: &Ask<'_>, n: usize) -> String {
    format!("tooluse_mock{:016x}{n}", ask.serial)
}

fn stream(ask: &Ask<'_>, speech: &Speech, stop: &str, usage: &Value) -> Vec<Part> {
    let mut parts = vec![event("messageStart", &json!({"role": "assistant", "p": "abcd"}), 0)];
    for piece in speech.pieces() {
        parts.push(event("contentBlockDelta", &json!({"contentBlockIndex": 0, "delta": {"text": piece}}), 1));
    }
    if speech.calls.is_empty() {
        parts.push(event("contentBlockStop", &json!({"contentBlockIndex": 0}), 0));
    }
    for (n, (name, arguments)) in speech.calls.iter().enumerate() {
        let start = json!({"toolUse": {"toolUseId": call_id(ask, n), "name": name}});
        parts.push(event("contentBlockStart", &json!({"contentBlockIndex": n, "start": start}), 0));
        let half = arguments.len() / 2;
        for piece in [&arguments[..half], &arguments[half..]] {
            let delta = json!({"toolUse": {"input": piece}});
            parts.push(event("contentBlockDelta", &json!({"contentBlockIndex": n, "delta": delta}), 0));
        }
        let tokens = crate::mock::text::count(arguments) as u32;
        parts.push(event("contentBlockStop", &json!({"contentBlockIndex": n}), tokens));
    }
    if !ask.settings.no_done {
        parts.push(event("messageStop", &json!({"stopReason": stop}), 0));
        if !ask.settings.no_usage {
            parts.push(event("metadata", &json!({"usage": usage, "metrics": {"latencyMs": 1}}), 0));
        }
    }
    parts
}

fn event(kind: &str, payload: &Value, tokens: u32) -> Part {
    let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
    Part::Frame(message(&headers, payload.to_string()), tokens)
}

fn message(headers: &[(&str, &str)], payload: String) -> Bytes {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Message { headers: headers.collect(), payload: payload.into() }.encode()
}

/// Turns must alternate, begin with the user's, and answer each call; tools must be known where any is spoken of.
fn prompt(request: &Value) -> Result<Prompt, Refusal> {
    let choice = &request["toolConfig"]["toolChoice"];
    let mut prompt = Prompt {
        forced: choice.get("any").or(choice.get("tool")).is_some(),
        most: request["inferenceConfig"]["maxTokens"].as_u64().map(|n| n as u32),
        ..Prompt::default()
    };
    let mut last = "assistant";
    let mut open: Vec<&str> = Vec::new();
    for message in request["messages"].as_array().into_iter().flatten() {
        let role = message["role"].as_str().unwrap_or_default();
        if role == last {
            return Err(wrong(
                "A conversation must alternate between user and assistant roles, and start with a user message.",
            ));
        }
        last = role;
        let blocks = || message["content"].as_array().into_iter().flatten();
        let answered: Vec<_> = blocks().filter_map(|b| b["toolResult"]["toolUseId"].as_str()).collect();
        if role == "user"
            && answered != open
            && !(open.iter().all(|id| answered.contains(id)) && answered.len() == open.len())
        {
            return Err(wrong("The toolResult blocks must answer the toolUse blocks of the previous turn."));
        }
        open = blocks().filter_map(|b| b["toolUse"]["toolUseId"].as_str()).collect();
        if (!answered.is_empty() || !open.is_empty()) && request.get("toolConfig").is_none() {
            return Err(wrong(
                "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
            ));
        }
        let text: Vec<_> = blocks().filter_map(|b| b["text"].as_str()).collect();
        prompt.add(role, &text.join("\n"));
        prompt.answered = !answered.is_empty();
    }
    for tool in request["toolConfig"]["tools"].as_array().into_iter().flatten() {
        if let Some(name) = tool["toolSpec"]["name"].as_str() {
            prompt.tools.push((name.into(), tool["toolSpec"]["inputSchema"]["json"].to_string()));
        }
    }
    let schema = request["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"].as_str();
    prompt.schema = schema.map(str::to_owned);
    Ok(prompt)
}

/// Anthropic's own answer; each event of a stream stands in a message, in base64.
fn invoke(ask: &Ask<'_>, model: &str, streams: bool) -> Result<Answer, Refusal> {
    let mut body = as_anthropic(ask.body, model, "bedrock-2023-05-31")?;
    if let Some(members) = body.as_object_mut()
        && members.insert("stream".to_owned(), streams.into()).is_some()
    {
        return Err(wrong("stream: Extra inputs are not permitted"));
    }
    let body = body.to_string();
    let answer = anthropic::messages(&Ask { body: body.as_bytes(), ..*ask })?;
    let Said::Stream(parts) = answer.said else { return Ok(answer) };
    let mut wrapped = Vec::new();
    for part in parts {
        match part {
            Part::Frame(frame, tokens) => wrapped.push(chunk(&frame, tokens)),
            Part::Words { before, mut words, after } => {
                let mut word = bytes::BytesMut::new();
                while words.write_next(&mut word) {
                    wrapped.push(chunk(&[&before[..], &word.split(), &after[..]].concat(), 1));
                }
            }
        }
    }
    Ok(Answer { prompt_tokens: answer.prompt_tokens, said: Said::Stream(wrapped) })
}

fn chunk(frame: &[u8], tokens: u32) -> Part {
    let data = sse::parse(frame).data.unwrap_or_default();
    event("chunk", &json!({"bytes": STANDARD.encode(data), "p": "abc"}), tokens)
}

/// The body as Anthropic itself wants it, where it is as a cloud wants it.
fn as_anthropic(body: &[u8], model: &str, version: &str) -> Result<Value, Refusal> {
    let mut body: Value = serde_json::from_slice(body).map_err(|_| wrong("Malformed input request"))?;
    let Some(members) = body.as_object_mut() else { return Err(wrong("Malformed input request")) };
    if members.remove("anthropic_version") != Some(version.into()) {
        return Err(wrong(format!("anthropic_version: must be {version}")));
    }
    if members.insert("model".to_owned(), model.into()).is_some() {
        return Err(wrong("model: Extra inputs are not permitted"));
    }
    Ok(body)
}
