//! The closed loop: so many connections, each with one call in flight, and what a window of it cost.
//!
//! The first failure ends the loop and the run: a figure with errors in it compares nothing.

use super::client::{CallError, Connection};
use super::scenario::Scenario;
use super::settings::Settings;
use super::sse::FrameCounter;
use super::stats::percentile;
use super::target::{Target, Upstream};
use super::usage::{CpuReading, CpuSpent};
use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long calls may take to end after the window.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one window gave.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its length, in seconds.
    pub seconds: f64,
    /// Calls that ended in it.
    pub calls: u64,
    /// Frames that came in it.
    pub frames: u64,
    /// Whether frames are what is counted.
    pub is_stream: bool,
    /// Microseconds until the end of a call, or between two arrivals on a stream: median, 99th percentile.
    pub latency: (u64, u64),
    /// Processor time of the target.
    pub gateway: CpuSpent,
    /// Processor time of the upstream, nanoseconds.
    pub upstream: u64,
    /// Processor time of this process, nanoseconds.
    pub driver: u64,
}

impl Window {
    /// Calls, or frames if it is a stream.
    pub fn units(&self) -> u64 {
        if self.is_stream { self.frames } else { self.calls }
    }

    /// Microseconds per call or frame.
    pub fn per_unit(&self, nanoseconds: u64) -> f64 {
        nanoseconds as f64 / 1000.0 / self.units().max(1) as f64
    }

    /// Calls or frames a second.
    pub fn rate(&self) -> f64 {
        self.units() as f64 / self.seconds
    }

    /// Part of one core that the target used, in percent.
    pub fn busy(&self) -> f64 {
        self.gateway.total() as f64 / 1e7 / self.seconds
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:6.2} µs CPU, {:7.0}/s, p50 {} µs, p99 {} µs, busy {:.0} %",
            self.per_unit(self.gateway.total()),
            self.rate(),
            self.latency.0,
            self.latency.1,
            self.busy()
        )
    }
}

/// What the connections count; read while they run.
#[derive(Default)]
struct Tally {
    calls: AtomicU64,
    frames: AtomicU64,
    is_measuring: AtomicBool,
    is_over: AtomicBool,
}

/// What a connection repeats.
struct Job {
    address: SocketAddr,
    request: Vec<u8>,
    frames: Option<u64>,
}

/// Runs one scenario on one target, whose streams have so many frames.
pub fn measure(
    settings: &Settings,
    scenario: &Scenario,
    target: &Target,
    frames: Option<u64>,
    upstream: &Upstream,
) -> Result<Window, Box<dyn Error>> {
    let job = Arc::new(Job { address: target.address, request: scenario.ask.request(target), frames });
    let tally = Arc::new(Tally::default());
    let driver = {
        let (tally, connections, stagger) = (tally.clone(), scenario.connections(target), scenario.stagger);
        let limit = settings.warm_up + settings.seconds + PATIENCE;
        std::thread::Builder::new()
            .name("driver".to_owned())
            .spawn(move || drive(&job, &tally, connections, stagger, limit))?
    };
    let pids = [target.pids(), upstream.pids(), vec![std::process::id()]];
    let read = || -> io::Result<_> {
        let cpu = pids.iter().map(|pids| CpuReading::of(pids)).collect::<Result<Vec<_>, _>>()?;
        Ok((Instant::now(), tally.calls.load(Relaxed), tally.frames.load(Relaxed), cpu))
    };

    std::thread::sleep(settings.warm_up);
    tally.is_measuring.store(true, Relaxed);
    let before = read();
    std::thread::sleep(settings.seconds);
    let after = read();
    tally.is_measuring.store(false, Relaxed);
    tally.is_over.store(true, Relaxed);

    let driven = driver.join().map_err(|_| "the driver panicked")?;
    let mut latencies = driven.map_err(|error| {
        let place = format!("{} on {}", scenario.key, target.label);
        format!("{place}: {error}\nlast words of {}:\n{}", target.label, target.last_words())
    })?;
    let (before, after) = (before?, after?);
    latencies.sort_unstable();
    let spent: Vec<CpuSpent> =
        after.3.iter().zip(&before.3).map(|(after, before)| after.since(before)).collect();
    Ok(Window {
        seconds: (after.0 - before.0).as_secs_f64(),
        calls: after.1 - before.1,
        frames: after.2 - before.2,
        is_stream: scenario.frames.is_some(),
        latency: (percentile(&latencies, 50.0), percentile(&latencies, 99.0)),
        gateway: spent[0].clone(),
        upstream: spent[1].total(),
        driver: spent[2].total(),
    })
}

