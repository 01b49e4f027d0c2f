//! Starts the log, which goes to standard error, and to files where a folder is named.

use std::io;

use tracing_appender::{
    non_blocking::{NonBlocking, WorkerGuard},
    rolling,
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::config::{Log, LogFormat, Notice, Rotation, Weight};

/// Files that are kept where one is begun each day.
const FILES_KEPT: usize = 30;

/// Writes the last lines into the file when it is dropped.
pub(super) struct LogGuard(#[expect(dead_code, reason = "it works by being dropped")] Option<WorkerGuard>);

/// Starts the log.
///
/// # Errors
/// Where the filter or the folder cannot be used, or a log was started before.
pub(super) fn start(log: &Log) -> Result<LogGuard, String> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|e| format!("log.filter: {e}"))?;
    let (file, guard) = file(log)?.unzip();
    let colours = if io::IsTerminal::is_terminal(&io::stderr()) { Colours::Some } else { Colours::None };
    let mut layers = vec![layer(log.format, io::stderr, colours)];
    layers.extend(file.map(|file| layer(log.format, file, Colours::None)));
    let started = tracing_subscriber::registry().with(layers.with_filter(filter)).try_init();
    started.map(|()| LogGuard(guard)).map_err(|e| e.to_string())
}

/// Says what is worth a line about the settings.
pub(super) fn say(notices: &[Notice]) {
    for notice in notices {
        match notice.weight {
            Weight::Info => tracing::info!("{}", notice.text),
            Weight::Warning => tracing::warn!("{}", notice.text),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Colours {
    Some,
    None,
}

type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

fn layer<W>(format: LogFormat, writer: W, colours: Colours) -> Boxed
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    match format {
        LogFormat::Text => Box::new(fmt::layer().with_writer(writer).with_ansi(colours == Colours::Some)),
        LogFormat::Json => Box::new(fmt::layer().json().with_writer(writer)),
    }
}

/// The log's file. Lines wait for the disk apart from those who write them; too many are dropped.
fn file(log: &Log) -> Result<Option<(NonBlocking, WorkerGuard)>, String> {
    let Some(dir) = &log.dir else { return Ok(None) };
    let sentence = |error: &dyn std::fmt::Display| format!("log.dir: {}: {error}", dir.display());
    // Asked for here, since the crate's own error does not say why.
    std::fs::create_dir_all(dir).map_err(|e| sentence(&e))?;
    tempfile::tempfile_in(dir).map_err(|e| sentence(&e))?;
    let builder = match log.rotation {
        Rotation::Daily => rolling::Builder::new()
            .rotation(rolling::Rotation::DAILY)
            .max_log_files(FILES_KEPT)
            .filename_prefix("penstock")
            .filename_suffix("log"),
        Rotation::Never => {
            rolling::Builder::new().rotation(rolling::Rotation::NEVER).filename_prefix("penstock.log")
        }
    };
    let appender = builder.build(dir).map_err(|e| sentence(&e))?;
    Ok(Some(tracing_appender::non_blocking(appender)))
}
