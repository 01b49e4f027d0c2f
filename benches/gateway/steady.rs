//! The open loop: `penstock bench` against each target at a moderate rate, so that latencies are compared where
//! nobody is saturated and none is left out.

use super::host::Cores;
use super::process::find;
use super::settings::Settings;
use super::target::{Share, Target};
use serde_json::Value;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Load before each run.
const WARM_UP: Duration = Duration::from_secs(1);
/// Words of a stream, and milliseconds between two.
const WORDS: &str = "50";
const PACE: &str = "20";
/// Calls for one stream, by rate.
const CALLS_PER_STREAM: f64 = 20.0;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Calls of 4 KB.
    Calls,
    /// Streams of 50 words, one each 20 ms.
    Streams,
}

/// What one run gave.
pub struct Steady {
    /// What was asked for.
    pub load: Load,
    /// The target's place in the settings.
    pub target: usize,
    /// Calls a second, wanted and got.
    pub rate: [f64; 2],
    result: Value,
}

impl Steady {
    /// A figure of the result, by its JSON pointer; 0 where it is missing.
    pub fn figure(&self, place: &str) -> f64 {
        self.result.pointer(place).and_then(Value::as_f64).unwrap_or(0.0)
    }
}

/// Runs one load on one target. A result that does not count is an error.
pub fn measure(
    settings: &Settings,
    cores: &Cores,
    dir: &Path,
    load: Load,
    index: usize,
    target: &Target,
) -> Result<Steady, Box<dyn Error>> {
    let rate = match target.share {
        Share::All => settings.rate,
        Share::Peer => settings.peer_rate,
    };
    let file = dir.join("steady.json");
    let (rate, path, more) = match load {
        Load::Calls => {
            (rate, &target.call_path, ["--size", "4096", "--streams", "0", "--mock-tokens", "100"].as_slice())
        }
        Load::Streams => (
            rate / CALLS_PER_STREAM,
            &target.stream_path,
            ["--streams", "100", "--mock-tokens", WORDS, "--mock-pace-ms", PACE].as_slice(),
        ),
    };
    let mut command = match (cores.driver, find("taskset")) {
        (Some(core), Some(taskset)) => {
            let mut command = Command::new(taskset);
            command.args(["-c", &core.to_string()]).arg(&settings.penstock);
            command
        }
        _ => Command::new(&settings.penstock),
    };
    let seconds = settings.seconds.mul_f64(3.0);
    command
        .args(["bench", "--url", &format!("http://{}{path}", target.address), "--key", target.bearer])
        .args(["--rate", &rate.to_string(), "--connections", "256", "--seed", "7"])
        .args(["--duration", &format!("{}ms", seconds.as_millis())])
        .args(["--warm-up", &format!("{}ms", WARM_UP.as_millis()), "--max-late", "5ms"])
        .args(more)
        .arg("--json")
        .arg(&file);
    for header in target.headers.lines() {
        command.args(["--header", header]);
    }
    let output = command.output()?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let why = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no word why");
        return Err(format!("{load:?} at {rate}/s: {why}").into());
    }
    let result: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let steady = Steady { load, target: index, rate: [rate, 0.0], result };
    let failed = steady.figure("/calls/failed");
    if failed > 0.0 {
        return Err(
            format!("{load:?} at {rate}/s: {failed} calls failed: {}", steady.result["failures"]).into()
        );
    }
    Ok(Steady { rate: [rate, steady.figure("/rate/achieved")], ..steady })
}
