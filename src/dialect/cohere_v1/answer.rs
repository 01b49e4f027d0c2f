//! Reads answers: one object whole, or lines of events, of which the last has the whole answer again.

use bytes::Bytes;
use penstock_actors::domain::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    conversation::{Citation, Delta, Reply, StopReason},
    dialect::{
        cohere,
        count::Count,
        pieces::CallPiece,
        said::{Progress, Said, filled},
        upstream::{FrameReader, ReadError},
    },
};

/// `NonStreamedChatResponse`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer<'a> {
    text: Option<String>,
    generation_id: Option<String>,
    response_id: Option<String>,
    finish_reason: Option<String>,
    #[serde(borrow)]
    tool_calls: Option<Vec<WireCall<'a>>>,
    citations: Option<Vec<WireCitation>>,
    documents: Option<Vec<Document>>,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct WireCall<'a> {
    name: String,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireCitation {
    start: u64,
    end: u64,
    #[serde(default)]
    document_ids: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Document {
    id: Option<String>,
    url: Option<String>,
    title: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    billed_units: Option<Tokens>,
    tokens: Option<Tokens>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Tokens {
    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
}

impl Meta {
    /// What was read and written, or where that is not told, what is billed.
    fn usage(self) -> Option<Usage> {
        let tokens = self.tokens.filter(|t| t.input_tokens.is_some()).or(self.billed_units)?;
        tokens.input_tokens.or(tokens.output_tokens)?;
        let count = |told: Option<Count>| told.unwrap_or_default().get();
        let (input, output) = (count(tokens.input_tokens), count(tokens.output_tokens));
        Some(Usage { input, output, ..Usage::default() })
    }
}

/// Those of an answer's citations whose documents have an address.
fn cited(citations: Option<Vec<WireCitation>>, documents: &[Document]) -> Vec<Citation> {
    let of = |citation: WireCitation| {
        let WireCitation { start, end, document_ids } = citation;
        let known = |id: &str| documents.iter().find(|document| document.id.as_deref() == Some(id));
        let document = document_ids.iter().find_map(|id| known(id).filter(|d| d.url.is_some()))?;
        let (url, title) = (document.url.clone()?, document.title.clone());
        Some(Citation { url, title, quote: None, place: Some((start, end)) })
    };
    citations.into_iter().flatten().filter_map(of).collect()
}

/// Reads a `finish_reason`; errors are none of an answer that is complete.
fn stop_reason(word: &str) -> Result<StopReason, ReadError> {
    match word {
        // The context's limit: the longest answer that there could be.
        "ERROR_LIMIT" => Ok(StopReason::Length),
        word => cohere::stop_reason(word),
    }
}

fn call(wire: WireCall<'_>, index: Option<u64>) -> CallPiece {
    let arguments = wire.parameters.map_or("{}", RawValue::get).to_owned();
    CallPiece { index, id: None, name: Some(wire.name), arguments: Some(arguments) }
}

/// Reads a whole answer.
///
/// # Errors
/// [`ReadError`] where it is an error, or none.
pub(super) fn read_whole(body: &[u8]) -> Result<Reply, ReadError> {
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|error| ReadError::garbage(format!("the answer is not one of Cohere's chat: {error}")))?;
    let (text, finish_reason) = (answer.text, answer.finish_reason);
    if text.is_none() && answer.tool_calls.is_none() {
        return Err(ReadError::garbage("the answer has neither text nor tool calls"));
    }
    let stop = finish_reason.as_deref().map(stop_reason).transpose()?;
    let calls: Vec<_> =
        answer.tool_calls.into_iter().flatten().zip(0..).map(|(wire, n)| call(wire, Some(n))).collect();
    // Beside calls, the text is the plan that leads to them.
    let (thinking, text) = if calls.is_empty() { (None, text) } else { (text, None) };
    let citations = cited(answer.citations, &answer.documents.unwrap_or_default());
    let usage = answer.meta.and_then(Meta::usage);
    let id = answer.generation_id.or(answer.response_id);
    Ok(Said { id, thinking, text, citations, calls, usage, stop }.into())
}

#[derive(Deserialize)]
struct Line<'a> {
    event_type: Option<String>,
    generation_id: Option<String>,
    text: Option<String>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<WireCall<'a>>>,
    tool_call_delta: Option<CallDelta>,
    citations: Option<Vec<WireCitation>>,
    documents: Option<Vec<Document>>,
    finish_reason: Option<String>,
    #[serde(borrow)]
    response: Option<Answer<'a>>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct CallDelta {
    name: Option<String>,
    index: Option<f64>,
    parameters: Option<String>,
    text: Option<String>,
}

/// Documents of one event that are remembered.
const MOST_DOCUMENTS: usize = 256;

/// Reads the lines of one answer.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: bool,
    progress: Progress,
    /// Whether the calls came piece by piece, so that their repetition is none of new ones.
    in_pieces: bool,
    /// What a search found.
    documents: Vec<Document>,
}

impl FrameReader for Lines {
    fn frame(&mut self, line: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        if self.progress.is_over() {
            return Ok(());
        }
        let line: Line<'_> = serde_json::from_slice(line)
            .map_err(|error| ReadError::garbage(format!("a line is malformed: {error}")))?;
        let Some(kind) = line.event_type.as_deref() else {
            // What refuses a request may come with a good status.
            let message =
                filled(line.message).ok_or_else(|| ReadError::garbage("a line without event_type"))?;
            return Err(ReadError::Failed(cohere::trouble(500, &message).failure(None, Some(message))));
        };
        if kind != "stream-start" && !self.begun {
            return Err(ReadError::garbage("the stream does not begin with stream-start"));
        }
        let mut said = Said::default();
        match kind {
            "stream-start" => {
                if std::mem::replace(&mut self.begun, true) {
                    return Err(ReadError::garbage("a second stream-start"));
                }
                said.id = line.generation_id;
            }
            "text-generation" => said.text = line.text,
            "tool-calls-chunk" => {
                self.in_pieces = true;
                said.thinking = line.text;
                if let Some(CallDelta { name, index, parameters, text }) = line.tool_call_delta {
                    said.thinking = said.thinking.or(text);
                    let index = index.map(|n| n.clamp(0.0, 1e6) as u64);
                    if name.is_some() || parameters.is_some() {
                        said.calls.push(CallPiece { index, id: None, name, arguments: parameters });
                    }
                }
            }
            "tool-calls-generation" if !self.in_pieces => {
                said.thinking = line.text;
                let calls = line.tool_calls.into_iter().flatten().zip(0..);
                said.calls = calls.map(|(wire, n)| call(wire, Some(n))).collect();
            }
            "search-results" => {
                self.documents.extend(line.documents.into_iter().flatten().take(MOST_DOCUMENTS));
            }
            "citation-generation" => {
                said.citations = cited(line.citations, &self.documents);
            }
            "stream-end" => {
                said.usage = line.response.and_then(|answer| answer.meta).and_then(Meta::usage);
                said.stop = Some(stop_reason(&line.finish_reason.unwrap_or_default())?);
            }
            // Search queries, and what future versions add.
            _ => {}
        }
        self.progress.tell(said, out)
    }

    fn end(&mut self, _tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("the stream ended before stream-end"))
    }
}
