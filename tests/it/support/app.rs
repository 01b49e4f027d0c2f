//! A gateway in a thread of its own. Dropping it fails the test if anything leaked.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use penstock::{
    app::{self, Gateway, Options, Source},
    config::Overrides,
    http::HttpShared,
    relay::RelayShared,
    telemetry::Scrape,
};
use penstock_actors::{channel::ChannelCell, router::TableHandle};

use super::{Client, upstream::connections_at};

/// The secret of the key that every test app has.
pub const KEY: &str = "sk-test-0123456789abcdef";

type Job = Box<dyn for<'a> FnOnce(&'a Gateway) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>> + Send>;

/// A running gateway.
pub struct TestApp {
    pub address: SocketAddr,
    shared: Arc<HttpShared>,
    table: TableHandle,
    jobs: Option<tokio::sync::mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
    dir: Arc<tempfile::TempDir>,
    /// Set by tests that stop the gateway themselves or leave work behind on purpose.
    unchecked: bool,
    forgiving: bool,
}

impl TestApp {
    /// Starts a gateway with these settings; server and key are added.
    pub fn start(settings: &str) -> Self {
        Self::start_with(settings, Options::default)
    }

    /// Starts a gateway with options, which are made in its own thread.
    pub fn start_with(settings: &str, options: impl FnOnce() -> Options + Send + 'static) -> Self {
        Self::start_where(Arc::new(tempfile::tempdir().unwrap()), settings, options)
    }

    /// Starts a gateway in the folder of another one.
    pub fn start_in(dir: Arc<tempfile::TempDir>, settings: &str) -> Self {
        Self::start_where(dir, settings, Options::default)
    }

