//! Ollama's chat: `POST /api/chat`, streamed in JSON lines.
//!
//! It knows the format as `ollama` 0.6.3 (PyPI) types it.
//!
//! | field | what happens |
//! |---|---|
//! | more than one candidate, a tool that must be called, files, audio, remote pictures, tools that are no functions | refused, with the parameter's name |
//! | `tool_choice` "none" | the tools are left out |
//! | reasoning | `think`: a level for gpt-oss, else whether at all |
//! | cache hints, user, service tier | left out: hints |
//! | `keep_alive`, `think`, `options` and any other unknown field | passed on |

mod request;
mod stream;

use serde::Deserialize;

use super::{
    AnswerHead, Failure,
    fields::ParamError,
    json_lines::LineReader,
    media::Kind,
    trouble::{Trouble, unexplained},
    upstream::{DeltaReader, ReadError, Upstream, Wanted, Written},
};
use crate::conversation::{Conversation, Reply};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct Ollama;

impl Upstream for Ollama {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        Ok(Written { headers: Vec::new(), body: request::write(conversation, wanted)? })
    }

    /// The API fetches nothing.
    fn takes(&self, _kind: Kind, _url: &str) -> bool {
        false
    }

    fn stream_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(LineReader::new(stream::Lines::default(), longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        stream::read_whole(body)
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        match serde_json::from_slice::<Refusal>(body) {
            Ok(Refusal { error }) => trouble(head.status, &error).of_answer(head, None, Some(error)),
            Err(_) => unexplained(head),
        }
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

fn trouble(status: u16, error: &str) -> Trouble {
    let lower = error.to_ascii_lowercase();
    match status {
        // The server says the same of a model that it has not pulled with 400 in older versions.
        _ if lower.contains("not found") && lower.contains("model") => Trouble::NotFound,
        _ if lower.contains("server busy") || lower.contains("maximum pending requests") => {
            Trouble::Overloaded
        }
        500 if lower.contains("requires more system memory") => Trouble::Overloaded,
        status => Trouble::of_status(status),
    }
}

/// An error inside a stream, or with a good status.
fn failed(error: String) -> ReadError {
    ReadError::Failed(trouble(500, &error).failure(None, Some(error)))
}

#[cfg(test)]
mod tests;
