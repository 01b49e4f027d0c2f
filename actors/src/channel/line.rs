//! What the call path counts and reads of one model of one channel, and of the channel's standing. Atomics only.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{
    breaker::{BreakerState, PROBES, Tries},
    switch::{Evidence, OffReason, Standing},
};
use crate::{
    domain::{ModelName, Sign},
    limiter::window::Window,
};

/// One model of one channel.
#[derive(Debug, Default)]
pub struct Line {
    succeeded: AtomicU64,
    failed: AtomicU64,
    state: AtomicU8,
    probes: AtomicU32,
}

/// Whether a call may use a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admits {
    /// It may.
    Yes,
    /// It may if it gets one of the probes.
    Probe,
    /// Its breaker is open.
    No,
}

impl Line {
    /// Attempts so far.
    pub fn tries(&self) -> Tries {
        Tries {
            succeeded: self.succeeded.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Where its breaker stands.
    pub fn state(&self) -> BreakerState {
        match self.state.load(Ordering::Relaxed) {
            1 => BreakerState::Open,
            2 => BreakerState::HalfOpen,
            _ => BreakerState::Closed,
        }
    }

    /// Whether a call may use it.
    pub fn admits(&self) -> Admits {
        match self.state() {
            BreakerState::Closed => Admits::Yes,
            BreakerState::HalfOpen if self.probes.load(Ordering::Relaxed) > 0 => Admits::Probe,
            BreakerState::HalfOpen | BreakerState::Open => Admits::No,
        }
    }

    /// Takes one of the probes.
    pub fn take_probe(&self) -> bool {
        self.probes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Publishes where the breaker stands. For the supervisor alone.
    pub(crate) fn publish(&self, state: BreakerState) {
        let word = match state {
            BreakerState::Closed => 0,
            BreakerState::Open => 1,
            BreakerState::HalfOpen => 2,
        };
        self.state.store(word, Ordering::Relaxed);
    }

    /// Gives out probes. For the supervisor alone.
    pub(crate) fn give_probes(&self) {
        self.probes.store(PROBES, Ordering::Relaxed);
    }

    fn observe(&self, sign: Sign) {
        match sign {
            Sign::Failed | Sign::Overloaded => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
            // A provider that says when to come back is no failing one; a bad credential is the channel's.
            Sign::Throttled | Sign::BadCredential | Sign::OutOfCredit | Sign::Nothing => {}
        }
    }
}

/// When an answer that has begun counts for its breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It has counted already.
    AsItBegan,
    /// Once it has come to its end: while the breaker is not closed, a beginning is no proof.
    AtItsEnd,
}

/// For how long retries and others are compared.
pub(super) const RETRY_WINDOW: Duration = Duration::from_secs(30);
/// Retries that are always allowed in that time: three a second.
const LEAST_RETRIES: u64 = 90;

/// How a channel's budget for attempts stands that follow a failed one elsewhere, over half a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Those that were made.
    pub used: u64,
    /// Those that may be.
    pub allowed: u64,
}

/// What the call path counts and reads of one channel's standing.
#[derive(Debug)]
pub struct Lines {
    lines: ArcSwap<HashMap<ModelName, Arc<Line>>>,
    standing: AtomicU8,
    bad_credential: AtomicU64,
    out_of_credit: AtomicU64,
    /// Attempts of late that were no retries, as the supervisor counted them last.
    others: AtomicU64,
    /// Retries so far.
    retried: AtomicU64,
    retries: Window,
    refused_retries: AtomicU64,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            lines: ArcSwap::default(),
            standing: AtomicU8::new(0),
            bad_credential: AtomicU64::new(0),
            out_of_credit: AtomicU64::new(0),
            others: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            retries: Window::new(RETRY_WINDOW),
            refused_retries: AtomicU64::new(0),
        }
    }
}

