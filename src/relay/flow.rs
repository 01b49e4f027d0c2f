//! An answer between the provider's bytes and the client's: pulls, reads, and keeps what is ready.

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use penstock_actors::domain::Usage;

use super::fault;
use crate::{
    provider::{AnswerEvent, AnswerReader, Failure, Garbage, Next},
    transport::IncomingBody,
};

/// What of an answer was made ready for the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    /// Bytes of content.
    pub(super) bytes: u64,
    /// Tokens of its texts, where somebody looks at them.
    pub(super) spoken: Option<u64>,
}

impl Delivered {
    /// Generated tokens, estimated: those of its texts, or a quarter of its bytes beyond some 300 of form.
    pub(super) fn tokens(self) -> u64 {
        self.spoken.unwrap_or_else(|| self.bytes.saturating_sub(300) / 4)
    }
}

/// How long a finished answer's connection may take to come to its end before it is given up.
const GRACE: Duration = Duration::from_secs(1);

/// See the module's sentence.
pub(super) struct Flow {
    source: Option<IncomingBody>,
    reader: Box<dyn AnswerReader>,
    events: Vec<AnswerEvent>,
    ready: VecDeque<Bytes>,
    ready_bytes: usize,
    failed: Option<Failure>,
    ended: bool,
    content: bool,
    /// Bytes pulled from the provider.
    pulled: u64,
    /// What the answer said it consumed.
    pub(super) usage: Option<Usage>,
    /// What was made ready, beside the last `[DONE]`.
    pub(super) delivered: Delivered,
}

impl Flow {
    pub(super) fn new(source: IncomingBody, reader: Box<dyn AnswerReader>) -> Self {
        Self {
            source: Some(source),
            reader,
            events: Vec::new(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            failed: None,
            ended: false,
            content: false,
            pulled: 0,
            usage: None,
            delivered: Delivered::default(),
        }
    }

    /// The next bytes for the client.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let bytes = self.ready.pop_front()?;
        self.ready_bytes -= bytes.len();
        Some(bytes)
    }

    /// Bytes that are ready.
    pub(super) fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// Whether content came: comments of a stream are none.
    pub(super) fn has_content(&self) -> bool {
        self.content
    }

    /// Whether a byte of the answer's body came.
    pub(super) fn has_begun(&self) -> bool {
        self.pulled > 0
    }

    /// Whether nothing more comes after what is ready.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Takes the failure that follows what is ready.
    pub(super) fn take_failure(&mut self) -> Option<Failure> {
        self.failed.take()
    }

    /// Puts a failure back, to follow what is ready.
    pub(super) fn put_failure(&mut self, failure: Failure) {
        self.failed = Some(failure);
    }

    /// The last words of an answer that cannot go on, where the reader has any of its own.
    pub(super) fn last_words(&mut self, failure: &Failure, call_id: &str) -> Option<Bytes> {
        self.reader.last_words(failure, call_id)
    }

    /// Pulls once from the provider. Afterwards something may be ready, or the flow ended or failed.
    pub(super) fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(source) = self.source.as_mut() else {
            self.ended = true;
            return Poll::Ready(());
        };
        let read = match ready!(source.as_mut().poll_next(cx)) {
            Some(Ok(chunk)) => {
                self.pulled += chunk.len() as u64;
                self.reader.push(chunk, &mut self.events)
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "upstream failed inside an answer");
                self.fail(fault::of_transport(&error));
                return Poll::Ready(());
            }
            None => {
                self.source = None;
                self.reader.finish(&mut self.events)
            }
        };
        self.digest();
        if let Err(Garbage(message)) = read {
            self.fail(Failure::upstream(502, "upstream_bad_answer", Next::FailoverUncertain, message));
        } else if self.source.is_none() && !self.ended && self.failed.is_none() {
            self.ended = true;
        }
        Poll::Ready(())
    }

    /// Takes silence for the end; true where the answer is whole as it stands.
    pub(super) fn end_here(&mut self) -> bool {
        self.source = None;
        let finished = self.reader.finish(&mut self.events);
        self.digest();
        self.ended |= finished.is_ok() && self.failed.is_none();
        self.ended
    }

    fn digest(&mut self) {
        for event in self.events.drain(..) {
            match event {
                AnswerEvent::Bytes(bytes) if bytes.is_empty() => {}
                // Before content nobody waits for comments, and there may be any number of them.
                AnswerEvent::Aside(_) if !self.content => {}
                AnswerEvent::Bytes(bytes) => {
                    self.content = true;
                    self.delivered.bytes += bytes.len() as u64;
                    self.ready_bytes += bytes.len();
                    self.ready.push_back(bytes);
                }
                AnswerEvent::Aside(bytes) => {
                    self.ready_bytes += bytes.len();
                    self.ready.push_back(bytes);
                }
                AnswerEvent::Usage(usage) => self.usage = Some(usage),
                AnswerEvent::Failed(failure) => self.failed = Some(failure),
                AnswerEvent::Done => self.ended = true,
            }
        }
        self.delivered.spoken = self.reader.tokens();
        if self.failed.is_some() {
            self.source = None;
        } else if self.ended
            && let Some(source) = self.source.take()
        {
            drain(source);
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.source = None;
        if self.failed.is_none() && !self.ended {
            self.failed = Some(failure);
        }
    }
}

/// Lets a finished answer's framing come to its end, so that the connection can be kept.
fn drain(mut source: IncomingBody) {
    let waker = std::task::Waker::noop();
    if !matches!(source.as_mut().poll_next(&mut Context::from_waker(waker)), Poll::Pending) {
        return;
    }
    actix_rt::spawn(async move {
        let end = std::future::poll_fn(|cx| source.as_mut().poll_next(cx));
        let _ = tokio::time::timeout(GRACE, end).await;
    });
}
