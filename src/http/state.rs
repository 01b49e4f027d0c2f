//! What the handlers of a worker share, and the state of shutting down.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::{
    api_key::KeyTable,
    known_models::KnownModels,
    relay::{Relay, RelayShared},
    telemetry::Metrics,
};

/// What all workers share.
pub struct HttpShared {
    /// Keys in force.
    pub keys: Arc<ArcSwap<KeyTable>>,
    /// What is known of models.
    pub models: ArcSwap<KnownModels>,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
    /// What the relay shares.
    pub relay: Arc<RelayShared>,
    /// Longest request body, in bytes.
    pub max_body: u64,
    /// Calls admitted at once, so that descriptors suffice.
    pub max_calls: i64,
    /// A client that takes none of its answer for this long is cut off by the kernel.
    pub client_stall: std::time::Duration,
    /// The state of shutting down.
    pub drain: Arc<Drain>,
}

/// What one worker's handlers use.
pub struct Worker {
    pub(super) shared: Arc<HttpShared>,
    pub(super) relay: Relay,
}

impl Worker {
    /// Puts a worker's parts together.
    pub fn new(shared: Arc<HttpShared>, relay: Relay) -> Self {
        Self { shared, relay }
    }
}

/// Shutting down, in two steps: no new calls; then no more of the running ones.
#[derive(Debug, Default)]
pub struct Drain {
    started: AtomicBool,
    /// Cancelled when new calls are refused: idle connections close.
    pub begun: CancellationToken,
    /// Cancelled when streams must end.
    pub cut: CancellationToken,
}

impl Drain {
    /// Refuses new calls from now on.
    pub fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
        self.begun.cancel();
    }

    /// Whether new calls are refused.
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }
}
