//! Google's PaLM 2: `POST /v1beta2/models/{model}:generateMessage`, which has no streams.
//!
//! It knows the format as `google-ai-generativelanguage` 0.4.0 (PyPI) types it. Google has ended the service; what
//! still speaks it is others'. A client that wants a stream gets the whole answer as one.
//!
//! | field | what happens |
//! |---|---|
//! | tools, more than one candidate, log probabilities, shapes of answers, media | refused, with the parameter's name |
//! | messages | sides speak in turn: what one says in a row is joined |
//! | limits of tokens, stop texts, seed, penalties, reasoning, cache hints, user, service tier | left out: the API has none |
//! | any unknown field | passed on |

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    AnswerHead, Failure,
    fields::ParamError,
    gemini, leftover,
    said::{Said, SaidEvents},
    tree::{list, object},
    turns,
    upstream::{DeltaReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::conversation::{Citation, Conversation, Reply, Role, StopReason};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct Palm;

impl Upstream for Palm {
    fn write(&self, conversation: &Conversation, _wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        Ok(Written { headers: Vec::new(), body: write(conversation)? })
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(SseReader::new(SaidEvents::new(read), longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        Ok(read(body)?.into())
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        // Google's errors are the same everywhere.
        gemini::Gemini.failure(head, body)
    }
}

fn write(conversation: &Conversation) -> Result<Bytes, ParamError> {
    leftover::one_answer(conversation)?;
    leftover::no_logprobs(conversation)?;
    leftover::no_tools(conversation)?;
    leftover::no_format(conversation)?;
    let context = leftover::text_of(&conversation.system, "messages[0]")?;
    let spoken = |(role, text): (Role, String)| {
        let author = if role == Role::Assistant { "1" } else { "0" };
        object([("author", author.into()), ("content", text.into())])
    };
    let prompt = object([
        ("context", Some(context).filter(|text| !text.is_empty()).into()),
        ("messages", list(turns::texts(conversation)?.into_iter().map(spoken))),
    ]);
    let sampling = &conversation.sampling;
    let mut body = object([
        ("prompt", prompt),
        ("temperature", sampling.temperature.map(|t| t.min(1.0)).into()),
        ("topP", sampling.top_p.into()),
        ("topK", sampling.top_k.into()),
    ]);
    leftover::pass_on(conversation, &[], &mut body)?;
    Ok(body.to_bytes())
}

/// `GenerateMessageResponse`.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    candidates: Vec<Candidate>,
    #[serde(default)]
    filters: Vec<serde::de::IgnoredAny>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Candidate {
    content: String,
    #[serde(rename = "citationMetadata", default)]
    citations: Sources,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sources {
    citation_sources: Vec<Place>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    uri: Option<String>,
    start_index: Option<u64>,
    end_index: Option<u64>,
}

/// Reads an answer. It counts nothing.
fn read(body: &[u8]) -> Result<Said, ReadError> {
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|error| ReadError::garbage(format!("the answer is not one of PaLM: {error}")))?;
    if let Some(error) = answer.error {
        return Err(ReadError::Failed(gemini::failure_inside(error.get().as_bytes())));
    }
    let Some(Candidate { content, citations }) = answer.candidates.into_iter().next() else {
        // Filters say why there is none.
        return match answer.filters.is_empty() {
            true => Err(ReadError::garbage("the answer has neither candidates nor filters")),
            false => Ok(Said { stop: Some(StopReason::Refused), ..Said::default() }),
        };
    };
    let cited = |place: Place| {
        let at = place.start_index.unwrap_or(0);
        let place_of = place.end_index.map(|end| (at, end));
        Some(Citation { url: place.uri?, place: place_of, ..Citation::default() })
    };
    let citations = citations.citation_sources.into_iter().filter_map(cited).collect();
    Ok(Said { text: Some(content), citations, stop: Some(StopReason::End), ..Said::default() })
}

#[cfg(test)]
mod tests;
