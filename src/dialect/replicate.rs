//! Replicate's predictions: `POST /v1/models/OWNER/NAME/predictions`, then what its answer leads to.
//!
//! It knows the format as `replicate` 1.0.7 (PyPI) writes and reads it. A whole answer is waited for, by
//! `Prefer: wait` and then by asking again; a stream is a second request, for server-sent events without counts of
//! tokens, whose usage is estimated. A prediction that nobody waits for any more is cancelled.
//!
//! | field | what happens |
//! |---|---|
//! | instructions and earlier turns | one text, each turn under its speaker's name, as One API writes it |
//! | sampling, limits of tokens, stops, a seed, penalties | inputs of their names, which the model may know |
//! | media, tools, schemas, more than one candidate, log probabilities | refused, with the parameter's name |
//! | reasoning, cache hints, user, service tier | left out: hints |
//! | any unknown field | passed on, among the inputs |

mod events;

use std::time::Duration;

use penstock_actors::domain::{Delivery, Usage};
use serde::Deserialize;

use super::{
    AnswerHead, Failure,
    count::Count,
    fields::ParamError,
    flat, leftover,
    steps::{Step, Steps, Then},
    tree::object,
    trouble::{Trouble, unexplained},
    upstream::{DeltaReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Part, Reply};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct Replicate;

/// How One API writes turns.
const STYLE: flat::Style = flat::Style { names: ["system: ", "user: ", "assistant: "], end: "\n" };
/// The SDK's pause between two questions.
const PAUSE: Duration = Duration::from_millis(500);

impl Upstream for Replicate {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        leftover::one_answer(conversation)?;
        leftover::no_logprobs(conversation)?;
        leftover::no_tools(conversation)?;
        leftover::no_format(conversation)?;
        let sampling = &conversation.sampling;
        let stops = (!sampling.stop.is_empty()).then(|| sampling.stop.join(","));
        let mut input = object([
            ("prompt", flat::flat(conversation, &STYLE, flat::text_only)?.into()),
            ("max_tokens", sampling.max_tokens.into()),
            ("temperature", sampling.temperature.into()),
            ("top_p", sampling.top_p.into()),
            ("top_k", sampling.top_k.into()),
            ("presence_penalty", sampling.presence_penalty.into()),
            ("frequency_penalty", sampling.frequency_penalty.into()),
            ("seed", sampling.seed.into()),
            ("stop_sequences", stops.into()),
        ]);
        leftover::pass_on(conversation, &[], &mut input)?;
        let streams = wanted.delivery == Delivery::Stream;
        let body = object([("input", input), ("stream", streams.then_some(true).into())]);
        let headers = if streams { Vec::new() } else { vec![("prefer", "wait".to_owned())] };
        Ok(Written { headers, body: body.to_bytes() })
    }

    fn steps(&self) -> Option<&'static dyn Steps> {
        Some(&Self)
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(SseReader::new(events::Events::default(), longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        let prediction = Prediction::parse(body)?;
        match prediction.status {
            Status::Succeeded => {}
            Status::Starting | Status::Processing => {
                return Err(ReadError::garbage("the prediction is not finished"));
            }
            Status::Failed | Status::Canceled | Status::Aborted => return Err(prediction.into_error()),
        }
        let text = match prediction.output {
            None => String::new(),
            Some(Output::Text(text)) => text,
            Some(Output::Pieces(pieces)) => pieces.concat(),
            Some(Output::Other(_)) => return Err(ReadError::garbage("the prediction is no text")),
        };
        let Metrics { input_token_count, output_token_count } = prediction.metrics.unwrap_or_default();
        let usage =
            Usage { input: input_token_count.get(), output: output_token_count.get(), ..Usage::default() };
        Ok(Reply { id: prediction.id, parts: vec![Part::text(text)], usage, ..Reply::default() })
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        match serde_json::from_slice::<Refusal>(body) {
            Ok(Refusal { detail }) => Trouble::of_status(head.status).of_answer(head, None, Some(detail)),
            Err(_) => unexplained(head),
        }
    }
}

impl Steps for Replicate {
    fn after(&self, wanted: Delivery, body: &[u8]) -> Result<Step, ReadError> {
        let Prediction { status, urls, .. } = Prediction::parse(body)?;
        let then = match (status, wanted, urls.stream, urls.get) {
            (Status::Failed | Status::Canceled | Status::Aborted, ..) => Then::Answered,
            // What has come to its end already can be read there still.
            (_, Delivery::Stream, Some(at), _) => Then::Stream(at),
            (Status::Succeeded, ..) => Then::Answered,
            (_, _, _, Some(at)) => Then::Ask { at, after: PAUSE },
            _ => return Err(ReadError::garbage("the prediction does not say where it can be asked for")),
        };
        Ok(Step { cancel: urls.cancel.filter(|_| then != Then::Answered), then })
    }
}

#[derive(Deserialize)]
struct Refusal {
    detail: String,
}

#[derive(Deserialize)]
struct Prediction {
    #[serde(default)]
    id: String,
    status: Status,
    output: Option<Output>,
    error: Option<serde_json::Value>,
    metrics: Option<Metrics>,
    #[serde(default)]
    urls: Urls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Starting,
    Processing,
    Succeeded,
    Failed,
    Canceled,
    Aborted,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Output {
    Text(String),
    Pieces(Vec<String>),
    Other(serde::de::IgnoredAny),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metrics {
    input_token_count: Count,
    output_token_count: Count,
}

#[derive(Default, Deserialize)]
struct Urls {
    get: Option<String>,
    cancel: Option<String>,
    stream: Option<String>,
}

impl Prediction {
    fn parse(body: &[u8]) -> Result<Self, ReadError> {
        serde_json::from_slice(body)
            .map_err(|error| ReadError::garbage(format!("the answer is no prediction of Replicate: {error}")))
    }

    fn into_error(self) -> ReadError {
        let said = self.error.map(|error| match error {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        });
        let cancelled = self.status != Status::Failed;
        failed(said.or_else(|| cancelled.then(|| CANCELLED.to_owned())))
    }
}

const CANCELLED: &str = "The prediction was cancelled at its provider.";

/// A prediction that failed, with the model's own words where it has any.
fn failed(said: Option<String>) -> ReadError {
    let lower = said.as_deref().unwrap_or_default().to_ascii_lowercase();
    let trouble = match () {
        () if lower.contains("nsfw") || lower.contains("sensitive") => Trouble::ContentPolicy,
        () if lower.contains("timed out") => Trouble::TimedOut,
        () if lower.contains("rate limit") => Trouble::Throttled,
        () => Trouble::Failed,
    };
    ReadError::Failed(trouble.failure(None, said))
}

#[cfg(test)]
mod tests;
