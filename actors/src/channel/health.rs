//! What is measured of a channel: success rate and time to first byte. Decides nothing.

use std::time::Duration;

/// Counts of one interval, as the call path left them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Attempts that brought an answer.
    pub succeeded: u64,
    /// Attempts that failed by the upstream's fault.
    pub failed: u64,
    /// Sum of the times to first byte of the attempts that succeeded.
    pub first_byte: Duration,
}

/// What is published of a channel's health.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthReport {
    /// Share of attempts that brought an answer, 0 to 1; 1 before any.
    pub success_rate: f32,
    /// Smoothed time to first byte; zero before any answer.
    pub first_byte: Duration,
}

impl Default for HealthReport {
    fn default() -> Self {
        Self { success_rate: 1.0, first_byte: Duration::ZERO }
    }
}

/// Smooths samples with weights that halve every [`Health::HALF_LIFE`].
#[derive(Clone, Debug)]
pub struct Health {
    succeeded: f64,
    failed: f64,
    first_byte_secs: f64,
    last: Duration,
}

impl Health {
    /// After this long a sample counts half.
    pub const HALF_LIFE: Duration = Duration::from_secs(10);
    /// Weight of the belief that an unknown channel is well.
    const PRIOR: f64 = 1.0;

    /// Starts without samples; `now` is on the monotonic clock.
    pub fn new(now: Duration) -> Self {
        Self { succeeded: 0.0, failed: 0.0, first_byte_secs: 0.0, last: now }
    }

    /// Takes what happened since the last call and gives what to publish.
    pub fn observe(&mut self, sample: Sample, now: Duration) -> HealthReport {
        let elapsed = now.saturating_sub(self.last).as_secs_f64();
        self.last = now;
        let keep = 0.5_f64.powf(elapsed / Self::HALF_LIFE.as_secs_f64());
        self.succeeded = self.succeeded * keep + sample.succeeded as f64;
        self.failed = self.failed * keep + sample.failed as f64;
        self.first_byte_secs = self.first_byte_secs * keep + sample.first_byte.as_secs_f64();
        let first_byte = if self.succeeded > 1e-3 { self.first_byte_secs / self.succeeded } else { 0.0 };
        let success_rate = (self.succeeded + Self::PRIOR) / (self.succeeded + self.failed + Self::PRIOR);
        HealthReport {
            success_rate: success_rate as f32,
            first_byte: Duration::try_from_secs_f64(first_byte).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_lower_the_rate_and_are_forgotten() {
        let mut health = Health::new(Duration::ZERO);
        let bad = health.observe(Sample { failed: 9, ..Sample::default() }, Duration::from_secs(1));
        assert!(bad.success_rate < 0.11, "{bad:?}");
        let later = health.observe(Sample::default(), Duration::from_secs(121));
        assert!(later.success_rate > 0.99, "{later:?}");
    }

    #[test]
    fn time_to_first_byte_is_the_mean_of_recent_answers() {
        let mut health = Health::new(Duration::ZERO);
        let sample = Sample { succeeded: 4, failed: 0, first_byte: Duration::from_millis(800) };
        let report = health.observe(sample, Duration::from_secs(1));
        assert_eq!(report.first_byte, Duration::from_millis(200));
    }

    #[test]
    fn a_clock_that_does_not_move_divides_by_nothing() {
        let mut health = Health::new(Duration::from_secs(5));
        let report = health.observe(Sample::default(), Duration::from_secs(5));
        assert_eq!(report, HealthReport::default());
    }
}
