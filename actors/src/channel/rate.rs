//! How many requests a second a provider lets through that says nothing of it, as its refusals show. Pure.
//!
//! A provider that refuses has nothing left; from one such moment to the next it let through what it gives. So
//! their distance tells the rate, and the next try goes by a cubic: a little below at first, long near it, then
//! ever faster (the growth function of CUBIC; Ha, Rhee, Xu, 2008, and RFC 9438). What lies below the rate first
//! pays for what lies above it later: one refusal each time. While refusals follow on each other without an
//! answer, it is tried ever more seldom, and with the first answer goes on where it was: providers that count by
//! the minute on the clock refuse everything until the next one.

use std::time::Duration;

/// How far below what was seen it begins.
const BELOW: f64 = 0.1;
/// After so many seconds it is back at what was seen; sooner where it was seen for less than [`SURE`].
const BACK: f64 = 30.0;
const SOON_BACK: f64 = 8.0;
const SURE: Duration = Duration::from_secs(10);
/// What was seen is forgotten when it grew to so much.
const FORGOTTEN: f64 = 10.0;
/// It grows only where so much of it is used.
const USED: f64 = 0.7;
/// Refusals closer together than this tell no rate, only that it is less.
const CLOSE: Duration = Duration::from_secs(1);
const LESS: f64 = 0.7;
/// Refusals for longer than this are a pause of the provider's, and no rate.
const LONG: Duration = Duration::from_secs(2);
/// What recent answers show is above the rate, by what the provider had saved up.
const RECENT: f64 = 0.7;
/// Recent answers count half after so many seconds.
const HALF_LIFE: f64 = 3.0;
/// Requests a second with which a provider is tried that refuses everything.
const LEAST: f64 = 0.2;
/// Where nothing was ever answered.
const BLIND: f64 = 1.0;

/// The rate of one channel.
#[derive(Clone, Debug)]
pub struct InferredRate {
    seen: Option<f64>,
    /// Refusals since the last answer to what was sent after the first of them; `None` while answers come.
    refusals: Option<i32>,
    /// When they began, and answers since then.
    began: Option<Duration>,
    answered: u64,
    /// The last of them.
    refused: Option<Duration>,
    /// Seconds for which the rate was used since it was seen.
    used: f64,
    /// Seconds of use after which the rate is what was seen.
    back: f64,
    /// Answers a second, smoothed, and how much of that is known.
    recent: f64,
    known: f64,
    looked: Duration,
}

/// What came since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// All of them.
    pub all: u64,
    /// Those to requests that were sent after refusals began.
    pub after: u64,
}

/// What a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// It belongs to one that is answered already.
    Nothing,
    /// The provider still refuses.
    More,
    /// The provider has nothing left.
    Empty,
}

impl InferredRate {
    /// Nothing is known, or what was paced to before.
    pub fn new(before: Option<f64>, now: Duration) -> Self {
        Self {
            seen: before,
            refusals: None,
            began: None,
            answered: 0,
            refused: None,
            used: 0.0,
            back: SOON_BACK,
            recent: before.unwrap_or_default(),
            known: if before.is_some() { 1.0 } else { 0.0 },
            looked: now,
        }
    }

    fn recent(&self) -> f64 {
        if self.known > 0.0 { self.recent / self.known } else { 0.0 }
    }

    /// Takes the answers since the last look.
    pub fn observe(&mut self, answers: Answers, now: Duration) {
        let elapsed = now.saturating_sub(self.looked).as_secs_f64();
        self.answered += answers.all;
        if self.refusals.is_some() && answers.after > 0 {
            let is_short = self.began.is_some_and(|began| now.saturating_sub(began) < LONG);
            let refusals = self.refusals.take().filter(|_| is_short).unwrap_or_default();
            self.seen = self.seen.map(|seen| (seen * LESS.powi(refusals)).max(LEAST));
            self.used = 0.0;
        }
        if elapsed <= 0.0 {
            return;
        }
        self.looked = now;
        let keep = 0.5_f64.powf(elapsed / HALF_LIFE);
        self.recent = self.recent * keep + answers.all as f64 / elapsed * (1.0 - keep);
        self.known = self.known * keep + (1.0 - keep);
        let Some(rate) = self.per_second().filter(|_| self.refusals.is_none()) else { return };
        if self.recent() >= rate * USED {
            self.used += elapsed;
        }
        if self.seen.is_some_and(|seen| rate > seen * FORGOTTEN) {
            *self = Self { recent: self.recent, known: self.known, ..Self::new(None, now) };
        }
    }

    /// The provider refused a request that was sent at this time.
    pub fn refused(&mut self, sent: Duration, now: Duration) -> Shows {
        if self.refused.is_some_and(|refused| sent <= refused) {
            return Shows::Nothing;
        }
        self.refused = Some(now);
        if let Some(refusals) = &mut self.refusals {
            *refusals = (*refusals + 1).min(64);
            return Shows::More;
        }
        let before = self.per_second();
        let recent = self.recent() * RECENT;
        let since = self.began.map(|began| now.saturating_sub(began));
        self.back = if since.is_some_and(|since| since >= SURE) { BACK } else { SOON_BACK };
        let seen = match since {
            Some(since) if since < CLOSE => before.map_or(recent, |rate| rate * LESS),
            Some(since) => (self.answered as f64 / since.as_secs_f64()).max(recent),
            None if recent > 0.0 => recent,
            None => BLIND,
        };
        self.seen = Some(before.map_or(seen, |rate| seen.min(rate)).max(LEAST));
        (self.refusals, self.began, self.answered, self.used) = (Some(0), Some(now), 0, 0.0);
        Shows::Empty
    }

