//! Readers of answers for clients that want them whole: of bodies that are one, and of streams, gathered.

use bytes::{Bytes, BytesMut};
use penstock_actors::domain::Usage;

use crate::{
    conversation::{Delta, Reply},
    dialect::{AnswerHeader, DeltaReader, Face, ReadError, StreamForm, Upstream, estimate},
    provider::{AnswerEvent, AnswerReader, Garbage, Next, convert::change::Changes},
};

/// What an answer carries that is the call's.
pub(in crate::provider::convert) struct Heading {
    face: &'static dyn Face,
    model: String,
    created: u64,
    call_id: String,
    echo: Option<Vec<u8>>,
}

impl Heading {
    pub(in crate::provider::convert) fn new(face: &'static dyn Face, header: &AnswerHeader<'_>) -> Self {
        Self {
            face,
            model: header.model.to_owned(),
            created: header.created,
            call_id: header.call_id.to_owned(),
            echo: header.echo.map(<[u8]>::to_vec),
        }
    }

    /// Writes the answer for the client, and gives its tokens by rule of thumb. What nobody counted is not told, so
    /// that it is estimated.
    fn write(&self, mut reply: Reply, out: &mut Vec<AnswerEvent>) -> u64 {
        if reply.id.is_empty() {
            reply.id.clone_from(&self.call_id);
        }
        let header = AnswerHeader {
            model: &self.model,
            created: self.created,
            call_id: &self.call_id,
            usage_wanted: true,
            form: StreamForm::Events,
            echo: self.echo.as_deref(),
        };
        out.extend((reply.usage != Usage::default()).then_some(AnswerEvent::Usage(reply.usage)));
        out.push(AnswerEvent::Bytes(self.face.whole(&header, &reply)));
        out.push(AnswerEvent::Done);
        estimate::reply(&reply)
    }
}

/// Says what ended the reading.
fn failed(error: ReadError, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
    match error {
        ReadError::Failed(failure) => {
            out.push(AnswerEvent::Failed(failure));
            Ok(())
        }
        ReadError::Garbage(why) => Err(Garbage(why)),
    }
}

fn too_long(cap: usize) -> Garbage {
    Garbage(format!("the answer is longer than {cap} bytes"))
}

/// Reads a whole answer, which is one frame.
pub(in crate::provider::convert) struct Whole {
    upstream: &'static dyn Upstream,
    heading: Heading,
    body: BytesMut,
    cap: usize,
    changes: Changes,
    /// Tokens of the answer, once it is there.
    tokens: u64,
}

impl Whole {
    /// Makes a reader of an answer that holds at most `cap` bytes.
    pub(in crate::provider::convert) fn new(
        upstream: &'static dyn Upstream,
        heading: Heading,
        cap: usize,
        changes: Changes,
    ) -> Self {
        Self { upstream, heading, body: BytesMut::new(), cap, changes, tokens: 0 }
    }
}

impl AnswerReader for Whole {
    fn push(&mut self, chunk: Bytes, _out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        if self.body.len() + chunk.len() > self.cap {
            return Err(too_long(self.cap));
        }
        self.body.extend_from_slice(&chunk);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        match self.upstream.read_whole(&self.body) {
            Ok(mut reply) => {
                self.changes.make(&mut reply);
                self.tokens = self.heading.write(reply, out);
                Ok(())
            }
            Err(error) => failed(error, out),
        }
    }

    fn tokens(&self) -> Option<u64> {
        Some(self.tokens)
    }
}

/// Gathers a stream, of a provider that knows nothing else, into one answer.
pub(in crate::provider::convert) struct Gathered {
    reader: Box<dyn DeltaReader>,
    heading: Heading,
    /// `None` behind the end.
    reply: Option<Reply>,
    deltas: Vec<Delta>,
    /// Bytes that may still come; an answer is never longer than its stream.
    left: usize,
    cap: usize,
    /// Tokens of the answer, once it is there.
    tokens: u64,
}

impl Gathered {
    /// Makes a reader of a stream of at most `cap` bytes.
    pub(in crate::provider::convert) fn new(
        reader: Box<dyn DeltaReader>,
        heading: Heading,
        cap: usize,
    ) -> Self {
        Self { reader, heading, reply: Some(Reply::default()), deltas: Vec::new(), left: cap, cap, tokens: 0 }
    }

    fn digest(&mut self, read: Result<(), ReadError>, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        let Some(reply) = &mut self.reply else { return Ok(()) };
        let mut is_over = false;
        for delta in self.deltas.drain(..) {
            is_over |= matches!(delta, Delta::Stop(_));
            reply.add(delta);
        }
        if is_over {
            self.tokens = self.heading.write(self.reply.take().unwrap_or_default(), out);
            return Ok(());
        }
        match read {
            Ok(()) => Ok(()),
            Err(mut error) => {
                // Once the answer has begun the provider may bill for it.
                if let ReadError::Failed(failure) = &mut error
                    && *reply != Reply::default()
                    && failure.next == Next::Failover
                {
                    failure.next = Next::FailoverUncertain;
                }
                self.reply = None;
                failed(error, out)
            }
        }
    }
}

impl AnswerReader for Gathered {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        if self.reply.is_none() {
            return Ok(());
        }
        self.left = self.left.checked_sub(chunk.len()).ok_or_else(|| too_long(self.cap))?;
        let read = self.reader.push(chunk, &mut self.deltas);
        self.digest(read, out)
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), Garbage> {
        if self.reply.is_none() {
            return Ok(());
        }
        let read = self.reader.finish(&mut self.deltas);
        self.digest(read, out)?;
        match self.reply {
            None => Ok(()),
            Some(_) => Err(Garbage("the stream ended before the answer did".to_owned())),
        }
    }

    fn tokens(&self) -> Option<u64> {
        Some(self.tokens)
    }
}
