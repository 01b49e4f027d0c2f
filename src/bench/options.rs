//! What a run is told on the command line.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    arrivals::Spacing,
    mix::{Models, Sizes},
};

/// The options of `penstock bench`.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("loop").required(true).args(["rate", "closed"]))]
pub struct BenchOptions {
    /// Base address of an OpenAI-compatible API.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000/v1")]
    pub url: String,
    /// Open loop: so many calls a second, each begun at its time, whether or not others have ended.
    #[arg(long, value_name = "CALLS")]
    pub rate: Option<f64>,
    /// Closed loop: each connection makes one call after the other. Says how much the target can take, but
    /// hides from the latencies what callers would have waited.
    #[arg(long)]
    pub closed: bool,
    /// How calls of an open loop are spread.
    #[arg(long, value_enum, default_value = "poisson")]
    pub arrivals: Spacing,
    /// Decides every draw: arrivals, sizes, models, keys, streams.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Connections at most; a call that finds none free waits, and that is part of its latency.
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Threads of the generator; connections and rate are divided among them.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Length of what is measured.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "10s")]
    pub duration: Duration,
    /// Load before it that is not measured.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "2s")]
    pub warm_up: Duration,
    /// How long a call may take; also how long after the last one was due a call may wait to begin.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "60s")]
    pub timeout: Duration,
    /// The generator's own delay, at the 99th percentile, above which the result is refused.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "5ms")]
    pub max_late: Duration,
    /// API key, or env:NAME.
    #[arg(long, value_name = "KEY", conflicts_with = "keys")]
    pub key: Option<String>,
    /// File of keys, one a line, with a weight after it where that is not 1.
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Models: NAME, or NAME=WEIGHT,NAME=WEIGHT.
    #[arg(long, value_name = "MODELS", default_value = "penstock-echo")]
    pub model: Models,
    /// Sizes of request bodies in bytes: SIZE, or SIZE:WEIGHT,SIZE:WEIGHT.
    #[arg(long, value_name = "SIZES", default_value = "200")]
    pub size: Sizes,
    /// Percent of the calls that are streams.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    pub streams: f64,
    /// max_tokens of each call.
    #[arg(long)]
    pub max_tokens: Option<u32>,
    /// A header of each call: NAME:VALUE. May be given more than once.
    #[arg(long, value_name = "HEADER")]
    pub header: Vec<String>,
    /// Asks Penstock's mock for so many words, and checks that they come, in order.
    #[arg(long, value_name = "WORDS")]
    pub mock_tokens: Option<u32>,
    /// Asks the mock for this many milliseconds between words; how far streams fall behind it is measured.
    #[arg(long, value_name = "MS")]
    pub mock_pace_ms: Option<u64>,
    /// Asks the mock for this many milliseconds before the first word.
    #[arg(long, value_name = "MS")]
    pub mock_ttft_ms: Option<u64>,
    /// Asks the mock for this many milliseconds before the head.
    #[arg(long, value_name = "MS")]
    pub mock_latency_ms: Option<u64>,
    /// A PEM file of authorities to trust beside the public ones.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Writes the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draws the latencies by percentile, as SVG.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

/// Most calls a second that one run is meant for.
const MOST_RATE: f64 = 1e6;
const MOST_CONNECTIONS: usize = 100_000;

impl BenchOptions {
    /// Finds contradictions that single options cannot show.
    ///
    /// # Errors
    /// A sentence that names the option.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= MOST_RATE)) {
            return Err("--rate must lie above 0 and at most at 1000000 calls a second".into());
        }
        if !(0.0..=100.0).contains(&self.streams) {
            return Err("--streams is a percentage, from 0 to 100".into());
        }
        if !(1..=MOST_CONNECTIONS).contains(&self.connections) {
            return Err("--connections must lie between 1 and 100000".into());
        }
        if !(1..=self.connections).contains(&self.threads) {
            return Err("--threads must be at least 1, and no more than --connections".into());
        }
        if self.duration.is_zero() {
            return Err("--duration must be longer than nothing".into());
        }
        if self.timeout.is_zero() {
            return Err("--timeout must be longer than nothing".into());
        }
        if self.mock_pace_ms.is_some() && self.mock_tokens.is_none() {
            return Err("--mock-pace-ms needs --mock-tokens: without it the mock echoes a few words".into());
        }
        Ok(())
    }
}
