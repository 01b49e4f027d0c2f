//! Reads an answer that is one JSON body and passes it through, its model name replaced.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use penstock_actors::domain::Usage;

use crate::{
    dialect::{AnswerEvent, AnswerReader, Failure, Framing, Garbage},
    wire::json::{JsonError, Kind, Scanner, Skim, Watch},
};

/// Where a dialect's whole answers say what must be known.
#[derive(Debug)]
pub struct Shape {
    /// Its fields `model` and `error`.
    pub watches: &'static [Watch],
    /// The field with the model's name.
    pub model: &'static str,
    /// What stands before the name: Gemini's `models/`.
    pub prefix: &'static str,
    /// The key of the usage object, in quotes.
    pub usage_key: &'static str,
    /// Reads the usage object, which bytes may follow.
    pub usage: fn(&[u8]) -> Option<Usage>,
    /// Explains the value of `error`.
    pub failure: fn(&[u8]) -> Failure,
}

/// The model name stands near an answer's start, but for embeddings; beyond this, bytes in front of it pass.
const LONGEST_WAIT: usize = 64 << 10;
/// Bytes scanned at a time until the model name is found.
const PIECE: usize = 64;
/// Usage stands near an answer's end; this many bytes are kept to find it.
const TAIL: usize = 16 << 10;

/// See the module's sentence.
pub struct WholeReader {
    shape: &'static Shape,
    /// The client's name for the model, as a JSON string.
    model: Bytes,
    framing: Framing,
    state: State,
    /// The answer's last bytes, at least [`TAIL`] of them once there are so many.
    tail: Vec<u8>,
}

enum State {
    /// The model name is not found yet. What is held begins at byte `from` of the answer.
    Looking { scanner: Box<Scanner>, held: BytesMut, from: u64 },
    /// It is; what follows passes unread, but for the answer's end where the framing does not tell it.
    Passing(Option<Skim>),
    /// An error was found; nothing is let through.
    Failed,
}

/// What a scan of more bytes says.
enum Found {
    Nothing,
    Error(Failure),
    /// Where the model's value stands, if it is not ours already.
    Model(Option<Range<u64>>),
}

impl WholeReader {
    /// Makes a reader whose answers name `model`.
    pub fn new(shape: &'static Shape, model: &str, framing: Framing) -> Self {
        let scanner = Box::new(Scanner::new(shape.watches));
        let state = State::Looking { scanner, held: BytesMut::new(), from: 0 };
        Self {
            shape,
            model: json_string(&format!("{}{model}", shape.prefix)),
            framing,
            state,
            tail: Vec::new(),
        }
    }

    fn keep_tail(&mut self, chunk: &[u8]) {
        if self.tail.len() > TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
        self.tail.extend_from_slice(&chunk[chunk.len().saturating_sub(TAIL)..]);
    }

    /// The last usage object of the answer.
    fn usage(&self) -> Option<Usage> {
        let key = self.shape.usage_key.as_bytes();
        memmem::rfind_iter(&self.tail, key).find_map(|at| {
            (self.shape.usage)(self.tail[at + key.len()..].trim_ascii_start().strip_prefix(b":")?)
        })
    }
}

/// Scans until the model name is found, and no further.
fn look(
    shape: &Shape,
    scanner: &mut Scanner,
    chunk: &[u8],
    wanted: &[u8],
) -> Result<(Found, usize), JsonError> {
    let mut read = 0;
    for piece in chunk.chunks(PIECE) {
        scanner.push(piece)?;
        read += piece.len();
        if let Some(error) = scanner.field("error")
            && error.kind != Kind::Null
        {
            return Ok((Found::Error((shape.failure)(&error.raw)), read));
        }
        if let Some(field) = scanner.field(shape.model) {
            let other = field.kind == Kind::String && field.raw != wanted;
            return Ok((Found::Model(other.then_some(field.start..field.end)), read));
        }
    }
    Ok((Found::Nothing, read))
}

/// A text as a JSON string.
pub(in crate::dialect) fn json_string(text: &str) -> Bytes {
    serde_json::to_vec(text).unwrap_or_default().into()
}

impl AnswerReader for WholeReader {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        self.keep_tail(&chunk);
        let (scanner, held, from) = match &mut self.state {
            State::Failed => return Ok(()),
            State::Passing(skim) => {
                if let Some(skim) = skim {
                    skim.push(&chunk);
                }
                out.push(AnswerEvent::Bytes(chunk));
                return Ok(());
            }
            State::Looking { scanner, held, from } => (scanner, held, from),
        };
        let (found, read) = look(self.shape, scanner, &chunk, &self.model)
            .map_err(|error| Garbage(format!("The provider's answer is not JSON: {error}.")))?;
        let skim = (self.framing == Framing::UntilClose).then(|| {
            let mut skim = scanner.skim();
            skim.push(&chunk[read..]);
            skim
        });
        match found {
            Found::Error(failure) => {
                self.state = State::Failed;
                out.push(AnswerEvent::Failed(failure));
                return Ok(());
            }
            Found::Model(Some(place)) => {
                held.extend_from_slice(&chunk);
                let (start, end) = ((place.start - *from) as usize, (place.end - *from) as usize);
                let edited = [&held[..start], &self.model, &held[end..]].concat();
                out.push(AnswerEvent::Bytes(edited.into()));
            }
            Found::Nothing => {
                held.extend_from_slice(&chunk);
                if held.len() > LONGEST_WAIT {
                    let passes = scanner.open_from().unwrap_or(scanner.len()) - *from;
                    *from += passes;
                    out.push(AnswerEvent::Bytes(held.split_to(passes as usize).freeze()));
                }
                return Ok(());
            }
            Found::Model(None) => {
                if !held.is_empty() {
                    out.push(AnswerEvent::Bytes(std::mem::take(held).freeze()));
                }
                out.push(AnswerEvent::Bytes(chunk));
            }
        }
        self.state = State::Passing(skim);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        let complete = match &mut self.state {
            State::Failed => return Ok(()),
            State::Passing(skim) => skim.as_ref().is_none_or(Skim::is_complete),
            State::Looking { scanner, held, .. } => {
                out.extend((!held.is_empty()).then(|| AnswerEvent::Bytes(std::mem::take(held).freeze())));
                scanner.is_complete()
            }
        };
        if !complete {
            return Err(Garbage("The provider's answer ends in the middle.".to_owned()));
        }
        out.extend(self.usage().map(AnswerEvent::Usage));
        out.push(AnswerEvent::Done);
        Ok(())
    }
}

