//! What a provider lets through in a time, as it was learned: a bucket of requests, one of tokens, and a pause.
//! Lock-free; time is an argument, in microseconds of one monotonic clock.
//!
//! A bucket is one moment: that at which it will be full again (the generic cell rate algorithm, ITU-T I.371,
//! annex A). So taking is one compare-and-swap, debt is a moment further off, and what the provider says moves it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    domain::{Hint, Told},
    router::estimate::Outlook,
};

/// The time for which providers state their limits, in nanoseconds.
const MINUTE_NS: u64 = 60_000_000_000;
/// A limit of a day is told in the words of one of a minute: this much slower it fills at most.
const SLOWEST: u64 = 1_440;
/// A provider's own words count for so long before what refusals show is believed again, in microseconds.
const FRESH_US: u64 = 120_000_000;

/// Parts of a unit in which what lacks is reckoned: nothing is lost however often it is set.
const PARTS: u64 = 1_000;
/// What lacks of a bucket that had no limit.
const UNKNOWN: u64 = u64::MAX;

/// One limit in a time. Without one, everything passes.
#[derive(Debug, Default)]
struct Bucket {
    full_at: AtomicU64,
    /// Nanoseconds for one unit; 0 for no limit.
    interval_ns: AtomicU64,
    /// Units that it holds.
    size: AtomicU64,
    /// Units ever taken, put right as calls are.
    taken: AtomicU64,
    /// Units of calls of which the provider has not been heard.
    unheard: AtomicU64,
}

fn micros(units: u64, interval_ns: u64) -> u64 {
    u64::try_from(u128::from(units) * u128::from(interval_ns) / 1_000).unwrap_or(u64::MAX)
}

impl Bucket {
    fn is_limited(&self) -> bool {
        self.interval_ns.load(Relaxed) > 0
    }

    /// When an amount will be there; `now_us` where it is. More than the bucket holds is there when it is full.
    fn due(&self, amount: u64, full_at: u64, now_us: u64) -> u64 {
        let (interval, size) = (self.interval_ns.load(Relaxed), self.size.load(Relaxed));
        let spare = micros(size.saturating_sub(amount), interval);
        full_at.saturating_sub(spare).max(now_us)
    }

    /// Takes an amount, or tells after how long it will be there. What is more than the bucket holds is debt.
    fn take(&self, amount: u64, now_us: u64) -> Result<(), Duration> {
        let interval = self.interval_ns.load(Relaxed);
        if interval > 0 && amount > 0 {
            let mut full_at = self.full_at.load(Relaxed);
            loop {
                let due = self.due(amount, full_at, now_us);
                if due > now_us {
                    return Err(Duration::from_micros(due - now_us));
                }
                let after = full_at.max(now_us).saturating_add(micros(amount, interval));
                match self.full_at.compare_exchange_weak(full_at, after, Relaxed, Relaxed) {
                    Ok(_) => break,
                    Err(now) => full_at = now,
                }
            }
        }
        self.taken.fetch_add(amount, Relaxed);
        self.unheard.fetch_add(amount, Relaxed);
        Ok(())
    }

    /// Puts right what was taken.
    fn correct(&self, held: u64, actual: u64) {
        let interval = self.interval_ns.load(Relaxed);
        let change = |at: u64| {
            Some(at.saturating_sub(micros(held, interval)).saturating_add(micros(actual, interval)))
        };
        let _ = self.full_at.fetch_update(Relaxed, Relaxed, change);
        self.taken.fetch_add(actual.wrapping_sub(held), Relaxed);
    }

    fn heard(&self, amount: u64) {
        self.unheard.fetch_sub(amount, Relaxed);
    }

