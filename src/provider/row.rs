//! Providers as rows: what differs between them is data, and only what data cannot say is an adapter.

mod auth;
mod template;
mod written;

use std::sync::Arc;

pub use auth::Auth;
pub use template::Template;
pub(super) use written::read;
pub use written::{PARAM_VALUE, RowError, Written, is_param_value};

use super::{Adapter, Endpoint, Quirk, convert::Converting, openai::OpenAi, passing::Passing};
use crate::dialect::Dialect;

/// The row of our own mock: it is told the call's id and the client's `x-penstock-mock-*` headers.
pub const MOCK: &str = "mock";

/// How an endpoint of a provider is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speech {
    /// What can be called.
    pub endpoint: Endpoint,
    /// In which dialect.
    pub dialect: Dialect,
    /// At which path, below the base URL and the row's prefix.
    pub path: Template,
    /// At which path for a stream, where that is another one.
    pub stream_path: Option<Template>,
}

/// A value that a channel may or must give, for the templates of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// The name in templates and settings.
    pub name: Arc<str>,
    /// Used where the channel says nothing; where there is none, the channel must.
    pub default: Option<Arc<str>>,
}

/// One provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The name in settings.
    pub id: Arc<str>,
    /// The name for people.
    pub name: Arc<str>,
    /// The numbers of One API's channel types that it stands for.
    pub one_api: Vec<u32>,
    /// Where it is, unless the channel says otherwise.
    pub base_url: Option<Template>,
    /// What stands between base URL and path, unless the base URL ends with it or names a version itself.
    pub prefix: Arc<str>,
    /// What its templates are filled with.
    pub params: Vec<Param>,
    /// How it is shown the credential.
    pub auth: Auth,
    /// Whether it serves nobody without one.
    pub needs_credential: bool,
    /// The header that names an organisation.
    pub organisation_header: Option<Arc<str>>,
    /// The header that names a project.
    pub project_header: Option<Arc<str>>,
    /// Models by the names that its paths have for them, where those are others.
    pub path_names: Vec<(Arc<str>, Arc<str>)>,
    /// What it can be asked.
    pub speaks: Vec<Speech>,
    /// Rewrites it needs.
    pub quirks: Vec<Quirk>,
    /// Its documentation.
    pub docs: Option<Arc<str>>,
    /// Where address and paths were checked; `None` where they were not.
    pub checked: Option<Arc<str>>,
    /// Why the service is no more.
    pub retired: Option<Arc<str>>,
}

impl Row {
    /// How an endpoint is called for clients of a dialect; `None` where the provider has it not.
    ///
    /// What the provider speaks in the client's own dialect comes first, since bytes pass unchanged then; of
    /// what must be converted, the first that stands in the row.
    pub fn speech(&self, endpoint: Endpoint, face: Dialect) -> Option<&Speech> {
        let serves = |s: &&Speech| s.endpoint == endpoint || (endpoint.is_chat() && s.endpoint.is_chat());
        let mut all = self.speaks.iter().filter(serves);
        all.clone().find(|s| s.dialect == face).or_else(|| all.next())
    }

    /// Whether an endpoint's path is not the one that is usual in its dialect.
    pub fn has_own_path(&self, speech: &Speech) -> bool {
        let stream = speech.stream_path.as_ref().map(Template::to_string);
        let known = usual_paths(speech.dialect, speech.endpoint);
        known != Some((speech.path.to_string().as_str(), stream.as_deref()))
    }

    /// The name that the paths have for a model.
    pub fn path_name<'a>(&'a self, model: &'a str) -> &'a str {
        self.path_names.iter().find(|(known, _)| **known == *model).map_or(model, |(_, name)| name)
    }

    /// The prefix that belongs behind this base URL.
    pub fn prefix_for(&self, base_url: &str) -> &str {
        match has_version(base_url) || (!self.prefix.is_empty() && base_url.ends_with(&*self.prefix)) {
            true => "",
            false => &self.prefix,
        }
    }
}

