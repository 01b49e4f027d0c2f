//! A provider with limits, and a channel that has to learn them: throughput against the ideal, refusals, and how
//! soon it follows limits that halve and double.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    client, options,
    process::{Process, free_address},
    world::KEY,
};

/// The provider's limits: requests and tokens a minute, and requests at once.
const LIMITS: [u64; 3] = [600, 100_000, 12];
/// How long an answer takes, in milliseconds, and how many tokens there are in prompt and answer each.
const ANSWER_MS: u64 = 600;
const TOKENS: usize = 75;
/// What is learned in this time is not judged, in seconds.
const FIRST: usize = 60;
/// Refusals that are allowed, in percent of the requests.
const REFUSED_PERCENT: f64 = 1.0;
/// Throughput that is expected, in percent of the ideal.
const USED_PERCENT: f64 = 95.0;

/// What the mock counted so far.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
struct Counts {
    admitted: u64,
    refused_by_requests: u64,
    refused_by_tokens: u64,
    refused_by_in_flight: u64,
}

#[derive(serde::Deserialize)]
struct Shown {
    counts: Counts,
}

impl Counts {
    fn refused(&self) -> u64 {
        self.refused_by_requests + self.refused_by_tokens + self.refused_by_in_flight
    }
}

/// Runs the drill.
pub(super) fn run(options: &options::Learning, program: &Path) -> Result<(), String> {
    let seconds = options.seconds as usize;
    if seconds <= FIRST {
        return Err(format!("--seconds must be more than {FIRST}: the first minute is not judged"));
    }
    let failed = |error: std::io::Error| format!("the drill's folder cannot be made: {error}");
    let dir = tempfile::tempdir().map_err(failed)?;
    let (gateway_at, mock_at) = (free_address()?, free_address()?);
    let _mock = start_mock(options, program, dir.path(), mock_at)?;
    std::fs::write(dir.path().join("penstock.toml"), settings(options, mock_at)).map_err(failed)?;
    let listen = gateway_at.to_string();
    let arguments = ["serve", "--listen", &listen, "--config", "penstock.toml"];
    let mut gateway = Process::start("gateway", program, &arguments, dir.path())?;
    gateway.await_listening(gateway_at)?;

    let clients = Clients::start(gateway_at, options.clients);
    let mut course = vec![Counts::default()];
    for (phase, scale) in [1.0, 0.5, 1.0].into_iter().enumerate() {
        if phase > 0 {
            set_limits(mock_at, options, scale)?;
        }
        for _ in 0..seconds {
            thread::sleep(Duration::from_secs(1));
            course.push(counts(mock_at)?);
        }
    }
    let failures = clients.stop();
    gateway.end()?;
    report(options, &course, failures)
}

fn start_mock(
    options: &options::Learning,
    program: &Path,
    folder: &Path,
    at: SocketAddr,
) -> Result<Process, String> {
    let [requests, tokens, in_flight] = LIMITS.map(|limit| limit.to_string());
    let (listen, ttft, said) = (at.to_string(), ANSWER_MS.to_string(), TOKENS.to_string());
    let arguments = [
        "mock",
        "--listen",
        &listen,
        "--requests-per-minute",
        &requests,
        "--tokens-per-minute",
        &tokens,
        "--in-flight",
        &in_flight,
        "--tells",
        &options.tells,
        "--ttft-ms",
        &ttft,
        "--tokens",
        &said,
    ];
    let mut mock = Process::start("mock", program, &arguments, folder)?;
    mock.await_listening(at)?;
    Ok(mock)
}

fn settings(options: &options::Learning, mock: SocketAddr) -> String {
    format!(
        "[server]\nworkers = 2\nwatch = false\ndrain = \"5s\"\n\
         [[channel]]\nname = \"mock\"\nprovider = \"mock\"\nbase_url = \"http://{mock}\"\n\
         credential = \"mock\"\nmodels = [\"m\"]\nconcurrency = 64\nadaptive = \"{}\"\n\
         [[key]]\nname = \"drill\"\nsecret = \"{KEY}\"\n",
        options.adaptive
    )
}

fn set_limits(mock: SocketAddr, options: &options::Learning, scale: f64) -> Result<(), String> {
    let [requests, tokens, in_flight] = LIMITS.map(|limit| (limit as f64 * scale) as u64);
    let limits = serde_json::json!({
        "requests-per-minute": requests, "tokens-per-minute": tokens, "in-flight": in_flight,
        "tells": options.tells,
    });
    let answer = client::exchange(mock, "POST", "/_mock/limits", "", &limits.to_string(), None);
    match answer {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("the mock's limits were not changed: {other:?}")),
    }
}

