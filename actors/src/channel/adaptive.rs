//! How many requests in flight a provider bears, below the configured limit. Pure.
//!
//! `aimd` (Chiu and Jain, 1989): less where the provider takes no more, one more for each round of clean answers
//! while the limit is used; and rounds grow longer where one more was refused, so that a limit that is known is
//! tried seldom. `gradient` heeds the time to the first byte as well, against what is usual for prompts of that
//! size (after Netflix' concurrency-limits, Gradient2, without its squeezing); never the whole time, which is the
//! answer's length.

use std::time::Duration;

use crate::domain::Adaptive;

/// Prompt sizes that are told apart: below 1, 4, 16, 64 and 256 KiB, and above.
pub const CLASSES: usize = 6;

/// The class of a prompt of so many bytes.
pub fn class_of(bytes: u64) -> usize {
    [1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10].iter().filter(|above| bytes >= **above).count()
}

/// Times to the first byte of one class since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstBytes {
    /// Answers.
    pub count: u64,
    /// Their sum, in microseconds.
    pub micros: u64,
}

/// What happened since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Attempts that brought an answer.
    pub answered: u64,
    /// The most requests in flight.
    pub peak: u32,
    /// By prompt size.
    pub first_bytes: [FirstBytes; CLASSES],
}

/// What is left of the limit when the provider is overloaded.
const DECREASE: f64 = 0.8;
/// Overload that is seen within this time is one overload.
const ROUND: Duration = Duration::from_secs(1);
/// The limit grows only where so much of it is used: else idle time would inflate it.
const USED: f64 = 0.8;
/// How sure it is that it was too many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sure {
    /// The provider said that it had enough of everything else.
    Told,
    /// It said nothing.
    Guessed,
}

impl Sure {
    /// How much longer it stays untried each time, and how long at most, in rounds.
    fn patience(self) -> (u32, u32) {
        match self {
            Self::Told => (4, 64),
            Self::Guessed => (2, 32),
        }
    }
}

/// A first byte may come so much later than usual.
const TOLERANCE: f64 = 1.5;
/// How fast the limit follows the gradient, and what is usual follows what is.
const SMOOTHING: f64 = 0.2;
const USUAL: f64 = 0.02;

/// The adaptive limit of one channel.
#[derive(Clone, Debug)]
pub struct AdaptiveLimit {
    kind: Adaptive,
    most: u32,
    /// Infinite while nothing was learned.
    limit: f64,
    /// Clean answers since it last changed.
    clean: f64,
    /// Rounds of clean answers before one more is tried.
    patience: u32,
    growth: Growth,
    cut: Option<Duration>,
    usual: [Option<f64>; CLASSES],
}

/// What became of the limit since it was last cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    None,
    /// One more is being tried.
    Once,
    /// More were borne.
    More,
}

impl AdaptiveLimit {
    /// Begins at the configured limit, or at the one that was learned before.
    pub fn new(kind: Adaptive, most: u32, learned: Option<u32>) -> Self {
        let limit = learned.map_or(f64::INFINITY, f64::from);
        let usual = [None; CLASSES];
        Self { kind, most, limit, clean: 0.0, patience: 1, growth: Growth::None, cut: None, usual }
    }

    /// By which rule it goes.
    pub fn kind(&self) -> Adaptive {
        self.kind
    }

    /// Takes another configured limit; what was learned stays, below it.
    pub fn set_most(&mut self, most: u32) {
        self.most = most;
    }

    /// What was learned, or else is configured.
    fn at(&self) -> f64 {
        self.limit.min(f64::from(self.most))
    }

    /// The limit in force.
    pub fn limit(&self) -> u32 {
        match self.kind {
            Adaptive::Fixed => self.most,
            // The operator's 0 is a limit, too; what is learned leaves one to try with.
            _ => (self.at().max(1.0) as u32).min(self.most),
        }
    }

    /// What was learned, where it is below the configured limit.
    pub fn learned(&self) -> Option<u32> {
        Some(self.limit()).filter(|limit| *limit < self.most)
    }

    /// The provider refused a request while it served so many others: that many it bears.
    pub fn refused_beside(&mut self, others: u32, sure: Sure) {
        if f64::from(others) >= self.at().floor() {
            return;
        }
        self.limit = f64::from(others.max(1));
        let (factor, most) = sure.patience();
        self.patience = match self.growth {
            Growth::Once => (self.patience * factor).min(most),
            Growth::More => factor,
            // What it told leaves no doubt.
            Growth::None if sure == Sure::Told => self.patience.max(16),
            Growth::None => self.patience,
        };
        (self.clean, self.growth) = (0.0, Growth::None);
    }

