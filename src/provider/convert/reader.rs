//! Readers of good answers: a provider's dialect in, the client's out.

use bytes::{Bytes, BytesMut};

use super::change::Changes;
use crate::{
    conversation::Delta,
    dialect::{
        AnswerHeader, DeltaReader, DeltaWriter, Face, ReadError, StreamForm, Upstream,
        gemini::embed::{Texts, gemini_answer},
    },
    provider::{AnswerEvent, AnswerReader, Failure, Garbage, Next},
};

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
    /// Deltas of which something was written: about one event each.
    events: u64,
    state: State,
    call_id: String,
}

impl Streamed {
    pub(super) fn new(reader: Box<dyn DeltaReader>, writer: Box<dyn DeltaWriter>, call_id: &str) -> Self {
        let call_id = call_id.to_owned();
        Self { reader, writer, deltas: Vec::new(), events: 0, state: State::Waiting, call_id }
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
            if let Delta::Usage(usage) = &delta {
                out.push(AnswerEvent::Usage(*usage));
            }
            let before = written.len();
            self.writer.write(&delta, &mut written);
            self.events += u64::from(written.len() > before);
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

    fn events(&self) -> u64 {
        self.events
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

/// Reads a whole answer, which is one frame.
pub(super) struct Whole {
    face: &'static dyn Face,
    upstream: &'static dyn Upstream,
    body: BytesMut,
    model: String,
    created: u64,
    call_id: String,
    echo: Option<Vec<u8>>,
    cap: usize,
    changes: Changes,
}

impl Whole {
    /// Makes a reader of an answer that holds at most `cap` bytes.
    pub(super) fn new(
        face: &'static dyn Face,
        upstream: &'static dyn Upstream,
        header: &AnswerHeader<'_>,
        cap: usize,
        changes: Changes,
    ) -> Self {
        Self {
            changes,
            face,
            upstream,
            body: BytesMut::new(),
            model: header.model.to_owned(),
            created: header.created,
            call_id: header.call_id.to_owned(),
            echo: header.echo.map(<[u8]>::to_vec),
            cap,
        }
    }
}

impl AnswerReader for Whole {
    fn push(&mut self, chunk: Bytes, _out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        if self.body.len() + chunk.len() > self.cap {
            return Err(Garbage(format!("the answer is longer than {} bytes", self.cap)));
        }
        self.body.extend_from_slice(&chunk);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        match self.upstream.read_whole(&self.body) {
            Ok(mut reply) => {
                if reply.id.is_empty() {
                    reply.id.clone_from(&self.call_id);
                }
                self.changes.make(&mut reply);
                let header = AnswerHeader {
                    model: &self.model,
                    created: self.created,
                    call_id: &self.call_id,
                    usage_wanted: true,
                    form: StreamForm::Events,
                    echo: self.echo.as_deref(),
                };
                out.push(AnswerEvent::Usage(reply.usage));
                out.push(AnswerEvent::Bytes(self.face.whole(&header, &reply)));
                out.push(AnswerEvent::Done);
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

/// Reads OpenAI's embeddings for a client of Gemini's.
pub(super) struct Embeddings {
    texts: Texts,
    body: BytesMut,
    cap: usize,
}

impl Embeddings {
    pub(super) fn new(texts: Texts, cap: usize) -> Self {
        Self { texts, body: BytesMut::new(), cap }
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
        let (written, usage) =
            gemini_answer(&self.body, self.texts).map_err(|error| Garbage(error.to_string()))?;
        out.extend([AnswerEvent::Usage(usage), AnswerEvent::Bytes(written), AnswerEvent::Done]);
        Ok(())
    }
}
