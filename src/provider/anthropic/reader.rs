//! Readers of good answers: messages in, chat completions out.

use bytes::{Bytes, BytesMut};

use super::failure::{Begun, of_event};
use crate::{
    conversation::Delta,
    dialect::{
        anthropic_messages::{EventReader, ReplyError, StreamError, read_reply},
        openai_chat::{AnswerHeader, ChunkWriter, UsageChunk, write_completion},
    },
    provider::{AnswerEvent, AnswerReader, Garbage},
    wire::sse::SseFramer,
};

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// Complete or failed: what follows is padding.
    Over,
}

/// Reads a stream.
pub(super) struct Streamed {
    framer: SseFramer,
    events: EventReader,
    writer: ChunkWriter,
    state: State,
}

impl Streamed {
    /// Makes a reader whose events hold at most `cap` bytes.
    pub(super) fn new(header: &AnswerHeader<'_>, usage: UsageChunk, cap: usize) -> Self {
        Self {
            framer: SseFramer::new(cap),
            events: EventReader::default(),
            writer: ChunkWriter::new(header, usage),
            state: State::Reading,
        }
    }

    /// Reads one frame: its chunks go to `written`, all else to `out`.
    fn frame(
        &mut self,
        frame: &Bytes,
        written: &mut BytesMut,
        out: &mut Vec<AnswerEvent>,
    ) -> Result<(), Garbage> {
        let mut deltas = Vec::new();
        let read = self.events.read(frame, &mut deltas);
        for delta in &deltas {
            if let Delta::Usage(usage) = delta {
                out.push(AnswerEvent::Usage(*usage));
            }
            self.writer.write(delta, written);
        }
        match read {
            Ok(()) if self.events.is_over() => {
                flush(written, out);
                out.push(AnswerEvent::Done);
                self.state = State::Over;
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(StreamError::Failed(error)) => {
                flush(written, out);
                let begun = if self.events.has_begun() { Begun::Yes } else { Begun::No };
                out.push(AnswerEvent::Failed(of_event(error, begun)));
                self.state = State::Over;
                Ok(())
            }
            Err(StreamError::Garbage(why)) => Err(Garbage(why)),
        }
    }
}

impl AnswerReader for Streamed {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        if self.state == State::Over {
            return Ok(());
        }
        let mut frames = Vec::new();
        let framed = self.framer.push(chunk, |frame| frames.push(frame));
        let mut written = BytesMut::new();
        for frame in &frames {
            let read = self.frame(frame, &mut written, out);
            if read.is_err() {
                flush(&mut written, out);
            }
            read?;
            if self.state == State::Over {
                return Ok(());
            }
        }
        flush(&mut written, out);
        framed.map_err(|error| Garbage(error.to_string()))
    }

    fn finish(&mut self, _out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        match self.state {
            State::Over => Ok(()),
            State::Reading => Err(Garbage("the stream ended before message_stop".to_owned())),
        }
    }

    fn events(&self) -> u64 {
        self.writer.events()
    }
}

fn flush(written: &mut BytesMut, out: &mut Vec<AnswerEvent>) {
    if !written.is_empty() {
        out.push(AnswerEvent::Bytes(written.split().freeze()));
    }
}

/// Reads a whole answer, which is one frame.
pub(super) struct Whole {
    body: BytesMut,
    model: String,
    created: u64,
    cap: usize,
}

impl Whole {
    /// Makes a reader of an answer that holds at most `cap` bytes.
    pub(super) fn new(header: &AnswerHeader<'_>, cap: usize) -> Self {
        Self { body: BytesMut::new(), model: header.model.to_owned(), created: header.created, cap }
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
        match read_reply(&self.body) {
            Ok(reply) => {
                let header = AnswerHeader { model: &self.model, created: self.created };
                out.push(AnswerEvent::Usage(reply.usage));
                out.push(AnswerEvent::Bytes(write_completion(&reply, &header)));
                out.push(AnswerEvent::Done);
                Ok(())
            }
            Err(ReplyError::Failed(error)) => {
                out.push(AnswerEvent::Failed(of_event(error, Begun::No)));
                Ok(())
            }
            Err(ReplyError::Garbage(why)) => Err(Garbage(why)),
        }
    }
}
