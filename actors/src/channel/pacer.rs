//! What a provider lets through in a time, as it was learned: a bucket of requests, one of tokens, and a pause. Time is
//! an argument, in microseconds of one monotonic clock.
//!
//! The buckets stand under one lock, held for a few dozen instructions, and only by calls of channels of which anything
//! was learned: rate, size and debt change together, or a word that changes the rate would let too many through.

mod bucket;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use self::bucket::{Bucket, Stamp, Taken};
use crate::{domain::Hint, router::estimate::Outlook};

/// A provider's own words count for so long before what refusals show is believed again, in microseconds.
const FRESH_US: u64 = 120_000_000;

const OFF: u8 = 0;
const ON: u8 = 1;

#[derive(Clone, Copy, Debug, Default)]
struct Buckets {
    requests: Bucket,
    tokens: Bucket,
}

/// What was learned of one channel.
#[derive(Debug, Default)]
pub struct Pacer {
    /// Nothing is learned while it is off: the one word that the call path looks at then.
    state: AtomicU8,
    buckets: Mutex<Buckets>,
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

impl Buckets {
    /// After how long both hold a request of so many tokens.
    fn wait(&self, tokens: u64, now_us: u64) -> Duration {
        self.requests.wait(1, now_us).max(self.tokens.wait(tokens, now_us))
    }
}

impl Pacer {
    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
        let mut buckets = self.buckets();
        let wait = buckets.wait(tokens, now_us);
        if !wait.is_zero() {
            return Err(wait);
        }
        Ok(Paced {
            stamps: [buckets.requests.take(1, now_us), buckets.tokens.take(tokens, now_us)],
            generation: self.generation(),
            pacer: Arc::clone(self),
            tokens,
            stage: Stage::Held,
        })
    }

    /// After how long a request of so many tokens could go; zero where it could now. Takes nothing.
    pub fn wait(&self, tokens: u64, now: Duration) -> Duration {
        let now_us = now.as_micros() as u64;
        let paused = self.paused_until.load(Relaxed).saturating_sub(now_us);
        self.buckets().wait(tokens, now_us).max(Duration::from_micros(paused))
    }

    /// How many requests of so many tokens the buckets would let through at once; `None` where nothing is limited.
    pub fn credit(&self, tokens: u64, now: Duration) -> Option<f64> {
        let now_us = now.as_micros() as u64;
        let of = |bucket: &Bucket, each: u64| Some(bucket.left(now_us)? / each.max(1) as f64);
        let buckets = self.buckets();
        let both = [of(&buckets.requests, 1), of(&buckets.tokens, tokens)];
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
            Stamp::Taken(_) if !bucket.is_limited() => Stamp::Unknown(bucket.unheard()),
            known => known,
        };
        let mut buckets = self.buckets();
        let mut pause = None;
        if let Some(told) = hint.requests {
            let stamp = stamp(&buckets.requests, 0);
            pause = pause.max(buckets.requests.learn(told, stamp, now_us));
            self.told_at.store(now_us.max(1), Relaxed);
        }
        if let Some(told) = hint.tokens {
            let stamp = stamp(&buckets.tokens, 1);
            pause = pause.max(buckets.tokens.learn(told, stamp, now_us));
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
        let requests = &mut self.buckets().requests;
        match per_second {
            Some(rate) => {
                let rate = rate.clamp(1e-3, 1e6);
                // A little at once, or a timer's grain would cost a part of the rate.
                let size = (rate / 5.0) as u64 + 1;
                requests.pace((1e9 / rate) as u64, size, now.as_micros() as u64);
                self.state.store(ON, Relaxed);
            }
            None if requests.is_limited() => requests.forget(),
            None => {}
        }
    }

    /// The rate that refusals showed, where that is what is paced to.
    pub fn inferred(&self, now: Duration) -> Option<f64> {
        let interval = self.buckets().requests.interval_ns().filter(|_| !self.is_told(now));
        interval.map(|interval| 1e9 / interval as f64)
    }

    /// Forgets everything: it was of another account, or of another place.
    pub fn forget(&self) {
        let mut buckets = self.buckets();
        self.generation.fetch_add(1, Relaxed);
        buckets.requests.forget();
        buckets.tokens.forget();
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
        let buckets = *self.buckets();
        Learned {
            requests_per_minute: buckets.requests.per_minute(),
            tokens_per_minute: buckets.tokens.per_minute(),
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
    stamps: [Taken; 2],
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
            self.count_as_heard(&mut self.pacer.buckets());
        }
    }

    fn count_as_heard(&self, buckets: &mut Buckets) {
        buckets.requests.heard(1);
        buckets.tokens.heard(self.tokens);
    }

    /// Puts right what it took of tokens.
    pub fn settle(mut self, tokens: u64) {
        self.heard();
        let mut buckets = self.pacer.buckets();
        if self.generation == self.pacer.generation() {
            buckets.tokens.correct(self.tokens, tokens);
        }
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        if self.stage == Stage::Heard {
            return;
        }
        let mut buckets = self.pacer.buckets();
        self.count_as_heard(&mut buckets);
        if self.generation == self.pacer.generation() {
            // What is refused takes no tokens.
            buckets.tokens.correct(self.tokens, 0);
            if self.stage == Stage::Held {
                buckets.requests.correct(1, 0);
            }
        }
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
