//! Readers of good answers: a provider's dialect in, the client's out.

mod whole;

use bytes::{Bytes, BytesMut};
use penstock_actors::domain::Usage;

use crate::{
    conversation::Delta,
    dialect::{
        DeltaReader, DeltaWriter, ReadError, Upstream, estimate,
        gemini::embed::{Texts, gemini_answer},
        wenxin::embed::{self as wenxin, Encoding},
    },
    provider::{AnswerEvent, AnswerReader, Failure, Garbage, Next},
};
pub(super) use whole::{Gathered, Heading, Whole};

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing came yet.
    Waiting,
    /// It has begun, so the provider may have worked on it.
    Begun,
    /// Complete or failed: what follows is padding.
    Over,
}

/// Reads a stream.
pub(super) struct Streamed {
    reader: Box<dyn DeltaReader>,
    writer: Box<dyn DeltaWriter>,
    deltas: Vec<Delta>,
    /// Tokens of what was said.
    tokens: u64,
    state: State,
    call_id: String,
}

impl Streamed {
    pub(super) fn new(reader: Box<dyn DeltaReader>, writer: Box<dyn DeltaWriter>, call_id: &str) -> Self {
        let call_id = call_id.to_owned();
        Self { reader, writer, deltas: Vec::new(), tokens: 0, state: State::Waiting, call_id }
    }

    /// Writes the deltas that were read, then says what ended the reading, if anything did.
    fn digest(&mut self, read: Result<(), ReadError>, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        let mut written = BytesMut::new();
        for mut delta in self.deltas.drain(..) {
            if let Delta::Start { id } = &mut delta
                && id.is_empty()
            {
                id.clone_from(&self.call_id);
            }
            if self.state == State::Over {
                break;
            }
            self.state = State::Begun;
            // A prompt has tokens: what counts none was not counted, and is estimated.
            if let Delta::Usage(usage) = &delta
                && *usage != Usage::default()
            {
                out.push(AnswerEvent::Usage(*usage));
            }
            self.writer.write(&delta, &mut written);
            self.tokens += estimate::delta(&delta);
            if matches!(delta, Delta::Stop(_)) {
                self.state = State::Over;
            }
        }
        if !written.is_empty() {
            out.push(AnswerEvent::Bytes(written.freeze()));
        }
        if self.state == State::Over {
            out.push(AnswerEvent::Done);
            return Ok(());
        }
        match read {
            Ok(()) => Ok(()),
            Err(ReadError::Failed(mut failure)) => {
                // Once the answer has begun the provider may bill for it.
                if self.state == State::Begun && failure.next == Next::Failover {
                    failure.next = Next::FailoverUncertain;
                }
                self.state = State::Over;
                out.push(AnswerEvent::Failed(failure));
                Ok(())
            }
            Err(ReadError::Garbage(why)) => Err(Garbage(why)),
        }
    }
}

impl AnswerReader for Streamed {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        if self.state == State::Over {
            return Ok(());
        }
        let read = self.reader.push(chunk, &mut self.deltas);
        self.digest(read, out)
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        if self.state == State::Over {
            return Ok(());
        }
        let read = self.reader.finish(&mut self.deltas);
        self.digest(read, out)?;
        match self.state {
            State::Over => Ok(()),
            State::Waiting | State::Begun => {
                Err(Garbage("the stream ended before the answer did".to_owned()))
            }
        }
    }

    fn tokens(&self) -> Option<u64> {
        Some(self.tokens)
    }

    fn last_words(&mut self, failure: &Failure, call_id: &str) -> Option<Bytes> {
        let mut words = BytesMut::new();
        self.writer.break_off(failure, call_id, &mut words);
        Some(words.freeze())
    }
}

/// Reads a whole answer of a provider that was asked for a stream; it holds at most `cap` bytes.
pub(super) fn held(upstream: &'static dyn Upstream, cap: usize) -> Box<dyn DeltaReader> {
    Box::new(Held { upstream, body: BytesMut::new(), cap })
}

/// Holds an answer until it is whole.
struct Held {
    upstream: &'static dyn Upstream,
    body: BytesMut,
    cap: usize,
}

impl DeltaReader for Held {
    fn push(&mut self, chunk: Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        if self.body.len() + chunk.len() > self.cap {
            return Err(ReadError::garbage(format!("the answer is longer than {} bytes", self.cap)));
        }
        self.body.extend_from_slice(&chunk);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        out.extend(self.upstream.read_whole(&self.body)?.into_deltas());
        Ok(())
    }
}

/// Whose embeddings become whose.
pub(super) enum Form {
    /// OpenAI's become Gemini's.
    Gemini(Texts),
    /// Wenxin's become OpenAI's.
    OpenAi(Encoding),
}

/// Reads embeddings of one dialect for a client of another.
pub(super) struct Embeddings {
    form: Form,
    model: String,
    body: BytesMut,
    cap: usize,
}

impl Embeddings {
    pub(super) fn new(form: Form, model: &str, cap: usize) -> Self {
        Self { form, model: model.to_owned(), body: BytesMut::new(), cap }
    }
}

impl AnswerReader for Embeddings {
    fn push(&mut self, chunk: Bytes, _out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        if self.body.len() + chunk.len() > self.cap {
            return Err(Garbage(format!("the answer is longer than {} bytes", self.cap)));
        }
        self.body.extend_from_slice(&chunk);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        let read = match &self.form {
            Form::Gemini(texts) => {
                gemini_answer(&self.body, *texts).map(|(written, usage)| (written, Some(usage)))
            }
            Form::OpenAi(encoding) => wenxin::answer(&self.body, *encoding, &self.model),
        };
        match read {
            Ok((written, usage)) => {
                out.extend(usage.map(AnswerEvent::Usage));
                out.extend([AnswerEvent::Bytes(written), AnswerEvent::Done]);
                Ok(())
            }
            Err(ReadError::Failed(failure)) => {
                out.push(AnswerEvent::Failed(failure));
                Ok(())
            }
            Err(ReadError::Garbage(why)) => Err(Garbage(why)),
        }
    }
}
