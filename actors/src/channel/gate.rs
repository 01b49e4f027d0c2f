//! A channel's gate: permits for requests in flight. Not the queue in front of it, nor its limit's policy.
//!
//! One packed word holds the number of permits given and the number of callers that wait, so that
//! "is there room, and nobody before me" is one load and taking a permit one compare-and-swap.

use std::{fmt, sync::Arc};

use crossbeam::utils::CachePadded;

use super::{pacer::Paced, rotation::Showing};
use crate::limiter::Held;

#[cfg(not(feature = "loom"))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The limit of a gate that has none.
pub const UNLIMITED: u32 = u32::MAX;

/// Low half: permits given. High half: callers waiting.
#[derive(Clone, Copy)]
struct Word(u64);

impl Word {
    const ONE_WAITING: u64 = 1 << 32;

    fn in_flight(self) -> u32 {
        self.0 as u32
    }

    fn waiting(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Room is for who comes now only while nobody waits.
    fn has_room(self, limit: u32) -> bool {
        self.waiting() == 0 && self.in_flight() < limit
    }
}

/// Told that something may have become free for those who wait. May be rung from any thread, at any rate;
/// several rings before it is heard may count as one.
pub trait Bell: fmt::Debug + Send + Sync + 'static {
    /// Wakes whoever serves those who wait.
    fn ring(&self);
}

/// A bell that nobody hears.
#[derive(Debug)]
struct Mute;

impl Bell for Mute {
    fn ring(&self) {}
}

/// Counts the permits of one channel against its limit.
#[derive(Debug)]
pub struct Gate {
    word: CachePadded<AtomicU64>,
    limit: CachePadded<AtomicU32>,
    bell: Arc<dyn Bell>,
}

/// What who enters a gate gets.
#[derive(Debug)]
pub enum Entered {
    /// There was room.
    Permit(Permit),
    /// There was none: registered as one who waits, in the same step that found it full.
    Place(Place),
}

impl Gate {
    /// Makes an empty gate; [`UNLIMITED`] for no limit, 0 for a gate that lets nothing through.
    pub fn new(limit: u32) -> Arc<Self> {
        Self::with_bell(limit, Arc::new(Mute))
    }

    /// Makes an empty gate whose bell rings when a permit returns while someone waits.
    pub fn with_bell(limit: u32, bell: Arc<dyn Bell>) -> Arc<Self> {
        Arc::new(Self {
            word: CachePadded::new(AtomicU64::new(0)),
            limit: CachePadded::new(AtomicU32::new(limit)),
            bell,
        })
    }

    /// Takes a permit if there is room now and nobody waits.
    pub fn try_enter(self: &Arc<Self>) -> Option<Permit> {
        self.take(Word::has_room)
    }

    /// Takes a permit, or a place among those who wait: one or the other in a single step, so that no permit
    /// can return unheard in between.
    pub fn enter_or_wait(self: &Arc<Self>) -> Entered {
        loop {
            if let Some(permit) = self.try_enter() {
                return Entered::Permit(permit);
            }
            let limit = self.limit.load(Ordering::Relaxed);
            let seen = self.word.load(Ordering::Relaxed);
            if Word(seen).has_room(limit) {
                continue;
            }
            let waiting = seen + Word::ONE_WAITING;
            if self.word.compare_exchange(seen, waiting, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Entered::Place(Place { gate: Arc::clone(self) });
            }
        }
    }

    /// Registers one who waits here too. Whoever does it has the gate looked at afterwards.
    pub fn wait(self: &Arc<Self>) -> Place {
        self.word.fetch_add(Word::ONE_WAITING, Ordering::AcqRel);
        Place { gate: Arc::clone(self) }
    }

    /// Takes a permit for one of those who wait, if there is room. For who serves them.
    pub fn claim(self: &Arc<Self>) -> Option<Permit> {
        self.take(|word, limit| word.in_flight() < limit)
    }

