//! What the calls gave: histograms of times, counts of ends. No clock of its own.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

/// Kinds of failure that one example each is kept of.
const EXAMPLES: usize = 20;

/// Nanoseconds, to three digits.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Times {
    /// None yet.
    pub fn new() -> Self {
        #[expect(clippy::expect_used, reason = "three digits are allowed")]
        Self(Histogram::new(3).expect("three digits"))
    }

    /// Adds one.
    pub fn add(&mut self, nanoseconds: u64) {
        // The histogram grows as is needed; only memory could fail it.
        let _ = self.0.record(nanoseconds);
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        let _ = self.0.add(&other.0);
    }

    /// The histogram.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

impl Default for Times {
    fn default() -> Self {
        Self::new()
    }
}

/// How a good call went, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From the intended start to the end.
    pub latency: u64,
    /// From the sending to the end.
    pub service: u64,
    /// From the intended start to the first byte of the answer.
    pub first_byte: u64,
    /// From the intended start to the first content of a stream.
    pub first_token: Option<u64>,
}

/// Why a call failed, as it is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind; few different ones.
    pub kind: String,
    /// What is worth showing of the first of a kind.
    pub example: Option<String>,
    /// Whether the call was given up waiting, so that its age belongs among the latencies.
    pub waited: Waited,
}

/// Whether a failed call had been waited for to the end of patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It failed by itself.
    No,
    /// It was given up.
    ToTheEnd,
}

/// Everything one thread measured inside the window.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Calls whose intended start lay in the window.
    pub intended: u64,
    /// Of these, good ones.
    pub good: u64,
    /// Good calls that ended in the window, whenever they began.
    pub ended: u64,
    /// Calls that were streams, of the good ones.
    pub streams: u64,
    /// Events of streams, `[DONE]` among them.
    pub events: u64,
    /// Events with content that came in one read with the one before.
    pub together: u64,
    /// Bytes of bodies.
    pub bytes: u64,
    /// Kept connections that turned out to be closed; the call went out again on a fresh one.
    pub stale: u64,
    /// Intended start to end, given-up calls with their age among them.
    pub latency: Times,
    /// Sending to end.
    pub service: Times,
    /// Intended start to first byte.
    pub first_byte: Times,
    /// Intended start to first content, streams only.
    pub first_token: Times,
    /// Between two events with content.
    pub gap: Times,
    /// How far behind the pace, counted from the first content, each event with content came.
    pub behind: Times,
    /// How late the generator itself was at each intended start.
    pub late: Times,
    /// From then until the call was sent: waiting for a free connection.
    pub waited: Times,
    /// Failed calls by kind.
    pub failures: BTreeMap<String, u64>,
    /// One example each.
    pub examples: BTreeMap<String, String>,
    /// Processor time of the generator's thread in the window, where the system tells it.
    pub processor: Option<Duration>,
    /// Whether the generator gave up because too many calls waited.
    pub gave_up: bool,
}

impl Tally {
    /// Counts a good call.
    pub fn good(&mut self, timing: Timing) {
        self.good += 1;
        self.latency.add(timing.latency);
        self.service.add(timing.service);
        self.first_byte.add(timing.first_byte);
        if let Some(first_token) = timing.first_token {
            self.streams += 1;
            self.first_token.add(first_token);
        }
    }

    /// Counts a failed call of this age, in nanoseconds.
    pub fn failed(&mut self, failure: Failure, age: u64) {
        if failure.waited == Waited::ToTheEnd {
            self.latency.add(age);
        }
        if let Some(example) = failure.example
            && self.examples.len() < EXAMPLES
        {
            self.examples.entry(failure.kind.clone()).or_insert(example);
        }
        *self.failures.entry(failure.kind).or_default() += 1;
    }

    /// Adds what another thread measured.
    pub fn merge(&mut self, other: &Self) {
        let counts = [
            (&mut self.intended, other.intended),
            (&mut self.good, other.good),
            (&mut self.ended, other.ended),
            (&mut self.streams, other.streams),
            (&mut self.events, other.events),
            (&mut self.together, other.together),
            (&mut self.bytes, other.bytes),
            (&mut self.stale, other.stale),
        ];
        for (own, more) in counts {
            *own += more;
        }
        let times = [
            (&mut self.latency, &other.latency),
            (&mut self.service, &other.service),
            (&mut self.first_byte, &other.first_byte),
            (&mut self.first_token, &other.first_token),
            (&mut self.gap, &other.gap),
            (&mut self.behind, &other.behind),
            (&mut self.late, &other.late),
            (&mut self.waited, &other.waited),
        ];
        for (own, more) in times {
            own.merge(more);
        }
        for (kind, count) in &other.failures {
            *self.failures.entry(kind.clone()).or_default() += count;
        }
        for (kind, example) in &other.examples {
            self.examples.entry(kind.clone()).or_insert_with(|| example.clone());
        }
        self.processor = match (self.processor, other.processor) {
            (Some(own), Some(more)) => Some(own.max(more)),
            (own, more) => own.or(more),
        };
        self.gave_up |= other.gave_up;
    }

    /// Failed calls of every kind.
    pub fn failed_calls(&self) -> u64 {
        self.failures.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: &str, waited: Waited) -> Failure {
        Failure { kind: kind.into(), example: Some(format!("first {kind}")), waited }
    }

    #[test]
    fn what_was_given_up_counts_with_its_age_and_what_was_refused_does_not() {
        let mut tally = Tally::default();
        tally.failed(failure("timeout", Waited::ToTheEnd), 5_000_000_000);
        tally.failed(failure("status 429", Waited::No), 1_000);
        assert_eq!(tally.latency.histogram().len(), 1);
        assert!(tally.latency.histogram().max() >= 5_000_000_000);
        assert_eq!(tally.failed_calls(), 2);
    }

    #[test]
    fn threads_add_up() {
        let timing = Timing { latency: 30, service: 20, first_byte: 10, first_token: Some(15) };
        let (mut one, mut two) = (Tally::default(), Tally::default());
        one.good(timing);
        one.processor = Some(Duration::from_secs(1));
        two.good(timing);
        two.failed(failure("cut", Waited::No), 1);
        two.processor = Some(Duration::from_secs(3));
        one.merge(&two);
        assert_eq!((one.good, one.streams, one.latency.histogram().len()), (2, 2, 2));
        assert_eq!(one.failures["cut"], 1);
        assert_eq!(one.examples["cut"], "first cut");
        assert_eq!(one.processor, Some(Duration::from_secs(3)), "the busiest thread is what saturates");
    }
}
