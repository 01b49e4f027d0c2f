//! The composition root: the only place that knows everyone. It starts, reloads and stops in a written order.

mod certificate;
mod descriptors;
mod gateway;
mod health;
mod listener;
mod log;
mod providers;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use actix_web::rt::signal::unix::{SignalKind, signal};

pub use gateway::{Gateway, Options};
pub use health::health;

use crate::{
    api_key::KeyFile,
    config::{self, ConfigError, Overrides, Settings},
};

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The settings file.
    pub file: Option<PathBuf>,
    /// What flags set over it.
    pub overrides: Overrides,
}

/// The settings file that is looked for where Penstock runs.
pub const USUAL_FILE: &str = "penstock.toml";

impl Source {
    /// Takes the usual file where none is named. Once it was there it is expected: its absence later is a
    /// mistake, not a wish for the defaults.
    ///
    /// # Errors
    /// [`ConfigError`] where the system does not say whether the file is there.
    pub fn find(&mut self) -> Result<(), ConfigError> {
        let usual = Path::new(USUAL_FILE);
        let there =
            usual.try_exists().map_err(|error| ConfigError::Unreadable { path: usual.into(), error })?;
        if self.file.is_none() && there {
            self.file = Some(usual.into());
        }
        Ok(())
    }
}

/// When a key is made at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstKey {
    /// Always.
    Fresh,
    /// Where there is none, neither in the file nor in the data directory.
    IfNone,
}

/// Reads the settings.
///
/// # Errors
/// [`ConfigError`] with the place or the key of the first mistake.
pub fn load(source: &Source) -> Result<Settings, ConfigError> {
    config::load(source.file.as_deref(), &source.overrides, &providers::Rows::builtin())
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
    source.find().map_err(|e| e.to_string())?;
    let settings = load(&source).map_err(|e| e.to_string())?;
    log::start(&settings.log)?;
    actix_web::rt::System::new().block_on(async move {
        let mut hangup = signal(SignalKind::hangup()).map_err(|e| e.to_string())?;
        let gateway = Gateway::start(settings.clone(), Options::default()).await?;
        // After the port is ours: a key that nobody saw must not stay behind.
        let secret = prepare_key(&settings, first_key)?;
        if secret.is_some() {
            gateway.apply(settings).await?;
        }
        greet(&gateway, secret.as_deref());
        let ended = terminated();
        let mut ended = std::pin::pin!(ended);
        loop {
            tokio::select! {
                () = &mut ended => break,
                _ = hangup.recv() => reload(&gateway, &mut source).await,
            }
        }
        gateway.stop().await;
        Ok(())
    })
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

/// Reads the file again and puts the difference in force; an invalid file changes nothing.
async fn reload(gateway: &Gateway, source: &mut Source) {
    match source.find().and_then(|()| load(source)) {
        Ok(settings) => match gateway.apply(settings).await {
            Ok(differences) if differences.is_empty() => tracing::info!("settings read again: no difference"),
            Ok(differences) => {
                for difference in differences {
                    tracing::info!(difference, "settings changed");
                }
            }
            Err(problem) => tracing::error!(problem, "settings were not applied"),
        },
        Err(error) => tracing::error!(%error, "settings are invalid; the old ones stay in force"),
    }
}

/// Makes the key that the greeting shows, if one is due.
fn prepare_key(settings: &Settings, first_key: FirstKey) -> Result<Option<String>, String> {
    let data_dir = &settings.server.data_dir;
    let sentence =
        |e: std::io::Error| format!("the data directory {} cannot be used: {e}", data_dir.display());
    let none = settings.keys.is_empty() && KeyFile::load(data_dir).map_err(sentence)?.is_empty();
    let due = first_key == FirstKey::Fresh || none;
    due.then(|| KeyFile::create(data_dir, "first").map_err(sentence)).transpose()
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
        (None, _) => println!("Keys made earlier are in force; `penstock key create` makes another."),
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
