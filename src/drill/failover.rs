//! One of three channels fails, in each way there is, while calls keep coming; and what clients see of it.
//!
//! Calls are sent when they are due, whatever becomes of those before, and their time counts from then on: a gateway
//! that falls behind shows it. Faults begin by a reload, so that a running gateway meets them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    client,
    options::{self, Way},
    process::{Process, free_address},
    world::KEY,
};

/// Clients that are ready to send.
const CLIENTS: usize = 96;
/// For how long all channels are well before one fails.
const WARM_UP: Duration = Duration::from_secs(2);
const CHANNELS: [&str; 3] = ["a", "b", "c"];

/// Every way; the last one leaves no mock to go on with.
const WAYS: [Way; 7] =
    [Way::SomeErrors, Way::Errors, Way::Stalls, Way::Closes, Way::Cuts, Way::BadKey, Way::Dies];

impl Way {
    fn shown(self) -> &'static str {
        match self {
            Self::SomeErrors => "answers 500 to one call in three",
            Self::Errors => "answers 500",
            Self::Stalls => "stalls before the first byte",
            Self::Closes => "closes the connection before the head",
            Self::Cuts => "cuts answers in the middle",
            Self::BadKey => "refuses its credential",
            Self::Dies => "dies",
        }
    }

    /// What the channel tells its mock.
    fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::SomeErrors => &[("status", "500"), ("status-every", "3")],
            Self::Errors => &[("status", "500")],
            Self::Stalls => &[("stall", "before-head")],
            Self::Closes => &[("cut", "before-head")],
            Self::Cuts => &[("cut", "mid-body")],
            Self::BadKey => &[("status", "401")],
            Self::Dies => &[],
        }
    }
}

/// What a client saw of a call.
#[derive(Clone, Copy, Debug)]
struct Seen {
    took: Duration,
    attempts: u32,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Well,
    /// A refusal, or no answer at all.
    Lost,
    /// A stream of which a part had gone out already.
    CutOff,
}

/// What a way of failing came to.
struct Found {
    seen: Vec<Seen>,
    refused_retries: u64,
    breaker: &'static str,
}

