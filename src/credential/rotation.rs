//! Which of a channel's credentials is shown next, and which are set aside because a provider refused or
//! throttled them. The same for every worker; told the time.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use penstock_actors::domain::{Credential, Credentials, Turn};

/// Where a channel stands in its credentials.
#[derive(Debug)]
pub struct Rotation {
    credentials: Credentials,
    next: AtomicUsize,
    /// Until when each is set aside, in milliseconds since `epoch`.
    aside: Box<[AtomicU64]>,
    epoch: Instant,
}

impl Rotation {
    /// Nothing was shown yet.
    pub fn new(credentials: Credentials, now: Instant) -> Self {
        let aside = credentials.all().iter().map(|_| AtomicU64::new(0)).collect();
        Self { credentials, next: AtomicUsize::new(0), aside, epoch: now }
    }

    /// Whether it is of these credentials.
    pub fn is_of(&self, credentials: &Credentials) -> bool {
        self.credentials == *credentials
    }

    /// The same for other credentials: those that stay are set aside as before.
    pub fn with(&self, credentials: &Credentials, now: Instant) -> Self {
        let fresh = Self::new(credentials.clone(), now);
        let before = self.millis(now);
        for (credential, aside) in credentials.all().iter().zip(&fresh.aside) {
            let same = |known: &Credential| known == credential;
            if let Some(at) = self.credentials.all().iter().position(same) {
                aside.store(self.aside[at].load(Relaxed).saturating_sub(before), Relaxed);
            }
        }
        fresh
    }

    /// Chooses a credential that this call has not shown yet: one that is not set aside, or the one that
    /// comes back first. `None` where it has shown them all.
    pub fn choose(&self, shown: &[usize], now: Instant, roll: impl FnOnce() -> u64) -> Option<usize> {
        let count = self.aside.len();
        if count == 0 {
            return None;
        }
        let start = match self.credentials.turn() {
            Turn::RoundRobin => self.next.fetch_add(1, Relaxed) % count,
            Turn::Random => (roll() % count as u64) as usize,
        };
        let now = self.millis(now);
        let all = (start..count).chain(0..start).filter(|at| !shown.contains(at));
        all.clone()
            .find(|at| self.aside[*at].load(Relaxed) <= now)
            .or_else(|| all.min_by_key(|at| self.aside[*at].load(Relaxed)))
    }

    /// Sets one aside; says whether it was not already.
    pub fn set_aside(&self, which: usize, time: Duration, now: Instant) -> bool {
        let now = self.millis(now);
        let until = now.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.aside.get(which).is_some_and(|aside| aside.fetch_max(until, Relaxed) <= now)
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(names: &[&str], turn: Turn) -> Credentials {
        Credentials::new(names.iter().map(|name| Credential::new(*name)), turn)
    }

    #[test]
    fn credentials_are_shown_in_turn_or_as_they_are_drawn() {
        let now = Instant::now();
        let rotation = Rotation::new(credentials(&["a", "b", "c"], Turn::RoundRobin), now);
        let chosen: Vec<_> = (0..4).filter_map(|_| rotation.choose(&[], now, || 0)).collect();
        assert_eq!(chosen, [0, 1, 2, 0]);
        let rotation = Rotation::new(credentials(&["a", "b", "c"], Turn::Random), now);
        let chosen: Vec<_> = [5, 0, 7].into_iter().filter_map(|n| rotation.choose(&[], now, || n)).collect();
        assert_eq!(chosen, [2, 0, 1]);
        assert_eq!(Rotation::new(Credentials::default(), now).choose(&[], now, || 0), None);
    }

    #[test]
    fn one_that_is_set_aside_is_passed_over_until_its_time_is_over() {
        let now = Instant::now();
        let rotation = Rotation::new(credentials(&["a", "b"], Turn::Random), now);
        assert!(rotation.set_aside(0, Duration::from_secs(10), now));
        assert!(!rotation.set_aside(0, Duration::from_secs(5), now), "it was already");
        for n in 0..4 {
            assert_eq!(rotation.choose(&[], now, || n), Some(1));
        }
        let later = now + Duration::from_secs(10);
        assert_eq!(rotation.choose(&[], later, || 0), Some(0));
        assert!(!rotation.set_aside(9, Duration::ZERO, now), "there is none");
    }

    #[test]
    fn where_all_are_set_aside_the_first_to_come_back_is_shown_and_none_twice() {
        let now = Instant::now();
        let rotation = Rotation::new(credentials(&["a", "b", "c"], Turn::RoundRobin), now);
        for (which, seconds) in [(0, 9), (1, 3), (2, 6)] {
            rotation.set_aside(which, Duration::from_secs(seconds), now);
        }
        assert_eq!(rotation.choose(&[], now, || 0), Some(1));
        assert_eq!(rotation.choose(&[1], now, || 0), Some(2));
        assert_eq!(rotation.choose(&[1, 2, 0], now, || 0), None);
    }

    #[test]
    fn a_change_of_settings_keeps_what_is_set_aside() {
        let now = Instant::now();
        let rotation = Rotation::new(credentials(&["a", "b"], Turn::Random), now);
        rotation.set_aside(1, Duration::from_secs(10), now);
        let later = now + Duration::from_secs(4);
        let changed = credentials(&["b", "c"], Turn::Random);
        let rotation = rotation.with(&changed, later);
        assert!(rotation.is_of(&changed));
        assert_eq!(rotation.choose(&[], later, || 0), Some(1));
        assert_eq!(rotation.choose(&[], later + Duration::from_secs(6), || 0), Some(0));
    }
}
