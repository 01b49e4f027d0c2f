//! What a channel's calls leave for it to learn from, and what is published of that. Lock-free; decides nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crossbeam::queue::SegQueue;

use super::{
    adaptive::{CLASSES, FirstBytes},
    gate::UNLIMITED,
    pacer::Pacer,
};
use crate::domain::Hint;

/// See the module's sentence.
#[derive(Debug)]
pub struct Learning {
    /// What requests are paced to.
    pub pacer: Arc<Pacer>,
    refusals: SegQueue<Refusal>,
    refused: AtomicU64,
    /// Of calls sent after the last cut: the most in flight with which one was answered, and how many were.
    borne: AtomicU32,
    answered: AtomicU64,
    cut_us: AtomicU64,
    first_bytes: [(AtomicU64, AtomicU64); CLASSES],
    /// The limit that was learned; [`UNLIMITED`] for none.
    limit: AtomicU32,
}

/// A request that the provider took not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, as far as it says.
    pub cause: Cause,
    /// When it was sent.
    pub sent: Duration,
    /// Requests in flight when it was sent, itself among them.
    pub level: u32,
    /// Others that were in flight when it was refused.
    pub others: u32,
}

/// Why a provider takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// What it says is left in this time is less than the call needs.
    Spent,
    /// Too many in a time or at once: it does not say which.
    Unsaid,
    /// The same, but it says when to come back.
    ComeBack,
    /// It cannot take more, whoever asks: 503, 529, no connection, no first byte in time.
    Overloaded,
}

impl Cause {
    /// Why a call of so many tokens was refused, by what the provider said with it.
    pub fn of(hint: &Hint, tokens: u64) -> Self {
        let is_spent = hint.requests.is_some_and(|told| told.remaining == 0)
            || hint.tokens.is_some_and(|told| told.remaining < tokens.min(told.limit));
        if is_spent { Self::Spent } else { Self::Unsaid }
    }

    /// The same where it said when to come back.
    #[must_use]
    pub fn with_hint(self, retry_after: Option<Duration>) -> Self {
        if self == Self::Unsaid && retry_after.is_some() { Self::ComeBack } else { self }
    }
}

impl Default for Learning {
    fn default() -> Self {
        Self {
            pacer: Arc::default(),
            refusals: SegQueue::new(),
            refused: AtomicU64::new(0),
            borne: AtomicU32::new(0),
            answered: AtomicU64::new(0),
            cut_us: AtomicU64::new(0),
            first_bytes: Default::default(),
            limit: AtomicU32::new(UNLIMITED),
        }
    }
}

impl Learning {
    /// Notes that a call is answered which was sent at this time, with so many in flight.
    pub fn answered(&self, level: u32, sent: Duration) {
        if sent.as_micros() as u64 > self.cut_us.load(Relaxed) {
            self.answered.fetch_add(1, Relaxed);
            if level > self.borne.load(Relaxed) {
                self.borne.fetch_max(level, Relaxed);
            }
        }
    }

    /// Notes when the first byte came of an answer to a prompt of this class.
    pub fn first_byte(&self, class: usize, after: Duration) {
        let Some((count, micros)) = self.first_bytes.get(class) else { return };
        count.fetch_add(1, Relaxed);
        micros.fetch_add(after.as_micros() as u64, Relaxed);
    }

    /// Notes a refusal. Whoever does it has the gate's bell rung.
    pub fn refused(&self, refusal: Refusal) {
        if refusal.cause != Cause::Overloaded {
            self.refused.fetch_add(1, Relaxed);
        }
        // The supervisor takes them; while it is away, the first ones tell enough.
        if self.refusals.len() < 1_024 {
            self.refusals.push(refusal);
        }
    }

    /// How often the provider took no more, so far.
    pub fn times_refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// The limit on requests in flight that was learned.
    pub fn limit(&self) -> Option<u32> {
        Some(self.limit.load(Relaxed)).filter(|limit| *limit != UNLIMITED)
    }

    pub(super) fn publish_limit(&self, limit: Option<u32>) {
        self.limit.store(limit.unwrap_or(UNLIMITED), Relaxed);
    }

    pub(super) fn next_refusal(&self) -> Option<Refusal> {
        self.refusals.pop()
    }

    pub(super) fn has_refusals(&self) -> bool {
        !self.refusals.is_empty()
    }

    pub(super) fn borne(&self) -> u32 {
        self.borne.load(Relaxed)
    }

    /// The same, from the beginning; after a cut, of calls sent later only.
    pub(super) fn take_borne(&self) -> u32 {
        self.borne.swap(0, Relaxed)
    }

    /// Answers to calls that were sent after the last cut, since this was asked last.
    pub(super) fn take_answered(&self) -> u64 {
        self.answered.swap(0, Relaxed)
    }

    pub(super) fn cut(&self, now: Duration) {
        self.cut_us.store(now.as_micros() as u64, Relaxed);
        self.borne.store(0, Relaxed);
        self.answered.store(0, Relaxed);
    }

    pub(super) fn first_bytes(&self) -> [FirstBytes; CLASSES] {
        std::array::from_fn(|class| {
            let (count, micros) = &self.first_bytes[class];
            FirstBytes { count: count.load(Relaxed), micros: micros.load(Relaxed) }
        })
    }
}
