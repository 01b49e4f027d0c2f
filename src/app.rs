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
mod reload;
mod retention;
mod status;
mod tokens;
mod watch;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix_web::rt::signal::unix::{SignalKind, signal};

pub use books::LEFT_TO_REPLAY;
pub use gateway::{Gateway, Options};
pub use health::health;
pub use keys::{Place, new_secret};
pub use reload::Rereading;
pub use status::{StatusForm, status};

use crate::config::{self, ConfigError, Settings};

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
pub fn serve(source: Source, first_key: FirstKey) -> Result<(), String> {
    let settings = load(&source).map_err(|e| e.to_string())?;
    let _log = log::start(&settings.log)?;
    log::say(&settings.notices);
    actix_web::rt::System::new().block_on(async move {
        let rereading = Rereading::of(source, &settings)?;
        let gateway = Gateway::start(settings, Options::default()).await?;
        // After the port is ours: a key that nobody saw must not stay behind.
        let due = first_key == FirstKey::Fresh || gateway.has_no_key();
        let secret = if due { Some(gateway.make_key("first").await?) } else { None };
        gateway.discovered(FIRST_MODELS).await;
        greet(&gateway, secret.as_deref());
        rereading.until(&gateway, terminated()).await;
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
