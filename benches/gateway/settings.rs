//! What the environment says about a run, read once and checked at the start.

use super::peers::Peer;
use super::{haproxy, nginx};
use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The settings of one run; every one has an environment variable named `BENCH_` and the name in upper case.
#[derive(Clone)]
pub struct Settings {
    /// Whether the defaults were the short ones.
    pub is_quick: bool,
    /// Times each scenario is measured on each target.
    pub rounds: usize,
    /// Length of one measured window.
    pub seconds: Duration,
    /// Load before each window that is not measured.
    pub warm_up: Duration,
    /// Connections of the closed loop.
    pub connections: usize,
    /// Slow streams held open for the memory figures; 0 leaves them out.
    pub streams: usize,
    /// The same for peers.
    pub peer_streams: usize,
    /// Calls a second of the open loop; 0 leaves it out. Streams begin at a twentieth of it.
    pub rate: f64,
    /// The same for peers.
    pub peer_rate: f64,
    /// Rounds of the conversions between dialects; 0 leaves them out.
    pub conversions: usize,
    /// Keys of the scenarios to run; empty means all.
    pub scenarios: Vec<String>,
    /// What is measured; the first is what the others are divided by.
    pub targets: Vec<Kind>,
    /// What answers behind the targets.
    pub upstream: UpstreamKind,
    /// The Penstock that is measured and whose `mock` answers.
    pub penstock: PathBuf,
    /// Where the report is written besides the standard output.
    pub out: Option<PathBuf>,
}

/// Something that can be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// nginx as a plain proxy.
    Nginx,
    /// HAProxy as a plain proxy.
    HaProxy,
    /// Another gateway.
    Peer(Peer),
    /// Penstock, from this program.
    Penstock(PathBuf),
    /// The same, as `cargo build --release` makes it, where another build of it is measured.
    Plain(PathBuf),
    /// No proxy: the upstream itself.
    Direct,
}

/// What answers behind the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// `penstock mock`.
    Mock,
    /// The harness's own, which needs no Penstock.
    StandIn,
}

impl Settings {
    /// Reads the environment.
    pub fn from_env() -> Result<Self, Box<dyn Error>> {
        // Both are built into one folder.
        let built = env::current_exe()?.with_file_name("penstock");
        let penstock = env::var_os("BENCH_PENSTOCK").map_or_else(|| built.clone(), PathBuf::from);
        // A quick run shows that everything works; its figures are rough.
        let is_quick = number::<u8>("BENCH_QUICK", 0)? != 0;
        let all = match is_quick {
            true => "nginx,haproxy,penstock",
            false if penstock == built => "nginx,haproxy,penstock,litellm,portkey",
            false => "nginx,haproxy,penstock,plain,litellm,portkey",
        };
        let targets = words("BENCH_TARGETS", all)
            .iter()
            .map(|word| match word.split_once('=') {
                None if word == "nginx" => Ok(Kind::Nginx),
                None if word == "haproxy" => Ok(Kind::HaProxy),
                None if word == "litellm" => Ok(Kind::Peer(Peer::LiteLlm)),
                None if word == "portkey" => Ok(Kind::Peer(Peer::Portkey)),
                None if word == "direct" => Ok(Kind::Direct),
                None if word == "penstock" => Ok(Kind::Penstock(penstock.clone())),
                None if word == "plain" => Ok(Kind::Plain(built.clone())),
                Some(("penstock", program)) => Ok(Kind::Penstock(program.into())),
                _ => Err(format!(
                    "BENCH_TARGETS: `{word}` is none of nginx, haproxy, penstock, penstock=PROGRAM, plain, litellm, \
                     portkey, direct"
                )),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if targets.is_empty() {
            return Err("BENCH_TARGETS names nothing to measure".into());
        }
        let upstream = match words("BENCH_UPSTREAM", "mock").join(",").as_str() {
            "mock" => UpstreamKind::Mock,
            "stand-in" => UpstreamKind::StandIn,
            other => return Err(format!("BENCH_UPSTREAM: `{other}` is neither mock nor stand-in").into()),
        };
        Ok(Self {
            is_quick,
            rounds: number("BENCH_ROUNDS", if is_quick { 2 } else { 9 })?,
            seconds: seconds("BENCH_SECONDS", if is_quick { 0.5 } else { 2.0 })?,
            warm_up: seconds("BENCH_WARM_UP", if is_quick { 0.2 } else { 0.3 })?,
            connections: number("BENCH_CONNECTIONS", 64)?,
            streams: number("BENCH_STREAMS", if is_quick { 1000 } else { 5000 })?,
            peer_streams: number("BENCH_PEER_STREAMS", 200)?,
            rate: number("BENCH_RATE", 1000.0)?,
            peer_rate: number("BENCH_PEER_RATE", 40.0)?,
            conversions: number("BENCH_CONVERSIONS", if is_quick { 1 } else { 3 })?,
            scenarios: words("BENCH_SCENARIOS", ""),
            targets,
            upstream,
            penstock,
            out: env::var_os("BENCH_OUT").map(PathBuf::from),
        })
    }
}

impl Settings {
    /// Takes off the targets that are not installed; gives a line about each.
    pub fn leave_out_missing(&mut self) -> Vec<String> {
        let mut missing = Vec::new();
        self.targets.retain(|kind| {
            let (name, found) = match kind {
                Kind::Nginx => ("nginx", nginx::program().is_some()),
                Kind::HaProxy => ("haproxy", haproxy::program().is_some()),
                Kind::Peer(peer) => (peer.name(), peer.program().is_some() && peer.runtime().is_some()),
                Kind::Penstock(_) | Kind::Plain(_) | Kind::Direct => return true,
            };
            if !found {
                missing.push(format!("{name} is not installed (benches/prepare.sh) and is left out"));
            }
            found
        });
        missing
    }

    /// Rounds in which peers take part, and rounds of the open loop.
    pub fn few_rounds(&self) -> usize {
        self.rounds.div_ceil(3)
    }
}

fn words(name: &str, default: &str) -> Vec<String> {
    let text = env::var(name).unwrap_or_else(|_| default.to_owned());
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn number<T: FromStr>(name: &str, default: T) -> Result<T, String> {
    match env::var(name) {
        Ok(text) => text.trim().parse().map_err(|_| format!("{name}: `{text}` is not a number")),
        Err(_) => Ok(default),
    }
}

fn seconds(name: &str, default: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number(name, default)?).map_err(|error| format!("{name}: {error}"))
}