    /// Sets interval and size, and what lacks of it, in [`PARTS`], to what `lacking` makes of what lacked before.
    fn set(&self, interval_ns: u64, size: u64, now_us: u64, lacking: impl Fn(u64) -> u64) {
        let before = u128::from(self.interval_ns.swap(interval_ns, Relaxed));
        self.size.store(size, Relaxed);
        let _ = self.full_at.fetch_update(Relaxed, Relaxed, |full_at| {
            let since = u128::from(full_at.saturating_sub(now_us)) * 1_000 * u128::from(PARTS);
            let lacked = if before == 0 { u128::MAX } else { since.div_ceil(before) };
            let lacks = u128::from(lacking(u64::try_from(lacked).unwrap_or(UNKNOWN)));
            let wait = (lacks * u128::from(interval_ns)).div_ceil(1_000 * u128::from(PARTS));
            Some(now_us.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)))
        });
    }

    /// Takes the provider's word of a call, that was the bucket's `stamp`-th unit; gives how long nothing will be
    /// there where the provider says so.
    fn learn(&self, told: Told, stamp: Stamp, now_us: u64) -> Option<Duration> {
        if told.limit == 0 {
            return None;
        }
        // Far more than a call takes; and sums stay small.
        let limit = told.limit.min(1 << 40);
        let remaining = told.remaining.min(limit);
        let (usual, missing) = (MINUTE_NS / limit.min(MINUTE_NS), limit - remaining);
        // How fast it fills is how long it takes to fill: limits of a day are told in the same words.
        let reset = told.reset.filter(|reset| !reset.is_zero());
        let slow = reset
            .filter(|_| missing > 0 && missing * 50 >= limit)
            .map_or(0, |reset| u64::try_from(reset.as_nanos()).unwrap_or(u64::MAX) / missing);
        let interval = if slow > usual + usual / 2 { slow.min(usual * SLOWEST) } else { usual };
        // What was taken after this call is in no case in the word; of what was taken before, all but what the
        // provider has not been heard of.
        let (since, before) = match stamp {
            Stamp::Taken(at) => {
                let since = self.taken.load(Relaxed).wrapping_sub(at);
                (if since > u64::MAX / 2 { 0 } else { since }, self.unheard.load(Relaxed))
            }
            Stamp::Unknown(in_flight) => (in_flight, in_flight),
        };
        let least = missing.saturating_add(since).min(limit) * PARTS;
        let most = missing.saturating_add(since.max(before)).min(limit) * PARTS;
        let debt = |lacked: u64| if lacked == UNKNOWN { most } else { lacked.clamp(least, most) };
        self.set(interval.max(1), limit, now_us, debt);
        // It will be whole all at once, before it would be bit by bit: nothing comes until then.
        let is_window =
            reset.is_some_and(|reset| reset.as_micros() < u128::from(micros(missing, interval)) / 2);
        reset.filter(|_| remaining == 0 && is_window)
    }

    /// What is in it; `None` where it has no bottom.
    fn left(&self, now_us: u64) -> Option<f64> {
        let interval = self.interval_ns.load(Relaxed);
        let lacks_us = self.full_at.load(Relaxed).saturating_sub(now_us);
        let left = || self.size.load(Relaxed) as f64 - lacks_us as f64 * 1_000.0 / interval as f64;
        (interval > 0).then(|| left().max(0.0))
    }

    fn per_minute(&self) -> Option<u64> {
        MINUTE_NS.checked_div(self.interval_ns.load(Relaxed))
    }

    /// Lets everything pass again. What is under way stays counted.
    fn forget(&self) {
        self.interval_ns.store(0, Relaxed);
        self.full_at.store(0, Relaxed);
    }
}

/// Where a call stood among what was taken of a bucket.
#[derive(Clone, Copy, Debug)]
enum Stamp {
    Taken(u64),
    /// It took nothing, since there was no limit; so much was on its way.
    Unknown(u64),
}

const OFF: u8 = 0;
const ON: u8 = 1;

/// What was learned of one channel.
#[derive(Debug, Default)]
pub struct Pacer {
    /// Nothing is learned while it is off: the one word that the call path looks at then.
    state: AtomicU8,
    requests: Bucket,
    tokens: Bucket,
    paused_until: AtomicU64,
    /// When the provider last spoke of its requests; 0 for never.
    told_at: AtomicU64,
    /// Grows when what was learned is forgotten: what calls of an older one bring is not believed.
    generation: AtomicU64,
}

/// What is published of a pacer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Requests let through in a minute, where that is limited.
    pub requests_per_minute: Option<u64>,
    /// Tokens.
    pub tokens_per_minute: Option<u64>,
    /// For how long nothing is sent.
    pub paused: Option<Duration>,
}

impl Pacer {
    /// Whether anything was learned.
    pub fn is_on(&self) -> bool {
        self.state.load(Relaxed) == ON
    }

