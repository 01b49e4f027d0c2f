//! A sliding window: what was taken in the last so-and-so long. Lock-free; time is an argument.
//!
//! It has 30 buckets to the window and counts every one that overlaps it, 31 at a time: so it never admits
//! more than its limit in any stretch of the window's length, and may refuse for up to a 30th of it too long.
//!
//! One word holds the sum, by which calls are admitted; each bucket is a word with its own time. What a bucket
//! holds is in the sum before it is in the bucket, and leaves the bucket before it leaves the sum.

use std::time::Duration;

use super::tagged::Tagged;

#[cfg(not(feature = "loom"))]
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicU64, Ordering};

/// Buckets that make up a window.
const BUCKETS: u64 = 30;
/// The sum of a window that was evicted.
const GONE: u64 = u64::MAX;

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It would be more than the limit; this much is taken already.
    Full(u64),
    /// The cell was evicted; another stands in its place.
    Gone,
}

/// See the module's words. Times are milliseconds of one monotonic clock.
#[derive(Debug)]
pub struct Window {
    sum: AtomicU64,
    /// Old buckets were emptied up to this one's number.
    swept: AtomicU64,
    slots: Box<[AtomicU64]>,
    /// Milliseconds of a bucket.
    width: u64,
}

impl Window {
    /// An empty window of a length that is a multiple of 30 ms.
    pub fn new(length: Duration) -> Self {
        Self::with_buckets(length.as_millis() as u64 / BUCKETS, BUCKETS)
    }

    fn with_buckets(width: u64, buckets: u64) -> Self {
        let slots = (0..=buckets).map(|number| AtomicU64::new(Tagged::new(number, 0).0)).collect();
        Self { sum: AtomicU64::new(0), swept: AtomicU64::new(0), slots, width: width.max(1) }
    }

    /// Takes an amount if the window then holds no more than the limit; gives the bucket that was charged.
    ///
    /// # Errors
    /// [`NotTaken`]
    pub fn take(&self, amount: u64, limit: u64, now_ms: u64) -> Result<u64, NotTaken> {
        self.sweep(now_ms);
        let mut sum = self.sum.load(Ordering::Relaxed);
        loop {
            if sum == GONE {
                return Err(NotTaken::Gone);
            }
            let after = sum.saturating_add(amount);
            if after > limit {
                return Err(NotTaken::Full(sum));
            }
            match self.sum.compare_exchange_weak(sum, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(self.charge(now_ms / self.width, amount)),
                Err(now) => sum = now,
            }
        }
    }

    /// Adds what was taken elsewhere, over the limit if need be; nothing where the window was evicted.
    pub fn add(&self, amount: u64, at_ms: u64, now_ms: u64) {
        self.sweep(now_ms);
        let number = at_ms / self.width;
        let oldest = (now_ms / self.width + 1).saturating_sub(self.slots.len() as u64);
        if number >= oldest && self.grow(amount) {
            self.charge(number, amount);
        }
    }

    /// Puts right what was held in a bucket, now that the amount is known. A bucket that left stays as it is.
    pub fn correct(&self, bucket: u64, held: u64, actual: u64) {
        let slot = self.slot(bucket);
        if actual > held {
            let more = actual - held;
            if !self.grow(more) {
                return;
            }
            let added = change(slot, |word| match word.behind(bucket) {
                0 => Some(word.with(word.amount().saturating_add(more))),
                _ => None,
            });
            self.shrink(more - added.map_or(0, |(old, new)| new.amount() - old.amount()));
        } else if actual < held {
            let taken = change(slot, |word| match word.behind(bucket) {
                0 => Some(word.with(word.amount().saturating_sub(held - actual))),
                _ => None,
            });
            self.shrink(taken.map_or(0, |(old, new)| old.amount() - new.amount()));
        }
    }

    /// What is taken now.
    pub fn used(&self, now_ms: u64) -> u64 {
        self.sweep(now_ms);
        match self.sum.load(Ordering::Relaxed) {
            GONE => 0,
            sum => sum,
        }
    }

    /// When an amount will fit, if nothing else is taken; `None` where it never can.
    pub fn fits_in(&self, amount: u64, limit: u64, now_ms: u64) -> Option<Duration> {
        if amount > limit {
            return None;
        }
        let room = limit - amount;
        let mut left = self.used(now_ms);
        let current = now_ms / self.width;
        let counted = self.slots.len() as u64;
        let oldest = (current + 1).saturating_sub(counted);
        for number in oldest..=current {
            if left <= room {
                break;
            }
            let word = Tagged(self.slot(number).load(Ordering::Relaxed));
            if word.behind(number) == 0 && word.amount() > 0 {
                left = left.saturating_sub(word.amount());
                if left <= room {
                    let at = (number + counted) * self.width;
                    return Some(Duration::from_millis(at.saturating_sub(now_ms)));
                }
            }
        }
        Some(Duration::from_millis(if left <= room { 0 } else { self.width * counted }))
    }

