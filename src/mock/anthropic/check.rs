//! Whether a request is one that Anthropic accepts, and what it asks for.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::refuse;
use crate::mock::{
    check::{Fields, Param, Rule, Strictness, Wrong, elements, may, must, object, read, text},
    failure::Refusal,
    text::count,
};

const MESSAGES: &[Param] = &[
    must("model", Rule::Text),
    must("max_tokens", Rule::Whole(1, i64::MAX)),
    must("messages", Rule::Array),
    may("stream", Rule::Bool),
    may("cache_control", Rule::Object),
    may("container", Rule::TextOrObject),
    may("diagnostics", Rule::Object),
    may("inference_geo", Rule::Text),
    may("metadata", Rule::Object),
    may("output_config", Rule::Object),
    may("output_format", Rule::Object),
    may("service_tier", Rule::OneOf(&["auto", "standard_only"])),
    may("speed", Rule::OneOf(&["standard", "fast"])),
    may("stop_sequences", Rule::Array),
    may("system", Rule::TextOrArray),
    may("temperature", Rule::Number(0.0, 1.0)),
    may("thinking", Rule::Object),
    may("tool_choice", Rule::Object),
    may("tools", Rule::Array),
    may("top_k", Rule::Whole(0, i64::MAX)),
    may("top_p", Rule::Number(0.0, 1.0)),
    may("user_profile_id", Rule::Text),
    may("workspace_id", Rule::Text),
    may("mcp_servers", Rule::Array),
    may("context_management", Rule::Object),
];

const COUNT_TOKENS: &[Param] = &[
    must("model", Rule::Text),
    must("messages", Rule::Array),
    may("cache_control", Rule::Object),
    may("output_config", Rule::Object),
    may("output_format", Rule::Object),
    may("speed", Rule::OneOf(&["standard", "fast"])),
    may("system", Rule::TextOrArray),
    may("thinking", Rule::Object),
    may("tool_choice", Rule::Object),
    may("tools", Rule::Array),
    may("user_profile_id", Rule::Text),
    may("workspace_id", Rule::Text),
    may("mcp_servers", Rule::Array),
    may("context_management", Rule::Object),
];

const MESSAGE: &[Param] =
    &[must("role", Rule::OneOf(&["user", "assistant", "system"])), must("content", Rule::TextOrArray)];
const TOOL_USE: &[Param] = &[must("id", Rule::Text), must("name", Rule::Text), must("input", Rule::Object)];
const TOOL_RESULT: &[Param] =
    &[must("tool_use_id", Rule::Text), may("content", Rule::TextOrArray), may("is_error", Rule::Bool)];
const THINKING: &[Param] = &[must("thinking", Rule::Text), must("signature", Rule::Text)];

/// A request that is well formed.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its top level.
    pub fields: Fields<'a>,
    /// Words over system and messages.
    pub words: u64,
    /// The text of the last user message that has any.
    pub asked: String,
    /// The tool to call, if one is to be called.
    pub tool: Option<Tool<'a>>,
    /// The schema that the text must satisfy.
    pub schema: Option<&'a str>,
}

/// A tool of the client.
#[derive(Debug)]
pub struct Tool<'a> {
    /// Its name.
    pub name: String,
    /// The schema of its input.
    pub schema: &'a str,
}

/// Reads a request for an answer.
///
/// # Errors
/// A [`Refusal`] where it is wrong.
pub fn messages(body: &[u8], strictness: Strictness) -> Result<Request<'_>, Refusal> {
    request(body, MESSAGES, strictness)
}

/// Reads a request for a count.
///
/// # Errors
/// A [`Refusal`] where it is wrong.
pub fn count_tokens(body: &[u8], strictness: Strictness) -> Result<Request<'_>, Refusal> {
    request(body, COUNT_TOKENS, strictness)
}

