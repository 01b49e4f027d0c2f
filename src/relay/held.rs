//! A slot that a call holds at a channel, and those at its caller's own gates. Dropping it gives them back.

use std::{sync::Arc, time::Instant};

use penstock_actors::channel::{ChannelCell, Permit};

/// See the module's sentence.
pub(super) struct HeldPermit {
    _permit: Permit,
    cell: Arc<ChannelCell>,
    since: Instant,
    /// The caller's, from when the answer has begun.
    pub(super) of_caller: Vec<Permit>,
}

impl HeldPermit {
    pub(super) fn new(permit: Permit, cell: &Arc<ChannelCell>) -> Self {
        Self { _permit: permit, cell: Arc::clone(cell), since: Instant::now(), of_caller: Vec::new() }
    }
}

impl Drop for HeldPermit {
    fn drop(&mut self) {
        self.cell.served(self.since.elapsed());
    }
}
