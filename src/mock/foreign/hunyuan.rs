//! Hunyuan: `ChatCompletions`, signed by TC3-HMAC-SHA256.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Foreign, Prompt, Refusal, SECRET, Seen, text_of, unauthorised, wrong};
use crate::{
    mock::{
        answer::{Answer, Ask, Said},
        body::Part,
        shape::{May, Must, Shape},
    },
    provider::signing::{Scheme, Unsigned},
};

const CALL: Shape = Shape::Object(&[
    ("Id", Shape::Filled, Must),
    ("Type", Shape::OneOf(&["function"]), Must),
    ("Function", Shape::Object(&[("Name", Shape::Filled, Must), ("Arguments", Shape::Text, Must)]), Must),
    ("Index", Shape::Whole(0), May),
]);
const CONTENT: Shape = Shape::Object(&[
    ("Type", Shape::OneOf(&["text", "image_url", "video_url", "video_frames"]), Must),
    ("Text", Shape::Text, May),
    ("ImageUrl", Shape::Object(&[("Url", Shape::Filled, Must)]), May),
]);
const MESSAGE: Shape = Shape::Object(&[
    ("Role", Shape::OneOf(&["system", "user", "assistant", "tool"]), Must),
    ("Content", Shape::Text, May),
    ("Contents", Shape::Some(&CONTENT), May),
    ("ToolCallId", Shape::Filled, May),
    ("ToolCalls", Shape::Some(&CALL), May),
    ("FileIDs", Shape::List(&Shape::Text), May),
    ("ReasoningContent", Shape::Text, May),
]);
const TOOL: Shape = Shape::Object(&[
    ("Type", Shape::OneOf(&["function"]), Must),
    (
        "Function",
        Shape::Object(&[
            ("Name", Shape::Filled, Must),
            ("Parameters", Shape::Filled, Must),
            ("Description", Shape::Text, May),
        ]),
        Must,
    ),
]);
const REQUEST: Shape = Shape::Object(&[
    ("Model", Shape::Filled, Must),
    ("Messages", Shape::Some(&MESSAGE), Must),
    ("Stream", Shape::Bool, May),
    ("StreamModeration", Shape::Bool, May),
    ("TopP", Shape::Number(0.0, 1.0), May),
    ("Temperature", Shape::Number(0.0, 2.0), May),
    ("EnableEnhancement", Shape::Bool, May),
    ("Tools", Shape::Some(&TOOL), May),
    ("ToolChoice", Shape::OneOf(&["none", "auto", "custom"]), May),
    ("CustomTool", TOOL, May),
    ("SearchInfo", Shape::Bool, May),
    ("Citation", Shape::Bool, May),
    ("Seed", Shape::Whole(1), May),
    ("Stop", Shape::List(&Shape::Text), May),
    ("EnableThinking", Shape::Bool, May),
]);

/// The provider.
pub struct Hunyuan;

impl Foreign for Hunyuan {
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal> {
        authorise(seen, ask.body)?;
        let request = REQUEST.read(ask.body).map_err(wrong)?;
        let prompt = prompt(&request)?;
        let words = prompt.words;
        let speech = prompt.speech(ask);
        let (id, tokens) = (format!("mock-{:016x}", ask.serial), speech.tokens());
        let usage = json!({"PromptTokens": words, "CompletionTokens": tokens,
            "TotalTokens": words + u64::from(tokens)});
        let finish = match (speech.calls.is_empty(), speech.words.shortened) {
            (false, _) => "tool_calls",
            (true, true) => "length",
            (true, false) => "stop",
        };
        let call = |n: usize, name: &str, arguments: &str| {
            json!({"Id": format!("call_{n}{:08x}", ask.serial), "Type": "function", "Index": n,
                "Function": {"Name": name, "Arguments": arguments}})
        };
        if request["Stream"] != true {
            let calls: Vec<_> =
                speech.calls.iter().enumerate().map(|(n, (name, args))| call(n, name, args)).collect();
            let mut message = json!({"Role": "assistant", "Content": speech.text()});
            if !calls.is_empty() {
                message["ToolCalls"] = calls.into();
            }
            let mut response = json!({"RequestId": id, "Created": ask.now, "Id": id, "Note": "mock",
                "Choices": [{"Index": 0, "FinishReason": finish, "Message": message}]});
            if !ask.settings.no_usage {
                response["Usage"] = usage;
            }
            let body = json!({ "Response": response }).to_string();
            return Ok(Answer { prompt_tokens: words, said: Said::Whole(body.into(), tokens) });
        }
        let frame = |delta: Value, finish: &str, tokens| {
            let mut data = json!({"Id": id, "Created": ask.now, "Note": "mock",
                "Choices": [{"Delta": delta, "FinishReason": finish, "Index": 0}]});
            if !ask.settings.no_usage {
                data["Usage"] = usage.clone();
            }
            Part::Frame(format!("data: {data}\n\n").into(), tokens)
        };
        let mut parts = Vec::new();
        for piece in speech.pieces() {
            parts.push(frame(json!({"Role": "assistant", "Content": piece}), "", 1));
        }
        for (n, (name, arguments)) in speech.calls.iter().enumerate() {
            parts.push(frame(json!({"Role": "assistant", "ToolCalls": [call(n, name, "")]}), "", 0));
            let half = arguments.len() / 2;
            for piece in [&arguments[..half], &arguments[half..]] {
                let more = json!({"Index": n, "Function": {"Arguments": piece}});
                parts.push(frame(json!({"ToolCalls": [more]}), "", 0));
            }
        }
        if !ask.settings.no_done {
            parts.push(frame(json!({"Content": ""}), finish, 0));
        }
        Ok(Answer { prompt_tokens: words, said: Said::Stream(parts) })
    }

