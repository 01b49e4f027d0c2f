//! The body of an answer as a stream: paced, cut or stalled as told, and counted as it goes.
//!
//! Without delays no timer is made. Frames are rendered when the connection asks for them.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, Sleep};

use super::{
    account::{Ending, Tally},
    settings::{Cut, MockSettings, Stall},
    text::Words,
};

/// A part of an answer.
#[derive(Clone, Debug)]
pub enum Part {
    /// One frame, or a whole body, and how many tokens it carries.
    Frame(Bytes, u32),
    /// A frame for each word.
    Words {
        /// What stands before the word.
        before: Bytes,
        /// The words.
        words: Words,
        /// What stands after it.
        after: Bytes,
    },
}

/// Where a body stops before its end, in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nowhere.
    Never,
    /// The connection is closed, after half of one more frame if told so.
    Close {
        /// Whole frames sent before.
        after: u32,
        /// Whether half of the next frame is sent.
        half: bool,
    },
    /// The connection is closed and nothing that still waits to be written is, the head neither.
    CloseUnsent,
    /// Nothing more comes.
    Silence {
        /// Whole frames sent before.
        after: u32,
    },
    /// Half of the next frame is sent as a whole one; then the body ends properly.
    Truncate {
        /// Whole frames sent before.
        after: u32,
    },
}

impl Stop {
    /// Where the settings stop an answer of so many frames; a body that is no stream is one frame.
    pub fn of(settings: &MockSettings, frames: u32, streams: bool) -> Self {
        match (settings.cut, settings.stall) {
            (Some(Cut::BeforeHead), _) => Self::CloseUnsent,
            (Some(Cut::AfterFrames(after)), _) if streams => {
                Self::Close { after: after.min(frames), half: false }
            }
            (Some(Cut::AfterFrames(after)), _) => Self::Close { after: 0, half: after > 0 },
            (Some(Cut::MidBody), _) if streams => Self::Close { after: frames / 2, half: false },
            (Some(Cut::MidBody | Cut::MidFrame), _) => Self::Close { after: frames / 2, half: true },
            (None, Some(Stall::AfterFrames(after))) => Self::Silence { after: after.min(frames) },
            (None, Some(_)) => Self::Silence { after: 0 },
            (None, None) => Self::Never,
        }
    }
}

/// How many frames the parts have.
pub fn frames(parts: &[Part]) -> u32 {
    parts.iter().map(|part| if let Part::Words { words, .. } = part { words.left() } else { 1 }).sum()
}

/// The body.
#[derive(Debug)]
pub struct MockBody {
    size: BodySize,
    parts: std::vec::IntoIter<Part>,
    current: Option<Part>,
    rendered: BytesMut,
    stop: Stop,
    sent: u32,
    /// Whether what was sent has been left to the connection to write out.
    flushed: bool,
    pace: Option<Pace>,
    tally: Tally,
    ending: Ending,
}

/// The connection is closed on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is cut as told")]
pub struct CutShort;

impl MockBody {
    /// A body with a length.
    pub fn whole(bytes: Bytes, tokens: u32, stop: Stop, ending: Ending, tally: Tally) -> Self {
        let size = BodySize::Sized(bytes.len() as u64);
        Self::new(size, vec![Part::Frame(bytes, tokens)], stop, None, ending, tally)
    }

    /// A body of frames, each a chunk of its own.
    pub fn stream(
        parts: Vec<Part>,
        stop: Stop,
        settings: &MockSettings,
        ending: Ending,
        tally: Tally,
    ) -> Self {
        Self::new(BodySize::Stream, parts, stop, Pace::of(settings), ending, tally)
    }

    fn new(
        size: BodySize,
        parts: Vec<Part>,
        stop: Stop,
        pace: Option<Pace>,
        ending: Ending,
        tally: Tally,
    ) -> Self {
        let (parts, rendered) = (parts.into_iter(), BytesMut::new());
        Self { size, parts, current: None, rendered, stop, sent: 0, flushed: false, pace, tally, ending }
    }

    /// The next frame and its tokens, rendered.
    fn next_frame(&mut self) -> Option<(Bytes, u32)> {
        loop {
            match &mut self.current {
                Some(Part::Words { before, words, after }) if words.left() > 0 => {
                    if self.rendered.capacity() < before.len() + after.len() + 64 {
                        self.rendered.reserve(4096);
                    }
                    self.rendered.extend_from_slice(before);
                    words.write_next(&mut self.rendered);
                    self.rendered.extend_from_slice(after);
                    return Some((self.rendered.split().freeze(), 1));
                }
                _ => match self.parts.next()? {
                    Part::Frame(bytes, tokens) => return Some((bytes, tokens)),
                    words => self.current = Some(words),
                },
            }
        }
    }

    /// Whether the next frame carries a token, as far as the pace is concerned.
    fn token_is_next(&mut self) -> bool {
        if let Some(Part::Words { words, .. }) = &self.current
            && words.left() > 0
        {
            return true;
        }
        match self.parts.as_slice().first() {
            Some(Part::Frame(_, tokens)) => *tokens > 0,
            Some(Part::Words { words, .. }) => words.left() > 0,
            None => false,
        }
    }