    fn take(self: &Arc<Self>, may: impl Fn(Word, u32) -> bool) -> Option<Permit> {
        let mut limit = self.limit.load(Ordering::Relaxed);
        let mut seen = self.word.load(Ordering::Relaxed);
        while may(Word(seen), limit) {
            match self.word.compare_exchange_weak(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    // Lowered meanwhile: what was taken under the old limit must not count under the new.
                    let now = self.limit.load(Ordering::Relaxed);
                    let permit = Permit {
                        gate: Arc::clone(self),
                        returns: Returns::Heard,
                        paced: None,
                        limits: None,
                        showing: None,
                    };
                    if now >= limit || Word(seen).in_flight() < now {
                        return Some(permit);
                    }
                    // Heard: a permit that returned meanwhile may have found no room because of this one.
                    drop(permit);
                    limit = now;
                    seen = self.word.load(Ordering::Relaxed);
                }
                Err(now) => seen = now,
            }
        }
        None
    }

    /// Changes the limit. Permits given stay; a lower limit takes hold as they come back.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
        if Word(self.word.load(Ordering::Relaxed)).waiting() > 0 {
            self.bell.ring();
        }
    }

    /// The limit in force.
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Permits given and not yet returned.
    pub fn in_flight(&self) -> u32 {
        Word(self.word.load(Ordering::Relaxed)).in_flight()
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        Word(self.word.load(Ordering::Relaxed)).waiting()
    }

    /// Whether who waits could be served now.
    pub fn has_slot(&self) -> bool {
        self.in_flight() < self.limit()
    }

    /// Has those who wait be looked at.
    pub fn ring(&self) {
        self.bell.ring();
    }
}

/// The right to one request in flight. Dropping it gives it back, with what the request took of what the
/// provider lets through in a time, unless it was sent.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    returns: Returns,
    paced: Option<Paced>,
    limits: Option<Held>,
    /// Which credential is shown, where the channel has several.
    showing: Option<Box<Showing>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Returns {
    /// Those who wait are told.
    Heard,
    Unheard,
}

impl Permit {
    /// The same, with what the request takes of what the provider lets through in a time.
    #[must_use]
    pub fn paced(mut self, paced: Option<Paced>) -> Self {
        self.paced = paced;
        self
    }

    /// The same, with what the request takes of the limits that its operator set.
    #[must_use]
    pub(super) fn limited(mut self, limits: Option<Held>) -> Self {
        self.limits = limits;
        self
    }

    /// The same, with the credential that the request shows.
    #[must_use]
    pub(super) fn showing(mut self, showing: Option<Box<Showing>>) -> Self {
        self.showing = showing;
        self
    }

    /// Takes out which credential the request shows.
    pub fn take_showing(&mut self) -> Option<Box<Showing>> {
        self.showing.take()
    }

    /// The same, with nothing but the slot.
    #[must_use]
    pub(super) fn bare(self) -> Self {
        self.paced(None).showing(None).limited(None)
    }

    /// Takes out what the request took of the channel's limits, where it has any: from now on it is the caller's.
    pub fn take_limits(&mut self) -> Option<Held> {
        self.limits.take()
    }

    /// Takes out what the request took: from now on it is the caller's.
    pub fn take_paced(&mut self) -> Option<Paced> {
        self.paced.take()
    }

    /// Gives it back without a word: nobody was found who could use it, and who comes next is looked at anyway.
    pub fn withdraw(mut self) {
        self.returns = Returns::Unheard;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Before anyone hears of it.
        self.paced = None;
        self.limits = None;
        self.showing = None;
        let before = Word(self.gate.word.fetch_sub(1, Ordering::AcqRel));
        if before.waiting() > 0 && self.returns == Returns::Heard {
            self.gate.bell.ring();
        }
    }
}

/// A place among those who wait. Dropping it leaves.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
}

