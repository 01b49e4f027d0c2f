//! Wire formats. A dialect's file parses it, writes it, and recognises its usage, end and errors.

pub mod answer;
pub mod anthropic_messages;
pub mod bedrock_claude;
pub mod bedrock_converse;
#[cfg(test)]
mod checks;
pub mod cloudflare;
pub mod cohere;
pub mod cohere_v1;
mod count;
pub mod coze;
pub mod dashscope;
pub mod deepl;
pub mod dify;
pub mod estimate;
pub mod face;
pub mod failure;
pub mod fields;
mod flat;
pub mod foreign;
pub mod gemini;
pub mod hints;
pub mod hunyuan;
mod json_lines;
mod leftover;
pub mod library;
pub mod media;
pub mod ollama;
pub mod openai;
pub mod openai_chat;
pub mod openai_responses;
pub mod palm;
pub mod passing;
mod pieces;
pub mod proof;
pub mod replicate;
mod said;
pub mod spark;
mod spoken;
pub mod steps;
mod tree;
mod trouble;
mod turns;
pub mod upstream;
pub mod vertex_claude;
pub mod wenxin;
pub mod zhipu_v3;

use bytes::Bytes;
use penstock_actors::{
    billing::Foreseen,
    domain::{Delivery, Endpoint},
};

use crate::wire::json::{TopLevel, Watch};

pub use answer::{AnswerEvent, AnswerHead, AnswerReader, Framing, Garbage};
pub use face::{AnswerHeader, DeltaWriter, Face, StreamForm};
pub use failure::{Failure, Next};
pub use upstream::{Carrier, DeltaReader, ReadError, Upstream, Wanted, Written};

/// A client-facing or upstream wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's chat completions, completions, embeddings and moderations.
    OpenAi,
    /// Anthropic's messages.
    AnthropicMessages,
    /// Gemini's `generateContent`.
    Gemini,
    /// OpenAI's responses.
    OpenAiResponses,
    /// Claude on Bedrock, invoked. No client speaks this one, nor those that follow.
    BedrockClaude,
    /// Bedrock's Converse.
    BedrockConverse,
    /// Cohere's chat, version 2.
    Cohere,
    /// Ollama's chat.
    Ollama,
    /// Claude on Vertex AI.
    VertexClaude,
    /// Tencent's Hunyuan by its own API.
    Hunyuan,
    /// DashScope's own text generation.
    DashScope,
    /// Dify's chats.
    Dify,
    /// Dify's text generators.
    DifyCompletion,
    /// Coze's bots.
    Coze,
    /// DeepL's translations.
    DeepL,
    /// Cohere's chat, version 1.
    CohereV1,
    /// Baidu's Wenxin, version 1.
    Wenxin,
    /// Zhipu's API, version 3.
    ZhipuV3,
    /// Google's PaLM 2.
    Palm,
    /// Cloudflare's Workers AI, as it runs models.
    Cloudflare,
    /// AI Proxy's library.
    Library,
    /// Replicate's predictions.
    Replicate,
    /// iFlytek's Spark over a websocket.
    Spark,
}

/// What a request says that the gateway must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// The model asked for.
    pub model: String,
    /// Whether a stream is wanted.
    pub delivery: Delivery,
    /// `stream_options.include_usage`, or that the dialect always tells usage.
    pub usage_wanted: bool,
    /// How a stream is framed.
    pub form: StreamForm,
}

/// What a request's path told already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The model.
    pub model: Option<String>,
    /// Whether a stream is wanted.
    pub delivery: Option<Delivery>,
    /// How it is framed.
    pub form: StreamForm,
}

