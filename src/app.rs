//! The composition root: the only place that knows everyone. It starts, reloads and stops in a written order.

mod books;
mod calls;
mod certificate;
mod claim;
mod data_dir;
mod descriptors;
mod discovery;
mod gateway;
mod health;
mod keys;
mod limits;
mod listener;
mod log;
mod media;
mod prices;
mod providers;
mod publisher;
mod queue;
mod retention;
mod status;
mod tokens;
mod watch;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use actix_web::rt::signal::unix::{SignalKind, signal};

pub use books::LEFT_TO_REPLAY;
pub use gateway::{Gateway, Options};
pub use health::health;
pub use keys::{Place, new_secret};
pub use status::{StatusForm, status};

use tokio::sync::mpsc;

use self::watch::{Verdict, Watch};
use crate::config::{self, ConfigError, Settings};

use crate::http::{ReloadWish, Reloaded};

pub use crate::config::{Source, USUAL_FILE};

/// How long the start waits for providers to say which models they have.
const FIRST_MODELS: Duration = Duration::from_secs(3);

/// When a key is made at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstKey {
    /// Always.
    Fresh,
    /// Where there is none, neither in the file nor in the store.
    IfNone,
}

/// Reads the settings.
///
/// # Errors
/// [`ConfigError`] with the place or the key of the first mistake.
pub fn load(source: &Source) -> Result<Settings, ConfigError> {
    config::load(source, &providers::Rows::builtin())
}

/// Checks what the settings name outside themselves: the certificate of the TLS listener.
///
/// # Errors
/// A sentence that names the file.
pub fn check(settings: &Settings) -> Result<(), String> {
    match &settings.server.tls {
        Some(tls) => certificate::Certificate::load(tls.clone()).map(drop).map_err(|e| format!("tls: {e}")),
        None => Ok(()),
    }
}

/// Serves until a signal ends it.
///
/// # Errors
/// A sentence, where the gateway cannot start.
pub fn serve(mut source: Source, first_key: FirstKey) -> Result<(), String> {
    let settings = load(&source).map_err(|e| e.to_string())?;
    let _log = log::start(&settings.log)?;
    log::say(&settings.notices);
    actix_web::rt::System::new().block_on(async move {
        let mut hangup = signal(SignalKind::hangup()).map_err(|e| e.to_string())?;
        let mut watch = Watch::default();
        watch.read(watch::look(watched(&source, &settings)));
        let gateway = Gateway::start(settings, Options::default()).await?;
        // After the port is ours: a key that nobody saw must not stay behind.
        let due = first_key == FirstKey::Fresh || gateway.has_no_key();
        let secret = if due { Some(gateway.make_key("first").await?) } else { None };
        gateway.discovered(FIRST_MODELS).await;
        greet(&gateway, secret.as_deref());
        let mut wishes = gateway.take_wishes();
        let ended = terminated();
        let mut ended = std::pin::pin!(ended);
        loop {
            tokio::select! {
                () = &mut ended => break,
                _ = hangup.recv() => drop(reload(&gateway, &mut source, &mut watch).await),
                Some(wish) = next_wish(&mut wishes) => {
                    // Whoever wished it may have left.
                    let _ = wish.send(reload(&gateway, &mut source, &mut watch).await);
                }
                stamps = next_look(&gateway, &source) => if watch.look(stamps) == Verdict::Read {
                    drop(reload(&gateway, &mut source, &mut watch).await);
                }
            }
        }
        gateway.stop().await;
        Ok(())
    })
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

/// Ends on SIGTERM or SIGINT.
pub async fn terminated() {
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        _ => {
            tracing::error!("signals cannot be received; the process must be killed to end");
            std::future::pending::<()>().await;
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

/// Reads the settings again and puts the difference in force; mistakes change nothing and are told once.
async fn reload(gateway: &Gateway, source: &mut Source, watch: &mut Watch) -> Reloaded {
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

/// Says where the gateway is and how to try it. The secret is shown here and nowhere else.
fn greet(gateway: &Gateway, secret: Option<&str>) {
    let address = shown(gateway.address());
    println!("penstock {} listens on http://{}", env!("CARGO_PKG_VERSION"), gateway.address());
    if let Some(address) = gateway.tls_address() {
        println!("and on https://{address}");
    }
    let table = gateway.table();
    let model = table.models_for("default").first().map(|m| Arc::clone(m));
    match (secret, model) {
        (Some(secret), Some(model)) => {
            println!("\nThis key is new and is not shown again. Try it:\n");
            println!("  curl -N http://{address}/v1/chat/completions \\");
            println!("    -H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json' \\");
            println!(
                "    -d '{{\"model\":\"{model}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n"
            );
        }
        (Some(secret), None) => println!("\nThis key is new and is not shown again: {secret}\n"),
        (None, _) => {
            let declared = gateway.with_settings(|s| s.keys.len());
            let made = gateway.shared().keys.load().len().saturating_sub(declared);
            let from = [(declared, "declared in file or environment"), (made, "made earlier")];
            let from = from.iter().filter(|(count, _)| *count > 0).map(|(count, of)| format!("{count} {of}"));
            let in_force = from.collect::<Vec<_>>().join(", ");
            println!("Keys in force: {in_force}. `penstock key create` makes another.");
        }
    }
}

/// An address that can be pasted: what listens everywhere is reached on loopback.
fn shown(address: SocketAddr) -> SocketAddr {
    let mut shown = address;
    if address.ip().is_unspecified() {
        shown.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    shown
}