impl Place {
    /// Whether it is a place at this gate.
    pub fn is_at(&self, gate: &Arc<Gate>) -> bool {
        Arc::ptr_eq(&self.gate, gate)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.word.fetch_sub(Word::ONE_WAITING, Ordering::AcqRel);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use std::sync::atomic::AtomicBool;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_gate_gives_nothing_until_a_permit_returns() {
        let gate = Gate::new(2);
        let first = gate.try_enter().expect("room");
        let second = gate.try_enter().expect("room");
        assert!(gate.try_enter().is_none());
        drop(first);
        assert!(gate.try_enter().is_some());
        drop(second);
        assert_eq!(gate.in_flight(), 0);
    }

    #[test]
    fn nobody_passes_those_who_wait() {
        assert!(Word(1).has_room(2));
        assert!(!Word(1 | 1 << 32).has_room(2));
    }

    #[test]
    fn a_lowered_limit_takes_hold_as_permits_return() {
        let gate = Gate::new(UNLIMITED);
        let held: Vec<_> = (0..4).map(|_| gate.try_enter().expect("no limit")).collect();
        gate.set_limit(1);
        assert!(gate.try_enter().is_none());
        drop(held);
        assert!(gate.try_enter().is_some());
        gate.set_limit(0);
        assert!(gate.try_enter().is_none());
    }

    #[test]
    fn threads_never_hold_more_than_the_limit() {
        let gate = Gate::new(3);
        let over = AtomicBool::new(false);
        let taken = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..20_000 {
                        if let Some(permit) = gate.try_enter() {
                            taken.fetch_add(1, Ordering::Relaxed);
                            over.fetch_or(gate.in_flight() > 3, Ordering::Relaxed);
                            drop(permit);
                        }
                    }
                });
            }
        });
        assert!(!over.load(Ordering::Relaxed));
        assert!(taken.load(Ordering::Relaxed) > 0);
        assert_eq!(gate.in_flight(), 0);
    }

    proptest! {
        #[test]
        fn it_grants_exactly_while_below_the_limit(limit in 0u32..6, steps in proptest::collection::vec(any::<bool>(), 0..64)) {
            let gate = Gate::new(limit);
            let mut held = Vec::new();
            for enter in steps {
                if enter {
                    let granted = gate.try_enter();
                    prop_assert_eq!(granted.is_some(), (held.len() as u32) < limit);
                    held.extend(granted);
                } else {
                    held.pop();
                }
                prop_assert_eq!(gate.in_flight() as usize, held.len());
            }
        }
    }
}

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use super::*;

    #[test]
    fn two_threads_never_share_the_last_permit_and_all_come_back() {
        loom::model(|| {
            let gate = Gate::new(1);
            let inside = Arc::new(AtomicU32::new(0));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let gate = Arc::clone(&gate);
                    let inside = Arc::clone(&inside);
                    loom::thread::spawn(move || {
                        if let Some(permit) = gate.try_enter() {
                            assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                            inside.fetch_sub(1, Ordering::Relaxed);
                            drop(permit);
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().expect("no panic");
            }
            assert_eq!(gate.in_flight(), 0);
            assert!(gate.try_enter().is_some());
        });
    }

    #[test]
    fn a_limit_change_races_with_entering_without_losing_a_permit() {
        loom::model(|| {
            let gate = Gate::new(1);
            let other = Arc::clone(&gate);
            let thread = loom::thread::spawn(move || other.try_enter());
            gate.set_limit(0);
            let here = gate.try_enter();
            assert!(here.is_none());
            drop(thread.join().expect("no panic"));
            assert_eq!(gate.in_flight(), 0);
        });
    }

    /// Counts rings; a supervisor hears it by looking.
    #[derive(Debug, Default)]
    struct Rung(AtomicU32);

    impl Bell for Rung {
        fn ring(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_waits_is_heard_of_whenever_a_permit_returns() {
        loom::model(|| {
            let rung = Arc::new(Rung::default());
            let gate = Gate::with_bell(1, Arc::clone(&rung) as Arc<dyn Bell>);
            let held = gate.try_enter().expect("room");
            let other = Arc::clone(&gate);
            let comer = loom::thread::spawn(move || other.enter_or_wait());
            drop(held);
            if let Entered::Place(_place) = comer.join().expect("no panic") {
                assert!(rung.0.load(Ordering::SeqCst) > 0, "waits for ever beside a free slot");
                assert!(gate.try_enter().is_none(), "nobody passes");
                drop(gate.claim().expect("the slot is free"));
            }
            assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
        });
    }

    #[test]
    fn who_leaves_while_a_permit_returns_leaves_nothing_behind() {
        loom::model(|| {
            let gate = Gate::new(1);
            let held = gate.try_enter().expect("room");
            let Entered::Place(place) = gate.enter_or_wait() else { panic!("it is full") };
            let leaver = loom::thread::spawn(move || drop(place));
            drop(held);
            let claimed = gate.claim();
            leaver.join().expect("no panic");
            drop(claimed);
            assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
            assert!(gate.try_enter().is_some());
        });
    }
}
