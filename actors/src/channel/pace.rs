//! How long a channel's slots are held: mean and scatter of recent service times. Decides nothing.

use std::time::Duration;

/// Totals of service times, as the call path left them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Slots that were given back.
    pub count: u64,
    /// How long they were held, in microseconds.
    pub micros: u64,
    /// The sum of the squares, in milliseconds.
    pub square_millis: u64,
}

impl Served {
    /// What came since an earlier look.
    pub fn since(self, before: Self) -> Self {
        Self {
            count: self.count.wrapping_sub(before.count),
            micros: self.micros.wrapping_sub(before.micros),
            square_millis: self.square_millis.wrapping_sub(before.square_millis),
        }
    }
}

/// After so many newer ones a service time counts little.
const MEMORY: f64 = 256.0;

/// Mean and scatter, smoothed.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    weight: f64,
    /// Seconds.
    mean: f64,
    /// Squared seconds.
    square: f64,
}

impl Pace {
    /// Takes in what was served since the last look.
    pub fn observe(&mut self, served: Served) {
        if served.count == 0 {
            return;
        }
        let count = served.count as f64;
        let keep = (1.0 - count / MEMORY).max(0.0);
        let old = self.weight * keep;
        self.weight = old + count;
        self.mean = (self.mean * old + served.micros as f64 / 1e6) / self.weight;
        self.square = (self.square * old + served.square_millis as f64 / 1e6) / self.weight;
    }

    /// The mean service time; `None` before any.
    pub fn mean(&self) -> Option<Duration> {
        (self.weight > 0.0).then(|| Duration::try_from_secs_f64(self.mean).unwrap_or_default())
    }

    /// Variance over squared mean; 1 before enough is known.
    pub fn scatter(&self) -> f64 {
        let squared = self.mean * self.mean;
        if self.weight < 8.0 || squared <= 0.0 {
            return 1.0;
        }
        (self.square / squared - 1.0).clamp(0.0, 16.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(times_ms: &[u64]) -> Served {
        Served {
            count: times_ms.len() as u64,
            micros: times_ms.iter().sum::<u64>() * 1_000,
            square_millis: times_ms.iter().map(|t| t * t).sum(),
        }
    }

    #[test]
    fn the_mean_follows_recent_times_and_is_unknown_at_first() {
        let mut pace = Pace::default();
        assert_eq!((pace.mean(), pace.scatter()), (None, 1.0));
        pace.observe(served(&[200; 10]));
        assert_eq!(pace.mean(), Some(Duration::from_millis(200)));
        assert!(pace.scatter() < 1e-9);
        for _ in 0..100 {
            pace.observe(served(&[400; 20]));
        }
        let mean = pace.mean().expect("known").as_millis();
        assert!((395..=400).contains(&mean), "{mean}");
        assert!((0.9..1.1).contains(&{
            let mut two = Pace::default();
            two.observe(served(&[0, 400].repeat(8)));
            two.scatter()
        }));
    }

    #[test]
    fn totals_that_wrap_around_are_told_apart() {
        let before = Served { count: u64::MAX, micros: u64::MAX - 1, square_millis: 5 };
        let now = Served { count: 1, micros: 8, square_millis: 9 };
        assert_eq!(now.since(before), Served { count: 2, micros: 10, square_millis: 4 });
    }
}
