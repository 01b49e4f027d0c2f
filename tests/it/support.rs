//! What the tests share: a gateway on a free port, an upstream that follows a script, a plain client.

#![allow(dead_code, unused_imports, reason = "helpers stay while no test needs them")]

pub mod app;
pub mod client;
pub mod database;
pub mod fault;
pub mod process;
pub mod proxy;
pub mod relayed;
pub mod settled;
pub mod turnstile;
pub mod upstream;
pub mod websocket;

pub use app::TestApp;
pub use client::{Answer, Client, read_answer};
pub use process::Process;
pub use proxy::{ScriptedProxy, Way};
pub use turnstile::Turnstile;
pub use upstream::{Exchange, Upstream};

use std::time::Duration;

/// Long enough for anything that happens at all, on a slow machine too.
pub const SOON: Duration = Duration::from_secs(10);

/// Waits until a condition holds, or fails with what was awaited.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, waiting).await.is_ok(), "did not come about: {what}");
}

/// The usual request body for a model.
pub fn chat(model: &str) -> String {
    format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#)
}

/// The usual request body of a stream.
pub fn chat_stream(model: &str) -> String {
    format!(r#"{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"hi"}}]}}"#)
}
