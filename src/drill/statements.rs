//! How many SQL statements a call costs under load, and that no HTTP worker sends one.

use std::path::Path;

use super::{
    gateway::statements_file,
    join::Join,
    options,
    process::Process,
    world::{KEY, Serves, World},
};

/// Runs the drill: all statements of a start, a load and an end, by the calls of the load.
pub(super) fn run(options: &options::Statements, program: &Path) -> Result<(), String> {
    let world = World::new(&options.world, program)?;
    // Which makes the tables.
    actix_web::rt::System::new().block_on(async { world.place().open().await.map(drop) })?;
    let gateway = world.start_gateway(Serves::Noting)?;
    let (url, duration) = (format!("http://{}/v1", world.address()), format!("{}s", options.seconds));
    let connections = options.world.clients.to_string();
    let load = [
        "bench",
        "--closed",
        "--url",
        &url,
        "--key",
        KEY,
        "--model",
        "m",
        "--connections",
        &connections,
        "--duration",
        &duration,
        "--warm-up",
        "0s",
    ];
    Process::start("bench", program, &load, world.folder())?.ended()?;
    gateway.end()?;
    let calls = world.all_served()?.requests;
    let told = std::fs::read_to_string(statements_file(&world.notes()));
    let told = told.map_err(|e| format!("the gateway did not tell its statements: {e}"))?;
    let mut numbers = told.split(' ').filter_map(|number| number.parse::<u64>().ok());
    let (Some(all), Some(of_http_workers)) = (numbers.next(), numbers.next()) else {
        return Err(format!("the gateway told `{told}` of its statements"));
    };
    let mut join = Join::empty();
    let a_call = all as f64 / calls.max(1) as f64;
    join.count("calls", calls);
    join.count("statements", all);
    join.count("statements a thousand calls", (a_call * 1_000.0).round() as u64);
    if !world.is_embedded() {
        join.count("statements that HTTP workers sent", of_http_workers);
    }
    if calls == 0 || a_call > options.at_most {
        join.violated("statements a call", &a_call);
    }
    if of_http_workers > 0 {
        join.violated("an HTTP worker asked the database", &of_http_workers);
    }
    join.report(&format!("statements, {}: {} seconds", world.database(), options.seconds))
}
