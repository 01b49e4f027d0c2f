//! How long answers tend to be, learned for each key and model, so that little more is held than will be
//! drawn. Pure; one a worker, bounded in memory.

use std::{collections::HashMap, hash::BuildHasher as _};

use foldhash::fast::{FixedState, RandomState};

use crate::domain::KeyId;

/// Answers seen before a length is believed.
const ENOUGH: u32 = 8;
/// At this many answers all counts are halved, so that the past fades.
const FADE_AT: u32 = 128;
/// Two bins for each doubling: the last begins at 2^20 tokens.
const BINS: usize = 41;

/// Counts of answers by length, in bins whose bounds grow by the root of two.
#[derive(Clone, Debug)]
struct Histogram {
    counts: [u8; BINS],
    total: u32,
}

impl Histogram {
    fn add(&mut self, tokens: u64) {
        if self.total >= FADE_AT {
            for count in &mut self.counts {
                *count /= 2;
            }
            self.total = self.counts.iter().map(|c| u32::from(*c)).sum();
        }
        self.counts[bin(tokens)] += 1;
        self.total += 1;
    }

    /// The upper bound of the bin in which nine tenths of the answers have ended.
    fn p90(&self) -> Option<u64> {
        if self.total < ENOUGH {
            return None;
        }
        let mut seen = 0;
        for (bin, count) in self.counts.iter().enumerate() {
            seen += u32::from(*count);
            if seen * 10 >= self.total * 9 {
                return Some(upper(bin));
            }
        }
        None
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BINS], total: 0 }
    }
}

/// The largest length of a bin: 2^(bin/2), rounded down.
fn upper(bin: usize) -> u64 {
    let whole = 1u64 << (bin / 2);
    // The root of two to nine digits; the lengths are far shorter than its error shows.
    if bin.is_multiple_of(2) { whole } else { whole * 1_414_213_562 / 1_000_000_000 }
}

fn bin(tokens: u64) -> usize {
    (0..BINS - 1).find(|bin| tokens <= upper(*bin)).unwrap_or(BINS - 1)
}

/// The lengths of answers by key and model.
///
/// Two generations: when the young one is full it becomes the old one, and what was not seen for a whole
/// generation is forgotten. Two models whose hashes collide share an estimate, nothing more.
#[derive(Debug)]
pub struct OutputLengths {
    young: HashMap<(KeyId, u64), Histogram, RandomState>,
    old: HashMap<(KeyId, u64), Histogram, RandomState>,
    generation: usize,
}

impl OutputLengths {
    /// Remembers at most `pairs` pairs of key and model, at some 100 bytes each.
    pub fn new(pairs: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), generation: (pairs / 2).max(1) }
    }

    /// Notes the length of an answer that came to its own end.
    pub fn learn(&mut self, key: KeyId, model: &str, tokens: u64) {
        let id = (key, hash(model));
        if !self.young.contains_key(&id) {
            if self.young.len() >= self.generation {
                self.old = std::mem::take(&mut self.young);
            }
            let known = self.old.remove(&id).unwrap_or_default();
            self.young.insert(id, known);
        }
        self.young.entry(id).or_default().add(tokens);
    }

    /// A length that nine of ten answers kept within, up to the width of a bin; `None` until enough was seen.
    pub fn p90(&self, key: KeyId, model: &str) -> Option<u64> {
        let id = (key, hash(model));
        self.young.get(&id).or_else(|| self.old.get(&id))?.p90()
    }

    /// Pairs remembered.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn hash(model: &str) -> u64 {
    FixedState::default().hash_one(model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: KeyId = KeyId(1);

    #[test]
    fn nothing_is_told_before_enough_was_seen() {
        let mut lengths = OutputLengths::new(8);
        for _ in 1..ENOUGH {
            lengths.learn(KEY, "m", 100);
        }
        assert_eq!(lengths.p90(KEY, "m"), None);
        lengths.learn(KEY, "m", 100);
        assert_eq!(lengths.p90(KEY, "m"), Some(128));
        assert_eq!((lengths.p90(KeyId(2), "m"), lengths.p90(KEY, "n")), (None, None));
    }

    #[test]
    fn the_past_fades() {
        let mut lengths = OutputLengths::new(8);
        (0..1_000).for_each(|_| lengths.learn(KEY, "m", 20_000));
        (0..400).for_each(|_| lengths.learn(KEY, "m", 10));
        assert_eq!(lengths.p90(KEY, "m"), Some(11));
    }

    #[test]
    fn memory_is_bounded_and_pairs_in_use_are_kept() {
        let mut lengths = OutputLengths::new(100);
        for other in 0..10_000 {
            lengths.learn(KEY, "busy", 64);
            lengths.learn(KeyId(other + 2), "m", 5);
            assert!(lengths.len() <= 100);
        }
        assert_eq!(lengths.p90(KEY, "busy"), Some(64));
    }

    #[test]
    fn bins_rise_and_hold_every_length() {
        assert!((1..BINS).all(|b| upper(b) >= upper(b - 1)));
        assert_eq!((bin(0), bin(1), bin(u64::MAX)), (0, 0, BINS - 1));
    }

    proptest! {
        #[test]
        fn nine_tenths_of_the_answers_are_within_the_estimate(answers in proptest::collection::vec(0u64..900_000, 8..120)) {
            let mut lengths = OutputLengths::new(2);
            answers.iter().for_each(|tokens| lengths.learn(KEY, "m", *tokens));
            let told = lengths.p90(KEY, "m").expect("enough was seen");
            let within = answers.iter().filter(|tokens| **tokens <= told).count();
            prop_assert!(within * 10 >= answers.len() * 9, "{within} of {} within {told}", answers.len());
        }
    }
}