    /// Lets the connection write what it has, once, before it is closed.
    fn flush(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.flushed {
            return Poll::Ready(());
        }
        self.flushed = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl MessageBody for MockBody {
    type Error = CutShort;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutShort>>> {
        let this = self.get_mut();
        match this.stop {
            Stop::CloseUnsent => {
                this.tally.end(Ending::Cut);
                return Poll::Ready(Some(Err(CutShort)));
            }
            Stop::Close { after, half } if after <= this.sent => {
                if half && let Some((frame, _)) = this.next_frame() {
                    this.stop = Stop::Close { after: 0, half: false };
                    return Poll::Ready(Some(Ok(frame.slice(..frame.len() / 2))));
                }
                ready!(this.flush(cx));
                this.tally.end(Ending::Cut);
                return Poll::Ready(Some(Err(CutShort)));
            }
            Stop::Silence { after } if after <= this.sent => return Poll::Pending,
            Stop::Truncate { after } if after <= this.sent => {
                let half = this.next_frame().map(|(frame, _)| frame.slice(..frame.len() / 2));
                (this.parts, this.current, this.stop) = (Vec::new().into_iter(), None, Stop::Never);
                return Poll::Ready(half.map(|half| Ok([&half[..], b"\n\n"].concat().into())));
            }
            _ => {}
        }
        let waits = this.pace.is_some() && this.token_is_next();
        if let Some(pace) = this.pace.as_mut().filter(|_| waits) {
            ready!(pace.poll_token(cx));
        }
        match this.next_frame() {
            Some((frame, tokens)) => {
                this.sent += 1;
                this.tally.wrote(tokens);
                Poll::Ready(Some(Ok(frame)))
            }
            None => {
                this.tally.end(this.ending);
                Poll::Ready(None)
            }
        }
    }
}

/// When tokens are due. Each is due a gap after the one before was due, so that delays do not add up.
#[derive(Debug)]
struct Pace {
    first: Duration,
    gap: Duration,
    due: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn of(settings: &MockSettings) -> Option<Self> {
        let (first, gap) = (Duration::from_millis(settings.ttft_ms), Duration::from_millis(settings.pace_ms));
        (!first.is_zero() || !gap.is_zero()).then_some(Self { first, gap, due: None, timer: None })
    }

    fn poll_token(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = *self.due.get_or_insert_with(|| Instant::now() + self.first);
        let timer = match &mut self.timer {
            Some(timer) => {
                if timer.deadline() != due {
                    timer.as_mut().reset(due);
                }
                timer
            }
            none => none.insert(Box::pin(tokio::time::sleep_until(due))),
        };
        ready!(timer.as_mut().poll(cx));
        self.due = Some(due + self.gap);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::account::Account;

    fn stop(settings: MockSettings) -> (Stop, Stop) {
        (Stop::of(&settings, 10, true), Stop::of(&settings, 1, false))
    }

    #[test]
    fn a_stop_is_counted_in_frames() {
        let cut = |cut| stop(MockSettings { cut: Some(cut), ..MockSettings::default() });
        let stall = |stall| stop(MockSettings { stall: Some(stall), ..MockSettings::default() });
        let close = |after, half| Stop::Close { after, half };
        assert_eq!(cut(Cut::BeforeHead), (Stop::CloseUnsent, Stop::CloseUnsent));
        assert_eq!(cut(Cut::MidBody), (close(5, false), close(0, true)));
        assert_eq!(cut(Cut::MidFrame), (close(5, true), close(0, true)));
        assert_eq!(cut(Cut::AfterFrames(3)), (close(3, false), close(0, true)));
        assert_eq!(cut(Cut::AfterFrames(0)), (close(0, false), close(0, false)));
        assert_eq!(cut(Cut::AfterFrames(99)), (close(10, false), close(0, true)));
        assert_eq!(stall(Stall::AfterHead), (Stop::Silence { after: 0 }, Stop::Silence { after: 0 }));
        assert_eq!(stall(Stall::AfterFrames(2)).0, Stop::Silence { after: 2 });
    }

    #[actix_web::test]
    async fn words_become_frames_and_are_counted() {
        let account = Account::new(1);
        let parts = vec![
            Part::Frame(Bytes::from_static(b"<"), 0),
            Part::Words {
                before: Bytes::from_static(b"["),
                words: Words::of("a \"b\"".into()),
                after: Bytes::from_static(b"]"),
            },
            Part::Frame(Bytes::from_static(b">"), 0),
        ];
        assert_eq!(frames(&parts), 4);
        let paced = MockSettings { pace_ms: 1, ..MockSettings::default() };
        for settings in [MockSettings::default(), paced] {
            let body = MockBody::stream(
                parts.clone(),
                Stop::Never,
                &settings,
                Ending::Completed,
                account.enter(None),
            );
            let all = actix_web::body::to_bytes(body).await.expect("an uncut body");
            assert_eq!(&all[..], b"<[a][ \\\"b\\\"]>");
        }
        assert_eq!((account.totals().completed, account.totals().completion_tokens), (2, 4));
    }
}