impl Dialect {
    /// The dialects that a provider may speak.
    pub const ALL: [Self; 23] = [
        Self::OpenAi,
        Self::AnthropicMessages,
        Self::Gemini,
        Self::OpenAiResponses,
        Self::BedrockClaude,
        Self::BedrockConverse,
        Self::Cohere,
        Self::Ollama,
        Self::VertexClaude,
        Self::Hunyuan,
        Self::DashScope,
        Self::Dify,
        Self::DifyCompletion,
        Self::Coze,
        Self::DeepL,
        Self::CohereV1,
        Self::Wenxin,
        Self::ZhipuV3,
        Self::Palm,
        Self::Cloudflare,
        Self::Library,
        Self::Replicate,
        Self::Spark,
    ];

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::AnthropicMessages => "anthropic",
            Self::Gemini => "gemini",
            Self::OpenAiResponses => "openai-responses",
            Self::BedrockClaude => "bedrock-claude",
            Self::BedrockConverse => "bedrock-converse",
            Self::Cohere => "cohere",
            Self::Ollama => "ollama",
            Self::VertexClaude => "vertex-claude",
            Self::Hunyuan => "hunyuan",
            Self::DashScope => "dashscope",
            Self::Dify => "dify",
            Self::DifyCompletion => "dify-completion",
            Self::Coze => "coze",
            Self::DeepL => "deepl",
            Self::CohereV1 => "cohere-v1",
            Self::Wenxin => "wenxin",
            Self::ZhipuV3 => "zhipu-v3",
            Self::Palm => "palm",
            Self::Cloudflare => "cloudflare",
            Self::Library => "aiproxy-library",
            Self::Replicate => "replicate",
            Self::Spark => "spark",
        }
    }

    /// The dialect that a header of clients belongs to, where it belongs to one.
    pub fn of_header(name: &str) -> Option<Self> {
        if name.starts_with("anthropic-") {
            Some(Self::AnthropicMessages)
        } else if name.starts_with("openai-") {
            Some(Self::OpenAi)
        } else if name.starts_with("x-goog-") {
            Some(Self::Gemini)
        } else {
            None
        }
    }

    /// Whether it is this dialect as a cloud has it, so that its clients' headers have the same meaning.
    pub fn is_of_host_of(self, dialect: Self) -> bool {
        (self, dialect) == (Self::VertexClaude, Self::AnthropicMessages)
    }

    /// The request fields that must be known of its clients' requests.
    pub fn watches(self) -> &'static [Watch] {
        match self {
            Self::OpenAi => openai::REQUEST,
            Self::AnthropicMessages => anthropic_messages::REQUEST,
            Self::Gemini => gemini::REQUEST,
            Self::OpenAiResponses => openai_responses::REQUEST,
            _ => &[],
        }
    }

    /// Reads the facts of a scanned request; the path may have told some.
    ///
    /// # Errors
    /// A [`Failure`] with the parameter that is missing or of a wrong type.
    pub fn facts(self, endpoint: Endpoint, told: &Told, top: &TopLevel) -> Result<RequestFacts, Failure> {
        match self {
            Self::Gemini => gemini::facts(endpoint, told, top),
            Self::OpenAiResponses => openai_responses::facts(endpoint, top),
            _ => openai::request_facts(endpoint, top),
        }
    }

    /// What a scanned request tells of its cost.
    pub fn foreseen(self, top: &TopLevel) -> Foreseen {
        match self {
            Self::AnthropicMessages => anthropic_messages::foreseen(top),
            Self::Gemini => gemini::foreseen(top),
            Self::OpenAiResponses => openai_responses::foreseen(top),
            _ => openai::foreseen(top),
        }
    }

    /// How its clients are spoken to; `None` for one that only providers speak.
    pub fn face(self) -> Option<&'static dyn Face> {
        match self {
            Self::OpenAi => Some(&openai_chat::OpenAiChat),
            Self::AnthropicMessages => Some(&anthropic_messages::AnthropicMessages),
            Self::Gemini => Some(&gemini::Gemini),
            Self::OpenAiResponses => Some(&openai_responses::OpenAiResponses),
            _ => None,
        }
    }

    /// How providers are asked for a conversation.
    pub fn upstream(self) -> &'static dyn Upstream {
        match self {
            Self::OpenAi => &openai_chat::OpenAiChat,
            Self::AnthropicMessages => &anthropic_messages::AnthropicMessages,
            Self::Gemini => &gemini::Gemini,
            Self::OpenAiResponses => &openai_responses::OpenAiResponses,
            Self::BedrockClaude => &bedrock_claude::BedrockClaude,
            Self::BedrockConverse => &bedrock_converse::BedrockConverse,
            Self::Cohere => &cohere::Cohere,
            Self::Ollama => &ollama::Ollama,
            Self::VertexClaude => &vertex_claude::VertexClaude,
            Self::Hunyuan => &hunyuan::Hunyuan,
            Self::DashScope => &dashscope::DashScope,
            Self::Dify => &dify::Dify::Chat,
            Self::DifyCompletion => &dify::Dify::Completion,
            Self::Coze => &coze::Coze,
            Self::DeepL => &deepl::DeepL,
            Self::CohereV1 => &cohere_v1::CohereV1,
            Self::Wenxin => &wenxin::Wenxin,
            Self::ZhipuV3 => &zhipu_v3::ZhipuV3,
            Self::Palm => &palm::Palm,
            Self::Cloudflare => &cloudflare::Cloudflare,
            Self::Library => &library::Library,
            Self::Replicate => &replicate::Replicate,
            Self::Spark => &spark::Spark,
        }
    }

    /// The body of a refusal in the dialect of a face; `call_id` ends its message.
    pub fn error_body(self, failure: &Failure, call_id: &str) -> Bytes {
        match self {
            Self::AnthropicMessages => anthropic_messages::error_body(failure, call_id),
            Self::Gemini => gemini::error_body(failure, call_id),
            _ => openai::error_body(failure, call_id),
        }
    }

    /// The event that ends a stream which cannot go on.
    pub fn error_event(self, failure: &Failure, call_id: &str) -> Bytes {
        let body = self.error_body(failure, call_id);
        let head: &[u8] = match self {
            Self::AnthropicMessages | Self::OpenAiResponses => b"event: error\ndata: ",
            _ => b"data: ",
        };
        [head, &body, b"\n\n"].concat().into()
    }
}