    /// The generation of what is learned now.
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Takes the right to one request of so many tokens, or tells after how long there will be one.
    pub fn take(self: &Arc<Self>, tokens: u64, now: Duration) -> Result<Paced, Duration> {
        let now_us = now.as_micros() as u64;
        let paused = self.paused_until.load(Relaxed);
        if paused > now_us {
            return Err(Duration::from_micros(paused - now_us));
        }
        self.requests.take(1, now_us)?;
        if let Err(wait) = self.tokens.take(tokens, now_us) {
            self.requests.correct(1, 0);
            self.requests.heard(1);
            return Err(wait);
        }
        Ok(Paced {
            stamps: [self.requests.taken.load(Relaxed), self.tokens.taken.load(Relaxed)],
            generation: self.generation(),
            pacer: Arc::clone(self),
            tokens,
            stage: Stage::Held,
        })
    }

    /// After how long a request of so many tokens could go; zero where it could now. Takes nothing.
    pub fn wait(&self, tokens: u64, now: Duration) -> Duration {
        let now_us = now.as_micros() as u64;
        let due = |bucket: &Bucket, amount: u64| match bucket.is_limited() {
            true => bucket.due(amount, bucket.full_at.load(Relaxed), now_us),
            false => now_us,
        };
        let due = due(&self.requests, 1).max(due(&self.tokens, tokens)).max(self.paused_until.load(Relaxed));
        Duration::from_micros(due.saturating_sub(now_us))
    }

    /// How many requests of so many tokens the buckets would let through at once; `None` where nothing is limited.
    pub fn credit(&self, tokens: u64, now: Duration) -> Option<f64> {
        let now_us = now.as_micros() as u64;
        let of = |bucket: &Bucket, each: u64| Some(bucket.left(now_us)? / each.max(1) as f64);
        let both = [of(&self.requests, 1), of(&self.tokens, tokens)];
        both.into_iter().flatten().reduce(f64::min)
    }

    /// How calls of so many tokens are paced.
    pub fn outlook(&self, tokens: u64, now: Duration) -> Outlook {
        if !self.is_on() {
            return Outlook::default();
        }
        let learned = self.learned(now);
        let rate = |per_minute: u64, each: u64| per_minute as f64 / each.max(1) as f64 / 60.0;
        let requests = learned.requests_per_minute.map(|per_minute| rate(per_minute, 1));
        let of_tokens = learned.tokens_per_minute.map(|per_minute| rate(per_minute, tokens));
        let per_second = [requests, of_tokens].into_iter().flatten().reduce(f64::min);
        let credit = self.credit(tokens, now).unwrap_or_default();
        Outlook { per_second, credit, wait: self.wait(tokens, now), stands: Duration::ZERO }
    }

    /// Takes the provider's word on its limits, that came with the answer to a call: one that was paced, or one
    /// that was sent before anything was known, while so many others were on their way. Gives how long nothing
    /// may be sent by that word.
    pub fn learn(&self, hint: &Hint, of: Heard<'_>, now: Duration) -> Option<Duration> {
        let now_us = now.as_micros() as u64;
        let stamps = match of {
            Heard::Paced(paced) if paced.generation != self.generation() => return None,
            Heard::Paced(paced) => paced.stamps.map(Stamp::Taken),
            Heard::Unpaced { generation, .. } if generation != self.generation() => return None,
            Heard::Unpaced { in_flight, tokens, .. } => {
                [in_flight, in_flight.saturating_mul(tokens)].map(Stamp::Unknown)
            }
        };
        // A bucket without a limit has counted nothing yet of what is under way.
        let stamp = |bucket: &Bucket, at: usize| match stamps[at] {
            Stamp::Taken(_) if !bucket.is_limited() => Stamp::Unknown(bucket.unheard.load(Relaxed)),
            known => known,
        };
        let mut pause = None;
        if let Some(told) = hint.requests {
            pause = pause.max(self.requests.learn(told, stamp(&self.requests, 0), now_us));
            self.told_at.store(now_us.max(1), Relaxed);
        }
        if let Some(told) = hint.tokens {
            pause = pause.max(self.tokens.learn(told, stamp(&self.tokens, 1), now_us));
        }
        if !hint.is_empty() {
            self.state.store(ON, Relaxed);
        }
        pause
    }

