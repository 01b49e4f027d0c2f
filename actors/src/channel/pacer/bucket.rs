//! One limit in a time, as a bucket. A plain value; time is an argument, in microseconds of one monotonic clock.
//!
//! A bucket is one moment: that at which it will be full again (the generic cell rate algorithm, ITU-T I.371,
//! annex A). Taking puts it off, debt is a moment further off, and what the provider says moves it.

use std::time::Duration;

use crate::domain::Told;

/// The time for which providers state their limits, in nanoseconds.
const MINUTE_NS: u64 = 60_000_000_000;
/// A limit of a day is told in the words of one of a minute: this much slower it fills at most.
const SLOWEST: u64 = 1_440;

/// Parts of a unit in which what lacks is reckoned: nothing is lost however often it is set.
const PARTS: u64 = 1_000;

/// One limit in a time. Without one, everything passes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full_at: u64,
    /// Nanoseconds for one unit; 0 for no limit.
    interval_ns: u64,
    /// Units that it holds.
    size: u64,
    /// Units ever taken, put right as calls are.
    taken: u64,
    /// Units of calls of which the provider has not been heard.
    unheard: u64,
}

/// Where a call stood among what was taken of a bucket. In 32 bits, since it goes with every call: no call sees two
/// billion units taken while it lasts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// Units that were taken with it and before it, modulo 2^32.
    at: u32,
    /// Units of calls, taken before it, of which the provider had not been heard.
    beside: u32,
}

/// What a call took.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stamp {
    Taken(Taken),
    /// It took nothing, since there was no limit; so much was on its way.
    Unknown(u64),
}

fn micros(units: u64, interval_ns: u64) -> u64 {
    u64::try_from(u128::from(units) * u128::from(interval_ns) / 1_000).unwrap_or(u64::MAX)
}

impl Bucket {
    pub(super) fn is_limited(&self) -> bool {
        self.interval_ns > 0
    }

    /// Nanoseconds for one unit; `None` for no limit.
    pub(super) fn interval_ns(&self) -> Option<u64> {
        Some(self.interval_ns).filter(|interval| *interval > 0)
    }

    /// After how long an amount will be there; zero where it is. More than the bucket holds is there when it is full.
    pub(super) fn wait(&self, amount: u64, now_us: u64) -> Duration {
        if !self.is_limited() || amount == 0 {
            return Duration::ZERO;
        }
        let spare = micros(self.size.saturating_sub(amount), self.interval_ns);
        Duration::from_micros(self.full_at.saturating_sub(spare).saturating_sub(now_us))
    }

    /// Takes an amount; what is not there is debt.
    pub(super) fn take(&mut self, amount: u64, now_us: u64) -> Taken {
        let beside = u32::try_from(self.unheard).unwrap_or(u32::MAX);
        if self.is_limited() {
            self.full_at = self.full_at.max(now_us).saturating_add(micros(amount, self.interval_ns));
        }
        self.taken = self.taken.wrapping_add(amount);
        self.unheard = self.unheard.wrapping_add(amount);
        Taken { at: self.taken as u32, beside }
    }

    /// Puts right what was taken.
    pub(super) fn correct(&mut self, held: u64, actual: u64) {
        let [held_us, actual_us] = [held, actual].map(|units| micros(units, self.interval_ns));
        self.full_at = self.full_at.saturating_sub(held_us).saturating_add(actual_us);
        self.taken = self.taken.wrapping_add(actual.wrapping_sub(held));
    }

    /// The provider was heard of so much.
    pub(super) fn heard(&mut self, amount: u64) {
        self.unheard = self.unheard.wrapping_sub(amount);
    }

    /// Units of calls of which the provider has not been heard.
    pub(super) fn unheard(&self) -> u64 {
        self.unheard
    }

