//! The gateway that a drill starts where it has to look inside: as everyone has it, but for its notes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{options, recorder::Recorder};
use crate::{
    app::{self, Gateway, Options, Source},
    config::Overrides,
};

/// Where a gateway tells at its end how many statements reached the database, and how many HTTP workers sent.
pub(super) fn statements_file(notes: &Path) -> PathBuf {
    notes.with_extension("statements")
}

/// Serves until a signal ends it.
pub(super) fn serve(options: &options::Gateway) -> Result<(), String> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let overrides = Overrides { listen: Some(options.listen), ..Overrides::default() };
    let source = Source { file: Some(options.config.clone()), overrides, ..Source::default() };
    let settings = app::load(&source).map_err(|e| e.to_string())?;
    let disk = Recorder::open(&options.notes)
        .map_err(|e| format!("{} cannot be written: {e}", options.notes.display()))?;
    actix_web::rt::System::new().block_on(async {
        let rereading = app::Rereading::of(source, &settings)?;
        let started = Options { disk: Some(Arc::new(disk.clone())), ..Options::default() };
        let gateway = Gateway::start(settings, started).await?;
        if let Some(file) = &options.sqlite {
            // Keys and the node's claim were made with a sync each.
            disk.note_log(file).map_err(|e| format!("SQLite's log cannot be noted: {e}"))?;
        }
        rereading.until(&gateway, app::terminated()).await;
        let statements = gateway.statements();
        gateway.stop().await;
        if let Some((all, of_http_workers)) = statements() {
            let told = std::fs::write(statements_file(&options.notes), format!("{all} {of_http_workers}"));
            told.map_err(|e| format!("the statements cannot be told: {e}"))?;
        }
        Ok(())
    })
}
