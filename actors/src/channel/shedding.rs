//! When waiting has become a standing state: controlled delay (Nichols and Jacobson, RFC 8289), over the waits
//! of the calls that are served. Says when one call should give way; which one, the queue knows. Pure.

use std::time::Duration;

/// For so long every wait must be too long before the first call gives way.
const INTERVAL: Duration = Duration::from_secs(1);

/// What should happen to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Nothing.
    Keep,
    /// One call should give way.
    ShedOne,
}

/// See the module's sentences.
#[derive(Clone, Debug, Default)]
pub struct Shedding {
    /// When waits became too long without a break.
    since: Option<Duration>,
    next: Duration,
    shed: u32,
}

impl Shedding {
    /// Takes in how long the call had waited that is served now; `target` is what it may be.
    pub fn served(&mut self, waited: Duration, target: Duration, now: Duration) -> Advice {
        if waited < target {
            *self = Self::default();
            return Advice::Keep;
        }
        let since = *self.since.get_or_insert(now);
        if now < since + INTERVAL || now < self.next {
            return Advice::Keep;
        }
        self.shed += 1;
        self.next = now + INTERVAL.div_f64(f64::from(self.shed).sqrt());
        Advice::ShedOne
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Serves a call each 10 ms for three seconds; says when calls gave way.
    fn shed(waited: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut shedding = Shedding::default();
        let times = (0..300).map(|n| n * 10);
        times.filter(|t| shedding.served(ms(waited(*t)), ms(50), ms(*t)) == Advice::ShedOne).collect()
    }

    #[test]
    fn only_waits_that_stay_too_long_shed_and_ever_faster() {
        assert_eq!(shed(|_| 49), []);
        assert_eq!(shed(|t| if t % 900 == 0 { 1 } else { 500 }), [] as [u64; 0], "bursts that pass");
        let times = shed(|_| 60);
        assert_eq!(times[..2], [1000, 2000]);
        assert!(times.windows(3).all(|w| w[2] - w[1] <= w[1] - w[0]), "{times:?}");
    }

    #[test]
    fn one_short_wait_ends_it() {
        let times = shed(|t| if t == 1500 { 0 } else { 60 });
        assert_eq!(times, [1000, 2510]);
    }
}
