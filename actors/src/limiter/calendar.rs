//! Calendar periods: what was taken this day or this month, by the clocks of a time zone. Lock-free.
//!
//! A period never goes back: a clock that does leaves the later period in force.

use super::{tagged::Tagged, window::NotTaken};

#[cfg(not(feature = "loom"))]
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicU64, Ordering};

const DAY_MS: i64 = 86_400_000;

/// By how much a place's clocks are ahead of UTC, and from when on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name, as it was written.
    pub name: String,
    /// Milliseconds since 1970 and seconds ahead from then on, in order; the first holds before, too.
    shifts: Vec<(i64, i32)>,
}

impl Default for Zone {
    fn default() -> Self {
        Self::new("UTC", vec![(i64::MIN, 0)])
    }
}

impl Zone {
    /// A zone of these shifts: milliseconds since 1970, and seconds ahead of UTC from then on.
    pub fn new(name: &str, mut shifts: Vec<(i64, i32)>) -> Self {
        shifts.sort_unstable();
        Self { name: name.to_owned(), shifts }
    }

    fn local(&self, utc_ms: i64) -> i64 {
        let after = self.shifts.partition_point(|(from, _)| *from <= utc_ms);
        let ahead = self.shifts.get(after.saturating_sub(1)).map_or(0, |(_, ahead)| *ahead);
        utc_ms.saturating_add(i64::from(ahead) * 1000)
    }

    /// The number of the day on the zone's calendar; 0 is the first of January 1970.
    pub fn day(&self, utc_ms: i64) -> u64 {
        u64::try_from(self.local(utc_ms).div_euclid(DAY_MS)).unwrap_or_default()
    }

    /// The number of the month; 0 is January 1970.
    pub fn month(&self, utc_ms: i64) -> u64 {
        month_of(self.day(utc_ms))
    }

    /// The first moment at which `number` is greater than at `utc_ms`, in milliseconds since 1970; found by
    /// halving, so that it holds across shifts.
    fn next(&self, utc_ms: i64, most_ms: i64, number: impl Fn(i64) -> u64) -> i64 {
        let now = number(utc_ms);
        let (mut before, mut after) = (utc_ms, utc_ms.saturating_add(most_ms));
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if number(middle) > now { after = middle } else { before = middle }
        }
        after
    }

    /// When the next day begins.
    pub fn next_day(&self, utc_ms: i64) -> i64 {
        self.next(utc_ms, 2 * DAY_MS, |at| self.day(at))
    }

    /// When the next month begins.
    pub fn next_month(&self, utc_ms: i64) -> i64 {
        self.next(utc_ms, 33 * DAY_MS, |at| self.month(at))
    }

    /// When the day began.
    pub fn day_began(&self, utc_ms: i64) -> i64 {
        self.next(utc_ms - 2 * DAY_MS, 2 * DAY_MS, |at| self.day(at).max(self.day(utc_ms).saturating_sub(1)))
    }

    /// When the month began.
    pub fn month_began(&self, utc_ms: i64) -> i64 {
        self.next(utc_ms - 33 * DAY_MS, 33 * DAY_MS, |at| {
            self.month(at).max(self.month(utc_ms).saturating_sub(1))
        })
    }
}

/// The month of a day (proleptic Gregorian; days are counted from the first of March, as Howard Hinnant's
/// `civil_from_days` does).
fn month_of(day: u64) -> u64 {
    let days = day + 719_468;
    let era = days / 146_097;
    let of_era = days - era * 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let year = year_of_era + era * 400;
    (year * 12 + from_march + 2).saturating_sub(1970 * 12)
}

/// A word that no period's is: its tag would be the last of all, and its amount the most.
const GONE: u64 = u64::MAX;

/// What was taken in the period in force.
#[derive(Debug)]
pub struct Period(AtomicU64);

impl Period {
    /// Nothing, in this period.
    pub fn new(number: u64) -> Self {
        Self(AtomicU64::new(Tagged::new(number, 0).0))
    }

    /// Takes an amount if the period then holds no more than the limit; gives the period that was charged.
    ///
    /// # Errors
    /// [`NotTaken`]
    pub fn take(&self, amount: u64, limit: u64, number: u64) -> Result<u64, NotTaken> {
        let mut charged = number;
        self.change(|word| {
            let (used, in_force) = in_force(word, number);
            charged = in_force;
            let after = used.saturating_add(amount);
            if after > limit { Err(NotTaken::Full(used)) } else { Ok(Tagged::new(in_force, after)) }
        })
        .map(|()| charged)
    }

    /// Adds what was taken elsewhere in a period, over the limit if need be.
    pub fn add(&self, amount: u64, number: u64) {
        let _ = self.change(|word| match word.behind(number) {
            behind if behind < 0 => Err(NotTaken::Gone),
            _ => Ok(Tagged::new(number, in_force(word, number).0.saturating_add(amount))),
        });
    }

    /// Puts right what was held in a period, now that the amount is known.
    pub fn correct(&self, number: u64, held: u64, actual: u64) {
        let _ = self.change(|word| match word.behind(number) {
            0 => Ok(word.with(word.amount().saturating_sub(held).saturating_add(actual))),
            _ => Err(NotTaken::Gone),
        });
    }

