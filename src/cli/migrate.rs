//! `penstock migrate`: brings the databases to the schema of this program, and says what it did.

use clap::Args;

use super::Settings;
use crate::{app::Place, store::Migration};

#[derive(Args, Debug)]
pub(super) struct Migrate {
    /// Says what is missing, and changes nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Migrate {
    /// Does it; the error is a sentence for the terminal.
    pub(super) fn run(self) -> Result<(), String> {
        let place =
            Place::of(&self.settings.load()?).map_err(|(key, problem)| format!("{key}: {problem}"))?;
        let migration = if self.dry_run { Migration::Look } else { Migration::Apply };
        let done =
            actix_web::rt::System::new().block_on(place.migrate(migration)).map_err(|e| e.to_string())?;
        for (database, steps) in done {
            let said = match (steps.is_empty(), migration) {
                (true, _) => "nothing is missing".to_owned(),
                (false, Migration::Look) => format!("would apply {}", steps.join(", ")),
                (false, Migration::Apply) => format!("applied {}", steps.join(", ")),
            };
            println!("{database}: {said}");
        }
        Ok(())
    }
}
