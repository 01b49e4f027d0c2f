//! What processes used, read from `/proc`: run time by thread and resident memory.
//!
//! Run time is the first field of `schedstat`, in nanoseconds, which the scheduler updates at each switch and
//! each tick: a window's figure is off by at most one tick.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Run time so far of every thread of some processes.
#[derive(Clone, Debug, Default)]
pub struct CpuReading(BTreeMap<u32, (String, u64)>);

/// Run time between two readings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuSpent {
    /// Nanoseconds by thread group.
    pub groups: BTreeMap<String, u64>,
    /// Threads that ended in between, whose last part of run time is lost.
    pub ended: usize,
}

/// Of threads as they are: id, name, nanoseconds.
impl<'a> FromIterator<(u32, &'a str, u64)> for CpuReading {
    fn from_iter<I: IntoIterator<Item = (u32, &'a str, u64)>>(threads: I) -> Self {
        Self(threads.into_iter().map(|(tid, name, ns)| (tid, (name.to_owned(), ns))).collect())
    }
}

impl CpuReading {
    /// Reads the threads of these processes.
    pub fn of(pids: &[u32]) -> io::Result<Self> {
        let mut threads = BTreeMap::new();
        for pid in pids {
            for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
                let path = task?.path();
                let tid = path.file_name().and_then(|name| name.to_str()?.parse().ok());
                if let (Some(tid), Ok((name, nanoseconds))) = (tid, read_task(&path)) {
                    threads.insert(tid, (name, nanoseconds));
                }
            }
        }
        Ok(Self(threads))
    }

    /// What was spent from `earlier` until now. Threads that are new started at nothing.
    pub fn since(&self, earlier: &Self) -> CpuSpent {
        let mut spent = CpuSpent::default();
        let mut arbiters = 0;
        for (tid, (name, now)) in &self.0 {
            let before = earlier.0.get(tid).map_or(0, |(_, nanoseconds)| *nanoseconds);
            let mut group = group(name);
            if group == ARBITER {
                arbiters += 1;
                group = format!("{ARBITER} {arbiters}");
            }
            *spent.groups.entry(group).or_default() += now.saturating_sub(before);
        }
        spent.ended = earlier.0.keys().filter(|tid| !self.0.contains_key(tid)).count();
        spent
    }
}

impl CpuSpent {
    /// Nanoseconds in all.
    pub fn total(&self) -> u64 {
        self.groups.values().sum()
    }
}

/// Resident memory of these processes together, in KiB.
pub fn rss_kib(pids: &[u32]) -> io::Result<u64> {
    let mut sum = 0;
    for pid in pids {
        sum += resident(&std::fs::read_to_string(format!("/proc/{pid}/status"))?);
    }
    Ok(sum)
}

/// A process and all below it, parents first.
pub fn tree(root: u32) -> io::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let pid: Option<u32> = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        let Some(pid) = pid else { continue };
        let Ok(stat) = std::fs::read_to_string(path.join("stat")) else { continue };
        parents.extend(parent(&stat).map(|parent| (pid, parent)));
    }
    let mut pids = vec![root];
    let mut next = 0;
    while let Some(&at) = pids.get(next) {
        pids.extend(parents.iter().filter(|(_, parent)| *parent == at).map(|(pid, _)| pid));
        next += 1;
    }
    Ok(pids)
}

/// The group of actix's arbiters, HTTP workers among them: the kernel keeps 15 bytes of a thread's name, which
/// is where `actix-rt|system:0|arbiter:1` stops telling them apart. They are numbered by age.
const ARBITER: &str = "arbiter";

/// The group of a thread, by the name the kernel keeps.
pub fn group(comm: &str) -> String {
    match comm {
        "actix-rt|system" => ARBITER.to_owned(),
        "actix-server wo" => "HTTP workers".to_owned(),
        "actix-server ac" => "acceptor".to_owned(),
        "tokio-runtime-w" => "blocking pool".to_owned(),
        other => {
            let stem = other.trim_end_matches(|c: char| c.is_ascii_digit() || "-_:# ".contains(c));
            if stem.is_empty() { other.to_owned() } else { stem.to_owned() }
        }
    }
}

fn read_task(task: &Path) -> io::Result<(String, u64)> {
    let name = std::fs::read_to_string(task.join("comm"))?.trim_end().to_owned();
    let run = std::fs::read_to_string(task.join("schedstat"))?;
    let nanoseconds = run.split(' ').next().and_then(|word| word.parse().ok());
    nanoseconds.map(|ns| (name, ns)).ok_or_else(|| io::Error::other("schedstat without a run time"))
}

/// The resident KiB that a `status` file tells; 0 if it tells none.
pub fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The parent that a `stat` file tells.
pub fn parent(stat: &str) -> Option<u32> {
    // The name stands in brackets and may hold anything, brackets too.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests;
