//! A gateway at half load for a long time: large bodies, slow readers, clients that leave. What it holds must not grow.

mod trend;

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use self::trend::{Bound, Course};
use super::{
    client, options,
    process::{self, Process, free_address},
    world::KEY,
};

/// Requests in flight that the channel allows, and how long the mock takes for a token, in milliseconds.
const SLOTS: u32 = 32;
const PACE_MS: u32 = 10;
const TOKENS: u32 = 20;
/// Bytes of a body.
const BODY: usize = 150 << 10;
/// Samples in the whole time.
const SAMPLES: u32 = 240;
/// What holds while it warms up is not judged: a third of the time.
const WARM_UP: f64 = 1.0 / 3.0;
/// After the last call, everything that is held goes back within this time.
const AFTERWARDS: Duration = Duration::from_secs(20);

/// What is watched, where it is found, and by how much it may grow in the time that is judged.
const WATCHED: &[(&str, Source, Bound)] = &[
    ("resident memory, MiB", Source::Memory, Bound { share: 0.05, least: 8.0 }),
    ("descriptors", Source::Descriptors, Bound { share: 0.05, least: 8.0 }),
    (
        "permits",
        Source::Metric("penstock_channel_in_flight{channel=\"mock\"}"),
        Bound { share: 0.15, least: 4.0 },
    ),
    ("tickets", Source::Metric("penstock_waiting_calls"), Bound { share: 0.15, least: 4.0 }),
    ("calls", Source::Metric("penstock_calls_in_flight"), Bound { share: 0.15, least: 4.0 }),
    (
        "connections to the provider",
        Source::Metric("penstock_channel_connections{channel=\"mock\"}"),
        Bound { share: 0.15, least: 8.0 },
    ),
    ("bytes of bodies, MiB", Source::Mebibytes("penstock_body_bytes"), Bound { share: 0.15, least: 2.0 }),
    ("windows of limits", Source::Metric("penstock_limit_cells"), Bound { share: 0.0, least: 2.0 }),
    (
        "calls dispatched and not settled",
        Source::Metric("penstock_journal_open_dispatches"),
        Bound { share: 0.15, least: 4.0 },
    ),
    (
        "the log writer's lag, events",
        Source::Metric("penstock_usage_log_lag{consumer=\"request_log\"}"),
        Bound { share: 0.15, least: 500.0 },
    ),
];

/// What must be nothing at the end.
const GONE: &[&str] = &[
    "penstock_channel_in_flight{channel=\"mock\"}",
    "penstock_waiting_calls",
    "penstock_calls_in_flight",
    "penstock_body_bytes",
];

