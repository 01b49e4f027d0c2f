//! Reads a stream of events and passes them through, the model's name replaced.

use bytes::{Bytes, BytesMut};
use penstock_actors::domain::Usage;
use serde_json::value::RawValue;

use super::json_string;
use crate::{
    dialect::{AnswerEvent, AnswerReader, Failure, Garbage, StreamForm, spoken::Speech},
    wire::sse::{self, SseFramer},
};

/// What a dialect recognises in the events of its streams.
pub trait Recognise {
    /// Under which keys of an event's data the model's words stand.
    const TEXTS: &'static [&'static str];

    /// Looks at one event, by its name and its data.
    fn event(&mut self, name: &[u8], data: &[u8]) -> Seen;

    /// Whether the answer is complete if the body ends here.
    fn may_end(&self) -> bool {
        false
    }

    /// The last words to the client of an answer that cannot go on.
    fn last_words(&mut self, failure: &Failure, call_id: &str) -> Bytes;
}

/// What was seen in an event.
#[derive(Debug, Default)]
pub struct Seen {
    /// Where the model's name stands in the data, as a JSON string.
    pub model: Option<std::ops::Range<usize>>,
    /// What was consumed so far, in all.
    pub usage: Option<Usage>,
    /// Whether the answer ends with it.
    pub end: Option<End>,
}

/// How an event ends an answer.
#[derive(Debug)]
pub enum End {
    /// It is complete; the event is the last.
    Done,
    /// It failed; the event is not for the client.
    Failed(Failure),
}

/// Where a value that was read out of `data` stands in it.
pub fn place_in(data: &[u8], raw: &RawValue) -> Option<std::ops::Range<usize>> {
    let start = (raw.get().as_ptr() as usize).checked_sub(data.as_ptr() as usize)?;
    let end = start + raw.get().len();
    (end <= data.len()).then_some(start..end)
}

/// See the module's sentence.
pub struct PassingStream<R> {
    framer: SseFramer,
    recognise: R,
    /// The client's name for the model, as a JSON string.
    model: Bytes,
    form: StreamForm,
    /// Elements of the array so far, where the client wants one.
    elements: u64,
    speech: Speech,
    over: bool,
}

impl<R: Recognise> PassingStream<R> {
    /// Makes a reader whose events name `model` and hold at most `cap` bytes.
    pub fn new(recognise: R, model: &str, form: StreamForm, cap: usize) -> Self {
        let (framer, model) = (SseFramer::new(cap), json_string(model));
        Self { framer, recognise, model, form, elements: 0, speech: Speech::new(R::TEXTS), over: false }
    }

    fn frame(&mut self, frame: Bytes, out: &mut Vec<AnswerEvent>) {
        if self.over {
            return;
        }
        let event = sse::parse(&frame);
        let Some(data) = event.data.filter(|data| !data.is_empty()) else {
            if self.form == StreamForm::Events {
                out.push(AnswerEvent::Aside(frame));
            }
            return;
        };
        let seen = self.recognise.event(event.event, &data);
        out.extend(seen.usage.map(AnswerEvent::Usage));
        if let Some(End::Failed(failure)) = seen.end {
            self.over = true;
            out.push(AnswerEvent::Failed(failure));
            return;
        }
        let place = seen.model.filter(|place| data[place.clone()] != self.model[..]);
        self.speech.hear(&data);
        let bytes = match (self.form, place) {
            (StreamForm::Events, None) => frame.clone(),
            (StreamForm::Events, Some(place)) => sse::rewritten(&frame, &data, place, &self.model),
            (StreamForm::Array, place) => self.element(&data, place),
        };
        out.push(AnswerEvent::Bytes(bytes));
        if matches!(seen.end, Some(End::Done)) {
            self.end(out);
        }
    }

    fn element(&mut self, data: &[u8], place: Option<std::ops::Range<usize>>) -> Bytes {
        let mut element = BytesMut::with_capacity(data.len() + 16);
        element.extend_from_slice(if self.elements == 0 { b"[" } else { b",\r\n" });
        self.elements += 1;
        match place {
            Some(place) => {
                element.extend_from_slice(&data[..place.start]);
                element.extend_from_slice(&self.model);
                element.extend_from_slice(&data[place.end..]);
            }
            None => element.extend_from_slice(data),
        }
        element.freeze()
    }

    fn end(&mut self, out: &mut Vec<AnswerEvent>) {
        self.over = true;
        if self.form == StreamForm::Array {
            out.push(AnswerEvent::Bytes(Bytes::from_static(if self.elements == 0 { b"[]" } else { b"]" })));
        }
        out.push(AnswerEvent::Done);
    }
}

impl<R: Recognise> AnswerReader for PassingStream<R> {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        let mut framer = std::mem::replace(&mut self.framer, SseFramer::new(0));
        let pushed = framer.push(chunk, |frame| self.frame(frame, out));
        self.framer = framer;
        pushed.map_err(|e| Garbage(format!("The provider's stream cannot be read: {e}.")))
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        if !self.over && self.recognise.may_end() {
            self.end(out);
        }
        match self.over {
            true => Ok(()),
            false => Err(Garbage("The provider's stream ended before the answer did.".to_owned())),
        }
    }

    fn tokens(&self) -> Option<u64> {
        Some(self.speech.tokens())
    }

    fn last_words(&mut self, failure: &Failure, call_id: &str) -> Option<Bytes> {
        let words = self.recognise.last_words(failure, call_id);
        Some(match self.form {
            StreamForm::Events => words,
            StreamForm::Array => {
                let data = sse::parse(&words).data.unwrap_or_default().into_owned();
                [&self.element(&data, None)[..], b"]"].concat().into()
            }
        })
    }
}