/// Reads JSON that came instead of a stream: only an error in it is of use.
pub struct ErrorReader {
    shape: &'static Shape,
    scanner: Scanner,
    read: usize,
    /// What is wrong with anything else.
    otherwise: Failure,
}

/// An error is looked for in this many bytes.
const LONGEST_ERROR: usize = 64 << 10;

impl ErrorReader {
    /// Makes a reader that always fails: with the error that it finds, or with `otherwise`.
    pub fn new(shape: &'static Shape, otherwise: Failure) -> Self {
        Self { shape, scanner: Scanner::new(shape.watches), read: 0, otherwise }
    }
}

impl AnswerReader for ErrorReader {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        self.read += chunk.len();
        if self.read > LONGEST_ERROR || self.scanner.push(&chunk).is_err() {
            out.push(AnswerEvent::Failed(self.otherwise.clone()));
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        let error =
            self.scanner.field("error").filter(|e| e.kind != Kind::Null && self.scanner.is_complete());
        out.push(AnswerEvent::Failed(match error {
            Some(error) => (self.shape.failure)(&error.raw),
            None => self.otherwise.clone(),
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use penstock_actors::domain::Usage;

    use super::*;
    use crate::dialect::openai::WHOLE;

    const ANSWER: &str = "{\"id\":\"x\",\"model\":\"up-2024\",\"choices\":[{\"message\":{\"model\":\"no\"}}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2},\"extra\":[1]}";

    fn read(parts: &[&[u8]], model: &str) -> Result<(String, Vec<AnswerEvent>), Garbage> {
        let mut reader = WholeReader::new(&WHOLE, model, Framing::UntilClose);
        let mut out = Vec::new();
        for part in parts {
            reader.push(Bytes::copy_from_slice(part), &mut out)?;
        }
        reader.finish(&mut out)?;
        let (bytes, rest): (Vec<_>, Vec<_>) =
            out.into_iter().partition(|e| matches!(e, AnswerEvent::Bytes(_)));
        let bytes =
            bytes.into_iter().flat_map(|e| if let AnswerEvent::Bytes(b) = e { b.to_vec() } else { vec![] });
        Ok((String::from_utf8(bytes.collect()).expect("text"), rest))
    }

    #[test]
    fn only_the_model_name_changes_wherever_the_answer_is_cut() {
        let wanted = ANSWER.replace("up-2024", "mine");
        let usage = Usage { input: 3, output: 2, ..Usage::default() };
        let bytes = ANSWER.as_bytes();
        for cut in 0..=bytes.len() {
            let (text, rest) = read(&[&bytes[..cut], &bytes[cut..]], "mine").expect("an answer");
            assert_eq!(text, wanted, "cut at {cut}");
            assert_eq!(rest, [AnswerEvent::Usage(usage), AnswerEvent::Done]);
        }
    }

    #[test]
    fn an_answer_that_ends_early_is_garbage_at_every_byte() {
        for end in 0..ANSWER.len() {
            assert!(read(&[&ANSWER.as_bytes()[..end]], "mine").is_err(), "ends at {end}");
        }
    }

    #[test]
    fn an_error_inside_a_good_status_is_a_failure() {
        let mut out = Vec::new();
        let mut reader = WholeReader::new(&WHOLE, "m", Framing::Framed);
        reader
            .push(Bytes::from_static(b"{\"error\":{\"message\":\"no\",\"code\":429}}"), &mut out)
            .expect("json");
        assert!(
            matches!(&out[..], [AnswerEvent::Failed(f)] if f.status == 429 && f.message == "no"),
            "{out:?}"
        );
    }

    #[test]
    fn a_model_name_behind_much_data_is_replaced_wherever_the_answer_is_cut() {
        let data = "0.25,".repeat(40_000);
        let answer =
            format!("{{\"data\":[{data}1],\"model\":\"up-2024\",\"usage\":{{\"prompt_tokens\":3}}}}");
        let wanted = answer.replace("up-2024", "mine");
        let at = answer.find("up-2024").expect("there");
        for cut in (at - 12..at + 12).chain([10, 70_000]) {
            let (left, right) = answer.as_bytes().split_at(cut);
            let parts: Vec<&[u8]> = left.chunks(8192).chain(right.chunks(8192)).collect();
            let (text, rest) = read(&parts, "mine").expect("an answer");
            assert!(text == wanted, "cut at {cut}");
            assert_eq!(rest.len(), 2, "usage and the end");
        }
    }

    #[test]
    fn html_is_garbage() {
        assert!(read(&[b"<html>busy</html>"], "m").is_err());
    }
}
