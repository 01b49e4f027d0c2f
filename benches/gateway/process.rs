//! Child processes: where they run, what they say, and that none outlives the run.

use super::host::Cores;
use super::usage;
use std::error::Error;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a child may take to answer first, and to end when asked.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where a run keeps its files and what it may use.
pub struct Place {
    /// Removed at the end of the run.
    pub dir: tempfile::TempDir,
    /// Who runs where.
    pub cores: Cores,
    /// Descriptors each process may open.
    pub files: u64,
}

impl Place {
    /// A fresh directory.
    pub fn new(cores: Cores, files: u64) -> io::Result<Self> {
        Ok(Self { dir: tempfile::Builder::new().prefix("penstock-bench-").tempdir()?, cores, files })
    }
}

/// A child process; dropping it ends it and all below it.
pub struct Child {
    name: String,
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `program` on `core`, with nothing of our environment but what finding programs needs.
    pub fn start<S: AsRef<OsStr>>(
        place: &Place,
        name: &str,
        core: Option<usize>,
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Self, Box<dyn Error>> {
        let log = place.dir.path().join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log)?;
        let mut words = Vec::new();
        if let Some(setpriv) = find("setpriv") {
            // So that it ends even if this process is killed; from the main thread only, whose end counts.
            words.extend([setpriv.into_os_string(), "--pdeathsig".into(), "TERM".into()]);
        }
        if let (Some(core), Some(taskset)) = (core, find("taskset")) {
            words.extend([taskset.into_os_string(), "-c".into(), core.to_string().into()]);
        }
        words.push(program.as_os_str().to_owned());
        words.extend(arguments.into_iter().map(|word| word.as_ref().to_owned()));
        let kept = ["PATH", "HOME", "LD_LIBRARY_PATH"].map(|name| (name, std::env::var_os(name)));
        let process = Command::new(&words[0])
            .args(&words[1..])
            .env_clear()
            .envs(kept.into_iter().filter_map(|(name, value)| Some((name, value?))))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .map_err(|error| format!("cannot start {name} ({}): {error}", program.display()))?;
        Ok(Self { name: name.to_owned(), process, log })
    }

    /// The process and all below it.
    pub fn pids(&self) -> Vec<u32> {
        let root = self.process.id();
        usage::tree(root).unwrap_or_else(|_| vec![root])
    }

    /// Waits until `is_ready` says so; fails with the child's last words if it ends or takes too long.
    pub fn wait_until(&mut self, is_ready: impl FnMut() -> bool) -> Result<(), Box<dyn Error>> {
        self.wait_up_to(PATIENCE, is_ready)
    }

    /// The same for what is known to be slow to start.
    pub fn wait_up_to(
        &mut self,
        patience: Duration,
        mut is_ready: impl FnMut() -> bool,
    ) -> Result<(), Box<dyn Error>> {
        let start = Instant::now();
        while !is_ready() {
            let ended = self.process.try_wait()?.map(|status| format!("ended with {status}"));
            let late = (start.elapsed() > patience).then(|| format!("not ready after {patience:?}"));
            if let Some(what) = ended.or(late) {
                return Err(format!("{} {what}; its last words:\n{}", self.name, self.last_words()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The end of what it wrote.
    pub fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(Some(_))) {
            return;
        }
        let pids = self.pids();
        signal("TERM", &pids[..1]);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} did not end when asked and is killed", self.name);
        signal("KILL", &pids);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A program on the path or where system programs are.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// A loopback address that nobody listens on.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Whether somebody listens there.
pub fn is_listening(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

/// Sends a signal through the shell's `kill`: the standard library knows only the one that cannot be handled.
fn signal(name: &str, pids: &[u32]) {
    let list: Vec<String> = pids.iter().map(u32::to_string).collect();
    let command = format!("kill -{name} {}", list.join(" "));
    let _ = Command::new("sh").args(["-c", &command]).stderr(Stdio::null()).status();
}
