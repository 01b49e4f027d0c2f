//! A sum over the recent past: slots of equal width, of which the oldest is given up as time goes on. Pure.

use std::{ops::AddAssign, time::Duration};

/// A sum over a window of the last `slots` x `width`.
///
/// The window's oldest slot counts whole until it leaves, so a sum covers up to one width less than the window.
#[derive(Clone, Debug)]
pub struct Rolling<T> {
    width: Duration,
    slots: Vec<T>,
    /// The number, since the start of time, of the slot that is being filled.
    newest: u64,
}

impl<T: AddAssign + Clone + Default> Rolling<T> {
    /// An empty window; a width of nothing counts as a nanosecond.
    pub fn new(width: Duration, slots: usize) -> Self {
        let width = width.max(Duration::from_nanos(1));
        Self { width, slots: vec![T::default(); slots.max(1)], newest: 0 }
    }

    /// Adds to the sum. A clock that steps back adds to the newest slot.
    pub fn add(&mut self, now: Duration, amount: T) {
        self.roll(now);
        let slot = self.index(self.newest);
        self.slots[slot] += amount;
    }

    /// The sum of the window that ends now.
    pub fn sum(&mut self, now: Duration) -> T {
        self.roll(now);
        let mut sum = T::default();
        self.slots.iter().cloned().for_each(|slot| sum += slot);
        sum
    }

    fn roll(&mut self, now: Duration) {
        let current = u64::try_from(now.as_nanos() / self.width.as_nanos()).unwrap_or(u64::MAX);
        let passed = current.saturating_sub(self.newest).min(self.slots.len() as u64);
        for back in 0..passed {
            let slot = self.index(current - back);
            self.slots[slot] = T::default();
        }
        self.newest = current.max(self.newest);
    }

    fn index(&self, slot: u64) -> usize {
        (slot % self.slots.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut sum = Rolling::new(at(10), 3);
        sum.add(at(5), 1u64);
        sum.add(at(15), 2);
        sum.add(at(29), 4);
        assert_eq!((sum.sum(at(29)), sum.sum(at(30)), sum.sum(at(45)), sum.sum(at(50))), (7, 6, 4, 0));
    }

    #[test]
    fn a_clock_that_steps_back_or_jumps_ahead_loses_nothing_that_is_recent() {
        let mut sum = Rolling::new(at(10), 3);
        sum.add(at(100), 1u64);
        sum.add(at(3), 2);
        assert_eq!(sum.sum(at(0)), 3);
        sum.add(Duration::MAX, 5);
        assert_eq!(sum.sum(Duration::MAX), 5);
    }

    proptest! {
        #[test]
        fn a_sum_is_that_of_the_slots_in_the_window(steps in proptest::collection::vec((0u64..40, 0u64..9), 1..60)) {
            let mut sum = Rolling::new(at(10), 4);
            let (mut now, mut all) = (0, Vec::new());
            for (wait, amount) in steps {
                now += wait;
                sum.add(at(now), amount);
                all.push((now, amount));
                let expected: u64 = all.iter().filter(|(t, _)| t / 10 + 4 > now / 10).map(|(_, a)| a).sum();
                prop_assert_eq!(sum.sum(at(now)), expected);
            }
        }
    }
}
