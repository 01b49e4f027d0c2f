//! What a run comes to: percentiles, fairness, and how right the estimates were.

use std::{collections::HashSet, time::Duration};

use crate::world::{Done, Fate};

/// Of sorted values.
pub fn percentile(sorted: &[Duration], quantile: f64) -> Duration {
    let at = (sorted.len() as f64 * quantile) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Jain's index: 1 where all shares are equal (Jain, Chiu, Hawe, 1984).
pub fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    sum * sum / (shares.len() as f64 * shares.iter().map(|x| x * x).sum::<f64>())
}

/// How right estimates were, of calls that waited to be served or to their deadline.
pub struct Figures {
    told: usize,
    p90: f64,
    deep: usize,
    deep_within: f64,
    refused: usize,
    would_have_made_it: f64,
    expired: usize,
}

impl Figures {
    /// Judges all but the first calls.
    pub fn of(done: &[Done], skip: usize) -> Self {
        let done = &done[skip.min(done.len())..];
        let waited = |d: &Done| match d.fate {
            Fate::Served { waited } => Some(waited),
            Fate::Expired => Some(d.call.max_wait),
            _ => None,
        };
        let told: Vec<_> = done
            .iter()
            .filter_map(|d| Some((d.told?, waited(d)?)))
            .filter(|(told, _)| !told.p90.is_zero())
            .collect();
        let covered = told.iter().filter(|(told, waited)| *waited <= told.p90).count();
        let deep: Vec<_> = told.iter().filter(|(told, _)| told.position > 64).collect();
        let is_near = |(told, waited): &&&(_, Duration)| {
            let told: &penstock_actors::router::estimate::Estimate = told;
            (waited.as_secs_f64() / told.p50.as_secs_f64() - 1.0).abs() <= 0.25
        };
        let within = deep.iter().filter(is_near).count();
        // Calls of a key go in their order: one that was refused would have gone before the next that was not.
        let (mut refused, mut made_it) = (0, 0);
        let mut admitted: Vec<_> = done
            .iter()
            .filter_map(|d| match d.fate {
                Fate::Served { waited } => Some((d.call.key, d.arrived, d.arrived + waited)),
                Fate::Expired => Some((d.call.key, d.arrived, Duration::MAX)),
                _ => None,
            })
            .collect();
        admitted.sort_unstable();
        for d in done.iter().filter(|d| d.fate == Fate::Refused) {
            refused += 1;
            let next = admitted.partition_point(|s| (s.0, s.1) < (d.call.key, d.arrived));
            let next = admitted.get(next).filter(|s| s.0 == d.call.key);
            made_it += usize::from(next.is_some_and(|s| s.2 <= d.arrived + d.call.max_wait));
        }
        let share = |of: usize, all: usize| of as f64 / all.max(1) as f64;
        Self {
            told: told.len(),
            p90: share(covered, told.len()),
            deep: deep.len(),
            deep_within: share(within, deep.len()),
            refused,
            would_have_made_it: share(made_it, refused),
            expired: done.iter().filter(|d| d.fate == Fate::Expired).count(),
        }
    }

    pub fn print(&self) {
        println!("  estimates {}: p90 came true for {:.1} %", self.told, self.p90 * 100.0);
        println!(
            "  {} with 64 or more ahead: p50 within 25 % for {:.1} %",
            self.deep,
            self.deep_within * 100.0
        );
        println!(
            "  refused on arrival {}, of which {:.1} % would have made it; expired in the queue {}",
            self.refused,
            self.would_have_made_it * 100.0,
            self.expired
        );
    }

    pub fn check(&self) {
        assert!((0.85..=0.95).contains(&self.p90), "p90 came true for {}", self.p90);
        assert!(self.deep_within >= 0.9, "p50 within 25 % for {}", self.deep_within);
    }
}

impl Figures {
    /// The same where others come that change who is served where.
    pub fn check_among_others(&self) {
        assert!((0.8..=0.97).contains(&self.p90), "p90 came true for {}", self.p90);
        assert!(self.deep_within >= 0.65, "p50 within 25 % for {}", self.deep_within);
    }
}

/// What refusals on arrival did, against a world where nobody is refused so: the same calls, all of them waiting.
pub struct Refusals {
    refused: usize,
    /// Of those, who is served in time where all are let in.
    served_otherwise: usize,
    /// Who is served, and who waits to the deadline in vain, with refusals and without.
    served: [usize; 2],
    in_vain: [usize; 2],
}

impl Refusals {
    pub fn of(with: &[Done], without: &[Done]) -> Self {
        let served = |d: &&Done| matches!(d.fate, Fate::Served { .. });
        let otherwise: HashSet<_> = without.iter().filter(served).map(|d| (d.call.key, d.arrived)).collect();
        let refused = || with.iter().filter(|d| d.fate == Fate::Refused);
        let in_vain = |all: &[Done]| all.iter().filter(|d| d.fate == Fate::Expired).count();
        Self {
            refused: refused().count(),
            served_otherwise: refused().filter(|d| otherwise.contains(&(d.call.key, d.arrived))).count(),
            served: [with, without].map(|all| all.iter().filter(served).count()),
            in_vain: [with, without].map(in_vain),
        }
    }

    pub fn print(&self) {
        println!(
            "  were nobody refused, {:.1} % of those {} would be served; served {} with refusals, {} without; in \
             vain waited {} with, {} without",
            self.served_otherwise as f64 / self.refused.max(1) as f64 * 100.0,
            self.refused,
            self.served[0],
            self.served[1],
            self.in_vain[0],
            self.in_vain[1]
        );
    }

    /// Refusals cost nobody a slot, and spare most a wait in vain. Not all: who is let in at the border has an even
    /// chance, for it is the p50 that decides; under overload without end, everyone comes in there.
    pub fn check(&self) {
        assert!(self.served[0] * 100 >= self.served[1] * 99, "{:?}", self.served);
        assert!(self.in_vain[0] * 4 <= self.in_vain[1], "{:?}", self.in_vain);
        assert!(self.in_vain[0] <= self.served[0], "{:?} of {:?}", self.in_vain, self.served);
    }
}
