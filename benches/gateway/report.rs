//! The report of a run, in Markdown.

use super::host::{Host, load_average};
use super::load::Window;
use super::memory::Held;
use super::scenario::Scenario;
use super::settings::Settings;
use super::stats::Spread;
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

/// All that a run found; printing it gives the report.
pub struct Report<'a> {
    /// What was asked for.
    pub settings: &'a Settings,
    /// Where it ran.
    pub host: &'a Host,
    /// What answered.
    pub upstream: &'a str,
    /// What was measured.
    pub scenarios: &'a [Scenario],
    /// Every window.
    pub windows: &'a [Measured],
    /// By target.
    pub rounds_memory: &'a [RoundsMemory],
    /// By target that is a process.
    pub streams: &'a [Held],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = labels(&self.settings.targets);
        writeln!(f, "# {}\n", labels.join(" beside "))?;
        write!(f, "{}", self.host)?;
        writeln!(f, "- load average at the end: {}", load_average())?;
        writeln!(f, "- upstream: {}", self.upstream)?;
        writeln!(
            f,
            "- {} interleaved rounds of {} s a window; every figure is median (min–max) of the rounds; \
             errors: 0, or there would be no report",
            self.settings.rounds,
            self.settings.seconds.as_secs_f64()
        )?;
        self.cost(f, &labels)?;
        self.speed(f, &labels)?;
        self.threads(f, &labels)?;
        self.memory(f, &labels)?;
        self.held(f)
    }
}

impl Report<'_> {
    fn cost(&self, f: &mut fmt::Formatter<'_>, labels: &[String]) -> fmt::Result {
        writeln!(f, "\n## Processor time of the gateway, µs per call or frame\n")?;
        writeln!(
            f,
            "| scenario | per | {} | {} |",
            labels.join(" | "),
            self.ratio_names(labels).join(" | ")
        )?;
        writeln!(f, "|---|---|{}", "---|".repeat(labels.len() + labels.len() - 1))?;
        for scenario in self.scenarios {
            let cost = |window: &Window| window.per_unit(window.gateway.total());
            let costs: Vec<Vec<f64>> =
                (0..labels.len()).map(|target| self.each(scenario, target, cost)).collect();
            let unit = if scenario.frames.is_some() { "frame" } else { "call" };
            write!(f, "| {} | {unit} |", scenario.title)?;
            for cost in &costs {
                write!(f, " {:.2} |", Spread::of(cost.iter().copied()))?;
            }
            for cost in &costs[1..] {
                // `direct` costs nothing: there is no gateway to divide by.
                let pairs = cost.iter().zip(&costs[0]).filter(|(_, base)| **base > 0.0);
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

    fn speed(&self, f: &mut fmt::Formatter<'_>, labels: &[String]) -> fmt::Result {
        writeln!(f, "\n## Throughput and latency\n")?;
        writeln!(
            f,
            "Closed loop of {} connections (streams: as many as the scenario says): latency is that of a gateway \
             kept as busy as it can be, not of one at a given rate; a stream's is the time between two arrivals. \
             `busy` is the part of a core that the gateway used: far below 100, upstream and driver were the \
             limit, and only the processor time tells gateways apart. The last two are the other processes' µs \
             per call or frame.\n",
            self.settings.connections
        )?;
        writeln!(f, "| scenario | target | per second | p50 µs | p99 µs | busy % | upstream | driver |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for scenario in self.scenarios {
            for (target, label) in labels.iter().enumerate() {
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
            let own = self.windows.iter().filter(|measured| measured.target == target);
            let groups: BTreeSet<&String> =
                own.clone().flat_map(|m| m.window.gateway.groups.keys()).collect();
            for group in groups {
                write!(f, "| {label} | {group} |")?;
                for scenario in self.scenarios {
                    let cost = |window: &Window| {
                        window.per_unit(window.gateway.groups.get(group).copied().unwrap_or(0))
                    };
                    write!(f, " {:.2} |", Spread::of(self.each(scenario, target, cost)))?;
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
        for (label, memory) in labels.iter().zip(self.rounds_memory) {
            writeln!(f, "| {label} | {:.1} | {:.1} |", mib(memory.idle), mib(memory.after))?;
        }
        Ok(())
    }

    fn held(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.streams.first() else { return Ok(()) };
        writeln!(f, "\n## {} slow streams at once, a token a second\n", first.streams)?;
        if first.streams < self.settings.streams as u64 {
            writeln!(f, "{} were asked for; the descriptor limit allows no more.\n", self.settings.streams)?;
        }
        writeln!(
            f,
            "| target | KiB a stream | MiB before | open | ended | µs CPU per frame | frames/s | ratio KiB |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for held in self.streams {
            let [before, open, ended] = held.rss.map(mib);
            writeln!(
                f,
                "| {} | {:.1} | {before:.1} | {open:.1} | {ended:.1} | {:.1} | {:.0} | {:.2} |",
                held.label,
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
        let own = self.windows.iter().filter(|m| m.scenario == scenario.key && m.target == target);
        let mut rounds: Vec<(usize, f64)> = own.map(|m| (m.round, figure(&m.window))).collect();
        rounds.sort_by_key(|(round, _)| *round);
        rounds.into_iter().map(|(_, figure)| figure).collect()
    }

    fn keys(&self) -> Vec<&'static str> {
        self.scenarios.iter().map(|scenario| scenario.key).collect()
    }

    fn ratio_names(&self, labels: &[String]) -> Vec<String> {
        labels[1..].iter().map(|label| format!("{label} / {}", labels[0])).collect()
    }
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
