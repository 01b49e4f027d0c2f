//! When calls are meant to begin. Pure: the draw is an argument, times are offsets from the start.

use std::time::Duration;

use rand::Rng;

/// How the times between arrivals are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spacing {
    /// All alike.
    Constant,
    /// As independent callers come: exponentially spread, so that calls also come in clusters.
    Poisson,
}

/// An endless row of arrivals.
#[derive(Debug)]
pub struct Arrivals<R> {
    spacing: Spacing,
    rate: f64,
    rng: R,
    next: f64,
}

impl<R: Rng> Arrivals<R> {
    /// Makes a row of `rate` a second; `phase`, a part of the time between two, shifts a constant one.
    pub fn new(spacing: Spacing, rate: f64, phase: f64, rng: R) -> Self {
        let mut arrivals = Self { spacing, rate, rng, next: 0.0 };
        arrivals.next = match spacing {
            Spacing::Constant => phase / rate,
            Spacing::Poisson => arrivals.gap(),
        };
        arrivals
    }

    fn gap(&mut self) -> f64 {
        match self.spacing {
            Spacing::Constant => 1.0 / self.rate,
            // The draw is below 1, so the logarithm's argument is above 0.
            Spacing::Poisson => -(1.0 - self.rng.random::<f64>()).ln() / self.rate,
        }
    }
}

impl<R: Rng> Iterator for Arrivals<R> {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = self.next;
        self.next += self.gap();
        Duration::try_from_secs_f64(now).ok()
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn first(spacing: Spacing, seed: u64) -> Vec<Duration> {
        Arrivals::new(spacing, 1000.0, 0.5, StdRng::seed_from_u64(seed)).take(20_000).collect()
    }

    #[test]
    fn constant_arrivals_stand_apart_alike() {
        let arrivals = first(Spacing::Constant, 1);
        assert_eq!(arrivals[0], Duration::from_micros(500));
        for pair in arrivals.windows(2) {
            let gap = (pair[1] - pair[0]).as_nanos();
            assert!((999_900..1_000_100).contains(&gap), "{gap}");
        }
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_and_come_in_clusters() {
        let arrivals = first(Spacing::Poisson, 7);
        let length = arrivals.last().unwrap().as_secs_f64();
        assert!((19.4..20.6).contains(&length), "{length}");
        let short = arrivals.windows(2).filter(|pair| pair[1] - pair[0] < Duration::from_micros(100)).count();
        // Of an exponential spread, 1 - e^-0.1 = 9.5 % lie below a tenth of the mean.
        assert!((1_700..2_100).contains(&short), "{short}");
        assert_eq!(arrivals, first(Spacing::Poisson, 7), "the seed decides");
        assert_ne!(arrivals, first(Spacing::Poisson, 8));
    }
}
