//! The calls that wait for one channel, and whose turn it is. Pure; who is served is decided here, whether the
//! call is still there by whoever holds it.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, HashMap, HashSet},
    time::Duration,
};

use crate::{
    domain::KeyId,
    router::fairness::{Ask, Band, Fairness, Seat},
};

/// What became of a call that was offered a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It takes it.
    Taken,
    /// It waits no more.
    Gone,
    /// It cannot go now, nor can others of its key.
    Held,
    /// It can go later, and nobody before it.
    Later,
}

/// What came of a band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Taken,
    Nobody,
    /// Whoever's turn it is waits, and everyone behind.
    Later,
}

/// One claim in so many goes to a band below the highest that waits, so that none starves.
const LOWER_SHARE: u32 = 20;

/// Waiting calls, by band and key.
#[derive(Debug)]
pub struct Queue<T> {
    bands: [Lines<T>; 3],
    ids: HashSet<u64>,
    /// What the key had settled that was served last.
    serving: u64,
    /// Claims since a lower band had its share.
    since_lower: u32,
    /// The band that had its share last.
    lower: usize,
}

#[derive(Debug)]
struct Lines<T> {
    lines: Vec<Line<T>>,
    by_key: HashMap<KeyId, usize>,
}

/// The calls of one key in one band, the earliest deadline first.
#[derive(Debug)]
struct Line<T> {
    key: KeyId,
    seat: Seat,
    calls: BinaryHeap<Waiting<T>>,
    /// In this round of claims it could not go.
    is_held: bool,
}

#[derive(Debug)]
struct Waiting<T> {
    id: u64,
    ask: Ask,
    call: T,
}

impl<T> Waiting<T> {
    fn order(&self) -> (Duration, Duration, u64) {
        (self.ask.deadline, self.ask.arrived, self.id)
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl<T> Eq for Waiting<T> {}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // A heap gives its greatest first.
        other.order().cmp(&self.order())
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let bands = [(); 3].map(|()| Lines { lines: Vec::new(), by_key: HashMap::new() });
        Self { bands, ids: HashSet::new(), serving: 0, since_lower: 0, lower: 2 }
    }
}

impl<T> Queue<T> {
    /// Calls that wait, and those that left and were not met yet.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// What the key had settled that was served last: keys that return are lifted to it.
    pub fn serving(&self) -> u64 {
        self.serving
    }

    /// Takes a call in; one that is in already stays as it is.
    pub fn push(&mut self, id: u64, ask: Ask, call: T, fairness: &mut Fairness, now: Duration) {
        if !self.ids.insert(id) {
            return;
        }
        let band = &mut self.bands[ask.band as usize];
        let at = *band.by_key.entry(ask.key).or_insert_with(|| {
            let seat = fairness.sit(ask.key, ask.weight, now);
            fairness.lift(seat, self.serving);
            band.lines.push(Line { key: ask.key, seat, calls: BinaryHeap::new(), is_held: false });
            band.lines.len() - 1
        });
        band.lines[at].calls.push(Waiting { id, ask, call });
    }

    /// Serves the call whose turn it is, offering the slot until one takes it; false where none does.
    pub fn serve(
        &mut self,
        fairness: &mut Fairness,
        now: Duration,
        mut offer: impl FnMut(&Ask, &T) -> Offered,
    ) -> bool {
        let top = self.bands.iter().position(|band| !band.lines.is_empty());
        let Some(top) = top else { return false };
        let lower = (1..=3).map(|step| (self.lower + step) % 3);
        let lower = lower.filter(|band| *band > top).find(|band| !self.bands[*band].lines.is_empty());
        let is_due = self.since_lower + 1 >= LOWER_SHARE;
        let first = if is_due { lower } else { None };
        let order = first.into_iter().chain((0..3).filter(|band| Some(*band) != first));
        let mut served = None;
        for band in order.collect::<Vec<_>>() {
            match self.serve_band(band, fairness, now, &mut offer) {
                Turn::Taken => {
                    served = Some(band);
                    break;
                }
                Turn::Nobody => {}
                Turn::Later => break,
            }
        }
        for band in &mut self.bands {
            for line in &mut band.lines {
                line.is_held = false;
            }
        }
        match served {
            Some(band) if band > top => (self.since_lower, self.lower) = (0, band),
            Some(_) if lower.is_some() => self.since_lower += 1,
            Some(_) => self.since_lower = 0,
            None => {}
        }
        served.is_some()
    }