    /// What to pace to; `None` for no limit.
    pub fn per_second(&self) -> Option<f64> {
        let seen = self.seen?;
        let way = (self.used - self.back) / self.back;
        let rate = seen * (1.0 + BELOW * way.powi(3));
        Some(match self.refusals {
            Some(refusals) => (rate * 0.5_f64.powi(refusals)).max(LEAST.min(rate)),
            None => rate,
        })
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Answers at a rate, seen twice a second.
    fn answers(rate: &mut InferredRate, from: u64, to: u64, per_second: u64) {
        for half in from * 2 + 1..=to * 2 {
            let answers = Answers { all: per_second / 2, after: per_second / 2 };
            rate.observe(answers, Duration::from_millis(half * 500));
        }
    }

    fn near(rate: &InferredRate, wanted: f64) {
        let is = rate.per_second().unwrap_or_default();
        assert!((is / wanted - 1.0).abs() < 0.05, "{is} is not about {wanted}");
    }

    #[test]
    fn nothing_is_paced_without_a_refusal_and_with_one_alone_what_was_seen_less_a_part() {
        let mut rate = InferredRate::new(None, secs(0));
        answers(&mut rate, 0, 60, 100);
        assert_eq!(rate.per_second(), None);
        assert_eq!(rate.refused(secs(60), secs(60)), Shows::Empty);
        near(&rate, 100.0 * 0.7 * 0.9);
        let mut blind = InferredRate::new(None, secs(0));
        assert_eq!(blind.refused(secs(1), secs(1)), Shows::Empty);
        near(&blind, 0.9);
    }

    #[test]
    fn the_distance_of_two_refusals_tells_the_rate_and_the_next_try_is_a_cubic() {
        let mut rate = InferredRate::new(None, secs(0));
        answers(&mut rate, 0, 20, 14);
        rate.refused(secs(20), secs(20));
        answers(&mut rate, 20, 60, 10);
        assert_eq!(rate.refused(secs(60), secs(60)), Shows::Empty);
        near(&rate, 9.0);
        answers(&mut rate, 60, 90, 10);
        near(&rate, 10.0);
        answers(&mut rate, 90, 120, 10);
        near(&rate, 11.0);
    }

    #[test]
    fn refusals_of_what_was_sent_before_are_one() {
        let mut rate = InferredRate::new(Some(10.0), secs(0));
        assert_eq!(rate.refused(secs(5), secs(6)), Shows::Empty);
        let first = rate.per_second();
        assert_eq!(rate.refused(secs(5), secs(7)), Shows::Nothing);
        assert_eq!(rate.refused(secs(6), secs(8)), Shows::Nothing);
        assert_eq!(rate.per_second(), first);
    }

    #[test]
    fn a_provider_that_refuses_everything_is_tried_seldom_and_then_used_as_before() {
        let mut rate = InferredRate::new(None, secs(0));
        answers(&mut rate, 0, 60, 10);
        rate.refused(secs(60), secs(60));
        let before = rate.per_second();
        for second in 61..90 {
            rate.observe(Answers { all: 1, after: 0 }, secs(second));
            assert_eq!(rate.refused(secs(second), secs(second)), Shows::More);
        }
        near(&rate, LEAST);
        rate.observe(Answers { all: 1, after: 1 }, secs(90));
        assert_eq!(rate.per_second(), before);
    }

    #[test]
    fn a_limit_that_is_gone_is_forgotten_soon_and_one_that_is_not_used_is_kept() {
        let mut rate = InferredRate::new(None, secs(0));
        answers(&mut rate, 0, 9, 10);
        rate.refused(secs(9), secs(9));
        answers(&mut rate, 9, 200, 2);
        assert!(rate.per_second().is_some_and(|rate| rate < 10.0), "it was not used");
        let mut second = 200;
        while let Some(now) = rate.per_second() {
            second += 1;
            answers(&mut rate, second - 1, second, now.ceil() as u64 + 1);
        }
        assert!(second < 390, "{second}");
    }

    proptest! {
        #[test]
        fn it_is_never_nothing(
            steps in proptest::collection::vec((0u64..50, 0u64..900, any::<bool>()), 1..100)
        ) {
            let (mut rate, mut now) = (InferredRate::new(None, secs(0)), Duration::ZERO);
            for (answered, ms, is_refused) in steps {
                now += Duration::from_millis(ms);
                rate.observe(Answers { all: answered, after: answered / 2 }, now);
                if is_refused {
                    rate.refused(now, now);
                }
                if let Some(rate) = rate.per_second() {
                    prop_assert!(rate.is_finite() && rate >= LEAST * 0.8, "{rate}");
                }
            }
        }
    }
}
