//! The Gemini dialect: `generateContent`, `streamGenerateContent` and `countTokens` of the Gemini API.

use serde_json::{Value, json, value::RawValue};

use bytes::{Bytes, BytesMut};
use penstock_actors::domain::Delivery;

use super::{
    answer::{Answer, Ask, Said},
    body::Part,
    check::{Fields, Param, Rule, Strictness, Wrong, elements, may, must, object, read, text},
    failure::Refusal,
    schema,
    text::{Words, count},
};

const GENERATE: &[Param] = &[
    must("contents", Rule::Array),
    may("systemInstruction", Rule::Object),
    may("tools", Rule::Array),
    may("toolConfig", Rule::Object),
    may("generationConfig", Rule::Object),
    may("safetySettings", Rule::Array),
    may("cachedContent", Rule::Text),
    may("labels", Rule::Object),
];

const COUNT: &[Param] = &[may("contents", Rule::Array), may("generateContentRequest", Rule::Object)];

const CONFIG: &[Param] = &[
    may("temperature", Rule::Number(0.0, 2.0)),
    may("topP", Rule::Number(0.0, 1.0)),
    may("topK", Rule::Number(0.0, f64::MAX)),
    may("candidateCount", Rule::Whole(1, 8)),
    may("maxOutputTokens", Rule::Whole(1, i64::MAX)),
    may("stopSequences", Rule::Array),
    may("seed", Rule::Whole(i64::MIN, i64::MAX)),
    may("presencePenalty", Rule::Number(-2.0, 2.0)),
    may("frequencyPenalty", Rule::Number(-2.0, 2.0)),
    may("responseLogprobs", Rule::Bool),
    may("logprobs", Rule::Whole(0, 20)),
    may("responseMimeType", Rule::Text),
    may("responseSchema", Rule::Object),
    may("responseJsonSchema", Rule::Object),
    may("responseModalities", Rule::Array),
    may("thinkingConfig", Rule::Object),
    may("mediaResolution", Rule::Text),
    may("speechConfig", Rule::Object),
    may("imageConfig", Rule::Object),
];

const CONTENT: &[Param] = &[may("role", Rule::OneOf(&["user", "model"])), must("parts", Rule::Array)];

const PART: &[Param] = &[
    may("text", Rule::Text),
    may("thought", Rule::Bool),
    may("thoughtSignature", Rule::Text),
    may("inlineData", Rule::Object),
    may("fileData", Rule::Object),
    may("functionCall", Rule::Object),
    may("functionResponse", Rule::Object),
];

const DECLARATION: &[Param] = &[
    must("name", Rule::Text),
    may("description", Rule::Text),
    may("parameters", Rule::Object),
    may("parametersJsonSchema", Rule::Object),
];

/// Whether a request shows an API key.
///
/// # Errors
/// 403 where it does not.
pub fn authorise(key: Option<&str>, query: &str) -> Result<(), Refusal> {
    let in_query = query.split('&').find_map(|pair| pair.strip_prefix("key="));
    match key.or(in_query) {
        Some(key) if !key.trim().is_empty() => Ok(()),
        _ => Err(Refusal {
            status: 403,
            ..Refusal::invalid(
                "Method doesn't allow unregistered callers. Please use API Key or other form of API consumer identity to call this API.",
            )
        }),
    }
}

/// Words a [`Wrong`] as Gemini does.
fn refuse(wrong: Wrong) -> Refusal {
    Refusal::invalid(match wrong {
        Wrong::NotJson => "Invalid JSON payload received.".to_owned(),
        Wrong::Unknown(name) => {
            format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field.")
        }
        Wrong::Missing(place) => format!("* {place}: is not specified"),
        Wrong::Kind { place, expected, got } => {
            format!("Invalid value at '{place}': expected {expected}, but got {got}")
        }
        Wrong::Range { place, expected, .. } => format!("* {place}: must be {expected}"),
        Wrong::Value { place, got, .. } => format!("Invalid value at '{place}': \"{got}\""),
        Wrong::Empty(place) => format!("* {place}: is not specified"),
    })
}

/// The body with its fields in camel case: the API takes both spellings. What tools and schemas say is left alone.
fn camel(body: &[u8]) -> Vec<u8> {
    fn rename(value: Value) -> Value {
        match value {
            Value::Array(all) => all.into_iter().map(rename).collect(),
            Value::Object(members) => {
                let renamed = members.into_iter().map(|(name, value)| {
                    let name = spelled(&name);
                    let free = ["args", "response", "labels"].contains(&name.as_str())
                        || name.to_ascii_lowercase().ends_with("schema")
                        || name == "parameters";
                    (name, if free { value } else { rename(value) })
                });
                Value::Object(renamed.collect())
            }
            plain => plain,
        }
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => rename(value).to_string().into_bytes(),
        Err(_) => body.to_vec(),
    }
}

/// `mime_type` as `mimeType`.
fn spelled(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut after = false;
    for c in name.chars() {
        match c {
            '_' => after = true,
            c if std::mem::take(&mut after) => out.push(c.to_ascii_uppercase()),
            c => out.push(c),
        }
    }
    out
}

