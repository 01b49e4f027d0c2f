//! The built program as a process of its own, with a settings file and a data directory.

use std::{
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use super::{
    Client, SOON,
    app::{KEY, with_key},
};

/// Changes wait for a signal, so that a test knows when they are taken up.
const UNWATCHED: (&str, &str) = ("PENSTOCK_SERVER__WATCH", "false");

const SERVE: &str = "exec \"$0\" serve --listen 127.0.0.1:0";

/// A running `penstock serve`. Dropping it kills the process.
pub struct Process {
    pub address: SocketAddr,
    child: Child,
    dir: Arc<tempfile::TempDir>,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts the program on a free port with these settings and the test key.
    pub fn start(settings: &str) -> Self {
        Self::start_after("", settings)
    }

    /// Starts the program after a shell command, `ulimit` for example.
    pub fn start_after(shell: &str, settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("penstock.toml"), with_key(settings)).unwrap();
        Self::start_in(dir, &format!("{shell}\n{SERVE}"), &[UNWATCHED])
    }

    /// Kills it, and starts the program in its folder anew.
    pub fn killed_and_started(self) -> Self {
        let dir = Arc::clone(&self.dir);
        drop(self);
        Self::start_in(dir, SERVE, &[UNWATCHED])
    }

    /// Starts the program in a folder without a settings file, with these variables alone and these arguments.
    pub fn start_bare(variables: &[(&str, &str)], arguments: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_in(dir, &format!("exec \"$0\" {arguments}"), variables)
    }

    /// Runs a shell line in a folder until the program, its `$0`, says where it listens.
    pub fn start_in(dir: impl Into<Arc<tempfile::TempDir>>, shell: &str, variables: &[(&str, &str)]) -> Self {
        let dir = dir.into();
        let mut child = Command::new("sh")
            .current_dir(dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(variables.iter().copied())
            .args(["-c", shell, program()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        for pipe in [Box::new(out) as Box<dyn Read + Send>, Box::new(err)] {
            let log = log.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    log.lock().unwrap().push_str(&(line + "\n"));
                }
            });
        }
        let mut process = Self { address: ([0, 0, 0, 0], 0).into(), child, dir, log };
        process.wait_until("the greeting", |log| log.contains("listens on http://"));
        let log = process.log();
        let (_, rest) = log.split_once("listens on http://").unwrap();
        process.address = rest.lines().next().unwrap().parse().unwrap();
        process
    }

    /// A client with the test key.
    pub fn client(&self) -> Client {
        Client::new(self.address, KEY)
    }

    /// Everything the process has said.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until what was said fulfils a condition.
    pub fn wait_until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let deadline = std::time::Instant::now() + SOON;
        while !holds(&self.log()) {
            assert!(std::time::Instant::now() < deadline, "did not come about: {what}\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(sent.unwrap().success());
    }

    /// Writes other settings, has them read, and waits until the log says these words.
    pub fn reload(&self, settings: &str, words: &str) {
        std::fs::write(self.dir.path().join("penstock.toml"), with_key(settings)).unwrap();
        self.hang_up(words);
    }

    /// Has the settings read again, and waits until the log says these words after that.
    pub fn hang_up(&self, words: &str) {
        let before = self.log().len();
        self.signal("HUP");
        self.wait_until(words, |log| log[before..].contains(words));
    }

    /// Waits for the end of the process and gives its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let deadline = std::time::Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(std::time::Instant::now() < deadline, "the process goes on\n{}", self.log());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// The most memory that was ever resident, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// The folder that the process runs in.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().into()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the built program is.
pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_penstock")
}

/// Runs the program in a folder until it ends by itself.
pub fn run(dir: &std::path::Path, args: &[&str]) -> Output {
    run_with(dir, args, &[])
}

/// Runs the program in a folder, with these variables alone, until it ends by itself.
pub fn run_with(dir: &std::path::Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program());
    command.current_dir(dir).args(args).env_clear().envs(variables.iter().copied());
    command.output().unwrap()
}
