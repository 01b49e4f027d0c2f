//! The clocks, read in one place: the wall's for what is stored, the monotonic one for durations.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall clock.
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The wall clock, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// A moment by both clocks. Taken once a call: later wall times follow from it by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the monotonic clock.
    pub at: Instant,
    /// By the wall, in milliseconds since 1970.
    pub wall_ms: i64,
}

impl Moment {
    /// Reads both clocks.
    pub fn now() -> Self {
        Self { at: Instant::now(), wall_ms: now_ms() }
    }

    /// Seconds since 1970.
    pub fn wall_seconds(&self) -> u64 {
        u64::try_from(self.wall_ms / 1_000).unwrap_or(0)
    }

    /// How long before `later` it was; nothing where it was not.
    pub fn until(&self, later: Instant) -> Duration {
        later.saturating_duration_since(self.at)
    }

    /// What the wall said at `later`, in milliseconds since 1970.
    pub fn wall_ms_at(&self, later: Instant) -> i64 {
        self.wall_ms.saturating_add(i64::try_from(self.until(later).as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_wall_times_follow_by_the_monotonic_clock_and_never_go_back() {
        let moment = Moment { at: Instant::now(), wall_ms: 1_760_000_000_999 };
        let later = moment.at + Duration::from_millis(1_500);
        assert_eq!(moment.wall_ms_at(later), 1_760_000_002_499);
        assert_eq!(moment.wall_seconds(), 1_760_000_000);
        let after = Moment { at: later, ..moment };
        assert_eq!(after.wall_ms_at(moment.at), moment.wall_ms);
    }
}
