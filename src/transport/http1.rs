//! HTTP/1.1 of our own: a request is one piece of bytes, an answer's body is handed on as it was read.
//!
//! What an answer means is decided in `head` and `chunked`, which know no I/O; see
//! `docs/adr/0005-own-http1-transport.md`.

mod body;
mod chunked;
mod connection;
mod head;
mod sending;

use std::{cell::RefCell, future::poll_fn, sync::Arc};

use bytes::BytesMut;
use futures_core::future::LocalBoxFuture;
use penstock_actors::channel::ChannelCell;

use self::{
    body::Body,
    connection::Connection,
    head::{Afterwards, Framing},
    sending::{Sending, Sent},
};
use super::{
    Incoming, Outgoing, SharedTransport, Target, Transport, TransportError, Via,
    encoding::plain,
    pool::{Line, Pool, Tag},
};

/// The buffer that requests are written into is kept up to this size, in bytes.
const KEPT_BUFFER: usize = 32 << 10;

/// The transport of one worker.
pub struct Http1Transport {
    shared: Arc<SharedTransport>,
    pool: Pool<Connection>,
    /// For the next request's head.
    buffer: RefCell<BytesMut>,
}

impl Http1Transport {
    /// Makes the transport of the calling worker, and the task that closes what is idle for too long.
    pub fn new(shared: Arc<SharedTransport>) -> Self {
        Self { pool: Pool::new(&shared), shared, buffer: RefCell::default() }
    }

    async fn open(
        &self,
        cell: &Arc<ChannelCell>,
        target: &Target,
    ) -> Result<Line<Connection>, TransportError> {
        let (tag, dialer) = Tag::and_dialer(cell, target.uri(), &self.shared)?;
        let (socket, slot) = dialer.open().await?;
        Ok(Line::new(Connection::new(socket, slot), tag))
    }

    fn give_back(&self, mut buffer: BytesMut) {
        buffer.clear();
        if buffer.capacity() <= KEPT_BUFFER {
            *self.buffer.borrow_mut() = buffer;
        }
    }
}

impl Transport for Http1Transport {
    fn send<'a>(
        &'a self,
        cell: &'a Arc<ChannelCell>,
        request: Outgoing,
        via: Via,
    ) -> LocalBoxFuture<'a, Result<Incoming, TransportError>> {
        Box::pin(async move {
            let kept = match via {
                Via::Pool => self.pool.take(cell, request.target.uri()),
                Via::Fresh => None,
            };
            let mut line = match kept {
                Some(line) => line,
                None => self.open(cell, &request.target).await?,
            };
            let mut sending = Sending::new(request, self.buffer.take());
            let (head, sent) = poll_fn(|cx| sending.poll(&mut line.connection, cx)).await?;
            self.give_back(sending.into_buffer());
            let goes_on = head.afterwards == Afterwards::Keep && sent == Sent::Whole;
            let body = Body::new(line, head.framing, goes_on.then(|| (self.pool.clone(), Arc::clone(cell))));
            Ok(Incoming {
                status: head.status,
                until_close: head.framing == Framing::UntilClose,
                content_type: head.content_type,
                retry_after_ms: head.retry_after_ms,
                retry_after: head.retry_after,
                limits: head.limits,
                body: plain(&head.encoding, Box::pin(body))?,
            })
        })
    }
}
