//! Like to like: a client's bytes pass to a provider of its own dialect, and back, but for the model's name.
//!
//! OpenAI's own dialect has an adapter beside this one, which knows quirks.

use bytes::Bytes;
use penstock_actors::domain::{Delivery, Usage};

use super::{
    Adapter, AnswerEvent, AnswerHead, AnswerReader, Ask, AskBody, BodyNeed, Edit, Endpoint, Failure, Garbage,
    Next, UpstreamBody, UpstreamRequest, convert::Converting, model_edit,
};
use crate::{
    dialect::{
        Dialect, anthropic_messages, gemini, openai_responses,
        passing::{ErrorReader, PassingStream, Shape, WholeReader},
        vertex_claude,
    },
    wire::json::TopLevel,
};

/// The adapter of a provider that speaks the client's dialect.
#[derive(Clone, Copy, Debug)]
pub struct Passing {
    dialect: Dialect,
}

impl Passing {
    /// The adapter of a dialect.
    pub const fn new(dialect: Dialect) -> Self {
        Self { dialect }
    }

    fn shape(&self) -> &'static Shape {
        match self.dialect {
            Dialect::AnthropicMessages | Dialect::VertexClaude => &anthropic_messages::WHOLE,
            Dialect::Gemini => &gemini::WHOLE,
            Dialect::OpenAiResponses => &openai_responses::WHOLE,
            _ => &crate::dialect::openai::WHOLE,
        }
    }
}

impl Adapter for Passing {
    fn body_need(&self, _ask: &Ask<'_>) -> BodyNeed {
        BodyNeed::Scan
    }

    fn request(&self, ask: &Ask<'_>, body: AskBody<'_>) -> Result<UpstreamRequest, Failure> {
        let AskBody::Scan(top) = body else {
            let message = "The request was prepared for another provider.";
            return Err(Failure::gateway(500, "internal_error", message));
        };
        let headers = match self.dialect {
            Dialect::AnthropicMessages => {
                vec![("anthropic-version", anthropic_messages::API_VERSION.to_owned())]
            }
            _ => Vec::new(),
        };
        let edits = match self.dialect {
            // The model stands in the path.
            Dialect::Gemini => Vec::new(),
            Dialect::VertexClaude => vertex_edits(ask, top),
            _ => model_edit(ask, top).into_iter().collect(),
        };
        Ok(UpstreamRequest { headers, body: UpstreamBody::Edited(edits), echo: None, tools: Vec::new() })
    }

    fn reader(&self, ask: &Ask<'_>, head: &AnswerHead<'_>) -> Result<Box<dyn AnswerReader>, Failure> {
        let content_type = head.content_type.trim_start().to_ascii_lowercase();
        let is_stream = content_type.starts_with("text/event-stream");
        let is_json = content_type.starts_with("application/json");
        match (ask.delivery, is_stream) {
            (Delivery::Stream, true) => Ok(self.stream(ask)),
            (Delivery::Whole, false) => {
                let reader = WholeReader::new(self.shape(), ask.model, head.framing);
                Ok(match ask.endpoint {
                    Endpoint::CountTokens => Box::new(Free(reader)),
                    _ => Box::new(reader),
                })
            }
            // It streams always, or never.
            (Delivery::Stream, false) if is_json && ask.endpoint.is_chat() => self.converted(ask, head),
            (Delivery::Whole, true) if ask.endpoint.is_chat() => self.converted(ask, head),
            (Delivery::Stream, false) => {
                let failure = unexpected("a stream was asked for, and something else came");
                match is_json {
                    true => Ok(Box::new(ErrorReader::new(self.shape(), failure))),
                    false => Err(failure),
                }
            }
            (Delivery::Whole, true) => Err(unexpected("no stream was asked for, and one came")),
        }
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        self.dialect.upstream().failure(head, body)
    }
}

impl Passing {
    /// Reads an answer in the other delivery than was asked for, as one of an unlike dialect would be.
    fn converted(&self, ask: &Ask<'_>, head: &AnswerHead<'_>) -> Result<Box<dyn AnswerReader>, Failure> {
        Converting::new(self.dialect).reader(ask, head)
    }

    fn stream(&self, ask: &Ask<'_>) -> Box<dyn AnswerReader> {
        let (model, form, cap) = (ask.model, ask.form, ask.max_event);
        match self.dialect {
            Dialect::Gemini => Box::new(PassingStream::new(gemini::Chunks::default(), model, form, cap)),
            Dialect::OpenAiResponses => {
                Box::new(PassingStream::new(openai_responses::Events::default(), model, form, cap))
            }
            _ => Box::new(PassingStream::new(anthropic_messages::Events::default(), model, form, cap)),
        }
    }
}

/// Puts the version where the model stood, which is in the path; a count of tokens keeps the model.
fn vertex_edits(ask: &Ask<'_>, top: &TopLevel) -> Vec<Edit> {
    let version = format!("\"anthropic_version\":\"{}\"", vertex_claude::VERSION);
    match top.field("model") {
        Some(field) if ask.endpoint != Endpoint::CountTokens => {
            vec![Edit { start: field.key, end: field.end, with: version.into() }]
        }
        _ => {
            let comma = if top.has_members { "," } else { "" };
            let at = top.first_member;
            let version = Edit { start: at, end: at, with: format!("{version}{comma}").into() };
            std::iter::once(version).chain(model_edit(ask, top)).collect()
        }
    }
}

fn unexpected(what: &str) -> Failure {
    let message = format!("The provider's answer cannot be used: {what}.");
    Failure::upstream(502, "unexpected_response_format", Next::FailoverUncertain, message)
}

/// An answer that consumes nothing: a count of tokens.
struct Free<R>(R);

impl<R: AnswerReader> AnswerReader for Free<R> {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        self.0.push(chunk, out)
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        out.push(AnswerEvent::Usage(Usage::default()));
        self.0.finish(out)
    }
}