/// The driver's thread: gives the latencies of the window in microseconds.
fn drive(
    job: &Arc<Job>,
    tally: &Arc<Tally>,
    connections: usize,
    stagger: Duration,
    limit: Duration,
) -> Result<Vec<u64>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("driver: {error}"))?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for index in 0..connections {
            let delay = stagger.mul_f64(index as f64 / connections as f64);
            tasks.spawn(repeat(job.clone(), tally.clone(), delay));
        }
        let all = async {
            let mut latencies = Vec::new();
            while let Some(task) = tasks.join_next().await {
                let task = task.map_err(|error| format!("driver: {error}"))?;
                latencies.extend(task.map_err(|error| error.to_string())?);
            }
            Ok(latencies)
        };
        let stuck = || format!("calls without an end after {limit:?}");
        tokio::time::timeout(limit, all).await.unwrap_or_else(|_| Err(stuck()))
    })
}

/// One connection: call after call until it is over.
async fn repeat(job: Arc<Job>, tally: Arc<Tally>, delay: Duration) -> Result<Vec<u64>, CallError> {
    tokio::time::sleep(delay).await;
    let mut latencies = Vec::new();
    let mut kept = None;
    while !tally.is_over.load(Relaxed) {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => Connection::open(job.address, 64 * 1024).await?,
        };
        let mut last = Instant::now();
        let mut note = |is_first: bool| {
            let now = Instant::now();
            if tally.is_measuring.load(Relaxed) && !is_first {
                latencies.push(u64::try_from((now - last).as_micros()).unwrap_or(u64::MAX));
            }
            last = now;
        };
        let is_reusable = match job.frames {
            None => {
                let is_reusable = call(&mut connection, &job.request).await?;
                note(false);
                is_reusable
            }
            Some(frames) => {
                let mut is_first = true;
                let arrived = |new| {
                    tally.frames.fetch_add(new, Relaxed);
                    note(std::mem::take(&mut is_first));
                };
                stream(&mut connection, &job.request, frames, arrived).await?
            }
        };
        tally.calls.fetch_add(1, Relaxed);
        kept = is_reusable.then_some(connection);
    }
    Ok(latencies)
}

async fn call(connection: &mut Connection, request: &[u8]) -> Result<bool, CallError> {
    let mut length = 0;
    let is_reusable =
        connection.call(request, &mut length, |length, bytes| *length += bytes.len(), |_| ()).await?;
    if length == 0 { Err(CallError::Content("an empty answer".to_owned())) } else { Ok(is_reusable) }
}

/// One stream; `arrived` is told of the frames that each read completed. Tells whether the connection may be used
/// again.
pub async fn stream(
    connection: &mut Connection,
    request: &[u8],
    frames: u64,
    arrived: impl FnMut(u64),
) -> Result<bool, CallError> {
    struct Stream<F> {
        counter: FrameCounter,
        told: u64,
        arrived: F,
    }
    let mut stream = Stream { counter: FrameCounter::default(), told: 0, arrived };
    let is_reusable = connection
        .call(
            request,
            &mut stream,
            |stream, bytes| stream.counter.feed(bytes),
            |stream| {
                let new = stream.counter.frames() - stream.told;
                if new > 0 {
                    stream.told += new;
                    (stream.arrived)(new);
                }
            },
        )
        .await?;
    match stream.counter {
        counter if !counter.is_done() => {
            Err(CallError::Content("a stream without [DONE] at its end".to_owned()))
        }
        counter if counter.frames() != frames => {
            Err(CallError::Content(format!("{} frames instead of {frames}", counter.frames())))
        }
        _ => Ok(is_reusable),
    }
}