    /// Sends nothing for a time. A later end is kept, never an earlier one.
    pub fn pause(&self, wait: Duration, now: Duration) {
        self.paused_until.fetch_max((now + wait).as_micros() as u64, Relaxed);
        self.state.store(ON, Relaxed);
    }

    /// Whether the provider spoke of its limit on requests lately.
    pub fn is_told(&self, now: Duration) -> bool {
        let (at, now_us) = (self.told_at.load(Relaxed), now.as_micros() as u64);
        at > 0 && now_us.saturating_sub(at) < FRESH_US
    }

    /// Paces to so many requests a second, as refusals show them; `None` for no such limit. Not while the
    /// provider speaks itself.
    pub fn infer(&self, per_second: Option<f64>, now: Duration) {
        if self.is_told(now) {
            return;
        }
        self.told_at.store(0, Relaxed);
        match per_second {
            Some(rate) => {
                let rate = rate.clamp(1e-3, 1e6);
                // A little at once, or a timer's grain would cost a part of the rate.
                let size = (rate / 5.0) as u64 + 1;
                let (first, most) = ((size - 1) * PARTS, size * PARTS);
                let debt = |lacked: u64| if lacked == UNKNOWN { first } else { lacked.min(most) };
                self.requests.set((1e9 / rate) as u64, size, now.as_micros() as u64, debt);
                self.state.store(ON, Relaxed);
            }
            None if self.requests.is_limited() => self.requests.forget(),
            None => {}
        }
    }

    /// The rate that refusals showed, where that is what is paced to.
    pub fn inferred(&self, now: Duration) -> Option<f64> {
        let interval = self.requests.interval_ns.load(Relaxed);
        (interval > 0 && !self.is_told(now)).then(|| 1e9 / interval as f64)
    }

    /// Forgets everything: it was of another account, or of another place.
    pub fn forget(&self) {
        self.generation.fetch_add(1, Relaxed);
        self.requests.forget();
        self.tokens.forget();
        self.paused_until.store(0, Relaxed);
        self.told_at.store(0, Relaxed);
        self.state.store(OFF, Relaxed);
    }

    /// What is published of it.
    pub fn learned(&self, now: Duration) -> Learned {
        if !self.is_on() {
            return Learned::default();
        }
        let left = self.paused_until.load(Relaxed).saturating_sub(now.as_micros() as u64);
        Learned {
            requests_per_minute: self.requests.per_minute(),
            tokens_per_minute: self.tokens.per_minute(),
            paused: (left > 0).then(|| Duration::from_micros(left)),
        }
    }
}

/// Which call a provider's word came with.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'a> {
    /// One that was paced.
    Paced(&'a Paced),
    /// One that was not.
    Unpaced {
        /// The pacer's generation when it was sent.
        generation: u64,
        /// Others on their way.
        in_flight: u64,
        /// What it is estimated to take; the others, too.
        tokens: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was sent.
    Held,
    /// Sent; the provider has said nothing yet.
    Sent,
    /// It answers.
    Heard,
}

/// What a call took of the buckets. Dropped before it was sent, it gives everything back.
#[derive(Debug)]
pub struct Paced {
    pacer: Arc<Pacer>,
    tokens: u64,
    stamps: [u64; 2],
    generation: u64,
    stage: Stage,
}

impl Paced {
    /// The call goes out: its request counts at the provider, whatever comes.
    pub fn sent(&mut self) {
        self.stage = Stage::Sent;
    }

    /// The provider answers it, and has counted it.
    pub fn heard(&mut self) {
        if self.stage == Stage::Sent {
            self.stage = Stage::Heard;
            self.pacer.requests.heard(1);
            self.pacer.tokens.heard(self.tokens);
        }
    }

    /// Puts right what it took of tokens.
    pub fn settle(mut self, tokens: u64) {
        self.heard();
        if self.generation == self.pacer.generation() {
            self.pacer.tokens.correct(self.tokens, tokens);
        }
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        if self.stage == Stage::Heard {
            return;
        }
        self.pacer.requests.heard(1);
        self.pacer.tokens.heard(self.tokens);
        if self.generation == self.pacer.generation() {
            // What is refused takes no tokens.
            self.pacer.tokens.correct(self.tokens, 0);
            if self.stage == Stage::Held {
                self.pacer.requests.correct(1, 0);
            }
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
