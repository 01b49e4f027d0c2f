//! Other providers' dialects, each as strict as the provider: unknown fields, missing headers and wrong
//! signatures are refused.
//!
//! What they say is the same everywhere: an echo of what was asked, or a call of the tools where the text
//! speaks of them. Credentials have one form each, with [`SECRET`] for what is secret in it.

mod bedrock;
mod cloudflare;
mod cohere;
mod cohere_v1;
mod coze;
mod dashscope;
mod deepl;
mod dify;
mod hunyuan;
mod library;
mod ollama;
mod palm;
pub mod tokens;
mod vertex;
mod wenxin;
mod zhipu_v3;

use std::time::SystemTime;

use actix_web::http::header::HeaderMap;
use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::{
    answer::{Answer, Ask},
    failure::Refusal,
    schema,
    text::Words,
};

/// What is secret in a credential that the mock accepts where requests are signed or tokens are got.
pub const SECRET: &str = "penstock-mock-secret";

/// A request as a provider sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its path, as it stands on the wire.
    pub path: &'a str,
    /// Its query.
    pub query: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// When it came.
    pub now: SystemTime,
}

impl<'a> Seen<'a> {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What stands behind `Authorization: WORD `.
    pub fn shown(&self, word: &str) -> Option<&'a str> {
        self.header("authorization")?
            .strip_prefix(word)?
            .strip_prefix(' ')
            .filter(|key| !key.trim().is_empty())
    }
}

/// A provider.
pub trait Foreign: Sync {
    /// Authorises and checks a request, and answers it.
    ///
    /// # Errors
    /// A [`Refusal`] where the provider would refuse.
    fn answer(&self, seen: &Seen<'_>, ask: &Ask<'_>) -> Result<Answer, Refusal>;

    /// The body of an error.
    fn error(&self, refusal: &Refusal) -> Bytes;

    /// An error inside a stream.
    fn error_event(&self, refusal: &Refusal) -> Bytes {
        self.error(refusal)
    }

    /// The media type of streams.
    fn stream_type(&self) -> &'static str {
        super::EVENTS
    }
}

/// The provider that serves a path.
pub fn of(path: &str) -> Option<&'static dyn Foreign> {
    match path {
        "/api/chat" => Some(&ollama::Ollama),
        "/v2/chat" => Some(&cohere::Cohere),
        "/" => Some(&hunyuan::Hunyuan),
        "/v1/chat-messages" => Some(&dify::Dify { generates: false }),
        "/v1/completion-messages" => Some(&dify::Dify { generates: true }),
        "/v3/chat" => Some(&coze::Coze),
        "/v2/translate" => Some(&deepl::DeepL),
        "/api/v1/services/aigc/text-generation/generation" => Some(&dashscope::DashScope),
        "/v1/chat" => Some(&cohere_v1::CohereV1),
        "/api/library/ask" => Some(&library::Library),
        path if path.starts_with("/rpc/2.0/ai_custom/v1/wenxinworkshop/") => Some(&wenxin::Wenxin),
        path if path.starts_with("/api/paas/v3/model-api/") => Some(&zhipu_v3::ZhipuV3),
        path if path.starts_with("/v1beta2/models/") && path.ends_with(":generateMessage") => {
            Some(&palm::Palm)
        }
        path if cloudflare::serves(path) => Some(&cloudflare::Cloudflare),
        path if path.starts_with("/model/") => Some(&bedrock::Bedrock),
        path if path.starts_with("/v1/projects/") => Some(&vertex::Vertex),
        _ => None,
    }
}

/// Whether a path is one where tokens are got.
pub fn is_of_tokens(path: &str) -> bool {
    matches!(path, "/token" | "/oauth/2.0/token") || path.ends_with("/oauth2/v2.0/token")
}

/// What is asked of the model.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// The last thing that the user said.
    pub asked: String,
    /// Words of the whole prompt.
    pub words: u64,
    /// Tools, by name and schema.
    pub tools: Vec<(String, String)>,
    /// Whether one must be called.
    pub forced: bool,
    /// Whether tools' results came last, so that no more are called.
    pub answered: bool,
    /// The schema that binds the answer.
    pub schema: Option<String>,
    /// Tokens allowed.
    pub most: Option<u32>,
}

impl Prompt {
    /// Adds a text of the prompt.
    pub fn add(&mut self, role: &str, text: &str) {
        self.words += super::text::count(text) as u64;
        match role {
            "user" | "USER" => {
                text.clone_into(&mut self.asked);
                self.answered = false;
            }
            "tool" | "TOOL" => self.answered = true,
            _ => {}
        }
    }

    /// Adds tools as OpenAI writes them, which many copy.
    pub fn openai_tools(&mut self, tools: &Value) {
        for tool in tools.as_array().into_iter().flatten() {
            let function = &tool["function"];
            let name = function["name"].as_str().unwrap_or_default();
            self.tools.push((name.to_owned(), function["parameters"].to_string()));
        }
    }

    /// What the model says.
    pub fn speech(self, ask: &Ask<'_>) -> Speech {
        let lower = self.asked.to_ascii_lowercase();
        let calls = self.forced || (lower.contains("tool") && !self.answered);
        if calls && !self.tools.is_empty() {
            let most = if lower.contains("both tools") { 2 } else { 1 };
            let calls = self.tools.into_iter().take(most);
            let calls = calls.map(|(name, schema)| (name, schema::answer_to(&schema))).collect();
            return Speech { calls, words: Words::of(String::new()) };
        }
        let words = match self.schema {
            Some(schema) => Words::of(schema::answer_to(&schema)).limited(self.most),
            None => ask.words(|| format!("echo: {}", self.asked), self.most),
        };
        Speech { calls: Vec::new(), words }
    }
}

/// What the model says.
#[derive(Clone, Debug)]
pub struct Speech {
    /// Tool calls: name and arguments, which are a JSON object.
    pub calls: Vec<(String, String)>,
    /// The text, where there is no call.
    pub words: Words,
}

impl Speech {
    /// Tokens generated: a word each, and each call's arguments.
    pub fn tokens(&self) -> u32 {
        let called =
            self.calls.iter().map(|(_, arguments)| super::text::count(arguments) as u32).sum::<u32>();
        self.words.left() + called
    }

    /// The whole text.
    pub fn text(&self) -> String {
        self.pieces().concat()
    }

    /// The text piece by piece.
    pub fn pieces(&self) -> Vec<String> {
        let mut words = self.words.clone();
        let (mut out, mut all) = (BytesMut::new(), Vec::new());
        while words.write_next(&mut out) {
            let escaped = [b"\"".as_slice(), &out.split(), b"\""].concat();
            all.push(serde_json::from_slice(&escaped).unwrap_or_default());
        }
        all
    }
}

/// A request that the provider finds wrong.
pub fn wrong(message: impl Into<String>) -> Refusal {
    Refusal::invalid(message)
}

/// A credential that is refused.
pub fn unauthorised(message: &str) -> Refusal {
    Refusal { status: 401, kind: "authentication_error", ..Refusal::invalid(message) }
}

/// The text of a content that is a text, or a list of parts of which some have one.
pub fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}