fn request<'a>(body: &'a [u8], params: &[Param], strictness: Strictness) -> Result<Request<'a>, Refusal> {
    let fields = read(body, params, strictness).map_err(refuse)?;
    let mut talk = Talk::default();
    if let Some(system) = fields.get("system") {
        talk.blocks(system, "system", "system").map_err(Say::refusal)?;
    }
    let messages = fields.elements("messages");
    if messages.is_empty() {
        return Err(Refusal::invalid("messages: at least one message is required"));
    }
    for (n, raw) in messages.into_iter().enumerate() {
        talk.message(raw, n).map_err(Say::refusal)?;
    }
    talk.settled(usize::MAX).map_err(Say::refusal)?;
    let tool = tool(&fields, talk.user_is_last && talk.asked.to_ascii_lowercase().contains("tool"))?;
    let format = fields
        .object("output_config")
        .and_then(|config| config.object("format"))
        .or_else(|| fields.object("output_format"));
    let schema = format.and_then(|format| format.get("schema")).map(|schema| schema.get());
    Ok(Request { fields, words: talk.words, asked: talk.asked, tool, schema })
}

/// The tool to call, if one is to be called.
fn tool<'a>(fields: &Fields<'a>, mentioned: bool) -> Result<Option<Tool<'a>>, Refusal> {
    let mut tools = Vec::new();
    for (n, raw) in fields.elements("tools").into_iter().enumerate() {
        let place = format!("tools[{n}]");
        let tool = member(raw, &place).map_err(refuse)?;
        tool.check(&place, &[must("name", Rule::Text)]).map_err(refuse)?;
        // Tools with another type are the provider's own.
        if tool.text("type").is_none_or(|kind| kind == "custom") {
            tool.check(&place, &[must("input_schema", Rule::Object)]).map_err(refuse)?;
            let schema = tool.get("input_schema").map_or("{}", |schema| schema.get());
            tools.push(Tool { name: tool.text("name").unwrap_or_default().into_owned(), schema });
        }
    }
    let Some(choice) = fields.object("tool_choice") else {
        return Ok(if mentioned { tools.into_iter().next() } else { None });
    };
    if fields.elements("tools").is_empty() {
        return Err(Refusal::invalid("tool_choice may only be specified while providing tools."));
    }
    choice
        .check("tool_choice", &[must("type", Rule::OneOf(&["auto", "any", "tool", "none"]))])
        .map_err(refuse)?;
    let mut tools = tools.into_iter();
    match choice.text("type").as_deref() {
        Some("any") => Ok(tools.next()),
        Some("tool") => {
            let name =
                choice.text("name").ok_or_else(|| refuse(Wrong::Missing("tool_choice.tool.name".into())))?;
            let missing = || Refusal::invalid(format!("Tool '{name}' not found in provided tools"));
            tools.find(|tool| tool.name == name).map(Some).ok_or_else(missing)
        }
        Some("auto") if mentioned => Ok(tools.next()),
        _ => Ok(None),
    }
}

fn member<'a>(raw: &'a RawValue, place: &str) -> Result<Fields<'a>, Wrong> {
    Rule::Object.check(raw, || place.to_owned())?;
    object(raw).ok_or(Wrong::NotJson)
}

/// Something wrong, or a sentence of its own.
enum Say {
    Wrong(Wrong),
    Sentence(String),
}

impl Say {
    fn refusal(self) -> Refusal {
        match self {
            Self::Wrong(wrong) => refuse(wrong),
            Self::Sentence(sentence) => Refusal::invalid(sentence),
        }
    }
}

impl From<Wrong> for Say {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

#[derive(Default)]
struct Talk<'a> {
    words: u64,
    asked: String,
    user_is_last: bool,
    /// Ids of tools used in the message before, which the next one must answer.
    used: Vec<Cow<'a, str>>,
    /// Ids used in this message.
    using: Vec<Cow<'a, str>>,
}

