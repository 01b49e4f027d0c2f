//! A database that stops under load, and stays away while the gateway is killed and started again.

use std::{
    path::Path,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    facts::Facts,
    join::{Join, Lost},
    load::{Load, Saw, Seen},
    options,
    process::shell,
    world::{Serves, World},
};

/// How long calls go on before the database stops, and after it is back.
const AROUND: Duration = Duration::from_secs(2);
/// How long the books may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(120);

/// Runs the drill.
pub(super) fn run(options: &options::Outage, program: &Path) -> Result<(), String> {
    let world = World::new(&options.world, program)?;
    if !world.is_embedded() && options.stop.is_none() {
        return Err("name a command that stops the database (--stop) and one that starts it (--start)".into());
    }
    let mut gateway = world.start_gateway(Serves::Itself)?;
    let load = Load::start(world.address(), options.world.clients, options.world.seed);
    thread::sleep(AROUND);

    let half = Duration::from_secs(options.seconds) / 2;
    let away = Away::begin(&world, options)?;
    let stopped = Instant::now();
    thread::sleep(half);
    let killed = Instant::now();
    gateway.kill()?;
    gateway = world.start_gateway(Serves::Itself)?;
    let started = Instant::now();
    thread::sleep(half);
    away.end()?;
    let back = Instant::now();

    thread::sleep(AROUND);
    let seen = load.stop()?;
    let caught_up = actix_web::rt::System::new().block_on(caught_up(&world, back))?;
    let starts = world.end_gateway(gateway, Serves::Itself)?;
    let calls = Calls::of(&seen, stopped..back, killed..started);
    let mut join = Join::of(&world, seen, &Lost::default())?;
    join.count("starts that brought home what an end had left", starts);
    join.count("ms for which the database was stopped", (back - stopped).as_millis() as u64);
    join.count(
        "ms of a start in between, from the kill to the first connection",
        (started - killed).as_millis() as u64,
    );
    join.count("plain calls served meanwhile", calls.served);
    join.count("of them after the start", calls.served_after);
    join.count("plain calls failed meanwhile, but for the kill", calls.failed);
    join.count("ms until the books had caught up", caught_up.as_millis() as u64);
    if calls.failed > 0 || calls.served_after == 0 {
        join.violated("calls were not served without the database", &calls);
    }
    join.report(&format!("outage, {}: {} seconds", world.database(), options.seconds))
}

/// Calls that nothing stood in the way of but the database.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    served: u64,
    served_after: u64,
    failed: u64,
}

impl Calls {
    fn of(seen: &[Seen], away: std::ops::Range<Instant>, dead: std::ops::Range<Instant>) -> Self {
        let mut calls = Self::default();
        for one in seen.iter().filter(|one| one.is_plain && away.contains(&one.at)) {
            match one.saw {
                Saw::FinalByte => {
                    calls.served += 1;
                    calls.served_after += u64::from(one.at >= dead.end);
                }
                Saw::Refusal(_) => calls.failed += 1,
                Saw::Part | Saw::Nothing => calls.failed += u64::from(!dead.contains(&one.at)),
            }
        }
        calls
    }
}

/// A database that is away until it is told to come back.
enum Away {
    /// Another writer holds it.
    Held { release: mpsc::Sender<()>, holder: JoinHandle<Result<(), String>> },
    /// A command brings it back.
    Stopped { start: String },
}

impl Away {
    fn begin(world: &World, options: &options::Outage) -> Result<Self, String> {
        if let (Some(stop), Some(start)) = (&options.stop, &options.start) {
            shell(stop)?;
            return Ok(Self::Stopped { start: start.clone() });
        }
        let (tell, told) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let place = world.place();
        let holder = thread::spawn(move || {
            actix_web::rt::System::new().block_on(async {
                let sentence = |e: crate::store::StoreError| e.to_string();
                let hold = place.open().await?.hold().await.map_err(sentence)?;
                // Whoever waits for either has gone if this fails.
                let _ = tell.send(());
                let _ = released.recv();
                hold.release().await.map_err(sentence)
            })
        });
        match told.recv() {
            Ok(()) => Ok(Self::Held { release, holder }),
            Err(_) => Err(joined(holder).err().unwrap_or_default()),
        }
    }

    fn end(self) -> Result<(), String> {
        match self {
            Self::Held { release, holder } => {
                drop(release);
                joined(holder)
            }
            Self::Stopped { start } => shell(&start),
        }
    }
}

fn joined(holder: JoinHandle<Result<(), String>>) -> Result<(), String> {
    holder.join().unwrap_or_else(|_| Err("the holder of the database panicked".to_owned()))
}

/// Waits until the request log and the balances have everything that the journal has.
async fn caught_up(world: &World, since: Instant) -> Result<Duration, String> {
    let sentence = |e: crate::store::StoreError| e.to_string();
    let store = world.place().open().await?;
    loop {
        let facts = Facts::read(&world.data())?;
        let charges = facts.charges();
        let accounts = store.published().await.map_err(sentence)?.accounts;
        let is_charged = |account: &crate::store::Account| {
            -account.balance() == charges.get(&account.account_id()).copied().unwrap_or_default()
        };
        let logged = store.count_calls().await.map_err(sentence)?;
        if logged == facts.settlements().count() as u64 && accounts.iter().all(is_charged) {
            return Ok(since.elapsed());
        }
        if since.elapsed() > CATCH_UP {
            return Err(format!("the books did not catch up: {logged} calls are in the request log"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
