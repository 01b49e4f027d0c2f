//! What a slow stream costs while it is open: many at once, a token a second, on targets freshly started.

use super::client::{CallError, Connection};
use super::load::stream;
use super::process::Place;
use super::scenario::Ask;
use super::settings::{Kind, Settings};
use super::target::{Target, Upstream, labels};
use super::usage::{CpuReading, rss_kib};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Time between two streams' starts.
const BETWEEN: Duration = Duration::from_millis(1);
/// Time from the last stream's first frame to the reading, and length of the reading.
const SETTLE: Duration = Duration::from_secs(2);
const READING: Duration = Duration::from_secs(5);
/// How long opening may take, more than `BETWEEN` asks for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Descriptors of a gateway that are not streams'.
const OWN_FILES: u64 = 600;

/// What one target took to hold its streams.
pub struct Held {
    /// The target.
    pub label: String,
    /// Streams open at once.
    pub streams: u64,
    /// Resident KiB just before, with all open, and after all have ended.
    pub rss: [u64; 3],
    /// Processor microseconds per frame while all are open.
    pub per_frame: f64,
    /// Frames a second while all are open.
    pub rate: f64,
}

impl Held {
    /// KiB a stream.
    pub fn per_stream(&self) -> f64 {
        self.rss[1].saturating_sub(self.rss[0]) as f64 / self.streams.max(1) as f64
    }
}

/// Streams that fit: a gateway needs two descriptors for each.
pub fn that_fit(wanted: usize, files: u64) -> u64 {
    (wanted as u64).min(files.saturating_sub(OWN_FILES) / 2)
}

/// Holds streams open on each target in turn; a peer that cannot is told of in `notes`.
pub fn hold_on_each(
    settings: &Settings,
    place: &Place,
    upstream: &Upstream,
    notes: &mut Vec<String>,
) -> Result<Vec<Held>, Box<dyn Error>> {
    let mut all = Vec::new();
    for (kind, label) in settings.targets.iter().zip(labels(&settings.targets)) {
        let wanted = match kind {
            Kind::Direct => 0,
            Kind::Peer(_) => settings.peer_streams,
            _ => settings.streams,
        };
        let count = that_fit(wanted, place.files);
        if count == 0 {
            continue;
        }
        match (hold_on(kind, &label, count, place, upstream), kind) {
            (Ok(held), _) => {
                eprintln!("{label}: {count} streams, {:.1} KiB each", held.per_stream());
                all.push(held);
            }
            (Err(error), Kind::Peer(_)) => {
                notes.push(first_line(&format!("{label}: no slow streams: {error}")))
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(all)
}

fn hold_on(
    kind: &Kind,
    label: &str,
    count: u64,
    place: &Place,
    upstream: &Upstream,
) -> Result<Held, Box<dyn Error>> {
    let opening = BETWEEN * u32::try_from(count)?;
    let tokens = (opening + SETTLE + READING).as_secs() + 8;
    let ask = Ask::stream(tokens, Duration::from_secs(1));
    let target = Target::start(kind, label, place, upstream)?;
    let (frames, _) = ask.count_frames(&target)?;
    hold(&target, Job::new(ask.request(&target), frames, count), opening)
}

/// The first line of what may be many.
pub fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}

/// What every stream asks for, and how far they are.
struct Job {
    request: Vec<u8>,
    frames: u64,
    count: u64,
    opened: AtomicU64,
    ended: AtomicU64,
    sum: AtomicU64,
}

impl Job {
    fn new(request: Vec<u8>, frames: u64, count: u64) -> Arc<Self> {
        let [opened, ended, sum] = [const { AtomicU64::new(0) }; 3];
        Arc::new(Self { request, frames, count, opened, ended, sum })
    }

    /// Tells of frames that came, `is_open` being the stream's own.
    fn count(&self, new: u64, is_open: &mut bool) {
        self.sum.fetch_add(new, Relaxed);
        if !*is_open {
            *is_open = true;
            self.opened.fetch_add(1, Relaxed);
        }
    }
}

fn hold(target: &Target, job: Arc<Job>, opening: Duration) -> Result<Held, Box<dyn Error>> {
    let pids = target.pids();
    let idle = rss_kib(&pids)?;
    let driver = {
        let (job, address) = (job.clone(), target.address);
        std::thread::Builder::new().name("driver".to_owned()).spawn(move || drive(&job, address))?
    };
    let start = Instant::now();
    while job.opened.load(Relaxed) < job.count && !driver.is_finished() {
        if start.elapsed() > opening + PATIENCE {
            let opened = job.opened.load(Relaxed);
            return Err(format!("{}: {opened} of {} streams opened", target.label, job.count).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(SETTLE);
    let (time, cpu, sum) = (Instant::now(), CpuReading::of(&pids)?, job.sum.load(Relaxed));
    std::thread::sleep(READING);
    let spent = CpuReading::of(&pids)?.since(&cpu).total();
    let (seconds, frames) = (time.elapsed().as_secs_f64(), job.sum.load(Relaxed) - sum);
    let open = rss_kib(&pids)?;
    let ended = job.ended.load(Relaxed);
    driver.join().map_err(|_| "the driver panicked")?.map_err(|error| {
        format!("{} with {} slow streams: {error}\n{}", target.label, job.count, target.last_words())
    })?;
    if ended > 0 {
        return Err(format!("{}: {ended} streams ended before they were measured", target.label).into());
    }
    std::thread::sleep(Duration::from_secs(1));
    Ok(Held {
        label: target.label.clone(),
        streams: job.count,
        rss: [idle, open, rss_kib(&pids)?],
        per_frame: spent as f64 / 1000.0 / frames.max(1) as f64,
        rate: frames as f64 / seconds,
    })
}

/// The driver's thread: opens every stream at its time and reads it to its end.
fn drive(job: &Arc<Job>, address: std::net::SocketAddr) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("driver: {error}"))?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for index in 0..u32::try_from(job.count).unwrap_or(u32::MAX) {
            let job = job.clone();
            tasks.spawn(async move {
                tokio::time::sleep(BETWEEN * index).await;
                let mut connection = Connection::open(address, 4096).await?;
                let mut is_open = false;
                stream(&mut connection, &job.request, job.frames, |new| job.count(new, &mut is_open)).await?;
                job.ended.fetch_add(1, Relaxed);
                Ok::<(), CallError>(())
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.map_err(|error| format!("driver: {error}"))?.map_err(|error| error.to_string())?;
        }
        Ok(())
    })
}
