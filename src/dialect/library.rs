//! AI Proxy's library: `POST .../library/ask`, a question to a collection of documents, streamed in server-sent events.
//!
//! Its format is what One API knows of it (type 21). The documents that an answer rests on are its citations, and
//! stand below its text as a list of links.
//!
//! | field | what happens |
//! |---|---|
//! | tools, more than one candidate, log probabilities, shapes of answers, media | refused, with the parameter's name |
//! | instructions, and everything before the user's last message | left out: the library is asked one question |
//! | how tokens are drawn, limits, stop texts, reasoning, cache hints, user, service tier | left out: the API has none |
//! | any unknown field | passed on |

use bytes::Bytes;
use penstock_actors::domain::Delivery;
use serde::Deserialize;

use super::{
    AnswerHead, Failure,
    fields::ParamError,
    leftover,
    said::{self, Progress, Said},
    tree::object,
    trouble::{Trouble, unexplained},
    upstream::{DeltaReader, FrameReader, ReadError, SseReader, Upstream, Wanted, Written},
};
use crate::{
    conversation::{Citation, Conversation, Delta, Reply, Role, StopReason},
    wire::sse,
};

/// The dialect.
#[derive(Clone, Copy, Debug)]
pub struct Library;

impl Upstream for Library {
    fn write(&self, conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Written, ParamError> {
        Ok(Written { headers: Vec::new(), body: write(conversation, wanted)? })
    }

    fn reader(&self, longest: usize) -> Box<dyn DeltaReader> {
        Box::new(SseReader::new(Events::default(), longest))
    }

    fn read_whole(&self, body: &[u8]) -> Result<Reply, ReadError> {
        read_whole(body)
    }

    fn failure(&self, head: &AnswerHead<'_>, body: &[u8]) -> Failure {
        match serde_json::from_slice::<Answer>(body) {
            Ok(Answer { code: Some(code), message, .. }) if code != 0 => {
                said::refused(head, trouble(code), code.to_string(), message.unwrap_or_default())
            }
            _ => unexplained(head),
        }
    }
}

fn write(conversation: &Conversation, wanted: &Wanted<'_>) -> Result<Bytes, ParamError> {
    leftover::one_answer(conversation)?;
    leftover::no_logprobs(conversation)?;
    leftover::no_tools(conversation)?;
    leftover::no_format(conversation)?;
    let asked = conversation.messages.iter().rfind(|message| message.role == Role::User);
    let Some(asked) = asked else {
        return Err(ParamError::unsupported("messages", "must hold a question of the user's"));
    };
    let mut body = object([
        ("model", wanted.model.into()),
        ("query", leftover::text_of(&asked.parts, &asked.path)?.into()),
        ("libraryId", wanted.param("library_id").into()),
        ("stream", (wanted.delivery == Delivery::Stream).into()),
    ]);
    leftover::pass_on(conversation, &[], &mut body)?;
    Ok(body.to_bytes())
}

/// What a code is about, where it is a status.
fn trouble(code: i64) -> Option<Trouble> {
    let status = u16::try_from(code).ok().filter(|code| (400..600).contains(code))?;
    Some(Trouble::of_status(status))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    success: Option<bool>,
    answer: Option<String>,
    documents: Option<Vec<Document>>,
    #[serde(rename = "errCode")]
    code: Option<i64>,
    message: Option<String>,
    content: Option<String>,
    finish: bool,
}

#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default)]
    title: String,
    #[serde(default)]
    url: String,
}

impl Answer {
    fn read(body: &[u8]) -> Result<Self, ReadError> {
        let answer: Self = serde_json::from_slice(body)
            .map_err(|error| ReadError::garbage(format!("the answer is not one of a library: {error}")))?;
        let code = answer.code.unwrap_or(0);
        match answer.success == Some(false) || code != 0 {
            true => Err(said::failed(trouble(code), code.to_string(), answer.message.unwrap_or_default())),
            false => Ok(answer),
        }
    }
}

/// What is told of the documents: links below the text, each of which is the place of a citation; `before` counts
/// the characters that were said already.
fn told(text: String, documents: Option<Vec<Document>>, stop: Option<StopReason>, before: u64) -> Said {
    let mut all = Said { text: Some(text), stop, ..Said::default() };
    let documents = documents.into_iter().flatten().filter(|document| !document.url.is_empty());
    let text = all.text.get_or_insert_default();
    for (n, Document { title, url }) in documents.enumerate() {
        text.push_str(if n == 0 { "\n\n" } else { "\n" });
        text.push_str(&format!("{}. ", n + 1));
        let start = before + text.chars().count() as u64;
        // What ends a link's text is escaped.
        let shown = if title.is_empty() { &url } else { &title };
        let shown = shown.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]");
        text.push_str(&format!("[{shown}]({url})"));
        let place = Some((start, before + text.chars().count() as u64));
        let title = Some(title).filter(|title| !title.is_empty());
        all.citations.push(Citation { url, title, quote: None, place });
    }
    all
}

/// Turns the events of one answer into deltas.
#[derive(Debug, Default)]
struct Events {
    progress: Progress,
    /// The documents that were told last; they are listed at the end.
    documents: Option<Vec<Document>>,
    /// Characters that were said.
    said: u64,
}

impl FrameReader for Events {
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let Some(data) = sse::parse(frame).data.filter(|data| &data[..] != b"[DONE]") else { return Ok(()) };
        if self.progress.is_over() {
            return Ok(());
        }
        let answer = Answer::read(&data)?;
        self.documents = answer.documents.filter(|told| !told.is_empty()).or(self.documents.take());
        let text = answer.content.unwrap_or_default();
        let characters = text.chars().count() as u64;
        let said = match answer.finish {
            true => told(text, self.documents.take(), Some(StopReason::End), self.said),
            false => told(text, None, None, self.said),
        };
        self.said += characters;
        self.progress.tell(said, out)
    }

    fn end(&mut self, _tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("the stream ended before the event that says finish"))
    }
}

fn read_whole(body: &[u8]) -> Result<Reply, ReadError> {
    let answer = Answer::read(body)?;
    let text = answer.answer.ok_or_else(|| ReadError::garbage("the library gave no answer"))?;
    Ok(told(text, answer.documents, Some(StopReason::End), 0).into())
}

#[cfg(test)]
mod tests;
