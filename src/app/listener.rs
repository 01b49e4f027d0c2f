//! The listeners for clients, in the clear and under TLS: actix' HTTP service over connections of our own.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix_http::{HttpService, error::DispatchError};
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::{
    App,
    dev::{AppConfig, Server, Service as _},
    web,
};
use actix_web_lab::middleware::CatchPanic;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;

use super::descriptors::Allowance;
use crate::{
    config,
    http::{self, Asker, ClientIo, ClientSocket, HttpShared, Panicked, Worker},
    relay::Relay,
    transport::{SharedTransport, Transports},
};

/// How long a connection may rest between two requests of a client.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a refused client may go on sending before it reads why; less where it may stall for less.
const LINGER: Duration = Duration::from_secs(30);
/// actix reads a clock that is up to half a second late, and never wakes for a deadline in the past.
const SHORTEST_LINGER: Duration = Duration::from_secs(1);
/// How long a graceful stop may outlast the drain.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Binds the address that clients connect to.
pub(super) fn listen(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(8192)?;
    Ok(socket.into())
}

/// Names the calling thread for `top`, `perf` and the bench; where that fails, it keeps its old name.
fn name_thread(name: &str) {
    if let Err(error) = std::fs::write("/proc/thread-self/comm", name) {
        tracing::debug!(%error, name, "thread was not named");
    }
}

/// A bound address, and how its connections begin.
pub(super) struct Listener {
    /// Bound by [`listen`].
    pub(super) socket: std::net::TcpListener,
    /// What its clients shake hands with; `None` in the clear.
    pub(super) tls: Option<TlsAcceptor>,
}

/// Does the handshake where there is one.
async fn accept(tcp: TcpStream, tls: Option<TlsAcceptor>) -> std::io::Result<ClientSocket> {
    let Some(acceptor) = tls else { return Ok(ClientSocket::Plain(tcp)) };
    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp)).await {
        Ok(shaken) => Ok(ClientSocket::Tls(Box::new(shaken?))),
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

/// Makes the server, which serves once it is polled.
pub(super) fn serve(
    listeners: Vec<Listener>,
    shared: &Arc<HttpShared>,
    transport: &Arc<SharedTransport>,
    routes: Option<fn(&mut web::ServiceConfig)>,
    settings: &config::Server,
    allowance: Allowance,
) -> std::io::Result<Server> {
    let (shared, transport) = (Arc::clone(shared), Arc::clone(transport));
    let linger = LINGER.min(settings.client_stall).max(SHORTEST_LINGER);
    let mut server = Server::build()
        .workers(settings.workers)
        .max_concurrent_connections(allowance.connections.div_ceil(settings.workers))
        .shutdown_timeout((settings.drain + LAST_WORDS).as_secs().max(1))
        .disable_signals();
    for listener in listeners {
        let address = listener.socket.local_addr()?;
        let name = if listener.tls.is_some() { "clients-tls" } else { "clients" };
        let (shared, transport) = (Arc::clone(&shared), Arc::clone(&transport));
        server = server.listen(name, listener.socket, move || {
            name_thread("http-worker");
            let relay =
                Relay::new(Arc::clone(&shared.relay), Rc::new(Transports::new(Arc::clone(&transport))));
            let panics = shared.metrics.panics.clone();
            let app = App::new()
                .app_data(web::Data::new(Worker::new(Arc::clone(&shared), relay)))
                .configure(|config| routes.into_iter().for_each(|add| add(config)))
                .configure(http::configure)
                .wrap(CatchPanic::default())
                .wrap_fn(move |request, service| {
                    let (asker, panics) = (Asker::of(request.headers()), panics.clone());
                    let answer = service.call(request);
                    async move {
                        answer.await.map_err(|_| {
                            panics.inc();
                            Panicked(asker).into()
                        })
                    }
                });
            let app = app.into_factory().map_err(|e: actix_web::Error| e.error_response());
            // A child of the shared cancellation, so that workers do not contend for its lock.
            let (connections, begun) = (Arc::clone(&shared), shared.drain.begun.child_token());
            let http = HttpService::build()
                .graceful_shutdown_signal(move || begun.clone().cancelled_owned())
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(HEAD_TIMEOUT)
                .client_disconnect_timeout(linger)
                .h1_allow_half_closed(false)
                .local_addr(address)
                .on_connect_ext(move |io: &ClientIo, extensions| {
                    http::on_connect(io, extensions, &connections)
                })
                .h1(map_config(app, |()| AppConfig::default()));
            let tls = listener.tls.clone();
            fn_service(move |tcp: TcpStream| {
                let tls = tls.clone();
                async move {
                    let peer = tcp.peer_addr().ok();
                    let socket = accept(tcp, tls).await.map_err(|error| {
                        tracing::debug!(%error, "TLS handshake with a client failed");
                        DispatchError::Io(error)
                    })?;
                    Ok((ClientIo::new(socket, KEEP_ALIVE + HEAD_TIMEOUT), peer))
                }
            })
            .and_then(http)
        })?;
    }
    Ok(server.run())
}