    /// Sets interval and size, and what lacks of it, in [`PARTS`], to what `lacking` makes of what lacked before;
    /// of a bucket that had no limit, nobody knows.
    fn set(&mut self, interval_ns: u64, size: u64, now_us: u64, lacking: impl Fn(Option<u64>) -> u64) {
        let since = u128::from(self.full_at.saturating_sub(now_us)) * 1_000 * u128::from(PARTS);
        let lacked = self.interval_ns().map(|before| since.div_ceil(u128::from(before)));
        let lacks = lacking(lacked.map(|parts| u64::try_from(parts).unwrap_or(u64::MAX)));
        let wait = (u128::from(lacks) * u128::from(interval_ns)).div_ceil(1_000 * u128::from(PARTS));
        (self.interval_ns, self.size) = (interval_ns, size);
        self.full_at = now_us.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX));
    }

    /// Sets it to one unit in each interval. One that had no limit has one unit, at first.
    pub(super) fn pace(&mut self, interval_ns: u64, size: u64, now_us: u64) {
        let (first, most) = ((size - 1) * PARTS, size * PARTS);
        self.set(interval_ns, size, now_us, |lacked| lacked.map_or(first, |lacked| lacked.min(most)));
    }

    /// Takes the provider's word of a call; gives how long nothing will be there where the provider says so.
    pub(super) fn learn(&mut self, told: Told, stamp: Stamp, now_us: u64) -> Option<Duration> {
        if told.limit == 0 {
            return None;
        }
        // Far more than a call takes; and sums stay small.
        let limit = told.limit.min(1 << 40);
        let remaining = told.remaining.min(limit);
        let (usual, missing) = (MINUTE_NS / limit.min(MINUTE_NS), limit - remaining);
        // How fast it fills is how long it takes to fill: limits of a day are told in the same words. One of a minute is
        // whole within it, whether bit by bit or at its end.
        let reset = told.reset.filter(|reset| !reset.is_zero());
        let slow = reset
            .filter(|reset| reset.as_nanos() > u128::from(MINUTE_NS) && missing > 0 && missing * 50 >= limit)
            .map_or(0, |reset| u64::try_from(reset.as_nanos()).unwrap_or(u64::MAX) / missing);
        let interval = if slow > usual + usual / 2 { slow.min(usual * SLOWEST) } else { usual };
        // What was taken after this call is hardly in the word. What was on its way beside it may be or not, though the
        // provider has been heard of it by now: words overtake each other.
        let (since, beside) = match stamp {
            Stamp::Taken(Taken { at, beside }) => {
                let since = (self.taken as u32).wrapping_sub(at);
                (if since > u32::MAX / 2 { 0 } else { u64::from(since) }, u64::from(beside))
            }
            Stamp::Unknown(in_flight) => (in_flight, 0),
        };
        let least = missing.saturating_add(since).min(limit) * PARTS;
        let most = missing.saturating_add(since).saturating_add(beside).min(limit) * PARTS;
        let debt = |lacked: Option<u64>| lacked.map_or(most, |lacked| lacked.clamp(least, most));
        self.set(interval.max(1), limit, now_us, debt);
        // It will be whole all at once, before it would be bit by bit: nothing comes until then.
        let is_window =
            reset.is_some_and(|reset| reset.as_micros() < u128::from(micros(missing, interval)) / 2);
        reset.filter(|_| remaining == 0 && is_window)
    }

    /// What is in it; `None` where it has no bottom.
    pub(super) fn left(&self, now_us: u64) -> Option<f64> {
        let interval = self.interval_ns()?;
        let lacks_us = self.full_at.saturating_sub(now_us);
        Some((self.size as f64 - lacks_us as f64 * 1_000.0 / interval as f64).max(0.0))
    }

    pub(super) fn per_minute(&self) -> Option<u64> {
        MINUTE_NS.checked_div(self.interval_ns)
    }

    /// Lets everything pass again. What is under way stays counted.
    pub(super) fn forget(&mut self) {
        (self.interval_ns, self.full_at) = (0, 0);
    }
}
