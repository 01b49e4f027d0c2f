//! A running gateway: its parts, how they start, how settings are applied, in what order they stop.

use std::{io::ErrorKind, net::SocketAddr, path::Path, rc::Rc, sync::Arc, time::Duration};

use actix_web::{dev::ServerHandle, web};
use arc_swap::ArcSwap;
use penstock_actors::{router::RouteTable, system::Actors};
use tokio_rustls::TlsAcceptor;

use super::{
    certificate::{self, Certificate, Looked},
    data_dir,
    descriptors::{self, Allowance},
    discovery::Discovery,
    listener::{Listener, listen, serve},
    publisher::Publisher,
};
use crate::{
    api_key::{KeyFile, KeyTable},
    config::{self, Settings},
    http::{Drain, HttpShared},
    known_models::KnownModels,
    relay::{RelayShared, budget::ByteBudget},
    telemetry::Metrics,
    transport::{SharedTransport, TlsRoots},
};

/// What a start can be given beside the settings.
#[derive(Default)]
pub struct Options {
    /// Trusted beside the public authorities.
    pub roots: TlsRoots,
    /// Routes beside the gateway's own.
    pub routes: Option<fn(&mut web::ServiceConfig)>,
}

/// A gateway that serves.
pub struct Gateway {
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    actors: Actors,
    shared: Arc<HttpShared>,
    transport: Arc<SharedTransport>,
    publisher: Rc<Publisher>,
    discovery: Discovery,
    /// What a reload cannot change.
    in_force: (config::Server, config::Log),
    server: ServerHandle,
    drain_for: Duration,
}

