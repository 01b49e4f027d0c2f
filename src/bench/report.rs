//! The result of a run: what is printed and what is written as JSON, from one struct.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;

use super::{
    arrivals::Spacing,
    engine::{Job, Pattern},
    tally::{Tally, Times},
};

/// Part of a core above which the generator itself was the limit, in percent.
const BUSY: f64 = 90.0;
/// Part of the wanted rate below which the target is said not to have kept up.
const KEPT_UP: f64 = 0.99;

/// A whole result. Times are milliseconds.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The program and its version.
    pub program: &'static str,
    /// Where the calls went.
    pub url: String,
    /// How they were begun.
    #[serde(rename = "loop")]
    pub pattern: Loop,
    /// Connections at most.
    pub connections: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// What was measured, and the load before it, in seconds.
    pub seconds: f64,
    pub warm_up_seconds: f64,
    /// Whether the figures tell of the target.
    pub is_valid: bool,
    /// What a reader must know of them.
    pub notes: Vec<String>,
    pub calls: Calls,
    pub rate: Rate,
    pub client: Client,
    /// From the intended start to the end; calls given up count with their age.
    pub latency: Option<Percentiles>,
    /// From the sending to the end.
    pub service: Option<Percentiles>,
    /// From the intended start to the first byte.
    pub first_byte: Option<Percentiles>,
    /// From the intended start to the first content of a stream.
    pub first_token: Option<Percentiles>,
    /// Between two events with content.
    pub gap: Option<Percentiles>,
    /// How far behind the asked pace events with content came.
    pub behind_pace: Option<Percentiles>,
    /// Failed calls by kind, and an example of each.
    pub failures: BTreeMap<String, u64>,
    pub examples: BTreeMap<String, String>,
}

/// How calls were begun.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Loop {
    /// At their times.
    Open { calls_per_second: f64, arrivals: Spacing, seed: u64 },
    /// One after the other.
    Closed { seed: u64 },
}

#[derive(Debug, Serialize)]
pub struct Calls {
    /// Meant to begin in the window.
    pub intended: u64,
    pub good: u64,
    pub failed: u64,
    /// Of the good ones.
    pub streams: u64,
    /// Events of streams, and those that came in one read with the one before.
    pub events: u64,
    pub events_together: u64,
    pub body_bytes: u64,
    /// Kept connections found closed.
    pub stale_connections: u64,
}

#[derive(Debug, Serialize)]
pub struct Rate {
    /// Of an open loop.
    pub wanted: Option<f64>,
    /// Good calls that ended in the window, a second.
    pub achieved: f64,
}

#[derive(Debug, Serialize)]
pub struct Client {
    /// Part of one core that the busiest thread of the generator used, in percent.
    pub busy_percent: Option<f64>,
    /// How late the generator got to each call.
    pub late: Option<Percentiles>,
    /// From then until it was sent: no connection was free.
    pub waited_for_connection: Option<Percentiles>,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    pub max: f64,
}

impl Percentiles {
    fn of(times: &Times) -> Option<Self> {
        let all = times.histogram();
        let at = |quantile| all.value_at_quantile(quantile) as f64 / 1e6;
        (!all.is_empty()).then(|| Self {
            count: all.len(),
            mean: all.mean() / 1e6,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: all.max() as f64 / 1e6,
        })
    }
}

impl Report {
    /// Puts together what the threads measured.
    pub fn of(job: &Job, connections: usize, threads: usize, max_late: Duration, tally: &Tally) -> Self {
        let seconds = job.duration.as_secs_f64();
        let wanted = match job.pattern {
            Pattern::Open { rate, .. } => Some(rate),
            Pattern::Closed => None,
        };
        let mut report = Self {
            program: concat!("penstock bench ", env!("CARGO_PKG_VERSION")),
            url: job.target.url.clone(),
            pattern: match job.pattern {
                Pattern::Open { rate, spacing } => {
                    Loop::Open { calls_per_second: rate, arrivals: spacing, seed: job.seed }
                }
                Pattern::Closed => Loop::Closed { seed: job.seed },
            },
            connections,
            threads,
            seconds,
            warm_up_seconds: job.warm_up.as_secs_f64(),
            is_valid: true,
            notes: Vec::new(),
            calls: Calls {
                intended: tally.intended,
                good: tally.good,
                failed: tally.failed_calls(),
                streams: tally.streams,
                events: tally.events,
                events_together: tally.together,
                body_bytes: tally.bytes,
                stale_connections: tally.stale,
            },
            rate: Rate { wanted, achieved: tally.ended as f64 / seconds },
            client: Client {
                busy_percent: tally.processor.map(|spent| spent.as_secs_f64() / seconds * 100.0),
                late: Percentiles::of(&tally.late),
                waited_for_connection: Percentiles::of(&tally.waited),
            },
            latency: Percentiles::of(&tally.latency),
            service: Percentiles::of(&tally.service),
            first_byte: Percentiles::of(&tally.first_byte),
            first_token: Percentiles::of(&tally.first_token),
            gap: Percentiles::of(&tally.gap),
            behind_pace: Percentiles::of(&tally.behind),
            failures: tally.failures.clone(),
            examples: tally.examples.clone(),
        };
        report.judge(max_late, tally.gave_up);
        report
    }