/// What was said so far.
#[derive(Default)]
struct Talk {
    words: u64,
    asked: String,
    user_is_last: bool,
    /// Calls of the content before, which the next must answer.
    called: usize,
}

/// Answers `generateContent`.
///
/// # Errors
/// A [`Refusal`] where the request is wrong.
pub fn generate(ask: &Ask<'_>, model: &str, delivery: Delivery) -> Result<Answer, Refusal> {
    let strictness = ask.strictness();
    let body = camel(ask.body);
    let fields = read(&body, GENERATE, strictness).map_err(refuse)?;
    let config = fields.object("generationConfig");
    if let Some(config) = &config {
        known(config, "generationConfig", CONFIG, strictness)?;
        config.check("generationConfig", CONFIG).map_err(refuse)?;
    }
    let mut talk = Talk::default();
    for (n, raw) in fields.elements("contents").into_iter().enumerate() {
        talk.content(raw, &format!("contents[{n}]"), strictness)?;
    }
    if talk.called > 0 {
        return Err(Refusal::invalid(
            "Please ensure that function call turn comes with its function response turn.",
        ));
    }
    let tool = tool(&fields, &talk, strictness)?;
    let schema =
        config.as_ref().and_then(|c| c.get("responseJsonSchema").or_else(|| c.get("responseSchema")));
    let most = config.as_ref().and_then(|config| config.count("maxOutputTokens"));
    let words = match (&tool, schema) {
        (Some((_, schema)), _) => Words::of(schema::answer_to(schema)),
        (None, Some(schema)) => Words::of(schema::answer_to(schema.get())).limited(most),
        (None, None) => ask.words(|| format!("echo: {}", talk.asked), most),
    };
    let writer = Writer {
        id: format!("mock{:016x}", ask.serial),
        model: ask.model(model).to_owned(),
        prompt: talk.words,
        with_usage: !ask.settings.no_usage,
    };
    let name = tool.map(|(name, _)| name);
    let said = match delivery {
        Delivery::Stream => Said::Stream(writer.stream(name.as_deref(), words)),
        Delivery::Whole => writer.whole(name.as_deref(), words),
    };
    Ok(Answer { prompt_tokens: talk.words, said })
}

/// Answers `countTokens`.
///
/// # Errors
/// A [`Refusal`] where the request is wrong.
pub fn count_tokens(ask: &Ask<'_>) -> Result<Answer, Refusal> {
    let body = camel(ask.body);
    let fields = read(&body, COUNT, ask.strictness()).map_err(refuse)?;
    let inner = fields.object("generateContentRequest");
    let contents = inner.as_ref().unwrap_or(&fields).elements("contents");
    let mut talk = Talk::default();
    for (n, raw) in contents.into_iter().enumerate() {
        talk.content(raw, &format!("contents[{n}]"), ask.strictness())?;
    }
    Ok(Answer::plain(json!({ "totalTokens": talk.words }).to_string(), 0))
}

fn known(fields: &Fields<'_>, place: &str, params: &[Param], strictness: Strictness) -> Result<(), Refusal> {
    match fields.unknown(params).filter(|_| strictness == Strictness::Strict) {
        Some(name) => Err(refuse(Wrong::Unknown(format!("{place}.{name}")))),
        None => Ok(()),
    }
}

fn member<'a>(
    raw: &'a RawValue,
    place: &str,
    params: &[Param],
    strictness: Strictness,
) -> Result<Fields<'a>, Refusal> {
    let fields = object(raw).ok_or_else(|| refuse(Wrong::NotJson))?;
    known(&fields, place, params, strictness)?;
    fields.check(place, params).map_err(refuse)?;
    Ok(fields)
}

impl Talk {
    fn content(&mut self, raw: &RawValue, place: &str, strictness: Strictness) -> Result<(), Refusal> {
        let content = member(raw, place, CONTENT, strictness)?;
        let is_model = content.text("role").as_deref() == Some("model");
        let (mut calls, mut results, mut first) = (0, 0, true);
        let parts = content.elements("parts");
        if parts.is_empty() {
            return Err(refuse(Wrong::Empty(format!("{place}.parts"))));
        }
        for (n, raw) in parts.into_iter().enumerate() {
            let place = format!("{place}.parts[{n}]");
            let part = member(raw, &place, PART, strictness)?;
            let data = ["text", "inlineData", "fileData", "functionCall", "functionResponse"];
            if data.iter().filter(|name| part.get(name).is_some()).count() != 1 {
                return Err(Refusal::invalid(format!(
                    "{place}.data: required oneof field 'data' must have one initialized field"
                )));
            }
            calls += usize::from(part.get("functionCall").is_some());
            results += usize::from(part.get("functionResponse").is_some());
            for (name, needed) in [
                ("inlineData", &["mimeType", "data"][..]),
                ("fileData", &["fileUri"]),
                ("functionCall", &["name"]),
                ("functionResponse", &["name", "response"]),
            ] {
                if let Some(inner) = part.object(name)
                    && let Some(missing) = needed.iter().find(|key| inner.get(key).is_none())
                {
                    return Err(refuse(Wrong::Missing(format!("{place}.{name}.{missing}"))));
                }
            }
            if let Some(text) = part.text("text") {
                self.words += count(&text) as u64;
                if !is_model {
                    if std::mem::take(&mut first) {
                        self.asked.clear();
                    } else {
                        self.asked.push(' ');
                    }
                    self.asked.push_str(&text);
                }
            }
        }
        if results != self.called {
            return Err(Refusal::invalid(
                "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.",
            ));
        }
        self.called = calls;
        self.user_is_last = !is_model && results == 0;
        Ok(())
    }
}