    /// Tries to start a gateway in a folder, and gives the sentence that it is refused with.
    pub fn refused(dir: Arc<tempfile::TempDir>, settings: &str) -> String {
        let source = write(&dir, settings);
        let starting = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let started = Gateway::start(app::load(&source).unwrap(), Options::default()).await;
                started.err().expect("it does not start")
            })
        });
        starting.join().unwrap()
    }

    fn start_where(
        dir: Arc<tempfile::TempDir>,
        settings: &str,
        options: impl FnOnce() -> Options + Send + 'static,
    ) -> Self {
        let source = write(&dir, settings);
        let (tell, told) = mpsc::channel();
        let (jobs, mut queue) = tokio::sync::mpsc::unbounded_channel::<Job>();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let loaded = app::load(&source).unwrap();
                let gateway = Gateway::start(loaded, options()).await.unwrap();
                let parts = (gateway.address(), gateway.shared().clone(), gateway.actors().table.clone());
                tell.send(parts).unwrap();
                while let Some(job) = queue.recv().await {
                    job(&gateway).await;
                }
                gateway.stop().await;
            });
        });
        let (address, shared, table) = told.recv().unwrap();
        Self {
            address,
            shared,
            table,
            jobs: Some(jobs),
            thread: Some(thread),
            dir,
            unchecked: false,
            forgiving: false,
        }
    }

    /// The folder with its settings and data.
    pub fn dir(&self) -> Arc<tempfile::TempDir> {
        self.dir.clone()
    }

    /// A client with the test key.
    pub fn client(&self) -> Client {
        Client::new(self.address, KEY)
    }

    /// The live cell of a channel.
    pub fn cell(&self, name: &str) -> Arc<ChannelCell> {
        self.table
            .load()
            .cells()
            .iter()
            .find(|c| c.name.as_str() == name)
            .expect("the channel exists")
            .clone()
    }

    /// What the handlers share.
    pub fn shared(&self) -> &HttpShared {
        &self.shared
    }

    /// The value of a metric's line; the name has its labels.
    pub fn metric(&self, line: &str) -> f64 {
        let RelayShared { room, books, .. } = &*self.shared.relay;
        let now = Scrape { room, limits_ms: books.limits.clock_ms() };
        let text = String::from_utf8(self.shared.metrics.render(self.table.load().cells(), now)).unwrap();
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or_else(|| panic!("no metric {line} in\n{text}"))
    }

    /// Does something with the gateway in its own thread.
    pub async fn run<R: Send + 'static>(
        &self,
        work: impl for<'a> FnOnce(&'a Gateway) -> std::pin::Pin<Box<dyn Future<Output = R> + 'a>> + Send + 'static,
    ) -> R {
        let (tell, told) = tokio::sync::oneshot::channel();
        let job: Job = Box::new(move |gateway| {
            Box::pin(async move {
                let _ = tell.send(work(gateway).await);
            })
        });
        let sent = self.jobs.as_ref().unwrap().send(job);
        assert!(sent.is_ok(), "the gateway runs");
        told.await.unwrap()
    }

    /// Puts other settings in force; gives the differences, or why they were refused.
    pub async fn reload(&self, settings: &str) -> Result<Vec<String>, String> {
        let source = write(&self.dir, settings);
        let loaded = app::load(&source).map_err(|e| e.to_string())?;
        self.run(move |gateway| Box::pin(gateway.apply(loaded))).await
    }

    /// Stops the gateway in a thread of its own, while the test looks on.
    pub fn stop(&mut self) -> JoinHandle<()> {
        self.unchecked = true;
        self.jobs = None;
        self.thread.take().unwrap()
    }

    /// Stops the gateway and waits until it has.
    pub fn end(mut self) {
        self.stop().join().unwrap();
    }

    /// Forgives connections that an upstream closed while they were kept: they are found on their next use.
    pub fn forgive_closed_connections(&mut self) {
        self.forgiving = true;
    }

    /// What is still held: permits, connections that the upstream does not see, calls, body bytes.
    fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        let mut counted = std::collections::HashMap::new();
        for cell in self.table.load().cells() {
            let held = cell.gate.in_flight();
            if held > 0 {
                leaks.push(format!("{held} permits of {}", cell.name));
            }
            let address: http::Uri = cell.spec().base_url.parse().unwrap();
            *counted.entry(address.port_u16().unwrap()).or_insert(0) += cell.connections.count() as usize;
        }
        for (port, count) in counted {
            let seen = connections_at(port);
            if seen.is_some_and(|seen| seen != count) && !self.forgiving {
                leaks.push(format!("{count} connections to port {port}, the upstream has {seen:?}"));
            }
        }
        for cell in self.table.load().cells().iter().filter(|cell| cell.gate.waiting() > 0) {
            leaks.push(format!("{} places at {}", cell.gate.waiting(), cell.name));
        }
        let room = &self.shared.relay.room;
        if room.calls() + room.bytes() > 0 {
            leaks.push(format!("{} calls wait, with {} bytes", room.calls(), room.bytes()));
        }
        let calls = self.shared.metrics.calls_in_flight.get();
        if calls > 0 {
            leaks.push(format!("{calls} calls"));
        }
        let bytes = self.shared.relay.bytes.used();
        if bytes > 0 {
            leaks.push(format!("{bytes} bytes of bodies"));
        }
        leaks
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if !self.unchecked && !std::thread::panicking() {
            // Guards are dropped when a worker next polls; a leak is what stays.
            let deadline = Instant::now() + super::SOON;
            let mut leaks = self.leaks();
            while !leaks.is_empty() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
                leaks = self.leaks();
            }
            assert_eq!(leaks, Vec::<String>::new(), "leaked");
        }
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok(), "the gateway's thread panicked");
        }
    }
}

fn write(dir: &tempfile::TempDir, settings: &str) -> Source {
    let file: PathBuf = dir.path().join("penstock.toml");
    std::fs::write(&file, with_key(settings)).unwrap();
    let overrides = Overrides {
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        data_dir: Some(dir.path().join("data")),
        ..Overrides::default()
    };
    Source { file: Some(file), overrides, ..Source::default() }
}

/// The settings with the test key.
pub fn with_key(settings: &str) -> String {
    format!(
        "{settings}\n[[key]]\nname = \"test\"\nsecret = \"{KEY}\"\nmay_pin = true\nmay_see_routing = true\n"
    )
}
