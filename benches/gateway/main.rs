//! What a call costs in Penstock beside what it costs in nginx, HAProxy and other gateways, in one interleaved run:
//! `make bench`.
//!
//! This file is the order of a run and nothing else; `benches/README.md` says how to read the figures.

mod client;
mod conversions;
mod haproxy;
mod host;
mod http;
mod load;
mod memory;
mod nginx;
mod page;
mod peers;
mod process;
mod report;
mod scenario;
mod settings;
mod sse;
mod stand_in;
mod stats;
mod steady;
mod target;
mod usage;

use std::error::Error;
use std::process::ExitCode;
use steady::Load;
use target::{Share, Target, Upstream};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--stand-in", address] => stand_in::serve(address),
        [] => run(),
        _ => Err("it takes no arguments; benches/README.md lists the variables it goes by".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut settings = settings::Settings::from_env()?;
    let mut notes = settings.leave_out_missing();
    for note in &notes {
        eprintln!("{note}");
    }
    let files = rlimit::increase_nofile_limit(u64::MAX)?;
    let cores = host::Cores::of_this_machine();
    host::pin_driver(&cores)?;
    let place = process::Place::new(cores.clone(), files)?;
    let host = host::Host::look(&settings, &cores);
    eprintln!("{host}");

    let upstream = Upstream::start(&settings, &place)?;
    let scenarios = scenario::all(&settings, &upstream)?;
    let mut found = report::Found::default();
    {
        let targets = target::start_all(&settings, &place, &upstream)?;
        let idle: Vec<u64> = targets.iter().map(|t| usage::rss_kib(&t.pids())).collect::<Result<_, _>>()?;
        let pairs = pairs(&scenarios, &targets, &mut notes)?;
        found.windows = rounds(&settings, &scenarios, &targets, &pairs, &upstream)?;
        if settings.rate > 0.0 {
            found.steady = open_loops(&settings, &place, &targets, &mut notes)?;
        }
        for (target, idle) in targets.iter().zip(idle) {
            found.rounds_memory.push(report::RoundsMemory { idle, after: usage::rss_kib(&target.pids())? });
        }
    }
    found.conversions = conversions::measure(&settings, &place, &upstream)?;
    found.streams = memory::hold_on_each(&settings, &place, &upstream, &mut notes)?;

    let report = report::Report {
        settings: &settings,
        host: &host,
        upstream: upstream.label,
        scenarios: &scenarios,
        found: &found,
        notes: &notes,
    };
    let text = page::around(&settings, &report.to_string());
    println!("{text}");
    if let Some(path) = &settings.out {
        std::fs::write(path, &text)?;
    }
    Ok(())
}

/// A scenario that a target can do, both by their place, and the frames of its streams.
struct Pair {
    scenario: usize,
    target: usize,
    frames: Option<u64>,
}

/// Tries every scenario on every target once. What a peer cannot do is left out and told of.
fn pairs(
    scenarios: &[scenario::Scenario],
    targets: &[Target],
    notes: &mut Vec<String>,
) -> Result<Vec<Pair>, Box<dyn Error>> {
    let mut pairs = Vec::new();
    for (target_index, target) in targets.iter().enumerate() {
        for (scenario_index, scenario) in scenarios.iter().enumerate() {
            match scenario.check(target) {
                Ok(frames) => pairs.push(Pair { scenario: scenario_index, target: target_index, frames }),
                Err(error) if target.share == Share::Peer => {
                    notes.push(memory::first_line(&format!("without `{}`: {error}", scenario.key)));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(pairs)
}

/// Every scenario on every target in each round, the order of the targets turned round every other round.
fn rounds(
    settings: &settings::Settings,
    scenarios: &[scenario::Scenario],
    targets: &[Target],
    pairs: &[Pair],
    upstream: &Upstream,
) -> Result<Vec<report::Measured>, Box<dyn Error>> {
    let mut windows = Vec::new();
    for round in 0..settings.rounds {
        for (scenario_index, scenario) in scenarios.iter().enumerate() {
            let mut own: Vec<&Pair> = pairs.iter().filter(|pair| pair.scenario == scenario_index).collect();
            if round % 2 == 1 {
                own.reverse();
            }
            for pair in own {
                let target = &targets[pair.target];
                if target.share == Share::Peer && round >= settings.few_rounds() {
                    continue;
                }
                let window = load::measure(settings, scenario, target, pair.frames, upstream)?;
                let label = &target.label;
                eprintln!(
                    "round {}/{}  {:<12} {label:<10} {window}",
                    round + 1,
                    settings.rounds,
                    scenario.key
                );
                windows.push(report::Measured { round, scenario: scenario.key, target: pair.target, window });
            }
        }
    }
    Ok(windows)
}

/// Both loads at a given rate on every target, some times over. A run that does not count is told of.
fn open_loops(
    settings: &settings::Settings,
    place: &process::Place,
    targets: &[Target],
    notes: &mut Vec<String>,
) -> Result<Vec<steady::Steady>, Box<dyn Error>> {
    let mut all = Vec::new();
    for round in 0..settings.few_rounds() {
        for load in [Load::Calls, Load::Streams] {
            let mut order: Vec<usize> = (0..targets.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let target = &targets[index];
                let measure =
                    || steady::measure(settings, &place.cores, place.dir.path(), load, index, target);
                // A neighbour may have disturbed the generator: that is worth another try, and no more than two.
                match measure().or_else(|_| measure()).or_else(|_| measure()) {
                    Ok(steady) => {
                        let p99 = steady.figure("/latency/p99");
                        eprintln!("open loop {}  {load:?} {:<10} p99 {p99:.2} ms", round + 1, target.label);
                        all.push(steady);
                    }
                    Err(error) => {
                        eprintln!("{}: {error}", target.label);
                        notes.push(memory::first_line(&format!("{}, open loop, {error}", target.label)));
                    }
                }
            }
        }
    }
    Ok(all)
}
