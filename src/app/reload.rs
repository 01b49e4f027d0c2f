//! Reads settings again while a gateway runs: on a hangup, where a client wishes it, and when a file changed.

use std::path::PathBuf;

use actix_web::rt::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::{
    Gateway, load, log,
    watch::{self, Verdict, Watch},
};
use crate::{
    config::{Settings, Source},
    http::{ReloadWish, Reloaded},
};

/// Where settings come from, and what was read of it last.
pub struct Rereading {
    source: Source,
    watch: Watch,
    hangup: Signal,
}

impl Rereading {
    /// Begins with settings that were just read.
    ///
    /// # Errors
    /// A sentence, where the signal cannot be heard.
    pub fn of(source: Source, settings: &Settings) -> Result<Self, String> {
        let mut watch = Watch::default();
        watch.read(watch::look(watched(&source, settings)));
        let hangup = signal(SignalKind::hangup()).map_err(|e| e.to_string())?;
        Ok(Self { source, watch, hangup })
    }

    /// Takes care of a gateway until this has ended.
    pub async fn until(mut self, gateway: &Gateway, ended: impl Future<Output = ()>) {
        let mut wishes = gateway.take_wishes();
        let mut ended = std::pin::pin!(ended);
        loop {
            let stamps = tokio::select! {
                () = &mut ended => return,
                _ = self.hangup.recv() => None,
                Some(wish) = next_wish(&mut wishes) => {
                    // Whoever wished it may have left.
                    let _ = wish.send(self.reload(gateway).await);
                    continue;
                }
                stamps = next_look(gateway, &self.source) => Some(stamps),
            };
            if stamps.is_none_or(|stamps| self.watch.look(stamps) == Verdict::Read) {
                drop(self.reload(gateway).await);
            }
        }
    }

    /// Reads the settings again and puts the difference in force; mistakes change nothing and are told once.
    async fn reload(&mut self, gateway: &Gateway) -> Reloaded {
        let Self { source, watch, .. } = self;
        let found = source.find();
        watch.read(watch::look(gateway.with_settings(|settings| watched(source, settings))));
        let settings = match found.and_then(|()| load(source)) {
            Ok(settings) => settings,
            Err(error) => {
                let problems: Vec<_> = error.to_string().lines().map(str::to_owned).collect();
                for problem in &problems {
                    tracing::error!(%problem, "settings are invalid; the old ones stay in force");
                }
                return Err(problems);
            }
        };
        // Secrets in files that were not watched yet.
        watch.add(watch::look(watched(source, &settings)));
        let known = gateway.with_settings(|old| old.notices.clone());
        let notices: Vec<_> = settings.notices.iter().filter(|n| !known.contains(n)).cloned().collect();
        let differences = gateway.apply(settings).await.map_err(|problem| {
            tracing::error!(problem, "settings were not applied");
            vec![problem]
        })?;
        if differences.is_empty() {
            tracing::info!("settings read again: no difference");
        }
        for difference in &differences {
            tracing::info!(%difference, "settings changed");
        }
        log::say(&notices);
        Ok(differences)
    }
}

/// The files whose change is a change of the settings.
fn watched(source: &Source, settings: &Settings) -> Vec<PathBuf> {
    source.file.iter().cloned().chain(settings.secret_files.iter().cloned()).collect()
}

/// Waits a while, then looks at the files; for ever where they are not to be watched.
async fn next_look(gateway: &Gateway, source: &Source) -> watch::Stamps {
    let files = gateway.with_settings(|s| s.server.watch.then(|| watched(source, s)));
    let Some(files) = files else { return std::future::pending().await };
    loop {
        tokio::time::sleep(watch::EVERY).await;
        let files = files.clone();
        // Apart: a file system that hangs must not keep signals waiting.
        if let Ok(stamps) = tokio::task::spawn_blocking(|| watch::look(files)).await {
            return stamps;
        }
    }
}

/// Waits for a client to wish that settings be read again.
async fn next_wish(wishes: &mut Option<mpsc::Receiver<ReloadWish>>) -> Option<ReloadWish> {
    match wishes {
        Some(wishes) => wishes.recv().await,
        None => std::future::pending().await,
    }
}
