//! A running gateway: its parts, how they start, how settings are applied, in what order they stop.

use std::{cell::RefCell, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use actix_web::{dev::ServerHandle, web};
use arc_swap::ArcSwap;
use penstock_actors::{
    domain::{Attached, ChannelName, ChannelSpec, PoolSettings, Served, Timeouts, TransportKind},
    router::RouteTable,
    system::Actors,
};
use tokio_rustls::TlsAcceptor;

use super::{
    certificate::{self, Certificate, Looked},
    descriptors::{self, Allowance},
    listener::{Listener, listen, serve},
};
use crate::{
    api_key::{KeyFile, KeyTable},
    config::{self, Settings},
    http::{Drain, HttpShared},
    known_models::KnownModels,
    mock,
    provider::{Registry, row},
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
    settings: RefCell<Settings>,
    /// What a reload cannot change.
    in_force: (config::Server, config::Log),
    /// The built-in mock channel, where one was ever wanted.
    mock: RefCell<Option<BuiltInMock>>,
    server: ServerHandle,
    drain_for: Duration,
}

struct BuiltInMock {
    base_url: String,
    handle: ServerHandle,
}

/// The model of the built-in mock channel.
const MOCK_MODEL: &str = "penstock-echo";
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
        let gateway = Self {
            address,
            tls_address,
            actors,
            shared,
            transport,
            settings: RefCell::new(settings.clone()),
            in_force: (settings.server.clone(), settings.log.clone()),
            mock: RefCell::default(),
            server: handle,
            drain_for: server_settings.drain,
        };
        gateway.publish(&settings).await?;
        actix_web::rt::spawn(server);
        Ok(gateway)
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
        let differences = {
            let old = self.settings.borrow();
            let mut lines = config::differences(&old.catalog, &settings.catalog);
            if old.keys != settings.keys {
                lines.push("keys: changed".to_owned());
            }
            if old.models != settings.models {
                lines.push("models: changed".to_owned());
            }
            if self.in_force.0 != settings.server || self.in_force.1 != settings.log {
                lines.push("server, log: changed; in force after a restart".to_owned());
            }
            lines
        };
        self.publish(&settings).await?;
        self.shared.keys.store(Arc::new(keys));
        self.shared.models.store(Arc::new(KnownModels::with(settings.models.clone())));
        self.transport.ask_to_evict();
        *self.settings.borrow_mut() = settings;
        Ok(differences)
    }

    async fn publish(&self, settings: &Settings) -> Result<(), String> {
        let mut catalog = settings.catalog.clone();
        catalog.revision = self.actors.table.load().revision + 1;
        if settings.mock {
            catalog.channels.push(Arc::new(self.mock_channel()?));
        }
        self.actors.apply(Arc::new(catalog)).await.map_err(|e| e.to_string())
    }

    /// The channel of the built-in mock, which is started when it is first wanted.
    fn mock_channel(&self) -> Result<ChannelSpec, String> {
        let mut running = self.mock.borrow_mut();
        let base_url = match &*running {
            Some(mock) => mock.base_url.clone(),
            None => {
                let started =
                    BuiltInMock::start().map_err(|e| format!("the mock channel cannot start: {e}"))?;
                let base_url = started.base_url.clone();
                *running = Some(started);
                base_url
            }
        };
        Ok(ChannelSpec {
            name: ChannelName(config::RESERVED.into()),
            id: None,
            provider: row::MOCK.into(),
            row: Registry::builtin().row(row::MOCK).map(|r| Attached::new(Arc::clone(r))).unwrap_or_default(),
            base_url: base_url.into(),
            params: Vec::new(),
            credential: Some(penstock_actors::domain::Credential::new("mock")),
            headers: Vec::new(),
            quirks: vec!["request-stream-usage".into()],
            models: vec![Served { model: MOCK_MODEL.into(), upstream: MOCK_MODEL.into() }],
            groups: vec!["default".into()],
            priority: 0,
            weight: 1,
            concurrency: None,
            enabled: true,
            timeouts: Timeouts::default(),
            pool: PoolSettings::default(),
            transport: TransportKind::default(),
        })
    }

    /// Stops in order: not ready; listener closed; streams drained; what is left told and cut; actors.
    pub async fn stop(self) {
        let Self { actors, shared, server, mock, drain_for, .. } = self;
        tracing::info!(in_flight = shared.metrics.calls_in_flight.get(), "shutting down");
        shared.drain.start();
        // Graceful: the listener closes now, connections go on. Its own end is not waited for, since
        // idle clients would hold it for as long as they are kept alive.
        actix_web::rt::spawn(server.stop(true));
        if !until(drain_for, || shared.metrics.calls_in_flight.get() == 0).await {
            tracing::warn!(left = shared.metrics.calls_in_flight.get(), "streams are cut");
            shared.drain.cut.cancel();
            until(LAST_WORDS, || shared.metrics.calls_in_flight.get() == 0).await;
        }
        until(LAST_WORDS, || shared.metrics.client_connections.get() == 0).await;
        if let Some(mock) = mock.into_inner() {
            mock.handle.stop(false).await;
        }
        actors.stop();
        tracing::info!("stopped");
    }
}

fn bound(address: SocketAddr) -> Result<std::net::TcpListener, String> {
    listen(address).map_err(|e| format!("cannot listen on {address}: {e}"))
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

impl BuiltInMock {
    fn start() -> std::io::Result<Self> {
        let listener = mock::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let base_url = format!("http://{}", listener.local_addr()?);
        let server = mock::serve(listener, mock::MockSettings::default(), 1)?;
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Ok(Self { base_url, handle })
    }
}

fn key_table(settings: &Settings, data_dir: &Path) -> Result<KeyTable, String> {
    let stored = KeyFile::load(data_dir).map_err(|e| format!("keys in {}: {e}", data_dir.display()))?;
    Ok(KeyTable::build(&settings.keys, &stored))
}
