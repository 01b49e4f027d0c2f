//! The `penstock` program. Commands are `cli`'s, the parts are put together in `app`.

use std::process::ExitCode;

use clap::Parser as _;
use penstock::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("penstock: {problem}");
            ExitCode::FAILURE
        }
    }
}