impl Lines {
    /// The line of a model, by the provider's name for it.
    pub fn line(&self, model: &ModelName) -> Arc<Line> {
        if let Some(line) = self.lines.load().get(model) {
            return Arc::clone(line);
        }
        let made = Arc::<Line>::default();
        let before = self.lines.rcu(|lines| {
            let mut lines = HashMap::clone(lines);
            lines.entry(Arc::clone(model)).or_insert_with(|| Arc::clone(&made));
            lines
        });
        before.get(model).cloned().unwrap_or(made)
    }

    /// Every line, by the provider's name for the model.
    pub fn all(&self) -> Arc<HashMap<ModelName, Arc<Line>>> {
        self.lines.load_full()
    }

    /// Forgets the lines of models that the channel no longer serves.
    pub(super) fn keep(&self, is_wanted: impl Fn(&ModelName) -> bool) {
        if self.lines.load().keys().all(&is_wanted) {
            return;
        }
        self.lines.rcu(|lines| {
            let kept = lines.iter().filter(|(model, _)| is_wanted(model));
            kept.map(|(model, line)| (Arc::clone(model), Arc::clone(line))).collect::<HashMap<_, _>>()
        });
    }

    /// Whether the channel is used, as far as evidence goes.
    pub fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            1 => Standing::Off(OffReason::BadCredential),
            2 => Standing::Off(OffReason::OutOfCredit),
            3 => Standing::Trying(OffReason::BadCredential),
            4 => Standing::Trying(OffReason::OutOfCredit),
            _ => Standing::On,
        }
    }

    /// Takes the one try that a channel has that was switched off.
    pub fn take_try(&self) -> bool {
        let off = |word: u8| (word > 2).then(|| word - 2);
        self.standing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, off).is_ok()
    }

    /// Counts what a failed attempt told.
    pub fn observe(&self, line: &Line, sign: Sign) {
        line.observe(sign);
        match sign {
            Sign::BadCredential => {
                self.bad_credential.fetch_add(1, Ordering::Relaxed);
            }
            Sign::OutOfCredit => {
                self.out_of_credit.fetch_add(1, Ordering::Relaxed);
            }
            Sign::Failed | Sign::Overloaded | Sign::Throttled | Sign::Nothing => {}
        }
    }

    /// Counts an answer that has begun.
    pub fn began(&self, line: &Line) -> Counted {
        if line.state() != BreakerState::Closed {
            return Counted::AtItsEnd;
        }
        line.succeeded.fetch_add(1, Ordering::Relaxed);
        Counted::AsItBegan
    }

    /// Counts an answer that came to its end.
    pub fn ended(&self, line: &Line, counted: Counted) {
        if counted == Counted::AtItsEnd {
            line.succeeded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an answer that broke off: it was none.
    pub fn broke_off(&self, line: &Line, counted: Counted, sign: Sign) {
        if counted == Counted::AsItBegan {
            line.succeeded.fetch_sub(1, Ordering::Relaxed);
        }
        self.observe(line, sign);
    }

    /// Takes the right to an attempt that follows a failed one elsewhere: so many percent of the others, and
    /// three a second in any case.
    pub fn retry(&self, percent: u32, now_ms: u64) -> bool {
        let limit = self.budget(percent, now_ms).allowed;
        let taken = self.retries.take(1, limit, now_ms).is_ok();
        let counter = if taken { &self.retried } else { &self.refused_retries };
        counter.fetch_add(1, Ordering::Relaxed);
        taken
    }

    /// How the budget for such attempts stands.
    pub fn budget(&self, percent: u32, now_ms: u64) -> Budget {
        let used = self.retries.used(now_ms);
        let others = self.others.load(Ordering::Relaxed);
        Budget { used, allowed: LEAST_RETRIES.max(others.saturating_mul(u64::from(percent)) / 100) }
    }

    /// Retries so far.
    pub(super) fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Publishes how many attempts of late were no retries. For the supervisor alone.
    pub(crate) fn publish_others(&self, others: u64) {
        self.others.store(others, Ordering::Relaxed);
    }

    /// Retries that the budget refused.
    pub fn refused_retries(&self) -> u64 {
        self.refused_retries.load(Ordering::Relaxed)
    }

    /// What was counted for and against the credential; `answered` as the cell counts it.
    pub(super) fn evidence(&self, answered: u64) -> Evidence {
        Evidence {
            answered,
            bad_credential: self.bad_credential.load(Ordering::Relaxed),
            out_of_credit: self.out_of_credit.load(Ordering::Relaxed),
        }
    }

    /// Publishes whether the channel is used. For the supervisor alone.
    pub(crate) fn publish(&self, standing: Standing) {
        let word = match standing {
            Standing::On => 0,
            Standing::Off(OffReason::BadCredential) => 1,
            Standing::Off(OffReason::OutOfCredit) => 2,
            Standing::Trying(OffReason::BadCredential) => 3,
            Standing::Trying(OffReason::OutOfCredit) => 4,
        };
        self.standing.store(word, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn a_half_open_line_gives_its_probes_and_no_more() {
        let line = Line::default();
        assert_eq!(line.admits(), Admits::Yes);
        line.publish(BreakerState::HalfOpen);
        line.give_probes();
        let taken = (0..10).filter(|_| line.admits() == Admits::Probe && line.take_probe()).count();
        assert_eq!((taken, line.admits()), (PROBES as usize, Admits::No));
    }

    #[test]
    fn one_call_tries_a_channel_that_is_off() {
        let lines = Lines::default();
        assert!(!lines.take_try(), "it is on");
        lines.publish(Standing::Trying(OffReason::OutOfCredit));
        assert!(lines.take_try() && !lines.take_try());
        assert_eq!(lines.standing(), Standing::Off(OffReason::OutOfCredit));
    }

    #[test]
    fn retries_are_a_part_of_the_others_or_three_a_second() {
        let lines = Lines::default();
        assert_eq!((0..200).filter(|_| lines.retry(20, 0)).count(), 90);
        assert_eq!(lines.refused_retries(), 110);
        lines.publish_others(1_000);
        assert_eq!(lines.budget(20, 1_000), Budget { used: 90, allowed: 200 });
        assert_eq!((0..200).filter(|_| lines.retry(20, 1_000)).count(), 110, "a fifth of a thousand");
        lines.publish_others(0);
        assert_eq!((0..200).filter(|_| lines.retry(20, 62_000)).count(), 90, "another time");
    }

    #[test]
    fn an_answer_that_breaks_off_is_none_and_a_probe_counts_at_its_end() {
        let lines = Lines::default();
        let line = lines.line(&"m".into());
        let first = lines.began(&line);
        assert_eq!(line.tries(), Tries { succeeded: 1, failed: 0 });
        lines.broke_off(&line, first, Sign::Failed);
        assert_eq!(line.tries(), Tries { succeeded: 0, failed: 1 });
        line.publish(BreakerState::HalfOpen);
        let probes = [lines.began(&line), lines.began(&line)];
        assert_eq!(line.tries().succeeded, 0);
        lines.ended(&line, probes[0]);
        lines.broke_off(&line, probes[1], Sign::Failed);
        assert_eq!(line.tries(), Tries { succeeded: 1, failed: 2 });
    }

    #[test]
    fn a_line_is_one_for_all_and_stays_while_its_model_is_served() {
        let lines = Lines::default();
        let first = lines.line(&"m".into());
        lines.observe(&first, Sign::Failed);
        assert_eq!(lines.line(&"m".into()).tries(), Tries { succeeded: 0, failed: 1 });
        lines.line(&"other".into());
        lines.keep(|model| **model == *"m");
        assert_eq!(lines.all().len(), 1);
        assert!(Arc::ptr_eq(&first, &lines.line(&"m".into())));
    }
}
