//! The body of a stream whose call still waits: comments until the answer begins, then the answer.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use tokio::time::{Sleep, sleep};

use super::{forward::AnswerBody, wait::News};
use crate::{dialect::Dialect, provider::Failure};

/// What an answer's body can be.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every call has the large one; boxed, it would cost each an allocation"
)]
pub enum Body {
    /// An answer that has begun.
    Answer(AnswerBody),
    /// A stream whose answer is still waited for.
    Queued(Box<QueuedBody>),
}

type Coming = Pin<Box<dyn Future<Output = Result<AnswerBody, Failure>>>>;

/// See the module's sentence.
pub struct QueuedBody {
    state: State,
    news: News,
    id: Rc<str>,
    face: Dialect,
    every: Duration,
    /// Until the next comment; the first one is due at once: it brings the head along.
    timer: Option<Pin<Box<Sleep>>>,
}

enum State {
    Coming(Coming),
    Flowing(Box<AnswerBody>),
    Ended,
}

impl QueuedBody {
    pub(super) fn new(coming: Coming, news: News, id: Rc<str>, face: Dialect, every: Duration) -> Self {
        if let Some(ticket) = news.ticket() {
            ticket.ask_after();
        }
        Self { state: State::Coming(coming), news, id, face, every, timer: None }
    }

    /// What is said while the call waits; a comment is no content, and readers of the stream pass over it.
    fn comment(&self) -> Bytes {
        let Some(ticket) = self.news.ticket() else { return Bytes::from_static(b": trying\n\n") };
        ticket.ask_after();
        match ticket.estimate() {
            Some(told) => {
                format!(": queued position={} eta={:.1}s\n\n", told.position, told.p50.as_secs_f64()).into()
            }
            None => Bytes::from_static(b": queued\n\n"),
        }
    }
}

impl MessageBody for QueuedBody {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        loop {
            match &mut self.state {
                State::Flowing(body) => return Pin::new(&mut **body).poll_next(cx),
                State::Ended => return Poll::Ready(None),
                State::Coming(coming) => match coming.as_mut().poll(cx) {
                    Poll::Ready(Ok(body)) => self.state = State::Flowing(Box::new(body)),
                    Poll::Ready(Err(failure)) => {
                        self.state = State::Ended;
                        return Poll::Ready(Some(Ok(self.face.error_event(&failure, &self.id))));
                    }
                    Poll::Pending => {
                        if let Some(timer) = &mut self.timer
                            && timer.as_mut().poll(cx).is_pending()
                        {
                            return Poll::Pending;
                        }
                        // Polled at once, so that it wakes this body.
                        let mut timer = Box::pin(sleep(self.every));
                        let _ = timer.as_mut().poll(cx);
                        self.timer = Some(timer);
                        return Poll::Ready(Some(Ok(self.comment())));
                    }
                },
            }
        }
    }
}

impl MessageBody for Body {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        match self {
            Self::Answer(body) => body.size(),
            Self::Queued(body) => body.size(),
        }
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        match &mut *self {
            Self::Answer(body) => Pin::new(body).poll_next(cx),
            Self::Queued(body) => Pin::new(&mut **body).poll_next(cx),
        }
    }
}
