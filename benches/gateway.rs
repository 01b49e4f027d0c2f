//! What a call costs in Penstock beside what it costs in nginx, in one interleaved run: `make bench`.
//!
//! This file is the order of a run and nothing else; `benches/README.md` says how to read the figures.

mod gateway {
    pub mod client;
    pub mod host;
    pub mod http;
    pub mod load;
    pub mod memory;
    pub mod nginx;
    pub mod process;
    pub mod report;
    pub mod scenario;
    pub mod settings;
    pub mod sse;
    pub mod stand_in;
    pub mod stats;
    pub mod target;
    pub mod usage;
}

use gateway::{host, load, memory, process, report, scenario, settings, stand_in, target, usage};
use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--stand-in", address] => stand_in::serve(address),
        words if words.contains(&"--bench") => run(),
        _ => {
            eprintln!("nothing measured: run it with `make bench` or `cargo bench --bench gateway`");
            return ExitCode::SUCCESS;
        }
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
    let settings = settings::Settings::from_env()?;
    let files = rlimit::increase_nofile_limit(u64::MAX)?;
    let cores = host::Cores::of_this_machine();
    host::pin_driver(&cores)?;
    let place = process::Place::new(cores.clone(), files)?;
    let host = host::Host::look(&settings, &cores);
    eprintln!("{host}");

    let upstream = target::Upstream::start(&settings, &place)?;
    let scenarios = scenario::all(&settings, &upstream)?;
    let mut windows = Vec::new();
    let mut rounds_memory = Vec::new();
    {
        let targets = target::start_all(&settings, &place, &upstream)?;
        let idle: Vec<u64> = targets.iter().map(|t| usage::rss_kib(&t.pids())).collect::<Result<_, _>>()?;
        for target in &targets {
            for scenario in &scenarios {
                scenario.check(target)?;
            }
        }
        for round in 0..settings.rounds {
            for scenario in &scenarios {
                for place in 0..targets.len() {
                    let index = if round % 2 == 0 { place } else { targets.len() - 1 - place };
                    let target = &targets[index];
                    let window = load::measure(&settings, scenario, target, &upstream)?;
                    eprintln!(
                        "round {}/{}  {:<9} {:<12} {window}",
                        round + 1,
                        settings.rounds,
                        scenario.key,
                        target.label
                    );
                    windows.push(report::Measured { round, scenario: scenario.key, target: index, window });
                }
            }
        }
        for (target, idle) in targets.iter().zip(idle) {
            rounds_memory.push(report::RoundsMemory { idle, after: usage::rss_kib(&target.pids())? });
        }
    }

    let streams = memory::hold_on_each(&settings, &place, &upstream)?;
    let report = report::Report {
        settings: &settings,
        host: &host,
        upstream: upstream.label,
        scenarios: &scenarios,
        windows: &windows,
        rounds_memory: &rounds_memory,
        streams: &streams,
    };
    let text = report.to_string();
    println!("{text}");
    if let Some(path) = &settings.out {
        std::fs::write(path, &text)?;
    }
    Ok(())
}
