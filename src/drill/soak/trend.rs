//! Whether a figure grows: a straight line through its samples (least squares), and how sure that line is. Pure.

/// By how much a figure may grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// As a part of its mean,
    pub share: f64,
    /// or so much, where that is more.
    pub least: f64,
}

impl Bound {
    /// The bound for a figure of this mean.
    pub fn of(&self, mean: f64) -> f64 {
        (mean * self.share).max(self.least)
    }
}

/// A figure in the course of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Course(Vec<(f64, f64)>);

/// What its samples come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub mean: f64,
    pub lowest: f64,
    pub highest: f64,
    /// Of the line, in a second, and its standard error.
    slope: (f64, f64),
    /// In seconds.
    lasted: f64,
}

impl Course {
    /// Adds a sample, so many seconds after the start.
    pub fn add(&mut self, at: f64, value: f64) {
        self.0.push((at, value));
    }

    /// What the samples after a moment come to.
    pub fn after(&self, moment: f64) -> Seen {
        let samples: Vec<_> = self.0.iter().copied().filter(|(at, _)| *at >= moment).collect();
        let (Some((first, _)), Some((last, _))) = (samples.first(), samples.last()) else {
            return Seen::default();
        };
        let count = samples.len() as f64;
        let mean_of = |part: fn(&(f64, f64)) -> f64| samples.iter().map(part).sum::<f64>() / count;
        let (middle, mean) = (mean_of(|s| s.0), mean_of(|s| s.1));
        let across: f64 = samples.iter().map(|(at, _)| (at - middle).powi(2)).sum();
        let together: f64 = samples.iter().map(|(at, value)| (at - middle) * (value - mean)).sum();
        let slope = if across > 0.0 { together / across } else { 0.0 };
        let rest = |(at, value): &(f64, f64)| (value - mean - slope * (at - middle)).powi(2);
        let rest: f64 = samples.iter().map(rest).sum();
        let error =
            if across > 0.0 && count > 2.0 { (rest / (count - 2.0) / across).sqrt() } else { f64::INFINITY };
        Seen {
            mean,
            lowest: samples.iter().map(|s| s.1).fold(f64::INFINITY, f64::min),
            highest: samples.iter().map(|s| s.1).fold(f64::NEG_INFINITY, f64::max),
            slope: (slope, error),
            lasted: last - first,
        }
    }
}

/// So many standard errors a slope must exceed to be believed.
const SURE: f64 = 3.0;

impl Seen {
    /// By how much the line grows over the time that is judged.
    pub fn growth(&self) -> f64 {
        self.slope.0 * self.lasted
    }

    /// Whether it grows by more than this, and not by chance.
    pub fn grows_beyond(&self, bound: f64) -> bool {
        self.growth() > bound && self.slope.0 > SURE * self.slope.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred samples, a second each.
    fn seen(value: impl Fn(f64) -> f64) -> Seen {
        let mut course = Course::default();
        (0..150).map(f64::from).for_each(|at| course.add(at, value(at)));
        course.after(50.0)
    }

    #[test]
    fn a_leak_is_found_and_what_came_before_the_warm_up_is_not_judged() {
        let leak = seen(|at| 100.0 + at / 4.0);
        assert!((24.0..26.0).contains(&leak.growth()) && leak.grows_beyond(5.0) && !leak.grows_beyond(30.0));
        let warms_up = seen(|at| (at * 4.0).min(200.0));
        assert!(warms_up.growth().abs() < 0.01 && !warms_up.grows_beyond(1.0), "{warms_up:?}");
        assert!(seen(|at| 100.0 - at).growth() < -90.0 && !seen(|at| 100.0 - at).grows_beyond(1.0));
    }

    #[test]
    fn noise_is_no_growth() {
        // A figure that jumps by as much as its mean, with one high end.
        let noise = seen(|at| 20.0 + 20.0 * ((at * 7919.0) % 2.0) + if at > 146.0 { 30.0 } else { 0.0 });
        assert!(!noise.grows_beyond(4.0), "{noise:?}");
        let leak = seen(|at| 20.0 + 20.0 * ((at * 7919.0) % 2.0) + at);
        assert!(leak.grows_beyond(4.0), "{leak:?}");
    }

    #[test]
    fn a_bound_is_a_share_of_the_mean_or_a_least_amount() {
        let bound = Bound { share: 0.05, least: 8.0 };
        assert_eq!((bound.of(100.0), bound.of(1_000.0)), (8.0, 50.0));
    }

    #[test]
    fn nothing_is_said_of_nothing() {
        assert!(!Course::default().after(0.0).grows_beyond(0.0));
        let mut one = Course::default();
        one.add(1.0, 5.0);
        assert!(!one.after(0.0).grows_beyond(0.0));
    }
}
