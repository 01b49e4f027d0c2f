//! The adapter for Anthropic, and for others that speak its messages, behind OpenAI's chat completions.
//!
//! It knows where the request goes, which reader an answer needs and what a failure means for the
//! call. The formats are the dialects'; the credential (`x-api-key`) is added by whoever sends.

mod failure;
mod reader;

use bytes::Bytes;
use penstock_actors::domain::{Fault, catalog::Delivery};

use super::{
    Adapter, AnswerHead, AnswerReader, Ask, AskBody, BodyNeed, Endpoint, Failure, Next, UpstreamBody,
    UpstreamRequest,
};
use crate::dialect::{
    Dialect, anthropic_messages,
    fields::ParamError,
    openai_chat::{self, AnswerHeader, UsageChunk},
};

/// The API version that the dialect's file describes.
pub(super) const API_VERSION: &str = "2023-06-01";

/// The adapter. It has no state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anthropic;

impl Adapter for Anthropic {
    fn body_need(&self) -> BodyNeed {
        BodyNeed::Whole
    }

    fn request(&self, ask: &Ask<'_>, body: AskBody<'_>) -> Result<UpstreamRequest, Failure> {
        spoken(ask)?;
        let AskBody::Whole(body) = body else { return Err(body_not_whole()) };
        let body = translate(ask, body).map_err(of_param)?;
        Ok(UpstreamRequest {
            headers: vec![("anthropic-version", API_VERSION.to_owned())],
            body: UpstreamBody::Whole(body),
        })
    }

    fn reader(&self, ask: &Ask<'_>, head: &AnswerHead<'_>) -> Result<Box<dyn AnswerReader>, Failure> {
        spoken(ask)?;
        let header = AnswerHeader { model: ask.model, created: ask.created };
        let media = head.content_type.split(';').next().unwrap_or_default().trim();
        match ask.delivery {
            Delivery::Stream if media.eq_ignore_ascii_case("text/event-stream") => {
                let usage = if ask.usage_wanted { UsageChunk::Wanted } else { UsageChunk::Unwanted };
                Ok(Box::new(reader::Streamed::new(&header, usage, ask.max_event)))
            }
            // A missing type is forgiven: the body must be JSON anyway.
            Delivery::Whole if media.is_empty() || media.to_ascii_lowercase().ends_with("json") => {
                Ok(Box::new(reader::Whole::new(&header, ask.max_event)))
            }
            Delivery::Stream => Err(failure::wrong_type(head, "a stream of events")),
            Delivery::Whole => Err(failure::wrong_type(head, "JSON")),
        }
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        failure::of_status(head, body)
    }
}

fn translate(ask: &Ask<'_>, body: &[u8]) -> Result<Bytes, ParamError> {
    let conversation = openai_chat::parse_request(body)?;
    anthropic_messages::write_request(&conversation, ask.upstream_model, ask.delivery)
}

/// Refuses what this adapter does not translate; another candidate may.
fn spoken(ask: &Ask<'_>) -> Result<(), Failure> {
    if ask.endpoint == Endpoint::ChatCompletions && ask.face == Dialect::OpenAi {
        return Ok(());
    }
    Err(Failure {
        status: 400,
        fault: Fault::Client,
        next: Next::Failover,
        kind: "invalid_request_error".to_owned(),
        code: "endpoint_not_supported".to_owned(),
        param: None,
        message: format!(
            "The model '{}' does not support '{}' in this dialect; use '/v1/chat/completions'.",
            ask.model,
            ask.endpoint.as_str()
        ),
        retry_after: None,
        queue: None,
    })
}

fn of_param(error: ParamError) -> Failure {
    Failure {
        status: 400,
        fault: Fault::Client,
        // A parameter that is wrong is so anywhere; one that Anthropic lacks, another may have.
        next: if error.code == ParamError::UNSUPPORTED { Next::Failover } else { Next::Tell },
        kind: "invalid_request_error".to_owned(),
        code: error.code.to_owned(),
        param: (!error.param.is_empty()).then_some(error.param),
        message: error.message,
        retry_after: None,
        queue: None,
    }
}

fn body_not_whole() -> Failure {
    Failure {
        status: 500,
        fault: Fault::Gateway,
        next: Next::Tell,
        kind: "api_error".to_owned(),
        code: "internal_error".to_owned(),
        param: None,
        message: "The request could not be prepared for this model's provider.".to_owned(),
        retry_after: None,
        queue: None,
    }
}

#[cfg(test)]
mod tests;