    /// The provider, or the way to it, is overloaded, with so many requests in flight.
    pub fn overloaded(&mut self, in_flight: u32, now: Duration) {
        if self.cut.is_some_and(|cut| now.saturating_sub(cut) < ROUND) {
            return;
        }
        // From what was in flight: the limit itself may be far above it.
        let reached = f64::from(in_flight.max(1)).min(self.at());
        (self.limit, self.clean, self.cut) = ((reached * DECREASE).max(1.0), 0.0, Some(now));
        self.growth = Growth::None;
    }

    /// Takes what happened since the last look.
    pub fn observe(&mut self, seen: &Seen) {
        if self.kind == Adaptive::Fixed {
            return;
        }
        let gradient = if self.kind == Adaptive::Gradient { self.gradient(seen) } else { 1.0 };
        if gradient < 1.0 {
            let base = self.at().min(f64::from(seen.peak.max(1)) * 2.0);
            let target = base * gradient + base.sqrt();
            if target < base {
                (self.limit, self.clean) = ((base + (target - base) * SMOOTHING).max(1.0), 0.0);
                return;
            }
        }
        if self.limit >= f64::from(self.most) {
            return;
        }
        if f64::from(seen.peak) >= (self.limit * USED).floor() {
            self.clean += seen.answered as f64;
        }
        while self.clean >= self.limit * f64::from(self.patience) && self.limit < f64::from(self.most) {
            self.clean -= self.limit * f64::from(self.patience);
            self.limit += 1.0;
            if self.growth != Growth::None {
                self.patience = (self.patience / 8).max(1);
            }
            self.growth = if self.growth == Growth::None { Growth::Once } else { Growth::More };
        }
        if self.limit >= f64::from(self.most) {
            // Whoever raises the configured limit then wants it tried.
            self.limit = f64::INFINITY;
        }
    }

