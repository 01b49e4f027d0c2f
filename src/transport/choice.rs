//! Which transport carries a channel's requests: the channel's own choice.

use std::{cell::OnceCell, sync::Arc};

use futures_core::future::LocalBoxFuture;
use penstock_actors::{channel::ChannelCell, domain::TransportKind};

use super::{
    AwcTransport, Http1Transport, Incoming, Outgoing, SharedTransport, Transport, TransportError, Via,
    http1::websocket, target::Manner,
};

/// Every transport of one worker.
pub struct Transports {
    http1: Http1Transport,
    /// Made when a channel first wants it.
    awc: OnceCell<AwcTransport>,
    shared: Arc<SharedTransport>,
}

impl Transports {
    /// Makes the transports of the calling worker.
    pub fn new(shared: Arc<SharedTransport>) -> Self {
        Self { http1: Http1Transport::new(Arc::clone(&shared)), awc: OnceCell::new(), shared }
    }
}

impl Transport for Transports {
    fn send<'a>(
        &'a self,
        cell: &'a Arc<ChannelCell>,
        request: Outgoing,
        via: Via,
    ) -> LocalBoxFuture<'a, Result<Incoming, TransportError>> {
        if request.target.manner() == Manner::WebSocket {
            return Box::pin(websocket::send(&self.shared, cell, request));
        }
        match cell.transport() {
            TransportKind::Http1 => self.http1.send(cell, request, via),
            TransportKind::Awc => {
                self.awc.get_or_init(|| AwcTransport::new(Arc::clone(&self.shared))).send(cell, request, via)
            }
        }
    }
}
