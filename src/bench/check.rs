//! Whether an answer says what it must: every frame read, the content in order, a proper end. No I/O.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::sse::{SseFramer, parse};

/// Longest event of a stream, in bytes.
const LONGEST_EVENT: usize = 64 << 20;
/// Bytes of an error that are repeated.
const QUOTED: usize = 200;

/// What is wrong with an answer of status 200.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// A body or frame that is no JSON of the expected shape.
    #[error("not a chat completion")]
    Shape,
    /// An event that tells of an error.
    #[error("an error event in the stream")]
    ErrorEvent(String),
    /// Other content than was to come at this place.
    #[error("other content than expected")]
    Content,
    /// Fewer or more words than were asked for.
    #[error("content that stops early")]
    Short,
    /// No content at all.
    #[error("no content")]
    Empty,
    /// No reason why the answer ended.
    #[error("no finish_reason")]
    NoFinish,
    /// Content after the finish reason.
    #[error("content after the finish_reason")]
    AfterFinish,
    /// A stream without `[DONE]`.
    #[error("a stream without [DONE]")]
    NoDone,
    /// Events after `[DONE]`.
    #[error("events after [DONE]")]
    AfterDone,
    /// Bytes after the last blank line.
    #[error("half an event at the end")]
    HalfEvent,
    /// An event that does not end.
    #[error("an event of more than 64 MiB")]
    TooLong,
}

impl Wrong {
    /// What the provider said, where it said something.
    pub fn said(&self) -> Option<&str> {
        match self {
            Self::ErrorEvent(said) => Some(said),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Chunk<'c> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'c>>>,
    #[serde(borrow, default)]
    error: Option<&'c RawValue>,
}

#[derive(Deserialize)]
struct Choice<'c> {
    #[serde(default)]
    index: u32,
    #[serde(borrow, default, alias = "message")]
    delta: Option<Said<'c>>,
    #[serde(borrow, default)]
    finish_reason: Option<&'c RawValue>,
}

/// A delta of a stream or a whole message.
#[derive(Default, Deserialize)]
struct Said<'c> {
    #[serde(default)]
    content: Option<String>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'c RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'c RawValue>,
}

impl Said<'_> {
    fn says_something(&self) -> bool {
        let some =
            |raw: &Option<&RawValue>| raw.is_some_and(|raw| !matches!(raw.get(), "\"\"" | "null" | "[]"));
        self.content.as_ref().is_some_and(|text| !text.is_empty())
            || some(&self.reasoning_content)
            || some(&self.tool_calls)
    }
}

/// Checks a chat completion that came whole; `expected` is its text where that is known.
///
/// # Errors
/// [`Wrong`].
pub fn whole(body: &[u8], expected: Option<&str>) -> Result<(), Wrong> {
    let chunk: Chunk<'_> = serde_json::from_slice(body).map_err(|_| Wrong::Shape)?;
    if let Some(error) = chunk.error.filter(|error| error.get() != "null") {
        return Err(Wrong::ErrorEvent(quote(error.get())));
    }
    let choice = chunk.choices.and_then(|choices| choices.into_iter().next()).ok_or(Wrong::Shape)?;
    let said = choice.delta.ok_or(Wrong::Shape)?;
    if !said.says_something() {
        return Err(Wrong::Empty);
    }
    if choice.finish_reason.is_none() {
        return Err(Wrong::NoFinish);
    }
    match (expected, said.content) {
        (Some(expected), Some(text)) if text == expected => Ok(()),
        (Some(expected), Some(text)) if expected.starts_with(&text) => Err(Wrong::Short),
        (Some(_), _) => Err(Wrong::Content),
        (None, _) => Ok(()),
    }
}

/// Checks a stream while it comes.
#[derive(Debug)]
pub struct StreamCheck<'e> {
    framer: SseFramer,
    expected: Option<&'e str>,
    /// Bytes of the content so far.
    at: usize,
    has_content: bool,
    has_finished: bool,
    is_done: bool,
    events: u64,
}

impl<'e> StreamCheck<'e> {
    /// Begins a stream; `expected` is its text where that is known.
    pub fn new(expected: Option<&'e str>) -> Self {
        Self {
            framer: SseFramer::new(LONGEST_EVENT),
            expected,
            at: 0,
            has_content: false,
            has_finished: false,
            is_done: false,
            events: 0,
        }
    }

    /// Takes the next bytes; gives how many events with content they completed.
    ///
    /// # Errors
    /// [`Wrong`] at the first event that cannot be.
    pub fn push(&mut self, bytes: Bytes) -> Result<u32, Wrong> {
        let mut framer = std::mem::replace(&mut self.framer, SseFramer::new(0));
        let (mut tokens, mut wrong) = (0, None);
        let pushed = framer.push(bytes, |frame| {
            if wrong.is_none() {
                match self.event(&frame) {
                    Ok(has_content) => tokens += u32::from(has_content),
                    Err(error) => wrong = Some(error),
                }
            }
        });
        self.framer = framer;
        match (wrong, pushed) {
            (Some(wrong), _) => Err(wrong),
            (None, Err(_)) => Err(Wrong::TooLong),
            (None, Ok(())) => Ok(tokens),
        }
    }

