//! A channel's gate: permits for requests in flight. Not the queue in front of it, nor its limit's policy.
//!
//! One packed word holds the number of permits given and the number of callers that wait, so that
//! "is there room, and nobody before me" is one load and taking a permit one compare-and-swap.

use std::sync::Arc;

use crossbeam::utils::CachePadded;

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

/// Counts the permits of one channel against its limit.
#[derive(Debug)]
pub struct Gate {
    word: CachePadded<AtomicU64>,
    limit: CachePadded<AtomicU32>,
}

impl Gate {
    /// Makes an empty gate; [`UNLIMITED`] for no limit, 0 for a gate that lets nothing through.
    pub fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self {
            word: CachePadded::new(AtomicU64::new(0)),
            limit: CachePadded::new(AtomicU32::new(limit)),
        })
    }

    /// Takes a permit if there is room now.
    pub fn try_enter(self: &Arc<Self>) -> Option<Permit> {
        let limit = self.limit.load(Ordering::Relaxed);
        let mut seen = self.word.load(Ordering::Relaxed);
        while Word(seen).has_room(limit) {
            match self.word.compare_exchange_weak(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(Permit { gate: Arc::clone(self) }),
                Err(now) => seen = now,
            }
        }
        None
    }

    /// Changes the limit. Permits given stay; a lower limit takes hold as they come back.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// The limit in force.
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Permits given and not yet returned.
    pub fn in_flight(&self) -> u32 {
        Word(self.word.load(Ordering::Relaxed)).in_flight()
    }
}

/// The right to one request in flight. Dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.word.fetch_sub(1, Ordering::Release);
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
}