    /// When the window will be empty, if nothing else is taken.
    pub fn empty_in(&self, now_ms: u64) -> Duration {
        let used = self.used(now_ms);
        if used == 0 {
            return Duration::ZERO;
        }
        self.fits_in(1, 1, now_ms).unwrap_or_default()
    }

    /// Ends a window that holds nothing: nothing is ever taken of it again. False where it goes on.
    pub fn evict(&self, now_ms: u64) -> bool {
        self.sweep(now_ms);
        self.sum.compare_exchange(0, GONE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn slot(&self, number: u64) -> &AtomicU64 {
        &self.slots[(number % self.slots.len() as u64) as usize]
    }

    /// Enters what is in the sum already into a bucket, and gives that one's number.
    fn charge(&self, number: u64, amount: u64) -> u64 {
        let mut charged = number;
        let changed = change(self.slot(number), |word| match word.behind(number) {
            0 => {
                charged = number;
                Some(word.with(word.amount().saturating_add(amount)))
            }
            // What left the window goes out of the sum below.
            behind if behind > 0 => {
                charged = number;
                Some(Tagged::new(number, amount))
            }
            // Others went on while this thread stood still: the later bucket holds it longer.
            behind => {
                charged = number + behind.unsigned_abs();
                Some(word.with(word.amount().saturating_add(amount)))
            }
        });
        if let Some((old, new)) = changed {
            // The bucket's own amount before, where it was another's; and what did not fit into its word.
            self.shrink((old.amount() + amount).saturating_sub(new.amount()));
        }
        charged
    }

    /// Empties buckets that no longer overlap the window.
    fn sweep(&self, now_ms: u64) {
        let current = now_ms / self.width;
        if self.swept.load(Ordering::Relaxed) >= current {
            return;
        }
        for slot in &self.slots {
            let left = change(slot, |word| {
                let is_old = word.behind(current) >= self.slots.len() as i64;
                // A later number of its own, so that nothing is put right in a bucket that left.
                (is_old && word.amount() > 0).then(|| word.emptied(self.slots.len() as u64))
            });
            self.shrink(left.map_or(0, |(old, _)| old.amount()));
        }
        self.swept.fetch_max(current, Ordering::Relaxed);
    }

    fn shrink(&self, amount: u64) {
        if amount > 0 {
            self.sum.fetch_sub(amount, Ordering::Relaxed);
        }
    }

    /// Adds to the sum; false where the window was evicted.
    fn grow(&self, amount: u64) -> bool {
        let mut sum = self.sum.load(Ordering::Relaxed);
        while sum != GONE {
            match self.sum.compare_exchange_weak(sum, sum + amount, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => sum = now,
            }
        }
        false
    }
}

/// Changes a word; gives it as it was and as it became, `None` where it was to stay.
fn change(slot: &AtomicU64, mut to: impl FnMut(Tagged) -> Option<Tagged>) -> Option<(Tagged, Tagged)> {
    let mut seen = slot.load(Ordering::Acquire);
    loop {
        let new = to(Tagged(seen))?;
        match slot.compare_exchange_weak(seen, new.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some((Tagged(seen), new)),
            Err(now) => seen = now,
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use std::sync::atomic::AtomicU64 as Count;

    use proptest::prelude::*;

    use super::*;

    fn minute() -> Window {
        Window::new(Duration::from_secs(60))
    }

    #[test]
    fn a_window_is_full_at_its_limit_and_frees_bucket_by_bucket() {
        let window = minute();
        for second in 0..10 {
            window.take(1, 10, second * 1_000).expect("room");
        }
        assert_eq!(window.take(1, 10, 10_000), Err(NotTaken::Full(10)));
        assert_eq!(window.fits_in(1, 10, 10_000), Some(Duration::from_secs(52)));
        assert_eq!(window.take(1, 10, 61_999), Err(NotTaken::Full(10)));
        assert_eq!(window.used(62_000), 8);
        assert!(window.take(2, 10, 62_000).is_ok());
        assert_eq!(window.fits_in(11, 10, 62_000), None, "it is more than the limit");
        assert_eq!(window.empty_in(62_000), Duration::from_secs(62));
    }

    #[test]
    fn what_is_put_right_counts_in_the_bucket_that_was_charged() {
        let window = minute();
        let bucket = window.take(100, 200, 0).expect("room");
        window.take(50, 200, 30_000).expect("room");
        window.correct(bucket, 100, 30);
        assert_eq!(window.used(30_000), 80);
        window.correct(bucket, 30, 500);
        assert_eq!(window.used(30_000), 550, "what was consumed counts, over the limit too");
        assert_eq!(window.used(62_000), 50);
        window.correct(bucket, 500, 0);
        window.correct(bucket, 0, 9);
        assert_eq!(window.used(62_000), 50, "the bucket has left");
    }

    #[test]
    fn an_evicted_window_takes_nothing_any_more() {
        let window = minute();
        let bucket = window.take(1, 1, 0).expect("room");
        assert!(!window.evict(61_000), "it holds something");
        assert!(window.evict(63_000));
        assert_eq!(window.take(1, 1, 63_000), Err(NotTaken::Gone));
        window.correct(bucket, 1, 5);
        window.add(3, 63_000, 63_000);
        assert_eq!(window.used(63_000), 0);
    }

    #[test]
    fn an_idle_year_leaves_nothing_behind() {
        let window = minute();
        window.take(7, 10, 1_000).expect("room");
        assert_eq!(window.used(365 * 86_400_000 / 2), 0);
    }

    #[test]
    fn threads_together_take_no_more_than_the_limit_and_what_goes_back_balances() {
        const LIMIT: u64 = 1_000;
        let (window, taken) = (minute(), Count::new(0));
        std::thread::scope(|s| {
            for thread in 0..4u64 {
                let (window, taken) = (&window, &taken);
                s.spawn(move || {
                    for n in 0..2_000u64 {
                        if let Ok(bucket) = window.take(3, LIMIT, n / 100) {
                            taken.fetch_add(3, Ordering::Relaxed);
                            if n % 2 == thread % 2 {
                                window.correct(bucket, 3, 1);
                                taken.fetch_sub(2, Ordering::Relaxed);
                            }
                        }
                        assert!(window.used(n / 100) <= LIMIT);
                    }
                });
            }
        });
        assert_eq!(window.used(20), taken.load(Ordering::Relaxed));
        assert_eq!(window.used(1_000_000), 0);
    }

    proptest! {
        #[test]
        fn no_stretch_of_the_windows_length_ever_holds_more_than_the_limit(
            steps in proptest::collection::vec((0u64..9_000, 1u64..40), 1..200), limit in 1u64..200
        ) {
            let window = minute();
            let (mut now, mut admitted) = (0, Vec::new());
            for (wait, amount) in steps {
                now += wait;
                let before: u64 = admitted.iter().filter(|(t, _)| t + 60_000 > now).map(|(_, a)| a).sum();
                // The buckets that overlap, counted one by one.
                let counted: u64 = admitted.iter().filter(|(t, _)| t / 2_000 + 30 >= now / 2_000).map(|(_, a)| a).sum();
                match window.take(amount, limit, now) {
                    Ok(_) => {
                        admitted.push((now, amount));
                        prop_assert!(before + amount <= limit);
                        prop_assert!(counted + amount <= limit);
                    }
                    Err(NotTaken::Full(used)) => {
                        prop_assert_eq!(used, counted);
                        prop_assert!(counted + amount > limit, "refused for nothing");
                        if let Some(wait) = window.fits_in(amount, limit, now) {
                            let later = now + wait.as_millis() as u64;
                            let then: u64 = admitted.iter()
                                .filter(|(t, _)| t / 2_000 + 30 >= later / 2_000).map(|(_, a)| a).sum();
                            prop_assert!(then + amount <= limit, "the hint is too early");
                        }
                    }
                    Err(NotTaken::Gone) => prop_assert!(false, "nobody evicts here"),
                }
            }
        }
    }
}

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use loom::sync::Arc;

    use super::*;

    fn in_two_threads(first: fn(&Window), second: fn(&Window), check: fn(&Window)) {
        loom::model(move || {
            let window = Arc::new(Window::with_buckets(10, 1));
            window.take(1, 2, 0).expect("room");
            let other = Arc::clone(&window);
            let thread = loom::thread::spawn(move || first(&other));
            second(&window);
            thread.join().expect("ends");
            check(&window);
        });
    }

    #[test]
    fn taking_while_a_bucket_leaves_keeps_the_sum_that_of_the_buckets() {
        let take = |window: &Window| drop(window.take(1, 2, 25));
        in_two_threads(take, take, |window| {
            assert_eq!(window.used(25), 2);
            assert_eq!(window.used(100), 0);
        });
    }

    #[test]
    fn a_correction_and_a_sweep_take_an_amount_out_once() {
        let correct = |window: &Window| window.correct(0, 1, 0);
        let sweep = |window: &Window| drop(window.take(2, 2, 25));
        in_two_threads(correct, sweep, |window| {
            // Between a bucket and the sum an amount counts still, and another call may be refused by it.
            assert!(matches!(window.used(25), 0 | 2));
            assert_eq!(window.used(100), 0);
        });
    }

    #[test]
    fn nothing_is_taken_of_an_evicted_window() {
        let evict = |window: &Window| {
            window.evict(25);
        };
        let take = |window: &Window| drop(window.take(1, 2, 25));
        in_two_threads(evict, take, |window| {
            let is_gone = window.take(1, 9, 25) == Err(NotTaken::Gone);
            assert_eq!(window.used(25), if is_gone { 0 } else { 2 });
        });
    }
}
