//! The load generator: calls at a given rate, each timed from the moment it was meant to begin.
//!
//! A call that finds no free connection, or a target that stands still, is late from then on, and its latency
//! says so: nothing is left out because the generator had to wait (coordinated omission). This file owns the
//! order of a run; [`engine`] begins the calls, [`call`] follows each, the other files are pure.

mod answer;
mod arrivals;
mod call;
mod check;
mod connection;
mod engine;
mod mix;
mod options;
mod pacer;
mod plot;
mod report;
mod request;
mod tally;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

pub use self::options::BenchOptions;
use self::{
    connection::Target,
    engine::{Job, Part, Pattern},
    plot::Line,
    report::Report,
    request::Requests,
    tally::Tally,
};

/// Time for all threads to be up before the first call.
const RUN_UP: Duration = Duration::from_millis(50);

/// Runs what the options say, prints the report and writes the files asked for.
///
/// # Errors
/// A sentence, where an option is wrong, a file cannot be written, no call ended well, or the generator could
/// not keep its own pace, so that the figures say more about it than about the target.
pub fn run(options: &BenchOptions) -> Result<(), String> {
    options.check()?;
    let target = Target::find(&options.url, options.ca.as_deref())?;
    let requests = Requests::prepare(options, &target.authority, &target.path)?;
    // A generator may hold more connections than the usual soft limit of descriptors allows.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let pattern = match options.rate {
        Some(rate) => Pattern::Open { rate, spacing: options.arrivals },
        None => Pattern::Closed,
    };
    let job = Arc::new(Job {
        target,
        requests,
        pattern,
        warm_up: options.warm_up,
        duration: options.duration,
        timeout: options.timeout,
        pace: options.mock_pace_ms.map(Duration::from_millis),
        seed: options.seed,
    });
    let tally = measure(&job, options.connections, options.threads)?;
    let report = Report::of(&job, options.connections, options.threads, options.max_late, &tally);
    print!("{report}");
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        write(file, &(json + "\n"))?;
    }
    if let Some(file) = &options.plot {
        let lines = [
            Line { name: "from intended start", times: &tally.latency },
            Line { name: "from sending", times: &tally.service },
            Line { name: "first token", times: &tally.first_token },
            Line { name: "behind the pace", times: &tally.behind },
        ];
        write(file, &plot::draw(&job.target.url, &lines))?;
    }
    match () {
        () if report.calls.good == 0 => Err("not one call ended well".into()),
        () if !report.is_valid => {
            Err("the generator could not keep its own pace; the figures do not count".into())
        }
        () => Ok(()),
    }
}

/// Has every thread do its part, and adds up what they measured.
fn measure(job: &Arc<Job>, connections: usize, threads: usize) -> Result<Tally, String> {
    let start = Instant::now() + RUN_UP;
    let parts = (0..threads).map(|index| {
        let own = connections / threads + usize::from(index < connections % threads);
        let (job, part) = (Arc::clone(job), Part { index, of: threads, connections: own, start });
        let thread = std::thread::Builder::new().name(format!("bench-{index}"));
        thread.spawn(move || engine::run(job, part)).map_err(|error| format!("no thread: {error}"))
    });
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let mut all = Tally::default();
    for part in parts {
        all.merge(&part.join().map_err(|_| "a thread of the generator panicked")??);
    }
    Ok(all)
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}
