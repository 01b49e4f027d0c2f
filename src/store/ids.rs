//! Numbers for what is made here: time-ordered, unique without asking the database, and small enough for
//! JavaScript (53 bits).

use std::sync::atomic::{AtomicI64, Ordering};

/// 2026-01-01 in milliseconds since 1970.
const EPOCH_MS: i64 = 1_767_225_600_000;
/// Numbers within one millisecond.
const WITHIN_MS: i64 = 1 << 12;

static LAST: AtomicI64 = AtomicI64::new(0);

/// The next number: never one that this process gave before, whatever the clock does.
pub(super) fn next(now_ms: i64, random: u16) -> i64 {
    after(&LAST, now_ms, random)
}

fn after(last: &AtomicI64, now_ms: i64, random: u16) -> i64 {
    let wanted = (now_ms - EPOCH_MS).max(0) * WITHIN_MS + i64::from(random) % WITHIN_MS;
    let before = last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(wanted.max(last + 1)));
    wanted.max(before.unwrap_or(0) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_even_while_the_clock_steps_back() {
        let (last, now) = (AtomicI64::new(0), EPOCH_MS + 31_536_000_000_000 / 1_000);
        let given: Vec<i64> = [(0, 9), (0, 9), (0, 0), (-3_600_000, 0), (1, 4095)]
            .map(|(d, r)| after(&last, now + d, r))
            .into();
        assert!(given.windows(2).all(|w| w[0] < w[1]), "{given:?}");
    }

    #[test]
    fn numbers_of_the_next_half_century_are_safe_for_javascript() {
        let in_fifty_years = EPOCH_MS + 50 * 366 * 86_400_000;
        assert!(after(&AtomicI64::new(0), in_fifty_years, u16::MAX) < 1 << 53);
    }
}