/// How long cut streams may take to tell their clients.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Gateway {
    /// Starts everything: actors, catalog, then the listener. Must run inside an `actix` system.
    ///
    /// # Errors
    /// A sentence, where the port is taken, the data directory cannot be read, or a certificate is wrong.
    pub async fn start(settings: Settings, options: Options) -> Result<Self, String> {
        let allowance = Allowance::of(descriptors::raise());
        let server_settings = settings.server.clone();
        let metrics = Metrics::new().map_err(|e| e.to_string())?;
        let actors = Actors::start();
        let drain = Arc::new(Drain::default());
        let keys = Arc::new(ArcSwap::from_pointee(key_table(&settings, &settings.server.data_dir)?));
        let transport = SharedTransport::new(options.roots).map_err(|e| e.to_string())?;
        let shared = Arc::new(HttpShared {
            keys,
            models: ArcSwap::from_pointee(KnownModels::with(settings.models.clone())),
            metrics: Arc::clone(&metrics),
            relay: Arc::new(RelayShared {
                table: Arc::clone(&actors.table),
                metrics,
                bytes: ByteBudget::new(server_settings.max_bytes_in_flight),
                max_event: server_settings.max_event,
                max_whole_body: server_settings.max_whole_body,
                cut: drain.cut.clone(),
            }),
            max_body: server_settings.max_body,
            max_calls: allowance.calls,
            client_stall: server_settings.client_stall,
            drain,
        });
        let plain = bound(server_settings.listen)?;
        let address = plain.local_addr().map_err(|e| e.to_string())?;
        let mut listeners = vec![Listener { socket: plain, tls: None }];
        let mut tls_address = None;
        if let Some(tls) = &server_settings.tls {
            let (socket, acceptor) = tls_listener(tls)?;
            tls_address = Some(socket.local_addr().map_err(|e| e.to_string())?);
            listeners.push(Listener { socket, tls: Some(acceptor) });
        }
        let server = serve(listeners, &shared, &transport, options.routes, &server_settings, allowance)
            .map_err(|e| e.to_string())?;
        let handle = server.handle();
        let in_force = (settings.server.clone(), settings.log.clone());
        let publisher = Rc::new(Publisher::new(actors.applier(), settings));
        publisher.publish().await?;
        actix_web::rt::spawn(server);
        let discovery = Discovery::start(Rc::clone(&publisher), Arc::clone(&transport));
        Ok(Self {
            address,
            tls_address,
            actors,
            shared,
            transport,
            publisher,
            discovery,
            in_force,
            server: handle,
            drain_for: server_settings.drain,
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients connect under TLS, if anywhere.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// The route table in force.
    pub fn table(&self) -> Arc<RouteTable> {
        self.actors.table.load_full()
    }

    /// The running actors.
    pub fn actors(&self) -> &Actors {
        &self.actors
    }

    /// Does something with the settings in force.
    pub fn with_settings<R>(&self, look: impl FnOnce(&Settings) -> R) -> R {
        self.publisher.with_settings(look)
    }

    /// Waits until every provider whose models are discovered was asked once, but not longer than this.
    pub async fn discovered(&self, within: Duration) {
        self.discovery.settled(within).await;
    }

    /// What the handlers share.
    pub fn shared(&self) -> &Arc<HttpShared> {
        &self.shared
    }

    /// Puts new settings in force without touching calls in flight; says what differs.
    ///
    /// # Errors
    /// A sentence; the old settings stay in force.
    pub async fn apply(&self, settings: Settings) -> Result<Vec<String>, String> {
        let keys = key_table(&settings, &self.in_force.0.data_dir)?;
        let differences = self
            .publisher
            .with_settings(|old| config::differences(old, &settings, (&self.in_force.0, &self.in_force.1)));
        let models = KnownModels::with(settings.models.clone());
        self.publisher.apply(settings).await?;
        self.shared.keys.store(Arc::new(keys));
        self.shared.models.store(Arc::new(models));
        self.transport.ask_to_evict();
        Ok(differences)
    }

    /// Stops in order: not ready; listener closed; streams drained; what is left told and cut; actors.
    pub async fn stop(self) {
        let Self { actors, shared, server, publisher, discovery, drain_for, .. } = self;
        tracing::info!(in_flight = shared.metrics.calls_in_flight.get(), "shutting down");
        shared.drain.start();
        drop(discovery);
        // Graceful: the listener closes now, connections go on. Its own end is not waited for, since
        // idle clients would hold it for as long as they are kept alive.
        actix_web::rt::spawn(server.stop(true));
        if !until(drain_for, || shared.metrics.calls_in_flight.get() == 0).await {
            tracing::warn!(left = shared.metrics.calls_in_flight.get(), "streams are cut");
            shared.drain.cut.cancel();
            until(LAST_WORDS, || shared.metrics.calls_in_flight.get() == 0).await;
        }
        until(LAST_WORDS, || shared.metrics.client_connections.get() == 0).await;
        publisher.stop().await;
        actors.stop();
        tracing::info!("stopped");
    }
}

fn bound(address: SocketAddr) -> Result<std::net::TcpListener, String> {
    listen(address).map_err(|e| cannot_listen(address, &e))
}

/// How often the certificate's files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Binds the TLS listener and has its certificate watched for as long as the process lives.
fn tls_listener(settings: &config::Tls) -> Result<(std::net::TcpListener, TlsAcceptor), String> {
    let settings = settings.clone();
    let (mut certificate, validity) = Certificate::load(settings.clone()).map_err(|e| format!("tls: {e}"))?;
    certificate::tell(validity, &settings);
    let acceptor = TlsAcceptor::from(certificate.server_config().map_err(|e| e.to_string())?);
    let socket = bound(settings.listen)?;
    actix_web::rt::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match certificate.look(std::time::SystemTime::now()) {
                Looked::Unchanged => {}
                Looked::Replaced(validity) => certificate::tell(validity, &settings),
                Looked::Refused(problem) => {
                    tracing::error!(problem, "the new certificate cannot be used; the old one stays");
                }
            }
        }
    });
    Ok((socket, acceptor))
}

/// Waits for a condition; false where it did not come about in time.
async fn until(time: Duration, holds: impl Fn() -> bool) -> bool {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(time, waiting).await.is_ok()
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> String {
    let helps = match error.kind() {
        ErrorKind::AddrInUse => {
            "; another program listens there: stop it, or choose another port with --port"
        }
        ErrorKind::PermissionDenied => "; ports below 1024 need a right: choose another with --port",
        ErrorKind::AddrNotAvailable => "; this machine has no such address: see server.listen",
        _ => "",
    };
    format!("cannot listen on {address}: {error}{helps}")
}

fn key_table(settings: &Settings, data_dir: &Path) -> Result<KeyTable, String> {
    let stored = KeyFile::load(data_dir).map_err(|e| data_dir::sentence(data_dir, &e))?;
    Ok(KeyTable::build(&settings.keys, &stored))
}