/// Where a figure is found.
#[derive(Clone, Copy, Debug)]
enum Source {
    Memory,
    Descriptors,
    Metric(&'static str),
    Mebibytes(&'static str),
}

/// Runs the drill.
pub(super) fn run(options: &options::Soak, program: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("the drill's folder cannot be made: {error}");
    let dir = tempfile::tempdir().map_err(failed)?;
    let (gateway_at, mock_at) = (free_address()?, free_address()?);
    let mut mock = Process::start("mock", program, &["mock", "--listen", &mock_at.to_string()], dir.path())?;
    mock.await_listening(mock_at)?;
    fs::write(dir.path().join("penstock.toml"), settings(mock_at)).map_err(failed)?;
    let listen = gateway_at.to_string();
    let arguments = ["serve", "--listen", &listen, "--config", "penstock.toml"];
    let mut gateway = Process::start("gateway", program, &arguments, dir.path())?;
    gateway.await_listening(gateway_at)?;

    let lasts = Duration::from_secs_f64(options.minutes * 60.0);
    // Half of what the channel's slots can serve.
    let rate = options.rate.unwrap_or(SLOTS * 1_000 / (PACE_MS * TOKENS) / 2);
    let load = Load::start(gateway_at, rate);
    let began = Instant::now();
    let mut courses: Vec<Course> = WATCHED.iter().map(|_| Course::default()).collect();
    let (every, mut sampled) = (lasts / SAMPLES, 0);
    while began.elapsed() < lasts {
        thread::sleep((every * (sampled + 1)).saturating_sub(began.elapsed()));
        sampled += 1;
        let metrics = metrics(gateway_at)?;
        for (course, (_, source, _)) in courses.iter_mut().zip(WATCHED) {
            course.add(began.elapsed().as_secs_f64(), figure(*source, gateway.id(), &metrics)?);
        }
    }
    let told = load.stop()?;
    let left = left_over(gateway_at)?;
    gateway.end()?;
    report((rate, lasts, options.slack), &courses, &told, &left)
}

fn settings(mock: SocketAddr) -> String {
    format!(
        "[server]\nworkers = 2\nwatch = false\ndrain = \"5s\"\n\
         [[channel]]\nname = \"mock\"\nprovider = \"mock\"\nbase_url = \"http://{mock}\"\n\
         credential = \"mock\"\nmodels = [\"m\"]\nconcurrency = {SLOTS}\n\
         limits = [\"10_000_000_000 tokens per minute\"]\n\
         [[price]]\nmodel = \"m\"\ninput = 1.00\noutput = 2.00\n\
         [limits]\nkey = [\"1_000_000 requests per minute\", \"1_000_000 requests per day\"]\n\
         space = [\"1_000_000 requests per hour\"]\n\
         [[key]]\nname = \"drill\"\nsecret = \"{KEY}\"\n"
    )
}

fn metrics(gateway: SocketAddr) -> Result<String, String> {
    let answer = client::exchange(gateway, "GET", "/metrics", "", "", None)
        .map_err(|error| format!("the gateway tells nothing of itself: {error}"))?;
    match answer.status {
        200 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
        status => Err(format!("/metrics: {status}")),
    }
}

/// A metric's value; 0 where it is not shown.
fn metric(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_default()
}

fn figure(source: Source, process: u32, metrics: &str) -> Result<f64, String> {
    const MIB: f64 = 1024.0 * 1024.0;
    Ok(match source {
        Source::Memory => process::resident_bytes(process)? as f64 / MIB,
        Source::Descriptors => process::descriptors(process)? as f64,
        Source::Metric(name) => metric(metrics, name),
        Source::Mebibytes(name) => metric(metrics, name) / MIB,
    })
}

/// What is held still, a while after the last call.
fn left_over(gateway: SocketAddr) -> Result<Vec<String>, String> {
    let give_up = Instant::now() + AFTERWARDS;
    loop {
        let shown = metrics(gateway)?;
        let held = GONE.iter().map(|name| (name, metric(&shown, name))).filter(|(_, value)| *value > 0.0);
        let held: Vec<_> = held.map(|(name, value)| format!("{name} {value}")).collect();
        if held.is_empty() || Instant::now() > give_up {
            return Ok(held);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn report(
    (rate, lasts, slack): (u32, Duration, f64),
    courses: &[Course],
    told: &Told,
    left: &[String],
) -> Result<(), String> {
    let Told { well, left: gone, slow, lost } = told;
    println!(
        "soak, {} at {rate} calls a second of {} KB: {well} answered, {slow} of them to slow readers; {gone} left; {lost} lost\n",
        humantime::format_duration(Duration::from_secs(lasts.as_secs())),
        BODY >> 10
    );
    println!(
        "| what | mean | lowest | highest | growth after the warm-up | may grow by | |\n|---|---|---|---|---|---|---|"
    );
    let mut grown = Vec::new();
    for (course, (name, _, bound)) in courses.iter().zip(WATCHED) {
        let seen = course.after(lasts.as_secs_f64() * WARM_UP);
        let (most, growth) = (bound.of(seen.mean) * slack, seen.growth());
        let grows = seen.grows_beyond(most);
        let verdict = if grows { "GROWS" } else { "flat" };
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} | {growth:+.2} | {most:.1} | {verdict} |",
            seen.mean, seen.lowest, seen.highest
        );
        if grows {
            grown.push(*name);
        }
    }
    if !left.is_empty() {
        return Err(format!("held still after the last call: {}", left.join(", ")));
    }
    if *lost > 0 {
        return Err(format!("{lost} calls were lost"));
    }
    if !grown.is_empty() {
        return Err(format!("grows: {}", grown.join(", ")));
    }
    Ok(())
}

/// What clients saw.
#[derive(Debug, Default)]
struct Told {
    well: u64,
    slow: u64,
    left: u64,
    lost: u64,
}

/// Calls that begin when they are due, until they are stopped.
struct Load {
    is_over: Arc<AtomicBool>,
    counts: Arc<[AtomicU64; 4]>,
    clients: Vec<JoinHandle<()>>,
}

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Usual,
    Slow,
    Leaving,
}

/// Clients that take turns in asking: a slow one is busy for seconds.
const CLIENTS: u32 = 192;

impl Load {
    fn start(address: SocketAddr, rate: u32) -> Self {
        let (is_over, counts) = (Arc::<AtomicBool>::default(), Arc::<[AtomicU64; 4]>::default());
        let body: Arc<str> = body().into();
        let (next, began) = (Arc::<AtomicU64>::default(), Instant::now());
        let clients = (0..CLIENTS).map(|client| {
            let (is_over, counts) = (Arc::clone(&is_over), Arc::clone(&counts));
            let (body, next) = (Arc::clone(&body), Arc::clone(&next));
            thread::spawn(move || {
                let mut chance = StdRng::seed_from_u64(client.into());
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    let due = began + Duration::from_secs_f64(nth as f64 / f64::from(rate));
                    while Instant::now() < due && !is_over.load(Ordering::Relaxed) {
                        let wait = due.saturating_duration_since(Instant::now());
                        thread::sleep(wait.min(Duration::from_millis(100)));
                    }
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let reader = match chance.random_range(0..10) {
                        0 => Reader::Slow,
                        1 => Reader::Leaving,
                        _ => Reader::Usual,
                    };
                    let came = call(address, &body, reader, &mut chance);
                    let index = match (came, reader) {
                        (Ok(true), Reader::Slow) => 1,
                        (Ok(true), Reader::Usual) => 0,
                        (_, Reader::Leaving) => 2,
                        _ => 3,
                    };
                    counts[index].fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let clients = clients.collect();
        Self { is_over, counts, clients }
    }

    /// Lets the clients end their calls.
    fn stop(self) -> Result<Told, String> {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().map_err(|_| "a client of the drill panicked".to_owned())?;
        }
        let [usual, slow, left, lost] = [0, 1, 2, 3].map(|n: usize| self.counts[n].load(Ordering::Relaxed));
        Ok(Told { well: usual + slow, slow, left, lost })
    }
}

fn body() -> String {
    let words = "word ".repeat(BODY / 5);
    serde_json::json!({
        "model": "m", "stream": true, "max_tokens": 64, "messages": [{ "role": "user", "content": words }]
    })
    .to_string()
}

/// Asks for a stream; whether its end came.
fn call(address: SocketAddr, body: &str, reader: Reader, chance: &mut StdRng) -> io::Result<bool> {
    let mut tcp = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    tcp.set_read_timeout(Some(Duration::from_secs(60)))?;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\nx-penstock-mock-tokens: {TOKENS}\r\nx-penstock-mock-pace-ms: {PACE_MS}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    tcp.write_all(head.as_bytes())?;
    if reader == Reader::Leaving && chance.random_bool(0.3) {
        // Half way through its own request.
        tcp.write_all(&body.as_bytes()[..body.len() / 2])?;
        return Ok(false);
    }
    tcp.write_all(body.as_bytes())?;
    let (mut tail, mut piece) = (Vec::new(), [0; 4 << 10]);
    let leaves_after = chance.random_range(0..3_000);
    let mut seen = 0;
    loop {
        let most = if reader == Reader::Slow { 64 } else { piece.len() };
        let count = tcp.read(&mut piece[..most])?;
        if count == 0 {
            return Ok(tail.windows(12).any(|end| end == b"data: [DONE]"));
        }
        seen += count;
        if reader == Reader::Leaving && seen > leaves_after {
            let _ = tcp.shutdown(Shutdown::Both);
            return Ok(false);
        }
        if reader == Reader::Slow {
            thread::sleep(Duration::from_millis(30));
        }
        tail.extend_from_slice(&piece[..count]);
        let before = tail.len().saturating_sub(64);
        tail.drain(..before);
    }
}