    fn error(&self, refusal: &Refusal) -> Bytes {
        let code = match refusal.status {
            400 => "InvalidParameter",
            401 => "AuthFailure.SignatureFailure",
            403 => "AuthFailure.UnauthorizedOperation",
            404 => "InvalidParameterValue.Model",
            429 => "RequestLimitExceeded",
            503 => "FailedOperation.EngineServerLimitExceeded",
            _ => "InternalError",
        };
        json!({"Response": {"Error": {"Code": code, "Message": refusal.message}, "RequestId": "mock"}})
            .to_string()
            .into()
    }

    fn error_event(&self, refusal: &Refusal) -> Bytes {
        format!("data: {}\n\n", json!({"ErrorMsg": {"Msg": refusal.message, "Code": 500}})).into()
    }
}

/// Checks the signature, made with [`SECRET`] less than five minutes ago.
fn authorise(seen: &Seen<'_>, body: &[u8]) -> Result<(), Refusal> {
    if (seen.header("x-tc-action"), seen.header("x-tc-version"))
        != (Some("ChatCompletions"), Some("2023-09-01"))
    {
        return Err(wrong("The action or its version is not known."));
    }
    let refused = || unauthorised("The provided credentials could not be validated.");
    let shown = seen.header("authorization").ok_or_else(refused)?;
    let id = shown.split_once("Credential=").and_then(|(_, rest)| rest.split_once('/')).map(|(id, _)| id);
    let stamp: u64 = seen.header("x-tc-timestamp").and_then(|t| t.parse().ok()).ok_or_else(refused)?;
    let signed_at = UNIX_EPOCH + Duration::from_secs(stamp);
    let age = seen.now.duration_since(signed_at).unwrap_or_else(|early| early.duration());
    if age > Duration::from_secs(300) {
        return Err(unauthorised("The signature has expired."));
    }
    let host = seen.header("host").unwrap_or_default();
    let uri = format!("http://{host}{}", seen.path).parse().map_err(|_| refused())?;
    let credential = format!("{}|{SECRET}", id.unwrap_or_default());
    let wanted = Scheme::Tc3.sign(&credential, &Unsigned { uri: &uri, body, region: None }, signed_at);
    let wanted =
        wanted.ok().and_then(|all| all.headers.into_iter().find(|(name, _)| *name == "authorization"));
    match wanted {
        Some((_, wanted)) if wanted == shown => Ok(()),
        _ => Err(refused()),
    }
}

fn prompt(request: &Value) -> Result<Prompt, Refusal> {
    let mut prompt = Prompt { forced: request["ToolChoice"] == "custom", ..Prompt::default() };
    let mut open = Vec::new();
    for message in request["Messages"].as_array().into_iter().flatten() {
        let role = message["Role"].as_str().unwrap_or_default();
        if role == "tool" {
            let id = message["ToolCallId"].as_str().unwrap_or_default();
            if !open.contains(&id) {
                return Err(wrong(format!("ToolCallId {id} answers no call")));
            }
        } else {
            let calls = message["ToolCalls"].as_array().into_iter().flatten();
            open = calls.filter_map(|call| call["Id"].as_str()).collect();
        }
        let parts = message["Contents"].as_array().into_iter().flatten();
        let parts: Vec<_> = parts.filter_map(|part| part["Text"].as_str()).collect();
        let text = if parts.is_empty() { text_of(&message["Content"]) } else { parts.join("\n") };
        prompt.add(role, &text);
    }
    let forced = Some(&request["CustomTool"]).filter(|tool| tool.is_object());
    let offered = request["Tools"].as_array().into_iter().flatten();
    for tool in forced.into_iter().chain(offered.filter(|_| forced.is_none())) {
        let text = |name: &str| tool["Function"][name].as_str().unwrap_or_default().to_owned();
        prompt.tools.push((text("Name"), text("Parameters")));
    }
    if request["ToolChoice"] == "none" {
        prompt.tools.clear();
    }
    Ok(prompt)
}
