//! The tables of a run, in Markdown.

mod open;

use super::conversions::{self, Conversion};
use super::host::{Host, load_average};
use super::load::Window;
use super::memory::Held;
use super::scenario::Scenario;
use super::settings::Settings;
use super::stats::Spread;
use super::steady::Steady;
use super::target::labels;
use std::collections::BTreeSet;
use std::fmt;

/// One window, and what it is of.
pub struct Measured {
    /// From 0.
    pub round: usize,
    /// The scenario's key.
    pub scenario: &'static str,
    /// The target's place in the settings.
    pub target: usize,
    /// What it gave.
    pub window: Window,
}

/// Resident KiB of a target around the rounds.
pub struct RoundsMemory {
    /// Before any call.
    pub idle: u64,
    /// After the last round.
    pub after: u64,
}

/// All that a run found.
#[derive(Default)]
pub struct Found {
    /// Every window.
    pub windows: Vec<Measured>,
    /// Every run of the open loop.
    pub steady: Vec<Steady>,
    /// By target.
    pub rounds_memory: Vec<RoundsMemory>,
    /// Every pair of dialects.
    pub conversions: Vec<Conversion>,
    /// By target that is a process.
    pub streams: Vec<Held>,
}

/// What was found and of what; printing it gives the report.
pub struct Report<'a> {
    /// What was asked for.
    pub settings: &'a Settings,
    /// Where it ran.
    pub host: &'a Host,
    /// What answered.
    pub upstream: &'a str,
    /// What was measured.
    pub scenarios: &'a [Scenario],
    /// What came out.
    pub found: &'a Found,
    /// What was left out, and why.
    pub notes: &'a [String],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = labels(&self.settings.targets);
        write!(f, "{}", self.host)?;
        writeln!(f, "- load average at the end: {}", load_average())?;
        writeln!(f, "- upstream: {}", self.upstream)?;
        writeln!(
            f,
            "- {} interleaved rounds of {} s a window, peers in the first {}; every figure is median (min–max) of the \
             rounds; failed calls: 0, or there would be no report",
            self.settings.rounds,
            self.settings.seconds.as_secs_f64(),
            self.settings.few_rounds()
        )?;
        for note in self.notes {
            writeln!(f, "- left out: {note}")?;
        }
        self.cost(f, &labels)?;
        self.ratios(f, &labels)?;
        open::calls(f, &self.found.steady, &labels)?;
        open::streams(f, &self.found.steady, &labels)?;
        self.speed(f, &labels)?;
        self.threads(f, &labels)?;
        self.memory(f, &labels)?;
        self.held(f)?;
        conversions::tables(f, &self.found.conversions)
    }
}

