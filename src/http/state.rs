//! What the handlers of a worker share, and the state of shutting down.

use std::{
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::{
    api::ApiShared,
    api_key::KeyTable,
    known_models::KnownModels,
    relay::{Relay, RelayShared},
    telemetry::Metrics,
};

/// What all workers share.
pub struct HttpShared {
    /// Keys in force.
    pub keys: Arc<ArcSwap<KeyTable>>,
    /// How fresh they are.
    pub keys_health: Arc<KeysHealth>,
    /// What is known of models.
    pub models: ArcSwap<KnownModels>,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
    /// What the relay shares.
    pub relay: Arc<RelayShared>,
    /// What the management API shares.
    pub api: ApiShared,
    /// Longest request body, in bytes.
    pub max_body: u64,
    /// Calls admitted at once, so that descriptors suffice.
    pub max_calls: i64,
    /// A client that takes none of its answer for this long is cut off by the kernel.
    pub client_stall: std::time::Duration,
    /// Where responses are kept.
    pub responses: Arc<dyn super::stored::ResponseStore>,
    /// The state of shutting down.
    pub drain: Arc<Drain>,
    /// Where it is wished that settings be read again, once somebody hears it.
    pub reloads: OnceLock<tokio::sync::mpsc::Sender<super::ReloadWish>>,
}

/// What one worker's handlers use.
pub struct Worker {
    pub(super) shared: Arc<HttpShared>,
    pub(super) relay: Rc<Relay>,
}

impl Worker {
    /// Puts a worker's parts together.
    pub fn new(shared: Arc<HttpShared>, relay: Relay) -> Self {
        Self { shared, relay: Rc::new(relay) }
    }
}

/// How fresh the keys in force are: readiness shows it.
#[derive(Debug, Default)]
pub struct KeysHealth {
    confirmed_ms: AtomicI64,
    is_missed: AtomicBool,
}

impl KeysHealth {
    /// The store has confirmed the keys at this moment, in milliseconds since 1970.
    pub fn confirmed(&self, at_ms: i64) {
        self.confirmed_ms.store(at_ms, Ordering::Relaxed);
    }

    /// The keys are those that the store confirmed long ago, and it is away.
    pub fn lost(&self, confirmed_ms: i64) {
        self.confirmed(confirmed_ms);
        self.is_missed.store(true, Ordering::Relaxed);
    }

    /// The store answers.
    pub fn reached(&self) {
        self.is_missed.store(false, Ordering::Relaxed);
    }

    /// The store did not answer; whether that is news.
    pub fn missed(&self) -> bool {
        !self.is_missed.swap(true, Ordering::Relaxed)
    }

    /// Whether the store answers, and for how many milliseconds the keys are unconfirmed.
    pub(super) fn look(&self, now_ms: i64) -> (bool, i64) {
        let age = now_ms.saturating_sub(self.confirmed_ms.load(Ordering::Relaxed)).max(0);
        (!self.is_missed.load(Ordering::Relaxed), age)
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