/// The adapter of a provider's dialect, for clients of another or the same.
pub fn adapter(dialect: Dialect, face: Dialect) -> &'static dyn Adapter {
    match dialect {
        Dialect::OpenAi if face == dialect => &OpenAi,
        Dialect::OpenAi => const { &Converting::new(Dialect::OpenAi) },
        Dialect::AnthropicMessages if face == dialect => const { &Passing::new(Dialect::AnthropicMessages) },
        Dialect::AnthropicMessages => const { &Converting::new(Dialect::AnthropicMessages) },
        Dialect::Gemini if face == dialect => const { &Passing::new(Dialect::Gemini) },
        Dialect::Gemini => const { &Converting::new(Dialect::Gemini) },
        Dialect::OpenAiResponses if face == dialect => const { &Passing::new(Dialect::OpenAiResponses) },
        Dialect::OpenAiResponses => const { &Converting::new(Dialect::OpenAiResponses) },
        Dialect::BedrockClaude => const { &Converting::new(Dialect::BedrockClaude) },
        Dialect::BedrockConverse => const { &Converting::new(Dialect::BedrockConverse) },
        Dialect::Cohere => const { &Converting::new(Dialect::Cohere) },
        Dialect::Ollama => const { &Converting::new(Dialect::Ollama) },
        Dialect::VertexClaude if face == Dialect::AnthropicMessages => {
            const { &Passing::new(Dialect::VertexClaude) }
        }
        Dialect::VertexClaude => const { &Converting::new(Dialect::VertexClaude) },
        Dialect::Hunyuan => const { &Converting::new(Dialect::Hunyuan) },
        Dialect::DashScope => const { &Converting::new(Dialect::DashScope) },
        Dialect::CohereV1 => const { &Converting::new(Dialect::CohereV1) },
        Dialect::Wenxin => const { &Converting::new(Dialect::Wenxin) },
        Dialect::ZhipuV3 => const { &Converting::new(Dialect::ZhipuV3) },
        Dialect::Palm => const { &Converting::new(Dialect::Palm) },
        Dialect::Cloudflare => const { &Converting::new(Dialect::Cloudflare) },
        Dialect::Library => const { &Converting::new(Dialect::Library) },
        Dialect::Dify => const { &Converting::new(Dialect::Dify) },
        Dialect::DifyCompletion => const { &Converting::new(Dialect::DifyCompletion) },
        Dialect::Coze => const { &Converting::new(Dialect::Coze) },
        Dialect::DeepL => const { &Converting::new(Dialect::DeepL) },
    }
}

/// An endpoint and its usual paths: for whole answers, and for streams where that is another.
type Usual = (Endpoint, &'static str, Option<&'static str>);

/// The endpoints that a provider of this dialect has where its row does not name them, and others that it may
/// have.
fn usual(dialect: Dialect) -> &'static [Usual] {
    match dialect {
        Dialect::OpenAi => &[
            (Endpoint::ChatCompletions, "/chat/completions", None),
            (Endpoint::Completions, "/completions", None),
            (Endpoint::Embeddings, "/embeddings", None),
            (Endpoint::Moderations, "/moderations", None),
        ],
        Dialect::AnthropicMessages => &[
            (Endpoint::ChatCompletions, "/messages", None),
            (Endpoint::CountTokens, "/messages/count_tokens", None),
        ],
        Dialect::Gemini => &[
            (
                Endpoint::ChatCompletions,
                "/models/{model}:generateContent",
                Some("/models/{model}:streamGenerateContent?alt=sse"),
            ),
            (Endpoint::CountTokens, "/models/{model}:countTokens", None),
        ],
        Dialect::OpenAiResponses => &[(Endpoint::ChatCompletions, "/responses", None)],
        Dialect::BedrockClaude => &[(
            Endpoint::ChatCompletions,
            "/model/{model}/invoke",
            Some("/model/{model}/invoke-with-response-stream"),
        )],
        Dialect::BedrockConverse => {
            &[(Endpoint::ChatCompletions, "/model/{model}/converse", Some("/model/{model}/converse-stream"))]
        }
        Dialect::Cohere => &[(Endpoint::ChatCompletions, "/v2/chat", None)],
        Dialect::Ollama => &[(Endpoint::ChatCompletions, "/api/chat", None)],
        Dialect::Hunyuan => &[(Endpoint::ChatCompletions, "/", None)],
        Dialect::DashScope => {
            &[(Endpoint::ChatCompletions, "/services/aigc/text-generation/generation", None)]
        }
        Dialect::CohereV1 => &[(Endpoint::ChatCompletions, "/v1/chat", None)],
        Dialect::Wenxin => &[
            (Endpoint::ChatCompletions, "/chat/{model}", None),
            (Endpoint::Embeddings, "/embeddings/{model}", None),
        ],
        Dialect::ZhipuV3 => &[(Endpoint::ChatCompletions, "/{model}/invoke", Some("/{model}/sse-invoke"))],
        Dialect::Palm => &[(Endpoint::ChatCompletions, "/models/{model}:generateMessage", None)],
        Dialect::Cloudflare => &[(Endpoint::ChatCompletions, "/run/{model_path}", None)],
        Dialect::Library => &[(Endpoint::ChatCompletions, "/library/ask", None)],
        Dialect::Dify => &[(Endpoint::ChatCompletions, "/chat-messages", None)],
        Dialect::DifyCompletion => &[(Endpoint::ChatCompletions, "/completion-messages", None)],
        Dialect::Coze => &[(Endpoint::ChatCompletions, "/v3/chat", None)],
        Dialect::DeepL => &[(Endpoint::ChatCompletions, "/v2/translate", None)],
        Dialect::VertexClaude => &[
            (
                Endpoint::ChatCompletions,
                "/models/{model}:rawPredict",
                Some("/models/{model}:streamRawPredict"),
            ),
            (Endpoint::CountTokens, "/models/count-tokens:rawPredict", None),
        ],
    }
}