    /// What is taken in the period in force.
    pub fn used(&self, number: u64) -> u64 {
        match self.0.load(Ordering::Relaxed) {
            GONE => 0,
            word => in_force(Tagged(word), number).0,
        }
    }

    /// Ends a cell that holds nothing in the period in force; false where it goes on.
    pub fn evict(&self, number: u64) -> bool {
        let seen = self.0.load(Ordering::Relaxed);
        if seen != GONE && in_force(Tagged(seen), number).0 > 0 {
            return false;
        }
        self.0.compare_exchange(seen, GONE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn change(&self, to: impl FnMut(Tagged) -> Result<Tagged, NotTaken>) -> Result<(), NotTaken> {
        let mut to = to;
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            if seen == GONE {
                return Err(NotTaken::Gone);
            }
            let mut new = to(Tagged(seen))?;
            if new.0 == GONE {
                new = new.with(new.amount() - 1);
            }
            match self.0.compare_exchange_weak(seen, new.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
        }
    }
}

/// What is used of the later of the two periods, and its number.
fn in_force(word: Tagged, number: u64) -> (u64, u64) {
    match word.behind(number) {
        behind if behind > 0 => (0, number),
        behind => (word.amount(), number + behind.unsigned_abs()),
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-03-29T01:00:00Z, when clocks in Berlin went from one hour ahead to two.
    const SPRING: i64 = 1_774_746_000_000;

    fn berlin() -> Zone {
        Zone::new("Europe/Berlin", vec![(i64::MIN, 3_600), (SPRING, 7_200)])
    }

    #[test]
    fn days_and_months_follow_the_zone() {
        let utc = Zone::default();
        for (ms, day, month) in [
            (0, 0, 0),
            (DAY_MS - 1, 0, 0),
            (31 * DAY_MS, 31, 1),
            (951_782_400_000, 11_016, 361),
            (951_868_800_000, 11_017, 362),
            (-1, 0, 0),
        ] {
            assert_eq!((utc.day(ms), utc.month(ms)), (day, month), "{ms}");
        }
        let east = Zone::new("+08:00", vec![(i64::MIN, 8 * 3_600)]);
        assert_eq!((east.day(DAY_MS - 8 * 3_600_000), east.day(DAY_MS - 8 * 3_600_000 - 1)), (1, 0));
    }

    #[test]
    fn a_day_of_23_hours_ends_where_it_ends() {
        let zone = berlin();
        let began = SPRING - 2 * 3_600_000;
        assert_eq!(zone.next_day(SPRING), began + 23 * 3_600_000);
        assert_eq!(zone.day_began(SPRING + 5), began);
        assert_eq!(zone.month_began(SPRING), SPRING - 28 * DAY_MS - 2 * 3_600_000);
        assert_eq!(zone.next_month(SPRING), SPRING + 3 * DAY_MS - 3 * 3_600_000);
    }

    #[test]
    fn a_period_begins_with_nothing_and_never_goes_back() {
        let period = Period::new(10);
        assert_eq!(period.take(6, 10, 10), Ok(10));
        assert_eq!(period.take(6, 10, 10), Err(NotTaken::Full(6)));
        assert_eq!(period.take(6, 10, 11), Ok(11));
        assert_eq!(period.take(6, 10, 10), Err(NotTaken::Full(6)), "the clock went back");
        assert_eq!(period.take(1, 10, 10), Ok(11));
        period.correct(10, 6, 0);
        assert_eq!(period.used(11), 7, "what was held in another period is past");
        period.correct(11, 6, 2);
        assert_eq!((period.used(11), period.used(12)), (3, 0));
    }

    #[test]
    fn an_evicted_period_takes_nothing_any_more() {
        let period = Period::new(10);
        period.add(5, 10);
        assert!(!period.evict(10));
        assert!(period.evict(11));
        assert_eq!(period.take(1, 9, 11), Err(NotTaken::Gone));
    }

    proptest! {
        #[test]
        fn no_period_ever_holds_more_than_the_limit(
            steps in proptest::collection::vec((0u64..5, 1u64..40), 1..200), limit in 1u64..100
        ) {
            let period = Period::new(0);
            let mut admitted = std::collections::HashMap::<u64, u64>::new();
            for (number, amount) in steps {
                if let Ok(charged) = period.take(amount, limit, number) {
                    prop_assert!(charged >= number);
                    let sum = admitted.entry(charged).or_default();
                    *sum += amount;
                    prop_assert!(*sum <= limit);
                }
            }
        }

        #[test]
        fn a_next_day_is_the_next_day(ms in 0i64..4_000_000_000_000) {
            let zone = berlin();
            let next = zone.next_day(ms);
            prop_assert_eq!(zone.day(next), zone.day(ms) + 1);
            prop_assert_eq!(zone.day(next - 1), zone.day(ms));
            let month = zone.next_month(ms);
            prop_assert_eq!((zone.month(month), zone.month(month - 1)), (zone.month(ms) + 1, zone.month(ms)));
        }
    }
}
