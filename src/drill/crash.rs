//! Kills: the gateway dies at random moments under mixed load and is started again.

use std::{path::Path, thread, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    join::{Join, Lost},
    load::Load,
    options,
    world::{Serves, World},
};

/// How long calls may go on after the last start.
pub(super) const LAST_CALLS: Duration = Duration::from_millis(500);

/// Runs the drill.
pub(super) fn run(options: &options::Crash, program: &Path) -> Result<(), String> {
    let world = World::new(&options.world, program)?;
    let mut chance = StdRng::seed_from_u64(options.world.seed);
    let mut gateway = world.start_gateway(Serves::Itself)?;
    let load = Load::start(world.address(), options.world.clients, options.world.seed);
    for _ in 0..options.kills {
        thread::sleep(Duration::from_millis(chance.random_range(50..600)));
        gateway.kill()?;
        gateway = world.start_gateway(Serves::Itself)?;
    }
    thread::sleep(LAST_CALLS);
    let seen = load.stop()?;
    let starts = world.end_gateway(gateway, Serves::Itself)?;
    let title = format!("crash, {}: {} kills", world.database(), options.kills);
    let mut join = Join::of(&world, seen, &Lost::default())?;
    join.count("starts that brought home what an end had left", starts);
    join.report(&title)
}
