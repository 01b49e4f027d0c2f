//! A lossy broadcast ring: many producers that never wait, many consumers that each see every event or
//! learn that they missed some. Knows words, not what they mean.
//!
//! Each slot is a sequence lock made of atomics. A consumer cannot hold a producer up, nor another
//! consumer: who is more than half a ring behind goes on at the head and reads the rest elsewhere.

use std::sync::Arc;

use crossbeam::utils::{Backoff, CachePadded};

#[cfg(not(feature = "loom"))]
use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(feature = "loom")]
use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// Words for one event. Its sequence is `2p + 1` while the event of position `p` is written, `2p + 2` once
/// it stands, 0 before the first.
#[derive(Debug)]
struct Slot<const WORDS: usize> {
    sequence: AtomicU64,
    length: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Slot<WORDS> {
    fn new() -> CachePadded<Self> {
        let words = std::array::from_fn(|_| AtomicU64::new(0));
        CachePadded::new(Self { sequence: AtomicU64::new(0), length: AtomicU64::new(0), words })
    }
}

/// What a position's slot says while its event is written.
fn writing(position: u64) -> u64 {
    2 * position + 1
}

/// What a position's slot says once its event stands.
fn standing(position: u64) -> u64 {
    2 * position + 2
}

/// The ring. Its slots hold up to `WORDS` words each.
#[derive(Debug)]
pub struct Ring<const WORDS: usize> {
    /// The position that the next event takes.
    head: CachePadded<AtomicU64>,
    dropped: CachePadded<AtomicU64>,
    /// How far each consumer has read.
    cursors: Box<[CachePadded<AtomicU64>]>,
    slots: Box<[CachePadded<Slot<WORDS>>]>,
}

impl<const WORDS: usize> Ring<WORDS> {
    /// Makes a ring of at least two slots, rounded up to a power of two, for so many consumers.
    pub fn new(capacity: usize, consumers: usize) -> Arc<Self> {
        let capacity = capacity.next_power_of_two().max(2);
        Arc::new(Self {
            head: CachePadded::new(AtomicU64::new(0)),
            dropped: CachePadded::new(AtomicU64::new(0)),
            cursors: (0..consumers).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
            slots: (0..capacity).map(|_| Slot::new()).collect(),
        })
    }

    /// Pushes an event. Never waits: if a producer still writes in the slot that is due, a whole ring
    /// later, the event is dropped and counted. So is one of more words than a slot has.
    pub fn push(&self, words: &[u64]) {
        let claimed = if words.len() > WORDS { None } else { self.claim() };
        let Some(position) = claimed else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let slot = self.slot(position);
        // No word may be seen before the sequence that says it is being written.
        fence(Ordering::Release);
        slot.length.store(words.len() as u64, Ordering::Relaxed);
        for (to, word) in slot.words.iter().zip(words) {
            to.store(*word, Ordering::Relaxed);
        }
        slot.sequence.store(standing(position), Ordering::Release);
    }

    /// Takes the slot at the head, then moves the head. Who finds it taken helps the head along.
    fn claim(&self) -> Option<u64> {
        let backoff = Backoff::new();
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let slot = self.slot(head);
            let free = head.checked_sub(self.capacity()).map_or(0, standing);
            let seen = slot.sequence.load(Ordering::Acquire);
            if seen == free {
                let taken =
                    slot.sequence.compare_exchange(free, writing(head), Ordering::AcqRel, Ordering::Relaxed);
                if taken.is_ok() {
                    self.advance(head);
                    return Some(head);
                }
            } else if seen >= writing(head) {
                self.advance(head);
            } else {
                let now = self.head.load(Ordering::Acquire);
                if now == head {
                    return None;
                }
            }
            backoff.spin();
            head = self.head.load(Ordering::Acquire);
        }
    }