    fn judge(&mut self, max_late: Duration, gave_up: bool) {
        if let Some(late) = self.client.late
            && late.p99 > max_late.as_secs_f64() * 1e3
        {
            self.is_valid = false;
            self.notes.push(format!(
                "REFUSED: the generator could not keep its own pace: at p99 it got to calls {:.1} ms late, \
                 which is in the latencies (--max-late {max_late:?}). Give it cores of its own, more \
                 --threads, or a lower --rate.",
                late.p99
            ));
        }
        if gave_up {
            self.is_valid = false;
            self.notes.push(
                "REFUSED: more calls waited for a connection than the generator can hold. Lower --rate or raise \
                 --connections."
                    .into(),
            );
        }
        if let Some(busy) = self.client.busy_percent.filter(|busy| *busy > BUSY) {
            self.notes.push(format!(
                "the generator used {busy:.0} % of a core: it was saturated itself, and part of the latencies \
                 and of the missing rate is its own"
            ));
        }
        if let Some(wanted) = self.rate.wanted.filter(|wanted| self.rate.achieved < wanted * KEPT_UP) {
            self.notes.push(format!(
                "{:.1} of {wanted} calls a second ended well: see what failed, what waited for one of {} \
                 connections, and whether {} s are long beside the latencies",
                self.rate.achieved, self.connections, self.seconds
            ));
        }
        if matches!(self.pattern, Loop::Closed { .. }) {
            self.notes.push(
                "a closed loop waits for the target before it asks again: these latencies leave out what callers \
                 at a given rate would have waited"
                    .into(),
            );
        }
    }

    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.program, self.url)?;
        match &self.pattern {
            Loop::Open { calls_per_second, arrivals, seed } => {
                let arrivals = format!("{arrivals:?}").to_lowercase();
                write!(f, "open loop, {calls_per_second} calls/s, {arrivals} arrivals (seed {seed}), ")?;
            }
            Loop::Closed { seed } => write!(f, "closed loop (seed {seed}), ")?,
        }
        writeln!(
            f,
            "up to {} connections on {} threads, {} s after {} s of warm-up\n",
            self.connections, self.threads, self.seconds, self.warm_up_seconds
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        let Calls { intended, good, failed, streams, events, events_together, stale_connections, .. } =
            self.calls;
        writeln!(f, "calls    {intended} intended, {good} good, {failed} failed")?;
        match self.rate.wanted {
            Some(wanted) => {
                writeln!(f, "rate     {:.1}/s ended well, {wanted}/s wanted", self.rate.achieved)?
            }
            None => writeln!(f, "rate     {:.1}/s ended well", self.rate.achieved)?,
        }
        if streams > 0 {
            writeln!(
                f,
                "streams  {streams}, with {events} events, {events_together} of them in one read with the one before"
            )?;
        }
        match self.client.busy_percent {
            Some(busy) => writeln!(f, "client   {busy:.0} % of a core at most")?,
            None => writeln!(f, "client   processor time is not told by this system")?,
        }
        if stale_connections > 0 {
            writeln!(
                f,
                "         {stale_connections} kept connections were found closed; their calls went out again"
            )?;
        }
        writeln!(f, "\n{:<34} {:>9} {:>9} {:>9} {:>9} {:>9}  ms", "", "p50", "p90", "p99", "p99.9", "max")?;
        for (name, row) in [
            ("latency, from the intended start", self.latency),
            ("from the sending", self.service),
            ("first byte", self.first_byte),
            ("first token of streams", self.first_token),
            ("between tokens", self.gap),
            ("behind the pace", self.behind_pace),
            ("generator late by", self.client.late),
            ("then waited for a connection", self.client.waited_for_connection),
        ] {
            if let Some(p) = row {
                writeln!(
                    f,
                    "{name:<34} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3}",
                    p.p50, p.p90, p.p99, p.p99_9, p.max
                )?;
            }
        }
        if !self.failures.is_empty() {
            writeln!(f, "\nfailed calls")?;
        }
        for (kind, count) in &self.failures {
            write!(f, "{count:>9}  {kind}")?;
            match self.examples.get(kind) {
                Some(example) => writeln!(
                    f,
                    "; for example: {}",
                    example.split_whitespace().collect::<Vec<_>>().join(" ")
                )?,
                None => writeln!(f)?,
            }
        }
        for (nth, note) in self.notes.iter().enumerate() {
            writeln!(f, "{}{note}", if nth == 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}