fn counts(mock: SocketAddr) -> Result<Counts, String> {
    let answer = client::exchange(mock, "GET", "/_mock/limits", "", "", None);
    let answer = answer.map_err(|error| format!("the mock does not answer: {error}"))?;
    let shown: Shown = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    Ok(shown.counts)
}

/// Clients that always have a call under way.
struct Clients {
    is_over: Arc<AtomicBool>,
    failures: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Clients {
    fn start(address: SocketAddr, clients: usize) -> Self {
        let (is_over, failures) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let threads = (0..clients).map(|_| {
            let (is_over, failures) = (Arc::clone(&is_over), Arc::clone(&failures));
            thread::spawn(move || {
                let words = "word ".repeat(TOKENS - 1);
                let body = serde_json::json!({
                    "model": "m", "max_tokens": TOKENS, "messages": [{ "role": "user", "content": words }]
                });
                let body = body.to_string();
                let headers = format!("authorization: Bearer {KEY}\r\ncontent-type: application/json\r\n");
                while !is_over.load(Ordering::Relaxed) {
                    let answer =
                        client::exchange(address, "POST", "/v1/chat/completions", &headers, &body, None);
                    if !answer.is_ok_and(|answer| answer.status == 200) && !is_over.load(Ordering::Relaxed) {
                        failures.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(100));
                    }
                }
            })
        });
        let threads = threads.collect();
        Self { is_over, failures, threads }
    }

    /// Lets them end; gives how many calls failed.
    fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        let patience = Instant::now() + Duration::from_secs(30);
        for client in self.threads {
            if Instant::now() < patience {
                // What a client thread that panicked has to say, it has said.
                let _ = client.join();
            }
        }
        self.failures.load(Ordering::Relaxed)
    }
}

/// What came of it.
struct Course<'a>(&'a [Counts]);

impl Course<'_> {
    fn served(&self, from: usize, to: usize) -> f64 {
        (self.0[to].admitted - self.0[from].admitted) as f64
    }

    fn refused(&self, from: usize, to: usize) -> f64 {
        (self.0[to].refused() - self.0[from].refused()) as f64
    }

    /// Seconds after `from` until ten in a row were within an eighth of `rate` with one refusal at most.
    fn follows(&self, from: usize, rate: f64) -> Option<usize> {
        let is_there = |at: &usize| {
            let near = self.served(*at, at + 10) / 10.0 / rate;
            (0.875..1.2).contains(&near) && self.refused(*at, at + 10) <= 1.0
        };
        (from..self.0.len() - 10).find(is_there).map(|at| at - from)
    }
}

fn report(options: &options::Learning, counts: &[Counts], failures: u64) -> Result<(), String> {
    let (course, seconds) = (Course(counts), options.seconds as usize);
    let ideal = LIMITS[0] as f64 / 60.0;
    let (served, refused) = (course.served(FIRST, seconds), course.refused(FIRST, seconds));
    let used = served / (ideal * (seconds - FIRST) as f64) * 100.0;
    let share = refused / (served + refused) * 100.0;
    let [requests, tokens, in_flight] = LIMITS;
    println!(
        "learning, {}, {}: {requests} requests and {tokens} tokens a minute, {in_flight} at once; {seconds} seconds each",
        options.adaptive, options.tells
    );
    println!("  {:>8.1} % of the ideal throughput after the first minute", used);
    println!("  {:>8.2} % refused by the provider after the first minute ({refused})", share);
    println!("  {:>8} refused in the first minute", course.refused(0, FIRST));
    let told = |what: &str, from: usize, rate: f64| {
        let after = course.follows(from, rate).map_or("never".to_owned(), |after| format!("{after} s"));
        println!(
            "  {after:>8} until limits that {what} were followed; {} refused in 60 s",
            course.refused(from, from + FIRST)
        );
    };
    told("halved", seconds, ideal / 2.0);
    told("doubled", 2 * seconds, ideal);
    println!("  {failures:>8} calls failed");
    if share > REFUSED_PERCENT || used < USED_PERCENT || failures > 0 {
        return Err(format!(
            "the drill asks for {USED_PERCENT} % of the ideal, {REFUSED_PERCENT} % refused and no failed call"
        ));
    }
    Ok(())
}
