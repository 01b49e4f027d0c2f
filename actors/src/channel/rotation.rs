//! Which of a channel's credentials is shown next: each is an account of its own, with limits of its own that are
//! learned and paced to, and may be set aside because the provider refused it. Time is an argument.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use super::pacer::{Learned, Paced, Pacer};
use crate::{
    domain::{Credential, Credentials, Turn},
    router::estimate::Outlook,
};

/// Where a channel stands in its credentials.
#[derive(Debug)]
pub struct Rotation {
    credentials: Credentials,
    next: AtomicUsize,
    each: Box<[Arc<Account>]>,
}

/// What is known of one credential.
#[derive(Debug, Default)]
struct Account {
    /// Until when it is set aside, in microseconds.
    aside_us: AtomicU64,
    pacer: Arc<Pacer>,
}

impl Account {
    fn is_aside(&self, now: Duration) -> bool {
        self.aside_us.load(Relaxed) > micros(now)
    }

    fn is_free(&self, now: Duration) -> bool {
        !self.is_aside(now) && self.pacer.wait(1, now).is_zero()
    }
}

/// A credential that a request shows, with what it takes of what its account lets through.
#[derive(Debug)]
pub struct Showing {
    /// Of which it is one.
    pub rotation: Arc<Rotation>,
    /// Its number among them.
    pub which: usize,
    /// `None` where it is shown though it is set aside, for want of another.
    pub paced: Option<Paced>,
}

impl Showing {
    /// What is learned of its account.
    pub fn pacer(&self) -> &Arc<Pacer> {
        &self.rotation.each[self.which].pacer
    }
}

/// What came of a choice.
#[derive(Debug)]
pub enum Chosen {
    /// This one is shown.
    Shown(Showing),
    /// None can be shown before that.
    Later(Duration),
    /// The call has shown them all.
    Nothing,
}

impl Rotation {
    /// Nothing was shown yet.
    pub fn new(credentials: Credentials) -> Arc<Self> {
        let each = credentials.all().iter().map(|_| Arc::default()).collect();
        Arc::new(Self { credentials, next: AtomicUsize::new(0), each })
    }

    /// Whether it is of these credentials.
    pub fn is_of(&self, credentials: &Credentials) -> bool {
        self.credentials == *credentials
    }

    /// The same for other credentials: of those that stay, everything stays known.
    pub fn with(&self, credentials: &Credentials) -> Arc<Self> {
        let known = |credential: &Credential| {
            let at = self.credentials.all().iter().position(|known| known == credential);
            at.map(|at| Arc::clone(&self.each[at])).unwrap_or_default()
        };
        let each = credentials.all().iter().map(known).collect();
        Arc::new(Self { credentials: credentials.clone(), next: AtomicUsize::new(0), each })
    }

    /// Chooses a credential that this call has not shown yet, for a request of so many tokens: one that is not set
    /// aside and whose account lets it through. Where all are set aside, the one that comes back first.
    pub fn choose(self: &Arc<Self>, shown: &[usize], tokens: u64, now: Duration) -> Chosen {
        let count = self.each.len();
        if count == 0 {
            return Chosen::Nothing;
        }
        let nth = self.next.fetch_add(1, Relaxed);
        let start = match self.credentials.turn() {
            Turn::RoundRobin => nth % count,
            Turn::Random => (scatter(nth as u64) % count as u64) as usize,
        };
        let all = (start..count).chain(0..start).filter(|at| !shown.contains(at));
        let showing = |which, paced| Chosen::Shown(Showing { rotation: Arc::clone(self), which, paced });
        let mut soonest: Option<Duration> = None;
        for which in all.clone().filter(|at| !self.each[*at].is_aside(now)) {
            match self.each[which].pacer.take(tokens, now) {
                Ok(paced) => return showing(which, Some(paced)),
                Err(wait) => soonest = Some(soonest.map_or(wait, |known| known.min(wait))),
            }
        }
        match soonest {
            Some(wait) => Chosen::Later(wait),
            None => {
                let first = { all }.min_by_key(|at| self.each[*at].aside_us.load(Relaxed));
                first.map_or(Chosen::Nothing, |which| showing(which, None))
            }
        }
    }

    /// Sets one aside that the provider refuses; says whether it was not already.
    pub fn set_aside(&self, which: usize, time: Duration, now: Duration) -> bool {
        let (now_us, until) = (micros(now), micros(now.saturating_add(time)));
        self.each.get(which).is_some_and(|account| account.aside_us.fetch_max(until, Relaxed) <= now_us)
    }