impl Report<'_> {
    fn cost(&self, f: &mut fmt::Formatter<'_>, labels: &[String]) -> fmt::Result {
        writeln!(f, "\n## Processor time of the gateway, µs per call or frame\n")?;
        writeln!(f, "| scenario | per | {} |", labels.join(" | "))?;
        writeln!(f, "|---|---|{}", "---|".repeat(labels.len()))?;
        for scenario in self.scenarios {
            let unit = if scenario.frames.is_some() { "frame" } else { "call" };
            write!(f, "| {} | {unit} |", scenario.title)?;
            for target in 0..labels.len() {
                match self.costs(scenario, target).as_slice() {
                    [] => write!(f, " – |")?,
                    some => write!(f, " {:.2} |", Spread::of(some.iter().copied()))?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn ratios(&self, f: &mut fmt::Formatter<'_>, labels: &[String]) -> fmt::Result {
        if labels.len() < 2 {
            return Ok(());
        }
        writeln!(f, "\n### The same as a multiple of {}, round by round\n", labels[0])?;
        writeln!(f, "| scenario | {} |", labels[1..].join(" | "))?;
        writeln!(f, "|---|{}", "---|".repeat(labels.len() - 1))?;
        for scenario in self.scenarios {
            let base = self.costs(scenario, 0);
            write!(f, "| {} |", scenario.key)?;
            for target in 1..labels.len() {
                let own = self.costs(scenario, target);
                // `direct` costs nothing: there is no gateway to divide by.
                let pairs = own.iter().zip(&base).filter(|(_, base)| **base > 0.0);
                let ratios: Vec<f64> = pairs.map(|(own, base)| own / base).collect();
                match ratios.as_slice() {
                    [] => write!(f, " – |")?,
                    some => write!(f, " **{:.2}** |", Spread::of(some.iter().copied()))?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn costs(&self, scenario: &Scenario, target: usize) -> Vec<f64> {
        self.each(scenario, target, |window| window.per_unit(window.gateway.total()))
    }

    fn speed(&self, f: &mut fmt::Formatter<'_>, labels: &[String]) -> fmt::Result {
        writeln!(f, "\n## Throughput, and latency at full load\n")?;
        writeln!(
            f,
            "A closed loop: latency is that of a gateway kept as busy as so many connections can keep it, not of \
             one at a given rate; a stream's is the time between two arrivals. Peers hold at most 8 streams. \
             `busy` is the part of a core that the gateway used: far below 100, upstream and driver were the \
             limit, and only the processor time tells gateways apart. The last two are the other processes' µs \
             per call or frame.\n"
        )?;
        writeln!(f, "| scenario | target | per second | p50 µs | p99 µs | busy % | upstream | driver |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for scenario in self.scenarios {
            for (target, label) in labels.iter().enumerate() {
                if self.costs(scenario, target).is_empty() {
                    continue;
                }
                let spread = |figure: fn(&Window) -> f64| Spread::of(self.each(scenario, target, figure));
                writeln!(
                    f,
                    "| {} | {label} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} |",
                    scenario.key,
                    spread(Window::rate),
                    spread(|w| w.latency.0 as f64),
                    spread(|w| w.latency.1 as f64),
                    spread(Window::busy),
                    spread(|w| w.per_unit(w.upstream)),
                    spread(|w| w.per_unit(w.driver)),
                )?;
            }
        }
        Ok(())
    }

    fn threads(&self, f: &mut fmt::Formatter<'_>, labels: &[String]) -> fmt::Result {
        writeln!(f, "\n## Processor time by thread, µs per call or frame\n")?;
        writeln!(f, "| target | threads | {} |", self.keys().join(" | "))?;
        writeln!(f, "|---|---|{}", "---|".repeat(self.scenarios.len()))?;
        for (target, label) in labels.iter().enumerate() {
            let own = self.found.windows.iter().filter(|measured| measured.target == target);
            let groups: BTreeSet<&String> =
                own.clone().flat_map(|m| m.window.gateway.groups.keys()).collect();
            for group in groups {
                write!(f, "| {label} | {group} |")?;
                for scenario in self.scenarios {
                    let cost = |window: &Window| {
                        window.per_unit(window.gateway.groups.get(group).copied().unwrap_or(0))
                    };
                    match self.each(scenario, target, cost).as_slice() {
                        [] => write!(f, " – |")?,
                        some => write!(f, " {:.2} |", Spread::of(some.iter().copied()))?,
                    }
                }
                writeln!(f)?;
            }
            let ended: usize = own.map(|measured| measured.window.gateway.ended).sum();
            if ended > 0 {
                writeln!(
                    f,
                    "\n{label}: {ended} threads ended inside a window; their last part is not counted.\n"
                )?;
            }
        }
        Ok(())
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>, labels: &[String]) -> fmt::Result {
        writeln!(f, "\n## Resident memory, MiB\n")?;
        writeln!(f, "| target | idle, before any call | after the rounds |\n|---|---|---|")?;
        for (label, memory) in labels.iter().zip(&self.found.rounds_memory) {
            writeln!(f, "| {label} | {:.1} | {:.1} |", mib(memory.idle), mib(memory.after))?;
        }
        Ok(())
    }

    fn held(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.found.streams.first() else { return Ok(()) };
        writeln!(f, "\n## Slow streams held at once, a token a second\n")?;
        if first.streams < self.settings.streams as u64 {
            writeln!(f, "{} were asked for; the descriptor limit allows no more.\n", self.settings.streams)?;
        }
        writeln!(
            f,
            "| target | streams | KiB a stream | MiB before | open | ended | µs CPU per frame | frames/s | ratio KiB |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for held in &self.found.streams {
            let [before, open, ended] = held.rss.map(mib);
            writeln!(
                f,
                "| {} | {} | {:.1} | {before:.1} | {open:.1} | {ended:.1} | {:.1} | {:.0} | {:.2} |",
                held.label,
                held.streams,
                held.per_stream(),
                held.per_frame,
                held.rate,
                held.per_stream() / first.per_stream()
            )?;
        }
        Ok(())
    }

    /// One figure of every round of a scenario on a target, in the order of the rounds.
    fn each(&self, scenario: &Scenario, target: usize, figure: impl Fn(&Window) -> f64) -> Vec<f64> {
        let own = self.found.windows.iter().filter(|m| m.scenario == scenario.key && m.target == target);
        let mut rounds: Vec<(usize, f64)> = own.map(|m| (m.round, figure(&m.window))).collect();
        rounds.sort_by_key(|(round, _)| *round);
        rounds.into_iter().map(|(_, figure)| figure).collect()
    }

    fn keys(&self) -> Vec<&'static str> {
        self.scenarios.iter().map(|scenario| scenario.key).collect()
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
