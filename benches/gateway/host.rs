//! The machine: which cores a run uses, and the versions and load that a reader of the figures needs.

use super::settings::{Kind, Settings};
use super::target::labels;
use super::{haproxy, nginx, process};
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Who runs where; `None` leaves it to the scheduler.
#[derive(Clone, Debug, Default)]
pub struct Cores {
    /// All that this process may use.
    pub usable: Vec<usize>,
    /// What is measured, alone.
    pub gateway: Option<usize>,
    /// What answers.
    pub upstream: Option<usize>,
    /// This process.
    pub driver: Option<usize>,
}

impl Cores {
    /// The gateway gets a core of its own; upstream and driver share one where there are fewer than four.
    pub fn of_this_machine() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let usable = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .map(|list| core_list(list.trim()))
            .unwrap_or_default();
        let [gateway, upstream, driver] = match usable.as_slice() {
            _ if process::find("taskset").is_none() => [None; 3],
            [] | [_] => [None; 3],
            [_, gateway, upstream, driver, ..] => [*gateway, *upstream, *driver].map(Some),
            [shared, gateway, ..] => [*gateway, *shared, *shared].map(Some),
        };
        Self { usable, gateway, upstream, driver }
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.gateway, self.upstream, self.driver) {
            (Some(gateway), Some(upstream), Some(driver)) => {
                write!(f, "gateway on core {gateway}, upstream on {upstream}, driver on {driver}")
            }
            _ => f.write_str("not pinned (one core, or no taskset)"),
        }
    }
}

/// Puts this process on the driver's core. To be called before any thread starts.
pub fn pin_driver(cores: &Cores) -> Result<(), String> {
    let (Some(core), Some(taskset)) = (cores.driver, process::find("taskset")) else {
        return Ok(());
    };
    let own = std::process::id().to_string();
    match Command::new(taskset).args(["-cp", &core.to_string(), &own]).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("taskset: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("taskset: {error}")),
    }
}

/// What the report says of the machine, by name.
pub struct Host(Vec<(String, String)>);

impl Host {
    /// Looks around once, before the run.
    pub fn look(settings: &Settings, cores: &Cores) -> Self {
        let facts = vec![
            ("commit", commit()),
            ("rustc", said(Command::new("rustc").arg("--version"))),
            ("kernel", read("/proc/sys/kernel/osrelease")),
            ("processor", format!("{}, {} cores", processor(), cores.usable.len())),
            ("placement", cores.to_string()),
            ("load average at the start", load_average()),
        ];
        let labels = labels(&settings.targets);
        let versions = settings.targets.iter().zip(labels).filter_map(|(kind, label)| match kind {
            Kind::Nginx => {
                let version = said(Command::new(nginx::program()?).arg("-v"));
                Some((label, version.trim_start_matches("nginx version: ").to_owned()))
            }
            Kind::HaProxy => {
                let text = said(Command::new(haproxy::program()?).arg("-v"));
                Some((label, text.lines().next().unwrap_or_default().to_owned()))
            }
            Kind::Peer(peer) => {
                let runtime = said(Command::new(peer.runtime()?).arg("--version"));
                Some((label, format!("{}, from its registry package, on {runtime}", peer.version())))
            }
            Kind::Penstock(program) | Kind::Plain(program) => {
                Some((label, said(Command::new(program).arg("--version"))))
            }
            Kind::Direct => None,
        });
        Self(versions.chain(facts.into_iter().map(|(name, value)| (name.to_owned(), value))).collect())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            writeln!(f, "- {name}: {value}")?;
        }
        Ok(())
    }
}

/// The three load averages of the kernel.
pub fn load_average() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn commit() -> String {
    let hash = said(Command::new("git").args(["rev-parse", "--short", "HEAD"]));
    let changed = said(Command::new("git").args(["status", "--porcelain", "--untracked-files=no"]));
    if changed == "unknown" { hash } else { format!("{hash}, with changes") }
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let model = text.lines().find(|line| line.starts_with("model name"));
    model.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name.trim()).to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// What a command prints, on either stream; `unknown` if it fails or says nothing.
fn said(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    match String::from_utf8_lossy(&text).trim() {
        "" => "unknown".to_owned(),
        text => text.to_owned(),
    }
}

fn core_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse::<usize>().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}
