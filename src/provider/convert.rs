//! The converting adapter: any client face over any provider's dialect, through the conversation.
//!
//! It knows what every pair has in common: that the whole body is needed, which content type an answer must
//! have, how deltas become bytes, when an answer is complete. Formats are the dialects'; the credential is
//! added by whoever sends.

mod calls;
mod change;
mod emulation;
mod reader;
mod tags;
mod thoughts;

use bytes::Bytes;
use change::Changes;
use penstock_actors::domain::{Delivery, Endpoint, Fault};
use thoughts::Thoughts;

use super::{
    Adapter, AnswerHead, AnswerReader, Ask, AskBody, BodyNeed, Failure, Next, Quirk, UpstreamBody,
    UpstreamRequest, quirk,
};
use crate::dialect::{
    AnswerHeader, Dialect, Face, Upstream, Wanted, Written,
    fields::ParamError,
    gemini::embed::{self, Texts},
    media::{self, Address, Taker, Taking},
    steps::Steps,
    wenxin::embed::{self as wenxin, Encoding},
};

/// The adapter of a provider that speaks `dialect` to clients that speak another.
#[derive(Clone, Copy, Debug)]
pub struct Converting {
    dialect: Dialect,
}

impl Converting {
    /// The adapter of a dialect.
    pub const fn new(dialect: Dialect) -> Self {
        Self { dialect }
    }

    /// Between whom embeddings are converted, where that is asked for.
    fn embeds(&self, ask: &Ask<'_>) -> Option<Embeds> {
        match (ask.endpoint, self.dialect, ask.face) {
            (Endpoint::Embeddings, Dialect::OpenAi, Dialect::Gemini) => Some(Embeds::OpenAiForGemini),
            (Endpoint::Embeddings, Dialect::Wenxin, Dialect::OpenAi) => Some(Embeds::WenxinForOpenAi),
            _ => None,
        }
    }

    fn upstream(&self, ask: &Ask<'_>) -> Result<&'static dyn Upstream, Failure> {
        match ask.endpoint.is_chat() {
            true => Ok(self.dialect.upstream()),
            false => Err(not_supported(ask)),
        }
    }
}

/// Whose embeddings are had for whose client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Embeds {
    OpenAiForGemini,
    WenxinForOpenAi,
}

/// What is remembered of a request for several embeddings.
const SEVERAL: &[u8] = b"several";
/// What is remembered of a request for numbers in base64.
const BASE64: &[u8] = b"base64";

fn embeddings(ask: &Ask<'_>, embeds: Embeds, body: &[u8]) -> Result<UpstreamRequest, Failure> {
    let (written, echo) = match embeds {
        Embeds::OpenAiForGemini => {
            let (written, texts) = embed::openai_request(body, ask.upstream_model).map_err(of_param)?;
            (written, (texts == Texts::Several).then_some(SEVERAL))
        }
        Embeds::WenxinForOpenAi => {
            let (written, encoding) = wenxin::request(body).map_err(of_param)?;
            (written, (encoding == Encoding::Base64).then_some(BASE64))
        }
    };
    let echo = echo.map(Bytes::from_static);
    Ok(UpstreamRequest { headers: Vec::new(), body: UpstreamBody::Whole(written), echo, tools: Vec::new() })
}