    fn serve_band(
        &mut self,
        band: usize,
        fairness: &mut Fairness,
        now: Duration,
        offer: &mut impl FnMut(&Ask, &T) -> Offered,
    ) -> Turn {
        loop {
            let lines = &mut self.bands[band];
            let free = lines.lines.iter().enumerate().filter(|(_, line)| !line.is_held);
            let Some((at, _)) = free.min_by_key(|(_, line)| fairness.standing(line.seat)) else {
                return Turn::Nobody;
            };
            let line = &mut lines.lines[at];
            let mut is_taken = false;
            if let Some(waiting) = line.calls.pop() {
                match offer(&waiting.ask, &waiting.call) {
                    Offered::Held => {
                        line.is_held = true;
                        line.calls.push(waiting);
                        continue;
                    }
                    Offered::Later => {
                        line.calls.push(waiting);
                        return Turn::Later;
                    }
                    Offered::Gone => drop(self.ids.remove(&waiting.id)),
                    Offered::Taken => {
                        self.ids.remove(&waiting.id);
                        self.serving = fairness.charge(line.seat, waiting.ask.cost, now);
                        is_taken = true;
                    }
                }
            }
            if line.calls.is_empty() {
                lines.remove(at, fairness, now);
            }
            if is_taken {
                return Turn::Taken;
            }
        }
    }

    /// Takes out who waits no more. To be called now and then: a key whose turn never comes is not met otherwise.
    pub fn sweep(&mut self, fairness: &mut Fairness, now: Duration, waits: impl Fn(&T) -> bool) {
        for band in &mut self.bands {
            for at in (0..band.lines.len()).rev() {
                let line = &mut band.lines[at];
                line.calls.retain(|waiting| {
                    let stays = waits(&waiting.call);
                    if !stays {
                        self.ids.remove(&waiting.id);
                    }
                    stays
                });
                if line.calls.is_empty() {
                    band.remove(at, fairness, now);
                }
            }
        }
    }

    /// The call of the lowest band that would be served last, where one waits in [`Band::Low`].
    pub fn last_of_low(&self) -> Option<&T> {
        let lines = self.bands[Band::Low as usize].lines.iter();
        let last = |line: &Line<T>| line.calls.iter().map(Waiting::order).max();
        let line = lines.max_by_key(|line| (line.calls.len(), last(line)))?;
        line.calls.iter().max_by_key(|waiting| waiting.order()).map(|waiting| &waiting.call)
    }

    /// Gives every share back: the queue is left to those who know the calls.
    pub fn clear(&mut self, fairness: &mut Fairness, now: Duration) {
        self.sweep(fairness, now, |_| false);
    }
}