/// The usual paths of an endpoint; those of a conversation are one, whatever clients call it.
fn usual_paths(dialect: Dialect, endpoint: Endpoint) -> Option<(&'static str, Option<&'static str>)> {
    let is_it = |known: Endpoint| known == endpoint || (known.is_chat() && endpoint.is_chat());
    usual(dialect).iter().find(|(known, ..)| is_it(*known)).map(|(_, path, stream)| (*path, *stream))
}

/// The dialect that an endpoint is spoken in where the row's own does not know it by this name.
fn natural(endpoint: Endpoint) -> Option<Dialect> {
    match endpoint {
        Endpoint::Messages | Endpoint::CountTokens => Some(Dialect::AnthropicMessages),
        Endpoint::Responses => Some(Dialect::OpenAiResponses),
        Endpoint::GenerateContent => Some(Dialect::Gemini),
        Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Embeddings | Endpoint::Moderations => {
            None
        }
    }
}

/// Whether a part of an address' path is a version: `v3`, `v1beta`.
fn has_version(base_url: &str) -> bool {
    let is_version = |part: &str| {
        part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    base_url.split('/').skip(3).any(is_version)
}

#[cfg(test)]
mod tests {
    use crate::provider::Registry;

    #[test]
    fn a_base_url_that_names_a_version_gets_no_prefix() {
        let registry = Registry::builtin();
        let prefix = |id: &str, base: &str| registry.row(id).expect(id).prefix_for(base).to_owned();
        for (id, base, wanted) in [
            ("openai", "https://api.openai.com", "/v1"),
            ("openai", "https://api.openai.com/v1", ""),
            ("openai", "http://v1.example.com:8000", "/v1"),
            ("openai", "https://host/api/v3", ""),
            ("openai", "https://host/openai", "/v1"),
            ("openai", "https://host/video", "/v1"),
            ("openai", "https://gateway.ai.cloudflare.com/v1/account/gateway/openai", ""),
            ("azure", "https://name.openai.azure.com", "/openai/deployments"),
            ("azure", "https://name.openai.azure.com/openai/deployments", ""),
            ("azure", "https://gateway.ai.cloudflare.com/v1/account/gateway/azure-openai/name", ""),
            ("zhipu", "https://open.bigmodel.cn", "/api/paas/v4"),
            ("zhipu", "https://open.bigmodel.cn/api/paas/v4", ""),
            ("perplexity", "https://host", ""),
        ] {
            assert_eq!(prefix(id, base), wanted, "{id} at {base}");
        }
    }
}