/// The function to call, and its schema, if one is to be called.
fn tool(
    fields: &Fields<'_>,
    talk: &Talk,
    strictness: Strictness,
) -> Result<Option<(String, String)>, Refusal> {
    let mut functions = Vec::new();
    for (n, raw) in fields.elements("tools").into_iter().enumerate() {
        let tool = object(raw).ok_or_else(|| refuse(Wrong::NotJson))?;
        for (m, raw) in
            tool.get("functionDeclarations").map(elements).unwrap_or_default().into_iter().enumerate()
        {
            let place = format!("tools[{n}].functionDeclarations[{m}]");
            let function = member(raw, &place, DECLARATION, strictness)?;
            let schema = function.get("parametersJsonSchema").or_else(|| function.get("parameters"));
            let name = function.text("name").unwrap_or_default().into_owned();
            functions.push((name, schema.map_or("{}", RawValue::get).to_owned()));
        }
    }
    let calling = fields.object("toolConfig").and_then(|config| config.object("functionCallingConfig"));
    let mode = calling.as_ref().and_then(|calling| calling.text("mode"));
    let allowed: Vec<_> =
        calling.as_ref().map(|calling| calling.elements("allowedFunctionNames")).unwrap_or_default();
    if let Some(first) = allowed.first() {
        let wanted = text(first).unwrap_or_default();
        functions.retain(|(name, _)| *name == wanted);
    }
    let mentioned = talk.user_is_last && talk.asked.to_ascii_lowercase().contains("tool");
    Ok(match mode.as_deref() {
        Some("ANY") => functions.into_iter().next(),
        Some("NONE") => None,
        _ => functions.into_iter().next().filter(|_| mentioned),
    })
}

struct Writer {
    id: String,
    model: String,
    prompt: u64,
    with_usage: bool,
}

impl Writer {
    fn chunk(&self, part: Value, finish: Option<&str>, output: u32) -> Value {
        let mut candidate = json!({ "content": { "parts": [part], "role": "model" }, "index": 0 });
        if let Some(finish) = finish {
            candidate["finishReason"] = finish.into();
        }
        let mut chunk =
            json!({ "candidates": [candidate], "modelVersion": self.model, "responseId": self.id });
        if self.with_usage {
            chunk["usageMetadata"] = json!({
                "promptTokenCount": self.prompt,
                "candidatesTokenCount": output,
                "totalTokenCount": self.prompt + u64::from(output),
                "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": self.prompt }],
            });
        }
        chunk
    }

    fn finish(words: &Words) -> &'static str {
        if words.shortened { "MAX_TOKENS" } else { "STOP" }
    }

    fn whole(&self, tool: Option<&str>, words: Words) -> Said {
        let (tokens, finish) = (words.left(), Self::finish(&words));
        let part = Self::part(tool, words);
        Said::Whole(self.chunk(part, Some(finish), tokens).to_string().into(), tokens)
    }

    /// All that is said, as one part.
    fn part(tool: Option<&str>, words: Words) -> Value {
        let mut said = BytesMut::from(&b"\""[..]);
        words.write_all(&mut said);
        said.extend_from_slice(b"\"");
        let text: String = serde_json::from_slice(&said).unwrap_or_default();
        match tool {
            Some(name) => {
                let args: Value = serde_json::from_str(&text).unwrap_or_default();
                json!({ "functionCall": { "name": name, "args": args }, "thoughtSignature": "c2lnbmF0dXJl" })
            }
            None => json!({ "text": text }),
        }
    }

    fn stream(&self, tool: Option<&str>, words: Words) -> Vec<Part> {
        let frame = |chunk: Value| Bytes::from(format!("data: {chunk}\r\n\r\n"));
        let (tokens, finish) = (words.left(), Self::finish(&words));
        if tool.is_some() {
            let chunk = self.chunk(Self::part(tool, words), Some(finish), tokens);
            return vec![Part::Frame(frame(chunk), tokens)];
        }
        let whole = frame(self.chunk(json!({ "text": "\u{1}" }), None, 1));
        let text = String::from_utf8_lossy(&whole).into_owned();
        let (before, after) = text.split_once("\\u0001").unwrap_or((&text, ""));
        vec![
            Part::Words { before: before.to_owned().into(), words, after: after.to_owned().into() },
            Part::Frame(frame(self.chunk(json!({ "text": "" }), Some(finish), tokens)), 0),
        ]
    }
}