    /// What is usual by what is, over all classes: 1 where nothing is slow, a half at least.
    fn gradient(&mut self, seen: &Seen) -> f64 {
        let (mut sum, mut weight) = (0.0, 0.0);
        for (first, usual) in seen.first_bytes.iter().zip(&mut self.usual).filter(|(f, _)| f.count > 0) {
            let mean = (first.micros as f64 / first.count as f64).max(1.0);
            let known = usual.get_or_insert(mean);
            let ratio = (*known * TOLERANCE / mean).clamp(0.5, 1.0);
            sum += ratio * first.count as f64;
            weight += first.count as f64;
            *known += (mean - *known) * USUAL;
        }
        if weight > 0.0 { sum / weight } else { 1.0 }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use proptest::prelude::*;

    use super::{super::gate::UNLIMITED, *};

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn answered(limit: &mut AdaptiveLimit, answered: u64, peak: u32) -> u32 {
        limit.observe(&Seen { answered, peak, ..Seen::default() });
        limit.limit()
    }

    #[test]
    fn a_fixed_limit_is_what_is_configured() {
        let mut limit = AdaptiveLimit::new(Adaptive::Fixed, 7, Some(3));
        limit.overloaded(7, secs(0));
        limit.refused_beside(2, Sure::Guessed);
        assert_eq!((answered(&mut limit, 0, 7), limit.learned()), (7, None));
    }

    #[test]
    fn overload_takes_a_part_once_a_round_and_clean_rounds_give_one_each() {
        let mut limit = AdaptiveLimit::new(Adaptive::Aimd, 100, None);
        for (at, wanted) in [(0, 80), (0, 80), (1, 64)] {
            limit.overloaded(100, secs(at));
            assert_eq!(limit.limit(), wanted, "at {at}");
        }
        assert_eq!(answered(&mut limit, 64, 64), 65);
        assert_eq!(answered(&mut limit, 1_000, 10), 65, "it was not used");
        limit.overloaded(20, secs(9));
        assert_eq!(limit.limit(), 16, "from what was in flight");
        assert_eq!(answered(&mut limit, 1_000_000, 100), 100, "not above what is configured");
    }

    #[test]
    fn a_burst_of_refusals_finds_the_limit_at_once_and_it_is_tried_ever_more_seldom() {
        let mut limit = AdaptiveLimit::new(Adaptive::Aimd, UNLIMITED, None);
        (12..64).rev().for_each(|others| limit.refused_beside(others, Sure::Guessed));
        assert_eq!(limit.limit(), 12);
        for patience in [1, 2, 4, 8, 16, 32, 32] {
            assert_eq!(answered(&mut limit, 12 * patience - 1, 12), 12, "patience {patience}");
            assert_eq!(answered(&mut limit, 1, 12), 13, "patience {patience}");
            limit.refused_beside(12, Sure::Guessed);
            assert_eq!(limit.limit(), 12);
        }
        let mut told = AdaptiveLimit::new(Adaptive::Aimd, 13, None);
        told.refused_beside(12, Sure::Told);
        for patience in [16, 64, 64] {
            assert_eq!(answered(&mut told, 12 * patience - 1, 12), 12, "patience {patience}");
            assert_eq!(answered(&mut told, 1, 12), 13, "patience {patience}");
            told.refused_beside(12, Sure::Told);
        }
    }

    #[test]
    fn a_limit_that_doubled_is_found_soon_after_the_first_that_is_borne() {
        let mut limit = AdaptiveLimit::new(Adaptive::Aimd, 64, None);
        limit.refused_beside(12, Sure::Guessed);
        for _ in 0..9 {
            answered(&mut limit, 12 * 32, 12);
            limit.refused_beside(12, Sure::Guessed);
        }
        let mut answers = 0;
        while limit.limit() < 24 {
            let now = limit.limit();
            answers += 1;
            answered(&mut limit, 1, now);
        }
        // Half of it is the wait for the next try.
        assert!(answers < 1_100, "{answers}");
    }

    #[test]
    fn slow_first_bytes_of_one_size_lower_the_gradients_limit_and_long_prompts_do_not() {
        let of = |class: usize, ms: u64| {
            let mut seen = Seen { answered: 50, peak: 50, ..Seen::default() };
            seen.first_bytes[class] = FirstBytes { count: 50, micros: 50 * ms * 1_000 };
            seen
        };
        let mut limit = AdaptiveLimit::new(Adaptive::Gradient, 50, None);
        for _ in 0..20 {
            limit.observe(&of(0, 200));
        }
        limit.observe(&of(4, 4_000));
        assert_eq!(limit.limit(), 50, "another size");
        (0..10).for_each(|_| limit.observe(&of(0, 1_000)));
        assert!(limit.limit() < 35, "{}", limit.limit());
        let mut none = AdaptiveLimit::new(Adaptive::Gradient, UNLIMITED, None);
        none.observe(&of(0, 200));
        none.observe(&of(0, 1_000));
        assert!(none.limit() < 100, "from what was in flight: {}", none.limit());
    }

    #[test]
    fn a_raised_limit_is_tried_unless_less_was_learned_and_a_lowered_one_holds() {
        let mut limit = AdaptiveLimit::new(Adaptive::Aimd, 10, None);
        limit.set_most(20);
        assert_eq!(limit.limit(), 20);
        limit.refused_beside(8, Sure::Guessed);
        limit.set_most(40);
        assert_eq!((limit.limit(), limit.learned()), (8, Some(8)));
        limit.set_most(3);
        assert_eq!((limit.limit(), limit.learned()), (3, None));
        limit.set_most(0);
        assert_eq!(limit.limit(), 0);
        limit.set_most(40);
        assert_eq!(limit.limit(), 8);
        assert_eq!(AdaptiveLimit::new(Adaptive::Aimd, 40, Some(9)).limit(), 9, "after a restart");
    }

    #[test]
    fn sizes_have_their_classes() {
        for (bytes, class) in [(0, 0), (1023, 0), (1024, 1), (20_000, 3), (1 << 30, 5)] {
            assert_eq!(class_of(bytes), class);
        }
    }

    proptest! {
        #[test]
        fn the_limit_is_never_none_nor_above_the_configured_one(
            most in 1u32..200, steps in proptest::collection::vec((0u64..300, 0u32..4, 0u32..250), 0..100)
        ) {
            for kind in [Adaptive::Aimd, Adaptive::Gradient] {
                let mut limit = AdaptiveLimit::new(kind, most, None);
                for (n, (count, what, peak)) in steps.iter().enumerate() {
                    match what {
                        0 => limit.overloaded(*peak, Duration::from_millis(n as u64 * 500)),
                        1 => limit.refused_beside(*peak, Sure::Guessed),
                        _ => {
                            let mut seen = Seen { answered: *count, peak: *peak, ..Seen::default() };
                            seen.first_bytes[0] = FirstBytes { count: *count, micros: count * u64::from(*peak) };
                            limit.observe(&seen);
                        }
                    }
                    prop_assert!((1..=most).contains(&limit.limit()));
                }
            }
        }
    }
}
