//! What the transports of all workers share: TLS, resolved names, and the word to close idle connections.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Resolver, TlsRoots};

/// What all workers share.
#[derive(Debug)]
pub struct SharedTransport {
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) resolver: Arc<Resolver>,
    evict: watch::Sender<()>,
}

impl SharedTransport {
    /// Prepares TLS and name resolution.
    ///
    /// # Errors
    /// Where a trusted certificate cannot be read.
    pub fn new(roots: TlsRoots) -> Result<Arc<Self>, rustls::Error> {
        let (evict, _) = watch::channel(());
        Ok(Arc::new(Self { tls: roots.client_config()?, resolver: Arc::default(), evict }))
    }

    /// Has every worker close idle connections that are old or in others' way.
    pub fn ask_to_evict(&self) {
        self.evict.send_replace(());
    }

    /// Tells when idle connections should be closed.
    pub(super) fn evictions(&self) -> watch::Receiver<()> {
        self.evict.subscribe()
    }
}
