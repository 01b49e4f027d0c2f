//! Reads an OpenAI answer that is one JSON body and passes it through, its model name replaced.

use bytes::{Bytes, BytesMut};

use super::{failure_inside, usage};
use crate::{
    provider::{AnswerEvent, AnswerReader, Failure, Garbage},
    wire::json::{Kind, Scanner, Watch},
};

const ANSWER: &[Watch] = &[
    Watch { name: "model", keep: 1024 },
    Watch { name: "error", keep: 16384 },
    Watch { name: "usage", keep: 8192 },
];

/// The model name stands near an answer's start; after this many bytes it is not waited for.
const LONGEST_WAIT: usize = 64 << 10;

/// See the module's sentence.
pub struct WholeReader {
    /// The client's name for the model, as a JSON string.
    model: Bytes,
    scan: Scan,
    /// Bytes before the model name is found.
    held: BytesMut,
    passing: bool,
}

enum Scan {
    On(Box<Scanner>),
    /// The answer is not strict JSON; what was let through goes on unread.
    GivenUp,
}

impl WholeReader {
    /// Makes a reader whose answers name `model`.
    pub fn new(model: &str) -> Self {
        Self {
            model: json_string(model),
            scan: Scan::On(Box::new(Scanner::new(ANSWER))),
            held: BytesMut::new(),
            passing: false,
        }
    }
}

/// A text as a JSON string.
pub(super) fn json_string(text: &str) -> Bytes {
    serde_json::to_vec(text).unwrap_or_default().into()
}

impl AnswerReader for WholeReader {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        let Scan::On(scanner) = &mut self.scan else {
            out.push(AnswerEvent::Bytes(chunk));
            return Ok(());
        };
        if let Err(error) = scanner.push(&chunk) {
            if !self.passing && scanner.field("model").is_none() {
                return Err(Garbage(format!("The provider's answer is not JSON: {error}.")));
            }
            self.scan = Scan::GivenUp;
            let held = std::mem::take(&mut self.held);
            out.extend((!held.is_empty()).then(|| AnswerEvent::Bytes(held.freeze())));
            out.push(AnswerEvent::Bytes(chunk));
            return Ok(());
        }
        if let Some(error) = scanner.field("error")
            && error.kind != Kind::Null
            && !self.passing
        {
            out.push(AnswerEvent::Failed(failure_inside(&error.raw)));
            return Ok(());
        }
        if self.passing {
            out.push(AnswerEvent::Bytes(chunk));
            return Ok(());
        }
        match scanner.field("model") {
            Some(field) if field.kind != Kind::String || field.raw == self.model => {
                self.passing = true;
                release(&mut self.held, chunk, out);
            }
            Some(field) => {
                self.passing = true;
                let (start, end) = (field.start as usize, field.end as usize);
                self.held.extend_from_slice(&chunk);
                let mut edited = BytesMut::with_capacity(self.held.len() + self.model.len());
                edited.extend_from_slice(&self.held[..start]);
                edited.extend_from_slice(&self.model);
                edited.extend_from_slice(&self.held[end..]);
                self.held = BytesMut::new();
                out.push(AnswerEvent::Bytes(edited.freeze()));
            }
            None if self.held.len() + chunk.len() > LONGEST_WAIT => {
                self.passing = true;
                release(&mut self.held, chunk, out);
            }
            None => self.held.extend_from_slice(&chunk),
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        let held = std::mem::take(&mut self.held);
        if let Scan::On(scanner) = &self.scan {
            if !scanner.is_complete() {
                return Err(Garbage("The provider's answer ends in the middle.".to_owned()));
            }
            out.extend(scanner.field("usage").and_then(|f| usage(&f.raw)).map(AnswerEvent::Usage));
        }
        out.extend((!held.is_empty()).then(|| AnswerEvent::Bytes(held.freeze())));
        out.push(AnswerEvent::Done);
        Ok(())
    }
}

/// Reads JSON that came instead of a stream: only an error in it is of use.
pub struct ErrorReader {
    scanner: Scanner,
    read: usize,
    /// What is wrong with anything else.
    otherwise: Failure,
}

/// An error is looked for in this many bytes.
const LONGEST_ERROR: usize = 64 << 10;

impl ErrorReader {
    /// Makes a reader that always fails: with the error that it finds, or with `otherwise`.
    pub fn new(otherwise: Failure) -> Self {
        Self { scanner: Scanner::new(ANSWER), read: 0, otherwise }
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
            Some(error) => failure_inside(&error.raw),
            None => self.otherwise.clone(),
        }));
        Ok(())
    }
}

fn release(held: &mut BytesMut, chunk: Bytes, out: &mut Vec<AnswerEvent>) {
    if !held.is_empty() {
        out.push(AnswerEvent::Bytes(std::mem::take(held).freeze()));
    }
    out.push(AnswerEvent::Bytes(chunk));
}

#[cfg(test)]
mod tests {
    use penstock_actors::domain::Usage;

    use super::*;

    const ANSWER: &str = "{\"id\":\"x\",\"model\":\"up-2024\",\"choices\":[{\"message\":{\"model\":\"no\"}}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2},\"extra\":[1]}";

    fn read(parts: &[&[u8]], model: &str) -> Result<(String, Vec<AnswerEvent>), Garbage> {
        let mut reader = WholeReader::new(model);
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
        let mut reader = WholeReader::new("m");
        reader
            .push(Bytes::from_static(b"{\"error\":{\"message\":\"no\",\"code\":429}}"), &mut out)
            .expect("json");
        assert!(
            matches!(&out[..], [AnswerEvent::Failed(f)] if f.status == 429 && f.message == "no"),
            "{out:?}"
        );
    }

    #[test]
    fn html_is_garbage() {
        assert!(read(&[b"<html>busy</html>"], "m").is_err());
    }
}
