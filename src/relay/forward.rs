//! Passing an answer on: pulled by the client's reading, watched by idle and total deadlines.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use penstock_actors::{
    channel::{ChannelCell, Counted, Line},
    domain::{Delivery, Fault},
};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    Call, admit,
    attempt::Begun,
    evidence,
    fault::{self, Deadline},
    flow::Flow,
    held::HeldPermit,
    link::Link,
    settle::CallRecord,
};
use crate::{dialect::Dialect, provider::Failure};

/// An answer's body. It is pulled, so a slow reader holds no more than what is ready.
pub struct AnswerBody {
    flow: Flow,
    record: CallRecord,
    patience: Patience,
    call: CallFacts,
    size: BodySize,
    state: State,
    /// Held until the answer ends; given back at once then, not when the client has read it.
    permit: Option<HeldPermit>,
    behind: Behind,
}

struct CallFacts {
    id: Rc<str>,
    face: Dialect,
    delivery: Delivery,
}

/// Whom a late failure concerns.
struct Behind {
    cell: Arc<ChannelCell>,
    line: Arc<Line>,
    counted: Counted,
    link: Rc<Link>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has gone out yet.
    Fresh,
    Flowing,
    /// An error event was the last word.
    Broken,
    Ended,
}

/// Idle and total deadlines, checked lazily: a timer is set when the flow first falls silent.
struct Patience {
    started: Instant,
    last_read: Instant,
    timeouts: penstock_actors::domain::Timeouts,
    timer: Option<Pin<Box<Sleep>>>,
    cut: CancellationToken,
    /// Wakes the body when the gateway must end; set with the first timer.
    when_cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Patience {
    /// The deadline that has passed, if one has; otherwise arranges to be woken at the next.
    fn poll_missed(&mut self, cx: &mut Context<'_>) -> Option<Missed> {
        if self.is_cut(cx) {
            return Some(Missed::Cut);
        }
        loop {
            let now = Instant::now();
            let total = self.timeouts.total.saturating_sub(now - self.started);
            let idle = self.timeouts.idle.saturating_sub(now - self.last_read);
            if total.is_zero() {
                return Some(Missed::Deadline(Deadline::Total, self.timeouts.total));
            }
            if idle.is_zero() {
                return Some(Missed::Deadline(Deadline::Idle, self.timeouts.idle));
            }
            // The timer stays as it is while bytes come; when it fires early it is set again.
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(total.min(idle))));
            match timer.as_mut().poll(cx) {
                Poll::Pending => return None,
                Poll::Ready(()) => self.timer = None,
            }
        }
    }
}

/// Why an answer is not waited for any longer.
#[derive(Clone, Copy)]
enum Missed {
    Deadline(Deadline, Duration),
    /// The gateway ends.
    Cut,
}

impl Missed {
    fn is_silence(self) -> bool {
        matches!(self, Self::Deadline(Deadline::Idle, _))
    }

    fn into_failure(self) -> Failure {
        match self {
            Self::Deadline(deadline, after) => fault::of_deadline(deadline, after),
            Self::Cut => admit::shutting_down(),
        }
    }
}

impl Patience {
    fn is_cut(&mut self, cx: &mut Context<'_>) -> bool {
        let cut = &self.cut;
        let when_cut = self.when_cut.get_or_insert_with(|| Box::pin(cut.clone().cancelled_owned()));
        when_cut.as_mut().poll(cx).is_ready()
    }

    /// Notes that bytes came; true where the answer has lasted too long all the same.
    fn bytes_came(&mut self) -> bool {
        self.last_read = Instant::now();
        self.last_read - self.started >= self.timeouts.total
    }
}

impl AnswerBody {
    pub(super) fn new(begun: Begun, call: &Call, record: CallRecord, cut: CancellationToken) -> Self {
        let Begun { flow, timeouts, started, link, cell, line, counted, permit, .. } = begun;
        let size = match flow.is_ended() {
            true => BodySize::Sized(flow.ready_bytes() as u64),
            false => BodySize::Stream,
        };
        let permit = Some(permit).filter(|_| !flow.is_ended());
        Self {
            patience: Patience {
                started,
                last_read: Instant::now(),
                timeouts,
                timer: None,
                cut,
                when_cut: None,
            },
            call: CallFacts { id: Rc::clone(&call.id), face: call.face, delivery: call.facts.delivery },
            size,
            state: State::Fresh,
            permit,
            behind: Behind { cell, line, counted, link },
            flow,
            record,
        }
    }

    fn complete(&mut self) {
        self.permit = None;
        let Behind { cell, line, counted, .. } = &self.behind;
        cell.lines.ended(line, *counted);
        self.record.consumed(self.flow.usage, self.flow.delivered);
        self.record.completed();
        self.state = State::Ended;
    }

    /// Ends an answer that cannot go on: an error event in a stream, a cut connection otherwise.
    fn break_off(&mut self, mut failure: Failure) -> Option<Result<Bytes, io::Error>> {
        self.permit = None;
        self.behind.link.cleanse(&mut failure);
        if failure.fault == Fault::Upstream {
            let Behind { cell, line, counted, .. } = &self.behind;
            cell.failed();
            cell.lines.broke_off(line, *counted, evidence::sign(&failure));
        }
        self.record.consumed(self.flow.usage, self.flow.delivered);
        self.record.broken(&failure);
        self.state = State::Broken;
        match self.call.delivery {
            Delivery::Stream => {
                let words = self.flow.last_words(&failure, &self.call.id);
                Some(Ok(words.unwrap_or_else(|| self.call.face.error_event(&failure, &self.call.id))))
            }
            Delivery::Whole => Some(Err(io::Error::other(failure.message))),
        }
    }

    /// Whether silence may be the end: only a stream says in its content that it is finished.
    fn may_end_here(&self, missed: Missed) -> bool {
        self.call.delivery == Delivery::Stream && missed.is_silence()
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        loop {
            if matches!(self.state, State::Broken | State::Ended) {
                return Poll::Ready(None);
            }
            if let Some(bytes) = self.flow.pop() {
                if self.state == State::Fresh {
                    self.state = State::Flowing;
                    self.record.first_byte();
                }
                if self.flow.is_ended() && self.flow.ready_bytes() == 0 {
                    self.complete();
                } else if let Err(failure) =
                    self.record.progress(self.flow.usage, self.flow.delivered, self.patience.last_read)
                {
                    return Poll::Ready(self.break_off(failure));
                }
                return Poll::Ready(Some(Ok(bytes)));
            }
            if let Some(failure) = self.flow.take_failure() {
                return Poll::Ready(self.break_off(failure));
            }
            if self.flow.is_ended() {
                self.complete();
                return Poll::Ready(None);
            }
            match self.flow.poll_pull(cx) {
                Poll::Ready(()) if self.patience.bytes_came() && !self.flow.is_ended() => {
                    let failure = fault::of_deadline(Deadline::Total, self.patience.timeouts.total);
                    return Poll::Ready(self.break_off(failure));
                }
                Poll::Ready(()) => {}
                Poll::Pending => {
                    match self.patience.poll_missed(cx) {
                        // Some providers leave `[DONE]` out and the connection open.
                        Some(missed) if self.may_end_here(missed) && self.flow.end_here() => {}
                        Some(missed) => return Poll::Ready(self.break_off(missed.into_failure())),
                        None => return Poll::Pending,
                    }
                }
            }
        }
    }
}

impl MessageBody for AnswerBody {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.poll_bytes(cx)
    }
}