    /// Sends nothing by one for a time, since its account takes no more: for as long as it says where others serve,
    /// and for `longest` at most where it was the last.
    pub fn throttle(&self, which: usize, time: Duration, longest: Duration, now: Duration) {
        let Some(account) = self.each.get(which) else { return };
        let mut others = self.each.iter().enumerate().filter(|(at, _)| *at != which);
        let is_last = !others.any(|(_, account)| account.is_free(now));
        account.pacer.pause(if is_last { time.min(longest) } else { time }, now);
    }

    /// Whether no credential can be shown now as it should.
    pub fn is_spent(&self, now: Duration) -> bool {
        !self.each.iter().any(|account| account.is_free(now))
    }

    /// After how long a request of so many tokens could go; zero where it could now, or where all are set aside.
    pub fn wait(&self, tokens: u64, now: Duration) -> Duration {
        self.used(now).map(|account| account.pacer.wait(tokens, now)).min().unwrap_or_default()
    }

    /// How calls of so many tokens are paced by all of them together.
    pub fn outlook(&self, tokens: u64, now: Duration) -> Outlook {
        let each: Vec<_> = self.used(now).map(|account| account.pacer.outlook(tokens, now)).collect();
        let per_second: Option<Vec<f64>> = each.iter().map(|outlook| outlook.per_second).collect();
        Outlook {
            per_second: per_second.filter(|each| !each.is_empty()).map(|each| each.iter().sum()),
            credit: each.iter().map(|outlook| outlook.credit).sum(),
            wait: each.iter().map(|outlook| outlook.wait).min().unwrap_or_default(),
            stands: Duration::ZERO,
        }
    }

    /// What was learned of all of them together; of a kind of limit, where every one has it.
    pub fn learned(&self, now: Duration) -> Learned {
        let each: Vec<_> = self.used(now).map(|account| account.pacer.learned(now)).collect();
        let sum = |of: fn(&Learned) -> Option<u64>| {
            let all: Option<Vec<u64>> = each.iter().map(of).collect();
            all.filter(|all| !all.is_empty()).map(|all| all.iter().sum())
        };
        let paused: Option<Vec<_>> = each.iter().map(|learned| learned.paused).collect();
        Learned {
            requests_per_minute: sum(|learned| learned.requests_per_minute),
            tokens_per_minute: sum(|learned| learned.tokens_per_minute),
            paused: paused.and_then(|all| all.into_iter().min()),
        }
    }

    /// Forgets what was learned of the accounts' limits.
    pub fn forget(&self) {
        self.each.iter().for_each(|account| account.pacer.forget());
    }