impl<'a> Talk<'a> {
    fn message(&mut self, raw: &'a RawValue, n: usize) -> Result<(), Say> {
        let place = format!("messages[{n}]");
        let message = member(raw, &place)?;
        message.check(&place, MESSAGE)?;
        let role = message.text("role").unwrap_or_default();
        if n == 0 && role == "assistant" {
            return Err(Say::Sentence("messages: first message must use the \"user\" role".into()));
        }
        self.user_is_last = role == "user";
        if let Some(content) = message.get("content") {
            self.blocks(content, &role, &format!("{place}.content"))?;
        }
        self.settled(n)?;
        self.used = std::mem::take(&mut self.using);
        Ok(())
    }

    /// Whether every tool used in the message before has its result.
    fn settled(&self, n: usize) -> Result<(), Say> {
        if self.used.is_empty() {
            return Ok(());
        }
        let ids = self.used.join(", ");
        let place =
            if n == usize::MAX { String::new() } else { format!("messages.{}: ", n.saturating_sub(1)) };
        Err(Say::Sentence(format!(
            "{place}`tool_use` ids were found without `tool_result` blocks immediately after: {ids}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        )))
    }

    fn blocks(&mut self, content: &'a RawValue, role: &str, place: &str) -> Result<(), Say> {
        if let Some(text) = text(content) {
            self.hear(&text, role, true);
            return Ok(());
        }
        let mut first = true;
        for (n, raw) in elements(content).into_iter().enumerate() {
            let place = format!("{place}[{n}]");
            let block = member(raw, &place)?;
            block.check(&place, &[must("type", Rule::Text)])?;
            match &*block.text("type").unwrap_or_default() {
                "text" => {
                    block.check(&place, &[must("text", Rule::Text)])?;
                    let text = block.text("text").unwrap_or_default();
                    if text.is_empty() {
                        return Err(Say::Sentence("messages: text content blocks must be non-empty".into()));
                    }
                    self.hear(&text, role, first);
                    first = false;
                }
                "image" | "document" => block.check(&place, &[must("source", Rule::Object)])?,
                "tool_use" if role == "assistant" => {
                    block.check(&place, TOOL_USE)?;
                    self.using.push(block.text("id").unwrap_or_default());
                }
                "tool_result" if role == "user" => self.result(&block, &place)?,
                kind @ ("tool_use" | "tool_result") => {
                    return Err(Say::Sentence(format!(
                        "messages: `{kind}` blocks cannot stand in a message of the role '{role}'"
                    )));
                }
                "thinking" => block.check(&place, THINKING)?,
                "redacted_thinking" => block.check(&place, &[must("data", Rule::Text)])?,
                kind if PASSED_OVER.contains(&kind) => {}
                kind => {
                    let place = place.replace('[', ".").replace(']', "");
                    return Err(Say::Sentence(format!(
                        "{place}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
                    )));
                }
            }
        }
        Ok(())
    }

    fn result(&mut self, block: &Fields<'a>, place: &str) -> Result<(), Say> {
        block.check(place, TOOL_RESULT)?;
        let id = block.text("tool_use_id").unwrap_or_default();
        let Some(at) = self.used.iter().position(|one| *one == id) else {
            let place = place.replace('[', ".").replace(']', "");
            return Err(Say::Sentence(format!(
                "{place}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )));
        };
        self.used.remove(at);
        // What a tool said is no question, so that it is not answered by another call.
        self.user_is_last = false;
        if let Some(content) = block.get("content") {
            self.blocks(content, "tool", &format!("{place}.content"))?;
        }
        Ok(())
    }

    fn hear(&mut self, text: &str, role: &str, first: bool) {
        self.words += count(text) as u64;
        if role == "user" {
            if first {
                self.asked.clear();
            } else {
                self.asked.push(' ');
            }
            self.asked.push_str(text);
        }
    }
}

/// Blocks that are known but not looked into.
const PASSED_OVER: &[&str] = &[
    "search_result",
    "server_tool_use",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "tool_reference",
    "container_upload",
    "mcp_tool_use",
    "mcp_tool_result",
];
