//! Passing an answer on: pulled by the client's reading, watched by idle and total deadlines.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use penstock_actors::{
    channel::{ChannelCell, Counted, Line},
    domain::{Delivery, Fault, Sign},
};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    Call, admit,
    attempt::Begun,
    books::Kept,
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
    /// The last bytes, while the books do not keep yet what the call came to.
    last: Option<Box<Last>>,
}

type Piece = Option<Result<Bytes, io::Error>>;

struct Last {
    kept: Kept,
    piece: Piece,
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
            last: None,
            flow,
            record,
        }
    }

    fn complete(&mut self, piece: Piece, cx: &mut Context<'_>) -> Poll<Piece> {
        self.permit = None;
        let Behind { cell, line, counted, .. } = &self.behind;
        cell.lines.ended(line, *counted);
        self.record.consumed(self.flow.usage, self.flow.delivered);
        let kept = self.record.completed();
        self.state = State::Ended;
        self.end_with(piece, kept, cx)
    }

    /// Gives the last bytes, once the books keep what the call came to.
    fn end_with(&mut self, piece: Piece, kept: Option<Kept>, cx: &mut Context<'_>) -> Poll<Piece> {
        let Some(kept) = kept else { return Poll::Ready(piece) };
        self.last = Some(Box::new(Last { kept, piece }));
        self.poll_last(cx)
    }

    fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        if let Some(last) = &mut self.last {
            ready!(last.kept.as_mut().poll(cx));
        }
        Poll::Ready(self.last.take().and_then(|last| last.piece))
    }

    /// Ends an answer that cannot go on: an error event in a stream, a cut connection otherwise.
    fn break_off(&mut self, mut failure: Failure, cx: &mut Context<'_>) -> Poll<Piece> {
        self.permit = None;
        self.behind.link.cleanse(&mut failure);
        if failure.fault == Fault::Upstream {
            let Behind { cell, line, counted, link } = &self.behind;
            cell.failed();
            let tells = cell.is_reached_by(&link.spec);
            let sign = if tells { evidence::sign(&failure) } else { Sign::Nothing };
            cell.lines.broke_off(line, *counted, sign);
        }
        self.record.consumed(self.flow.usage, self.flow.delivered);
        let kept = self.record.broken(&failure);
        self.state = State::Broken;
        let piece = match self.call.delivery {
            Delivery::Stream => {
                let words = self.flow.last_words(&failure, &self.call.id);
                Ok(words.unwrap_or_else(|| self.call.face.error_event(&failure, &self.call.id)))
            }
            Delivery::Whole => Err(io::Error::other(failure.message)),
        };
        self.end_with(Some(piece), kept, cx)
    }

    /// Whether silence may be the end: only a stream says in its content that it is finished.
    fn may_end_here(&self, missed: Missed) -> bool {
        self.call.delivery == Delivery::Stream && missed.is_silence()
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        if self.last.is_some() {
            return self.poll_last(cx);
        }
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
                    return self.complete(Some(Ok(bytes)), cx);
                }
                if let Err(failure) =
                    self.record.progress(self.flow.usage, self.flow.delivered, self.patience.last_read)
                {
                    return self.break_off(failure, cx);
                }
                return Poll::Ready(Some(Ok(bytes)));
            }
            if let Some(failure) = self.flow.take_failure() {
                return self.break_off(failure, cx);
            }
            if self.flow.is_ended() {
                return self.complete(None, cx);
            }
            match self.flow.poll_pull(cx) {
                Poll::Ready(()) if self.patience.bytes_came() && !self.flow.is_ended() => {
                    let failure = fault::of_deadline(Deadline::Total, self.patience.timeouts.total);
                    return self.break_off(failure, cx);
                }
                Poll::Ready(()) => {}
                Poll::Pending => {
                    match self.patience.poll_missed(cx) {
                        // Some providers leave `[DONE]` out and the connection open.
                        Some(missed) if self.may_end_here(missed) && self.flow.end_here() => {}
                        Some(missed) => return self.break_off(missed.into_failure(), cx),
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

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Piece> {
        self.poll_bytes(cx)
    }
}