    fn advance(&self, from: u64) {
        // Losing means that another has moved it.
        let _ = self.head.compare_exchange(from, from + 1, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// The position that the next event takes: how many were pushed.
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Events that were dropped because a slot was still being written.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Slots.
    pub fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Events that a consumer has yet to read.
    pub fn lag(&self, consumer: usize) -> u64 {
        self.head().saturating_sub(self.cursors[consumer].load(Ordering::Acquire))
    }

    /// The reader of a consumer, which goes on where that consumer's last one stopped. One at a time.
    pub fn reader(self: &Arc<Self>, consumer: usize) -> Reader<WORDS> {
        assert!(consumer < self.cursors.len(), "the ring was made for {} consumers", self.cursors.len());
        Reader { ring: Arc::clone(self), consumer }
    }

    fn slot(&self, position: u64) -> &Slot<WORDS> {
        &self.slots[(position & (self.capacity() - 1)) as usize]
    }

    /// Copies the event of a position.
    fn copy(&self, position: u64, into: &mut [u64; WORDS]) -> Copied {
        let slot = self.slot(position);
        let before = slot.sequence.load(Ordering::Acquire);
        if before < standing(position) {
            return Copied::NotYet;
        }
        let length = (slot.length.load(Ordering::Relaxed) as usize).min(WORDS);
        for (to, word) in into.iter_mut().zip(&slot.words[..length]) {
            *to = word.load(Ordering::Relaxed);
        }
        // If a word was another event's, the sequence read now is that event's too.
        fence(Ordering::Acquire);
        match before == standing(position) && slot.sequence.load(Ordering::Relaxed) == before {
            true => Copied::Words(length),
            false => Copied::Overwritten,
        }
    }
}

enum Copied {
    Words(usize),
    NotYet,
    Overwritten,
}

/// What a consumer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many events, in order.
    Events(usize),
    /// It was too far behind, or was overtaken while it read: so many events are passed over, and it goes
    /// on at the head. What was handed over before that stands.
    Behind(u64),
}

/// A consumer's place in the ring.
#[derive(Debug)]
pub struct Reader<const WORDS: usize> {
    ring: Arc<Ring<WORDS>>,
    consumer: usize,
}

impl<const WORDS: usize> Reader<WORDS> {
    /// Hands over up to `max` events. Does not wait.
    pub fn read(&mut self, max: usize, mut each: impl FnMut(&[u64])) -> Read {
        let ring = Arc::clone(&self.ring);
        let start = self.cursor().load(Ordering::Relaxed);
        if ring.head().saturating_sub(start) > ring.capacity() / 2 {
            return Read::Behind(self.skip());
        }
        let mut words = [0; WORDS];
        let mut position = start;
        while position - start < max as u64 {
            match ring.copy(position, &mut words) {
                Copied::Words(length) => each(&words[..length]),
                Copied::NotYet => break,
                Copied::Overwritten => {
                    self.cursor().store(position, Ordering::Release);
                    return Read::Behind(self.skip());
                }
            }
            position += 1;
        }
        self.cursor().store(position, Ordering::Release);
        Read::Events((position - start) as usize)
    }

    /// Goes on at the head; tells how many events are passed over.
    pub fn skip(&mut self) -> u64 {
        let head = self.ring.head();
        head.saturating_sub(self.cursor().swap(head, Ordering::AcqRel))
    }

    /// Events yet to be read.
    pub fn lag(&self) -> u64 {
        self.ring.lag(self.consumer)
    }

    fn cursor(&self) -> &AtomicU64 {
        &self.ring.cursors[self.consumer]
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;

#[cfg(all(test, feature = "loom"))]
mod loom_tests {
    use super::*;

    fn explore(model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(model);
    }

    /// Reads what is there; every event's two words must be alike.
    fn drain(reader: &mut Reader<2>) -> (Vec<u64>, u64) {
        let mut seen = Vec::new();
        let read = reader.read(8, |words| {
            assert_eq!(words[0], words[1], "torn");
            seen.push(words[0]);
        });
        (seen, if let Read::Behind(missed) = read { missed } else { 0 })
    }

    // The reader is the thread that runs last unless loom finds a reason to run it sooner: loom keeps only an
    // atomic's last access, so that a load between a reader's load and a compare-and-swap hides their race.

    #[test]
    fn two_producers_and_a_reader_lose_nothing_and_tear_nothing() {
        explore(|| {
            let ring = Ring::<2>::new(4, 1);
            let [producer, reader] = [Arc::clone(&ring), Arc::clone(&ring)];
            let producer = loom::thread::spawn(move || producer.push(&[7, 7]));
            let reader = loom::thread::spawn(move || drain(&mut reader.reader(0)).0);
            ring.push(&[9, 9]);
            producer.join().expect("no panic");
            let mut seen = reader.join().expect("no panic");
            seen.extend(drain(&mut ring.reader(0)).0);
            seen.sort_unstable();
            assert_eq!((seen, ring.head(), ring.dropped()), (vec![7, 9], 2, 0));
        });
    }

    #[test]
    fn a_reader_that_is_overtaken_learns_it_and_sees_no_torn_event() {
        explore(|| {
            let ring = Ring::<2>::new(2, 1);
            let reader = Arc::clone(&ring);
            let reader = loom::thread::spawn(move || drain(&mut reader.reader(0)));
            (1..=3).for_each(|n| ring.push(&[n, n]));
            let (mut seen, missed) = reader.join().expect("no panic");
            let (more, again) = drain(&mut ring.reader(0));
            seen.extend(more);
            assert!(seen.is_sorted_by(|a, b| a < b));
            assert_eq!(seen.len() as u64 + missed + again, 3);
        });
    }

    #[test]
    fn producers_on_a_lap_of_one_another_drop_rather_than_mix() {
        explore(|| {
            let ring = Ring::<2>::new(2, 1);
            let other = Arc::clone(&ring);
            let other = loom::thread::spawn(move || other.push(&[1, 1]));
            (2..=3).for_each(|n| ring.push(&[n, n]));
            let (seen, missed) = drain(&mut ring.reader(0));
            other.join().expect("no panic");
            assert!(seen.len() as u64 + missed <= ring.head());
            assert_eq!(ring.head() + ring.dropped(), 3);
        });
    }
}
