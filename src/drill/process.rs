//! A process that a drill has started: its log, its end. Dropping it kills it.

use std::{
    fs::{File, OpenOptions},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a start may take, and an end that was asked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running process.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// How long the log was when it was started.
    from: usize,
}

impl Process {
    /// Starts `program` with arguments; what it says is added to a log in `folder`.
    pub fn start(
        name: &'static str,
        program: &Path,
        arguments: &[&str],
        folder: &Path,
    ) -> Result<Self, String> {
        let log = folder.join(format!("{name}.log"));
        let failed = |error: std::io::Error| format!("{name} cannot be started: {error}");
        let from = std::fs::metadata(&log).map_or(0, |log| log.len() as usize);
        let open = || -> std::io::Result<(File, File)> {
            let file = OpenOptions::new().create(true).append(true).open(&log)?;
            Ok((file.try_clone()?, file))
        };
        let (out, err) = open().map_err(failed)?;
        let mut command = Command::new(program);
        // Settings of whoever runs the drill would change it.
        command.current_dir(folder).env_clear().args(arguments).stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn().map_err(failed)?;
        Ok(Self { name, child, log, from })
    }

    /// Waits until the process takes connections.
    pub fn await_listening(&mut self, address: SocketAddr) -> Result<(), String> {
        let give_up = Instant::now() + PATIENCE;
        while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended with {status}:\n{}", self.name, self.last_words()));
            }
            if Instant::now() > give_up {
                return Err(format!("{} takes no connections:\n{}", self.name, self.last_words()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(mut self) -> Result<(), String> {
        let gone = self.child.kill().and_then(|()| self.child.wait());
        gone.map(drop).map_err(|error| format!("{} cannot be killed: {error}", self.name))
    }

    /// Asks it to end, waits until it has, and gives what it said.
    pub fn end(self) -> Result<String, String> {
        shell(&format!("kill -TERM {}", self.child.id()))?;
        let (log, from) = (self.log.clone(), self.from);
        self.ended()?;
        let said = std::fs::read(&log).map_err(|e| format!("{} cannot be read: {e}", log.display()))?;
        Ok(String::from_utf8_lossy(said.get(from..).unwrap_or_default()).into_owned())
    }

    /// Waits until it has ended by itself.
    pub fn ended(mut self) -> Result<(), String> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(None) if Instant::now() < give_up => thread::sleep(Duration::from_millis(10)),
                ended => {
                    let words = self.last_words();
                    return Err(format!("{} did not end in peace ({ended:?}):\n{words}", self.name));
                }
            }
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn of_proc(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

/// Processor time of threads that a process has, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuMicros {
    /// Of all.
    pub(super) all: u64,
    /// Of those that serve clients.
    pub(super) workers: u64,
}

impl CpuMicros {
    /// That of a process so far.
    pub(super) fn of(process: u32) -> Result<Self, String> {
        let folder = format!("/proc/{process}/task");
        let threads = std::fs::read_dir(&folder).map_err(|error| format!("{folder}: {error}"))?;
        let (mut all, mut workers) = (0, 0);
        for thread in threads.flatten() {
            // A thread may have ended.
            let Ok(stat) = std::fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let nanos = stat.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
            all += nanos;
            let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
            workers += if name.trim_end() == "http-worker" { nanos } else { 0 };
        }
        Ok(Self { all: all / 1_000, workers: workers / 1_000 })
    }
}

/// Memory that a process holds, in bytes.
pub(super) fn resident_bytes(process: u32) -> Result<u64, String> {
    let path = format!("/proc/{process}/status");
    let status = of_proc(&path)?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    kib.map(|kib: u64| kib << 10).ok_or_else(|| format!("{path} tells no VmRSS"))
}

/// Descriptors that a process has open.
pub(super) fn descriptors(process: u32) -> Result<usize, String> {
    let path = format!("/proc/{process}/fd");
    std::fs::read_dir(&path).map(Iterator::count).map_err(|error| format!("{path}: {error}"))
}

/// Runs a command of the shell.
pub(super) fn shell(command: &str) -> Result<(), String> {
    let status = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{command}` failed: {status}")),
        Err(error) => Err(format!("`{command}` cannot be run: {error}")),
    }
}

/// A loopback address that nobody listens on.
pub(super) fn free_address() -> Result<SocketAddr, String> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    bound.map_err(|error| format!("no port is free: {error}"))
}
