//! Gives awc connections that the dialer has opened.

use std::{
    cell::Cell,
    fmt, io,
    rc::Rc,
    task::{Context, Poll},
};

use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use futures_core::future::LocalBoxFuture;
use http::Uri;

use super::guard::GuardedIo;
use crate::transport::{TransportError, dial::Dialer};

/// Opens one connection.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) dialer: Dialer,
    /// Whether a connection that was opened is still of use.
    pub(super) open: Rc<Cell<bool>>,
}

impl Service<ConnectInfo<Uri>> for Connector {
    type Response = Connection<Uri, GuardedIo>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let Self { dialer, open } = self.clone();
        let uri = info.request().clone();
        Box::pin(async move {
            let (socket, slot) =
                dialer.open().await.map_err(|e| ConnectError::Io(io::Error::other(Carried(e))))?;
            Ok(Connection::new(uri, ()).replace_io(GuardedIo::new(socket, slot, open)).1)
        })
    }
}

/// A [`TransportError`] on its way through awc.
#[derive(Debug)]
pub(super) struct Carried(pub(super) TransportError);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {}