/// How the client of a call is spoken to.
fn face(ask: &Ask<'_>) -> Result<&'static dyn Face, Failure> {
    ask.face.face().ok_or_else(|| not_supported(ask))
}

impl Adapter for Converting {
    fn body_need(&self, _ask: &Ask<'_>) -> BodyNeed {
        BodyNeed::Whole
    }

    fn request(&self, ask: &Ask<'_>, body: AskBody<'_>) -> Result<UpstreamRequest, Failure> {
        let AskBody::Whole(body) = body else { return Err(body_not_whole()) };
        if let Some(embeds) = self.embeds(ask) {
            return embeddings(ask, embeds, body);
        }
        let (face, upstream) = (face(ask)?, self.upstream(ask)?);
        let wanted = Wanted { model: ask.upstream_model, delivery: ask.delivery, params: ask.params };
        let mut conversation = face.parse(body).map_err(of_param)?;
        media::put_in(&mut conversation, ask.media, taker(upstream, ask.quirks));
        let tools = match emulates_tools(ask.quirks) {
            true => emulation::into_text(&mut conversation).map_err(of_param)?,
            false => Vec::new(),
        };
        let Written { headers, body: written } = upstream.write(&conversation, &wanted).map_err(of_param)?;
        let written = match self.dialect {
            Dialect::OpenAi => quirk::apply(ask, written),
            _ => written,
        };
        Ok(UpstreamRequest { headers, body: UpstreamBody::Whole(written), echo: face.echo(body), tools })
    }

    fn reader(&self, ask: &Ask<'_>, head: &AnswerHead<'_>) -> Result<Box<dyn AnswerReader>, Failure> {
        if let Some(embeds) = self.embeds(ask) {
            let form = match (embeds, ask.echo) {
                (Embeds::OpenAiForGemini, Some(SEVERAL)) => reader::Form::Gemini(Texts::Several),
                (Embeds::OpenAiForGemini, _) => reader::Form::Gemini(Texts::One),
                (Embeds::WenxinForOpenAi, Some(BASE64)) => reader::Form::OpenAi(Encoding::Base64),
                (Embeds::WenxinForOpenAi, _) => reader::Form::OpenAi(Encoding::Floats),
            };
            return Ok(Box::new(reader::Embeddings::new(form, ask.model, ask.max_event)));
        }
        let (face, upstream) = (face(ask)?, self.upstream(ask)?);
        let header = AnswerHeader {
            model: ask.model,
            created: ask.created,
            call_id: ask.call_id,
            usage_wanted: ask.usage_wanted,
            form: ask.form,
            echo: ask.echo,
        };
        let media = head.content_type.split(';').next().unwrap_or_default().trim();
        let is_stream = media.eq_ignore_ascii_case(upstream.stream_type());
        match ask.delivery {
            // A provider that always streams.
            Delivery::Whole if is_stream => {
                let reader = Changes::of(ask).reader(upstream.reader(ask.max_event));
                Ok(Box::new(reader::Gathered::new(
                    reader,
                    reader::Heading::new(face, &header),
                    ask.max_event,
                )))
            }
            Delivery::Stream if is_stream => {
                let (reader, writer) = (upstream.reader(ask.max_event), face.writer(&header));
                let reader = Changes::of(ask).reader(reader);
                Ok(Box::new(reader::Streamed::new(reader, writer, ask.call_id)))
            }
            // A missing type is forgiven: the body must be JSON anyway.
            Delivery::Whole if media.is_empty() || media.to_ascii_lowercase().ends_with("json") => {
                let heading = reader::Heading::new(face, &header);
                Ok(Box::new(reader::Whole::new(upstream, heading, ask.max_event, Changes::of(ask))))
            }
            // An error with a good status, or a provider that does not stream.
            Delivery::Stream if media.to_ascii_lowercase().ends_with("json") => {
                let held = Changes::of(ask).reader(reader::held(upstream, ask.max_event));
                Ok(Box::new(reader::Streamed::new(held, face.writer(&header), ask.call_id)))
            }
            Delivery::Stream => Err(wrong_type(head, "a stream of events")),
            Delivery::Whole => Err(wrong_type(head, "JSON")),
        }
    }

    fn steps(&self) -> Option<&'static dyn Steps> {
        self.dialect.upstream().steps()
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        self.dialect.upstream().failure(head, body)
    }
}

/// Whether an answer must be read as a conversation, for reasoning in it is to be changed.
pub(super) fn changes_answers(ask: &Ask<'_>) -> bool {
    ask.endpoint == Endpoint::ChatCompletions && Thoughts::of(ask.quirks).is_some()
}

/// Whether a channel's tools are told in text, so that its requests must be written anew.
pub(super) fn emulates_tools(quirks: &[Quirk]) -> bool {
    quirks.contains(&Quirk::EmulateTools)
}

/// Which media a channel's provider wants as bytes.
fn taker<'a>(upstream: &'a dyn Upstream, quirks: &[Quirk]) -> Taker<'a> {
    let taking = if quirks.contains(&Quirk::FetchMedia) { Taking::Bytes } else { Taking::AsTheDialect };
    Taker { upstream, taking }
}

/// The media that a request names by addresses which a provider of this dialect is not given; they must be
/// fetched, and stand in [`Ask::media`], when the request is written.
///
/// # Errors
/// A [`Failure`] that names what is wrong with the request.
pub fn addresses(
    dialect: Dialect,
    face: Dialect,
    quirks: &[Quirk],
    body: &[u8],
) -> Result<Vec<Address>, Failure> {
    let Some(face) = face.face() else { return Ok(Vec::new()) };
    let conversation = face.parse(body).map_err(of_param)?;
    Ok(media::addresses(&conversation, taker(dialect.upstream(), quirks)))
}

/// A good status whose content type is not what was asked for.
fn wrong_type(head: &AnswerHead<'_>, wanted: &str) -> Failure {
    let media: String = head.content_type.chars().filter(|c| !c.is_control()).take(100).collect();
    Failure {
        status: 502,
        fault: Fault::Upstream,
        next: Next::Failover,
        kind: "api_error".to_owned(),
        code: "bad_upstream_answer".to_owned(),
        param: None,
        message: format!("The model's provider answered with '{media}' instead of {wanted}."),
        retry_after: head.retry_after,
    }
}

/// Refuses what cannot be translated; another candidate may serve it.
fn not_supported(ask: &Ask<'_>) -> Failure {
    Failure {
        next: Next::Failover,
        ..Failure::invalid_request(
            "endpoint_not_supported",
            None,
            format!("The model '{}' does not support '{}'.", ask.model, ask.endpoint.as_str()),
        )
    }
}

fn of_param(error: ParamError) -> Failure {
    Failure {
        // A parameter that is wrong is so anywhere; one that this provider lacks, another may have.
        next: if error.code == ParamError::UNSUPPORTED { Next::Failover } else { Next::Tell },
        ..Failure::invalid_request(
            error.code,
            Some(error.param.as_str()).filter(|param| !param.is_empty()),
            error.message,
        )
    }
}

fn body_not_whole() -> Failure {
    Failure {
        kind: "api_error".to_owned(),
        ..Failure::gateway(
            500,
            "internal_error",
            "The request could not be prepared for this model's provider.",
        )
    }
}

#[cfg(test)]
mod pairs;
#[cfg(test)]
mod tests;
