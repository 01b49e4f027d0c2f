//! Drills: kills, power cuts and databases that stop, under load; then clients, mock, journal and books are
//! joined by call id. And channels that fail, as clients see it. Everything runs in processes of its own, on a folder of its own. docs/drills.md tells more.

mod client;
mod crash;
mod facts;
mod failover;
mod gateway;
mod join;
mod learning;
mod load;
mod options;
mod outage;
mod page;
mod power;
mod process;
mod recorder;
mod scale;
mod soak;
mod statements;
mod world;

use std::path::Path;

pub use options::Drill;

/// Runs a drill with this program, and prints what it found.
///
/// # Errors
/// A sentence, where a drill could not be run or found a violation.
pub fn run(drill: Drill, program: &Path) -> Result<(), String> {
    match drill {
        Drill::Crash(options) => crash::run(&options, program),
        Drill::Power(options) => power::run(&options, program),
        Drill::Outage(options) => outage::run(&options, program),
        Drill::Statements(options) => statements::run(&options, program),
        Drill::Learning(options) => learning::run(&options, program),
        Drill::Failover(options) => failover::run(&options, program),
        Drill::Scale(options) => scale::run(&options, program),
        Drill::Soak(options) => soak::run(&options, program),
        Drill::Gateway(options) => gateway::serve(&options),
    }
}