    fn used(&self, now: Duration) -> impl Iterator<Item = &Arc<Account>> {
        self.each.iter().filter(move |account| !account.is_aside(now))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Spreads numbers that follow each other (SplitMix64's finisher; Steele, Lea and Flood, 2014).
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::{super::pacer::Heard, *};
    use crate::domain::{Hint, Told};

    fn rotation(names: &[&str], turn: Turn) -> Arc<Rotation> {
        Rotation::new(Credentials::new(names.iter().map(|name| Credential::new(*name)), turn))
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// The number of the one that is chosen; what it took is given back.
    fn chosen(rotation: &Arc<Rotation>, shown: &[usize], now: Duration) -> Result<usize, Option<Duration>> {
        match rotation.choose(shown, 10, now) {
            Chosen::Shown(showing) => Ok(showing.which),
            Chosen::Later(wait) => Err(Some(wait)),
            Chosen::Nothing => Err(None),
        }
    }

    #[test]
    fn credentials_are_shown_in_turn_or_as_they_are_drawn() {
        let in_turn = rotation(&["a", "b", "c"], Turn::RoundRobin);
        let all: Vec<_> = (0..4).map(|_| chosen(&in_turn, &[], secs(1))).collect();
        assert_eq!(all, [Ok(0), Ok(1), Ok(2), Ok(0)]);
        let drawn = rotation(&["a", "b", "c"], Turn::Random);
        let mut counts = [0; 3];
        (0..900).for_each(|_| counts[chosen(&drawn, &[], secs(1)).expect("one")] += 1);
        assert!(counts.iter().all(|count| (250..350).contains(count)), "{counts:?}");
        assert_eq!(chosen(&rotation(&[], Turn::RoundRobin), &[], secs(1)), Err(None));
    }

    #[test]
    fn one_that_is_set_aside_is_passed_over_until_its_time_is_over() {
        let rotation = rotation(&["a", "b"], Turn::Random);
        assert!(rotation.set_aside(0, secs(10), secs(1)));
        assert!(!rotation.set_aside(0, secs(5), secs(1)), "it was already");
        assert!((0..4).all(|_| chosen(&rotation, &[], secs(1)) == Ok(1)));
        assert!((0..9).any(|_| chosen(&rotation, &[], secs(11)) == Ok(0)));
        assert!(!rotation.set_aside(9, secs(1), secs(1)), "there is none");
        assert!(!rotation.is_spent(secs(1)));
        rotation.set_aside(1, secs(3), secs(1));
        assert!(rotation.is_spent(secs(1)) && !rotation.is_spent(secs(5)));
    }

    #[test]
    fn where_all_are_set_aside_the_first_to_come_back_is_shown_and_none_twice() {
        let rotation = rotation(&["a", "b", "c"], Turn::RoundRobin);
        for (which, seconds) in [(0, 9), (1, 3), (2, 6)] {
            rotation.set_aside(which, secs(seconds), secs(1));
        }
        assert_eq!(chosen(&rotation, &[], secs(1)), Ok(1));
        assert_eq!(chosen(&rotation, &[1], secs(1)), Ok(2));
        assert_eq!(chosen(&rotation, &[1, 2, 0], secs(1)), Err(None));
        assert_eq!(rotation.wait(10, secs(1)), Duration::ZERO, "a call finds out whether it is good again");
    }

    #[test]
    fn each_is_paced_to_what_its_own_account_lets_through_and_calls_wait_only_for_all_of_them() {
        let rotation = rotation(&["a", "b"], Turn::RoundRobin);
        // Six a minute each; of the first, one is left, of the second, three.
        for remaining in [1, 3] {
            let Chosen::Shown(mut showing) = rotation.choose(&[], 10, secs(1)) else {
                panic!("one is shown")
            };
            let mut paced = showing.paced.take().expect("it is paced");
            paced.sent();
            paced.heard();
            let requests = Some(Told { limit: 6, remaining, reset: None });
            showing.pacer().learn(&Hint { requests, tokens: None }, Heard::Paced(&paced), secs(1));
            paced.settle(10);
        }
        let outlook = rotation.outlook(10, secs(1));
        assert_eq!((outlook.per_second, outlook.credit, outlook.wait), (Some(0.2), 4.0, Duration::ZERO));
        assert_eq!(rotation.learned(secs(1)).requests_per_minute, Some(12));
        let mut sent = Vec::new();
        let later = loop {
            match rotation.choose(&[], 10, secs(1)) {
                Chosen::Shown(mut showing) => {
                    showing.paced.as_mut().expect("it is paced").sent();
                    sent.push(showing.which);
                }
                Chosen::Later(wait) => break wait,
                Chosen::Nothing => panic!("there are two"),
            }
        };
        assert_eq!(sent.iter().filter(|which| **which == 0).count(), 1, "{sent:?}");
        assert_eq!(sent.len(), 4, "{sent:?}");
        assert_eq!((later, rotation.wait(10, secs(1))), (secs(10), secs(10)));
        assert!(rotation.is_spent(secs(1)));
    }

    #[test]
    fn one_that_is_throttled_is_passed_over_for_as_long_as_it_says_and_the_last_one_for_no_longer_than_may_be()
     {
        let rotation = rotation(&["a", "b"], Turn::RoundRobin);
        rotation.throttle(0, secs(600), secs(60), secs(1));
        assert!((0..3).all(|_| chosen(&rotation, &[], secs(500)) == Ok(1)));
        rotation.throttle(1, secs(600), secs(60), secs(1));
        assert_eq!(chosen(&rotation, &[], secs(1)), Err(Some(secs(60))));
        assert_eq!(rotation.learned(secs(1)).paused, Some(secs(60)));
        assert_eq!(chosen(&rotation, &[], secs(61)), Ok(1));
    }

    #[test]
    fn a_change_of_settings_keeps_what_is_known_of_those_that_stay() {
        let before = rotation(&["a", "b"], Turn::RoundRobin);
        before.set_aside(1, secs(10), secs(1));
        let changed = Credentials::new(["b", "c"].map(Credential::new), Turn::RoundRobin);
        let after = before.with(&changed);
        assert!(after.is_of(&changed));
        assert!((0..3).all(|_| chosen(&after, &[], secs(5)) == Ok(1)));
        assert!((0..3).any(|_| chosen(&after, &[], secs(11)) == Ok(0)));
    }
}