    /// Says that the stream has ended as its framing has it.
    ///
    /// # Errors
    /// [`Wrong`] where something was still to come.
    pub fn finish(mut self) -> Result<(), Wrong> {
        match self.expected {
            _ if !self.framer.finish().is_empty() => Err(Wrong::HalfEvent),
            _ if !self.is_done => Err(Wrong::NoDone),
            _ if !self.has_finished => Err(Wrong::NoFinish),
            _ if !self.has_content => Err(Wrong::Empty),
            Some(expected) if self.at < expected.len() => Err(Wrong::Short),
            _ => Ok(()),
        }
    }

    /// Events with data so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Takes one event; tells whether it had content.
    fn event(&mut self, frame: &[u8]) -> Result<bool, Wrong> {
        let event = parse(frame);
        let Some(data) = event.data else { return Ok(false) };
        self.events += 1;
        if self.is_done {
            return Err(Wrong::AfterDone);
        }
        if &data[..] == b"[DONE]" {
            self.is_done = true;
            return Ok(false);
        }
        let chunk: Chunk<'_> = serde_json::from_slice(&data).map_err(|_| Wrong::Shape)?;
        if let Some(error) = chunk.error.filter(|error| error.get() != "null") {
            return Err(Wrong::ErrorEvent(quote(error.get())));
        }
        let choices = chunk.choices.unwrap_or_default();
        // Of several choices only the first is followed.
        let Some(choice) = choices.into_iter().find(|choice| choice.index == 0) else { return Ok(false) };
        let said = choice.delta.unwrap_or_default();
        let says_something = said.says_something();
        if says_something && self.has_finished {
            return Err(Wrong::AfterFinish);
        }
        if let (Some(expected), Some(text)) = (self.expected, &said.content) {
            if !expected.get(self.at..).is_some_and(|rest| rest.starts_with(text.as_str())) {
                return Err(Wrong::Content);
            }
            self.at += text.len();
        }
        self.has_content |= says_something;
        self.has_finished |= choice.finish_reason.is_some_and(|reason| reason.get() != "null");
        Ok(says_something)
    }
}

fn quote(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn says(text: &str) -> String {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
        )
    }

    fn stream(text: &str, expected: Option<&str>) -> Result<u32, Wrong> {
        let mut outcomes = Vec::new();
        for cut in 0..=text.len() {
            let mut check = StreamCheck::new(expected);
            let (left, right) = text.as_bytes().split_at(cut);
            let mut run = || {
                let tokens = check.push(Bytes::copy_from_slice(left))?;
                Ok::<_, Wrong>(tokens + check.push(Bytes::copy_from_slice(right))?)
            };
            outcomes.push(run().and_then(|tokens| check.finish().map(|()| tokens)));
        }
        assert!(outcomes.iter().all(|one| *one == outcomes[0]), "wherever it is cut: {outcomes:?}");
        outcomes[0].clone()
    }

    #[test]
    fn a_stream_is_followed_to_its_end() {
        let good = format!(": hi\n\n{}{}{END}{DONE}", says("one"), says(" two"));
        assert_eq!(stream(&good, Some("one two")), Ok(2));
        assert_eq!(stream(&good, None), Ok(2));
        let usage = "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n";
        assert_eq!(stream(&format!("{}{END}{usage}{DONE}", says("x")), None), Ok(1));
    }

    #[test]
    fn each_fault_of_a_stream_has_its_name() {
        let (one, two) = (says("one"), says(" two"));
        for (text, wrong) in [
            (format!("{two}{one}{END}{DONE}"), Wrong::Content),
            (format!("{one}{END}{DONE}"), Wrong::Short),
            (format!("{one}{two}{two}{END}{DONE}"), Wrong::Content),
            (format!("{one}{two}{END}"), Wrong::NoDone),
            (format!("{one}{two}{DONE}"), Wrong::NoFinish),
            (format!("{one}{END}{two}{DONE}"), Wrong::AfterFinish),
            (format!("{one}{two}{END}{DONE}{one}"), Wrong::AfterDone),
            (format!("{one}{two}{END}{DONE}data: x"), Wrong::HalfEvent),
            (format!("{END}{DONE}"), Wrong::Empty),
            (format!("{one}data: {{\n\n"), Wrong::Shape),
            (format!("{one}data: {{\"error\":{{\"a\":1}}}}\n\n"), Wrong::ErrorEvent("{\"a\":1}".into())),
            (String::new(), Wrong::NoDone),
        ] {
            assert_eq!(stream(&text, Some("one two")), Err(wrong), "{text}");
        }
    }

    #[test]
    fn a_whole_answer_must_say_what_was_expected() {
        let body = |text: &str| {
            format!("{{\"choices\":[{{\"message\":{{\"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}]}}")
        };
        assert_eq!(whole(body("a b").as_bytes(), Some("a b")), Ok(()));
        assert_eq!(whole(body("a b").as_bytes(), None), Ok(()));
        assert_eq!(whole(body("a").as_bytes(), Some("a b")), Err(Wrong::Short));
        assert_eq!(whole(body("b a").as_bytes(), Some("a b")), Err(Wrong::Content));
        assert_eq!(whole(body("").as_bytes(), None), Err(Wrong::Empty));
        assert_eq!(whole(b"<html>", None), Err(Wrong::Shape));
        assert_eq!(whole(b"{\"choices\":[]}", None), Err(Wrong::Shape));
        assert_eq!(whole(b"{\"choices\":[{\"message\":{\"content\":\"x\"}}]}", None), Err(Wrong::NoFinish));
        assert_eq!(whole(b"{\"error\":{}}", None), Err(Wrong::ErrorEvent("{}".into())));
    }
}
