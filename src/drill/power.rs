//! Power cuts: the gateway dies, and with it everything that its disk had not been asked to keep.

use std::{
    fs::{self, OpenOptions},
    io,
    path::Path,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    crash::LAST_CALLS,
    facts::Facts,
    join::{Join, Lost},
    load::Load,
    options,
    recorder::{Durable, LOG, salt},
    world::{Serves, World},
};

/// Runs the drill. A third of the cuts come soon after a kill, when what the process before wrote may not be
/// synced either.
pub(super) fn run(options: &options::Power, program: &Path) -> Result<(), String> {
    let world = World::with(&options.world, program, options.mode)?;
    let mut chance = StdRng::seed_from_u64(options.world.seed);
    let mut gateway = world.start_gateway(Serves::Noting)?;
    let load = Load::start(world.address(), options.world.clients, options.world.seed);
    let (mut bytes, mut kills) = (0, 0);
    let mut lost = Lost { mode: options.mode, ..Lost::default() };
    for _ in 0..options.cuts {
        thread::sleep(Duration::from_millis(chance.random_range(100..1_000)));
        if chance.random_bool(0.3) {
            gateway.kill()?;
            gateway = world.start_gateway(Serves::Noting)?;
            kills += 1;
            thread::sleep(Duration::from_millis(chance.random_range(0..40)));
        }
        gateway.kill()?;
        bytes += cut(&world, &mut lost)?;
        gateway = world.start_gateway(Serves::Noting)?;
    }
    thread::sleep(LAST_CALLS);
    let seen = load.stop()?;
    let starts = world.end_gateway(gateway, Serves::Noting)?;
    let mut join = Join::of(&world, seen, &lost)?;
    join.count("bytes of journals that the cuts took", bytes);
    join.count("kills before a cut", kills);
    join.count("starts that brought home what an end had left", starts);
    join.report(&format!("power, {}, {:?}: {} cuts", world.database(), options.mode, options.cuts))
}

/// Takes away what would be lost, notes the calls concerned, and gives how many bytes of journals went.
fn cut(world: &World, lost: &mut Lost) -> Result<u64, String> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let failed = |error: io::Error| format!("the power cannot be cut: {error}");
    let before = Facts::read(&world.data())?;
    let bytes = cut_journal(&world.data().join("journal"), &world.notes()).map_err(failed)?;
    if world.is_embedded() {
        cut_sqlite(&world.sqlite(), &world.notes()).map_err(failed)?;
    }
    let after = Facts::read(&world.data())?;
    for (id, call) in &before.calls {
        let left = after.calls.get(id);
        if call.dispatches > left.map_or(0, |left| left.dispatches) {
            lost.dispatched.insert(*id);
        }
        for (_, _, settlement) in call.settlements.iter().skip(left.map_or(0, |left| left.settlements.len()))
        {
            lost.settled.insert(*id);
            let ended_ms = settlement.arrived_ms + i64::from(settlement.took_ms);
            lost.oldest_ms = lost.oldest_ms.max(now_ms - ended_ms);
        }
    }
    Ok(bytes)
}

/// Cuts each segment to its last sync; one whose name was not synced goes.
fn cut_journal(folder: &Path, notes: &Path) -> io::Result<u64> {
    let durable = Durable::read(notes)?;
    let mut gone = 0;
    for entry in fs::read_dir(folder)? {
        let (path, length) = entry.and_then(|e| Ok((e.path(), e.metadata()?.len())))?;
        if path.extension().is_none_or(|kind| kind != "journal") {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match durable.bytes(&name) {
            None => {
                gone += length;
                fs::remove_file(&path)?;
            }
            Some(bytes) if bytes < length => {
                gone += length - bytes;
                OpenOptions::new().write(true).open(&path)?.set_len(bytes)?;
            }
            Some(_) => {}
        }
    }
    Ok(gone)
}

/// Where the index of SQLite's log says how far a checkpoint was attempted, and how long its parts are:
/// sqlite.org/walformat.html.
const ATTEMPTED: usize = 128;
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// Cuts SQLite's log to what its last checkpoint had synced, or what it holds of the gateway's start. Nothing
/// before that is ever lost; what comes after may be.
fn cut_sqlite(database: &Path, notes: &Path) -> io::Result<()> {
    let beside = |suffix: &str| {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        std::path::PathBuf::from(path)
    };
    let (index, log) = (beside("-shm"), beside(LOG));
    if !log.exists() {
        return Ok(());
    }
    let four = |bytes: &[u8], at: usize| bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    let frames = fs::read(&index).ok().and_then(|index| four(&index, ATTEMPTED).map(u32::from_ne_bytes));
    let head = fs::read(&log)?;
    let page = four(&head, 8).map_or(0, u32::from_be_bytes);
    let attempted = LOG_HEADER + u64::from(frames.unwrap_or(0)) * (FRAME_HEADER + u64::from(page));
    let kept = attempted.max(Durable::read(notes)?.log(&salt(&head)));
    if kept < head.len() as u64 {
        OpenOptions::new().write(true).open(&log)?.set_len(kept)?;
    }
    fs::remove_file(index)
}