/// Runs the drill: every way for as long, a fresh gateway for each.
pub(super) fn run(options: &options::Failover, program: &Path) -> Result<(), String> {
    let mut stage = Stage::new(options, program)?;
    println!(
        "One of three channels fails; {} calls a second, half of them streams, {} seconds each; every channel takes \
         four calls at a time.\n",
        options.rate, options.seconds
    );
    println!(
        "| the channel | calls | lost | cut off | p50, ms | added | p99, ms | added | attempts a call | most \
         | refused by the budget | its breaker |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    let healthy = stage.measure(None)?;
    let usual = healthy.times();
    healthy.print("is well", usual);
    let mut worst = healthy.lost_percent();
    for way in WAYS.into_iter().filter(|way| options.only.is_empty() || options.only.contains(way)) {
        let found = stage.measure(Some(way))?;
        found.print(way.shown(), usual);
        worst = worst.max(found.lost_percent());
    }
    match worst > options.at_most {
        true => Err(format!("{worst:.2} % of calls were lost, more than {} %", options.at_most)),
        false => Ok(()),
    }
}

impl Found {
    fn count(&self, end: End) -> usize {
        self.seen.iter().filter(|one| one.end == end).count()
    }

    fn lost_percent(&self) -> f64 {
        100.0 * self.count(End::Lost) as f64 / self.seen.len().max(1) as f64
    }

    fn quantile(&self, quantile: f64) -> Duration {
        let mut times: Vec<_> = self.seen.iter().map(|one| one.took).collect();
        times.sort_unstable();
        let at = ((times.len() as f64 * quantile) as usize).min(times.len().saturating_sub(1));
        times.get(at).copied().unwrap_or_default()
    }

    /// Half of the calls took no longer, and ninety-nine in a hundred.
    fn times(&self) -> (Duration, Duration) {
        (self.quantile(0.5), self.quantile(0.99))
    }

    fn print(&self, channel: &str, healthy: (Duration, Duration)) {
        let (p50, p99) = self.times();
        let added = |now: Duration, then: Duration| now.as_millis() as i64 - then.as_millis() as i64;
        let tried: Vec<_> = self.seen.iter().map(|one| one.attempts).filter(|n| *n > 0).collect();
        let mean = f64::from(tried.iter().sum::<u32>()) / tried.len().max(1) as f64;
        println!(
            "| {} | {} | {} | {} | {} | {:+} | {} | {:+} | {mean:.3} | {} | {} | {} |",
            channel,
            self.seen.len(),
            self.count(End::Lost),
            self.count(End::CutOff),
            p50.as_millis(),
            added(p50, healthy.0),
            p99.as_millis(),
            added(p99, healthy.1),
            tried.iter().max().copied().unwrap_or_default(),
            self.refused_retries,
            self.breaker,
        );
    }
}

/// Three mocks, and where a gateway is to listen.
struct Stage {
    program: PathBuf,
    folder: PathBuf,
    gateway: SocketAddr,
    mocks: Vec<(SocketAddr, Option<Process>)>,
    rate: u32,
    lasts: Duration,
    /// Removed at the end, where it is not to be kept.
    _dir: Option<tempfile::TempDir>,
}

impl Stage {
    fn new(options: &options::Failover, program: &Path) -> Result<Self, String> {
        if options.rate == 0 || options.seconds == 0 {
            return Err("--rate and --seconds must be more than 0".to_owned());
        }
        let failed = |error: std::io::Error| format!("the drill's folder cannot be made: {error}");
        let (folder, dir) = match &options.keep {
            Some(folder) => (folder.clone(), None),
            None => {
                let dir = tempfile::tempdir().map_err(failed)?;
                (dir.path().to_owned(), Some(dir))
            }
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        let folder = folder.canonicalize().map_err(failed)?;
        let mut mocks = Vec::new();
        for _ in CHANNELS {
            let address = free_address()?;
            let listen = address.to_string();
            let mut mock = Process::start("mock", program, &["mock", "--listen", &listen], &folder)?;
            mock.await_listening(address)?;
            mocks.push((address, Some(mock)));
        }
        let (gateway, lasts) = (free_address()?, Duration::from_secs(options.seconds));
        Ok(Self { program: program.into(), folder, gateway, mocks, rate: options.rate, lasts, _dir: dir })
    }

    fn measure(&mut self, way: Option<Way>) -> Result<Found, String> {
        self.write_settings(None)?;
        let listen = self.gateway.to_string();
        let arguments = ["serve", "--listen", &listen, "--config", "penstock.toml"];
        let mut gateway = Process::start("gateway", &self.program, &arguments, &self.folder)?;
        gateway.await_listening(self.gateway)?;
        load(self.gateway, self.rate, WARM_UP)?;
        match way {
            Some(Way::Dies) => self.mocks[0].1.take().map_or(Ok(()), Process::kill)?,
            _ => {
                self.write_settings(way)?;
                self.reload()?;
            }
        }
        let seen = load(self.gateway, self.rate, self.lasts)?;
        let metrics = self.ask("GET", "/metrics")?;
        let metrics = String::from_utf8_lossy(&metrics);
        let figure = |name: &str| {
            let line = metrics.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).unwrap_or_default()
        };
        let refused =
            CHANNELS.map(|name| figure(&format!("penstock_channel_refused_retries{{channel=\"{name}\"}}")));
        let breaker = match figure("penstock_breaker_open{channel=\"a\"") as u32 {
            1 => "open",
            2 => "half open",
            _ if figure("penstock_channel_switched_off{channel=\"a\"") > 0.0 => "switched off",
            _ => "closed",
        };
        gateway.end()?;
        Ok(Found { seen, refused_retries: refused.iter().sum::<f64>() as u64, breaker })
    }

    fn write_settings(&self, way: Option<Way>) -> Result<(), String> {
        let mut text = format!(
            "[server]\nworkers = 2\nwatch = false\ndrain = \"1s\"\n\
             [[key]]\nname = \"drill\"\nsecret = \"{KEY}\"\nmay_see_routing = true\n\
             [[price]]\nmodel = \"m\"\ninput = 1.00\noutput = 2.00\n"
        );
        for (name, (mock, _)) in CHANNELS.iter().zip(&self.mocks) {
            let told = way.filter(|_| *name == CHANNELS[0]).map_or(&[][..], Way::headers);
            let told = told.iter().map(|(knob, value)| format!("x-penstock-mock-{knob} = \"{value}\""));
            let headers = told.collect::<Vec<_>>().join(", ");
            text.push_str(&format!(
                "[[channel]]\nname = \"{name}\"\nprovider = \"mock\"\nbase_url = \"http://{mock}\"\n\
                 credential = \"mock\"\nmodels = [\"m\"]\nconcurrency = 4\nheaders = {{ {headers} }}\n\
                 timeouts = {{ first_byte = \"1s\", first_byte_stream = \"1s\" }}\n"
            ));
        }
        fs::write(self.folder.join("penstock.toml"), text)
            .map_err(|error| format!("the settings cannot be written: {error}"))
    }

    fn reload(&self) -> Result<(), String> {
        self.ask("POST", "/api/reload").map(drop)
    }

    fn ask(&self, method: &str, path: &str) -> Result<Vec<u8>, String> {
        let headers = format!("authorization: Bearer {KEY}\r\n");
        let answer = client::exchange(self.gateway, method, path, &headers, "", None)
            .map_err(|error| format!("the gateway does not answer: {error}"))?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(format!("{method} {path}: {status} {}", String::from_utf8_lossy(&answer.body))),
        }
    }
}

/// Sends calls when they are due, and gives what came of each.
fn load(address: SocketAddr, rate: u32, lasts: Duration) -> Result<Vec<Seen>, String> {
    let total = (lasts.as_secs_f64() * f64::from(rate)) as u32;
    let (next, seen) = (Arc::<AtomicU32>::default(), Arc::<Mutex<Vec<Seen>>>::default());
    let began = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (next, seen) = (Arc::clone(&next), Arc::clone(&seen));
            thread::spawn(move || {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= total {
                        return;
                    }
                    let due = began + Duration::from_secs(1) * nth / rate;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let one = call(address, nth, due);
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().map_err(|_| "a client of the drill panicked".to_owned())?;
    }
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *seen))
}

fn call(address: SocketAddr, nth: u32, due: Instant) -> Seen {
    let is_stream = nth.is_multiple_of(2);
    let body = format!(
        "{{\"model\":\"m\",\"stream\":{is_stream},\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}"
    );
    let headers = format!(
        "authorization: Bearer {KEY}\r\ncontent-type: application/json\r\nx-penstock-mock-tokens: 20\r\n\
         x-penstock-mock-latency-ms: 20\r\nx-penstock-mock-pace-ms: 4\r\n"
    );
    let answer = client::exchange(address, "POST", "/v1/chat/completions", &headers, &body, None);
    let answer = answer.unwrap_or_default();
    let is_done = !is_stream || answer.body.windows(12).any(|end| end == b"data: [DONE]");
    let end = match answer.status {
        200 if answer.is_whole && is_done => End::Well,
        200 => End::CutOff,
        _ => End::Lost,
    };
    Seen { took: due.elapsed(), attempts: answer.attempts, end }
}