impl<T> Lines<T> {
    fn remove(&mut self, at: usize, fairness: &mut Fairness, now: Duration) {
        let gone = self.lines.swap_remove(at);
        fairness.rise(gone.seat, now);
        self.by_key.remove(&gone.key);
        if let Some(moved) = self.lines.get(at) {
            self.by_key.insert(moved.key, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::router::fairness::tests::ask;

    /// A queue of calls that all take what they are offered, and who was served.
    #[derive(Default)]
    struct Bench {
        queue: Queue<i64>,
        fairness: Fairness,
        ids: u64,
    }

    impl Bench {
        fn push(&mut self, ask: Ask) {
            self.ids += 1;
            self.queue.push(self.ids, ask, ask.key.0, &mut self.fairness, ask.arrived);
        }

        fn serve(&mut self) -> Option<i64> {
            let mut served = None;
            self.queue.serve(&mut self.fairness, Duration::ZERO, |ask, key| {
                served = Some((*key, ask.cost));
                Offered::Taken
            });
            let (key, cost) = served?;
            // Its answer is quick, and the estimate was right.
            self.fairness.correct(KeyId(key), cost, cost);
            Some(key)
        }
    }

    #[test]
    fn keys_take_turns_by_tokens_and_not_by_calls() {
        let mut bench = Bench::default();
        for _ in 0..60 {
            bench.push(ask(1, 300));
            bench.push(ask(2, 100));
        }
        let served: Vec<_> = (0..40).filter_map(|_| bench.serve()).collect();
        assert_eq!(served.iter().filter(|key| **key == 1).count(), 10);
    }

    #[test]
    fn a_key_that_returns_goes_next_and_has_saved_nothing_up() {
        let mut bench = Bench::default();
        for _ in 0..100 {
            bench.push(ask(1, 100));
        }
        for _ in 0..50 {
            assert_eq!(bench.serve(), Some(1));
        }
        for _ in 0..10 {
            bench.push(ask(2, 100));
        }
        let served: Vec<_> = (0..20).filter_map(|_| bench.serve()).collect();
        assert_eq!(served[0], 2, "{served:?}");
        assert!(
            served.iter().filter(|key| **key == 2).count() <= 10 && served[1..3].contains(&1),
            "{served:?}"
        );
    }

    #[test]
    fn inside_a_key_the_earliest_deadline_goes_first() {
        let mut bench = Bench::default();
        let mut order = Vec::new();
        for deadline in [9, 3, 6] {
            bench.push(Ask { deadline: Duration::from_secs(deadline), ..ask(1, 1) });
        }
        while bench.queue.serve(&mut bench.fairness, Duration::ZERO, |ask, _| {
            order.push(ask.deadline.as_secs());
            Offered::Taken
        }) {}
        assert_eq!(order, [3, 6, 9]);
    }

    #[test]
    fn bands_go_in_order_and_the_lower_ones_have_a_share() {
        let mut bench = Bench::default();
        for _ in 0..400 {
            for (key, band) in [(1, Band::High), (2, Band::Normal), (3, Band::Low)] {
                bench.push(Ask { band, ..ask(key, 1) });
            }
        }
        let served: Vec<_> = (0..400).filter_map(|_| bench.serve()).collect();
        let count = |key: i64| served.iter().filter(|k| **k == key).count();
        assert_eq!((count(1), count(2), count(3)), (380, 10, 10));
    }

    #[test]
    fn nobody_goes_before_a_call_that_can_go_later() {
        let mut bench = Bench::default();
        bench.push(Ask { band: Band::High, ..ask(1, 900) });
        bench.push(ask(2, 1));
        let mut offered = Vec::new();
        let taken = bench.queue.serve(&mut bench.fairness, Duration::ZERO, |_, key| {
            offered.push(*key);
            Offered::Later
        });
        assert!(!taken && offered == [1], "{offered:?}");
        assert_eq!((bench.serve(), bench.serve()), (Some(1), Some(2)));
    }

    #[test]
    fn who_is_gone_is_passed_over_and_who_is_held_stays() {
        let mut bench = Bench::default();
        for key in [1, 2, 3] {
            bench.push(ask(key, 1));
        }
        let mut offered = Vec::new();
        let taken = bench.queue.serve(&mut bench.fairness, Duration::ZERO, |_, key| {
            offered.push(*key);
            match key {
                3 => Offered::Taken,
                2 => Offered::Held,
                _ => Offered::Gone,
            }
        });
        assert!(taken && offered.last() == Some(&3), "{offered:?}");
        bench.queue.sweep(&mut bench.fairness, Duration::ZERO, |key| *key == 2);
        assert_eq!((bench.queue.len(), bench.serve()), (1, Some(2)));
        assert!(bench.queue.is_empty() && bench.fairness.shares() == 0);
    }

    proptest! {
        #[test]
        fn everyone_is_served_once_and_nothing_stays(
            calls in proptest::collection::vec((0i64..6, 0u8..3, 1u64..50, 0u64..9), 0..80), leavers: u64
        ) {
            let mut bench = Bench::default();
            for (n, (key, band, cost, deadline)) in calls.iter().enumerate() {
                let ask = Ask {
                    band: Band::ALL[usize::from(*band)],
                    deadline: Duration::from_secs(*deadline),
                    ..ask(*key, *cost)
                };
                bench.queue.push(n as u64, ask, n as i64, &mut bench.fairness, Duration::ZERO);
            }
            let leaves = |n: i64| leavers >> (n % 64) & 1 == 1;
            let mut seen = Vec::new();
            while bench.queue.serve(&mut bench.fairness, Duration::ZERO, |_, n| {
                seen.push(*n);
                if leaves(*n) { Offered::Gone } else { Offered::Taken }
            }) {}
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..calls.len() as i64).collect::<Vec<_>>());
            prop_assert!(bench.queue.is_empty());
            prop_assert_eq!(bench.fairness.shares(), 0);
        }
    }
}
