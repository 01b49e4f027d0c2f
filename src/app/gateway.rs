//! A running gateway: its parts, how they start, how settings are applied, in what order they stop.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, OnceLock},
    time::Duration,
};

use actix_web::{dev::ServerHandle, web};
use arc_swap::ArcSwap;
use penstock_actors::billing::Ledger;
use penstock_actors::{limiter::LimitHandle, router::RouteTable, system::Actors};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::{
    books::Bookkeeping,
    certificate::{self, Certificate, Looked},
    data_dir,
    descriptors::{self, Allowance},
    discovery::Discovery,
    keys::KeyFeed,
    limits,
    listener::{Listener, listen, serve},
    media,
    prices::PriceKeeper,
    publisher::Publisher,
    queue,
    tokens::Tokens,
};
use crate::{
    api::{ApiShared, Desk},
    config::{self, Settings},
    credential::Vault,
    http::{Drain, HttpShared, InMemory, KeysHealth, ReloadWish, reloads},
    journal::disk::{Disk, OsDisk},
    known_models::KnownModels,
    relay::{RelayShared, budget::ByteBudget, models::Backups, policy::WaitPolicy},
    store::LateStore,
    telemetry::Metrics,
    transport::{MediaFetcher, SharedTransport, TlsRoots},
};

/// What a start can be given beside the settings.
#[derive(Default)]
pub struct Options {
    /// Trusted beside the public authorities.
    pub roots: TlsRoots,
    /// Routes beside the gateway's own.
    pub routes: Option<fn(&mut web::ServiceConfig)>,
    /// What the journal is written to; the operating system's files where there is none.
    pub disk: Option<Arc<dyn Disk>>,
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
    tokens: Tokens,
    keys: Rc<KeyFeed>,
    books: Rc<Bookkeeping>,
    store: Arc<LateStore>,
    prices: Rc<PriceKeeper>,
    /// What a reload cannot change.
    in_force: (config::Server, config::Log, config::Store),
    server: ServerHandle,
    drain_for: Duration,
}

/// How long cut streams may take to tell their clients.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bytes of responses that are kept in memory for `/v1/responses`.
const STORED_BYTES: usize = 64 << 20;

impl Gateway {
    /// Starts everything: actors, catalog, then the listener. Must run inside an `actix` system.
    ///
    /// # Errors
    /// A sentence, where the port is taken, the store cannot be opened, or a certificate is wrong.
    pub async fn start(settings: Settings, options: Options) -> Result<Self, String> {
        let allowance = Allowance::of(descriptors::raise());
        let server_settings = settings.server.clone();
        let metrics = Metrics::new().map_err(|e| e.to_string())?;
        let actors = Actors::start();
        actors.room.set_bounds(queue::bounds(&settings.queue));
        let drain = Arc::new(Drain::default());
        let (table, keys_health) = (Arc::<ArcSwap<_>>::default(), Arc::<KeysHealth>::default());
        let data_dir = &settings.server.data_dir;
        data_dir::try_out(data_dir).map_err(|e| data_dir::sentence(data_dir, &e))?;
        let limits = LimitHandle::new(settings.limits.clone());
        actors.room.set_limits(Arc::clone(&limits));
        let (ledger, store) = (Ledger::new(), Arc::<LateStore>::default());
        let (fresh, health) = (Arc::clone(&table), Arc::clone(&keys_health));
        let keys = KeyFeed::start(&settings, fresh, health, Arc::clone(&ledger), Arc::clone(&store)).await?;
        let (desk, questions) = Desk::new();
        let kept = PriceKeeper::start(Arc::clone(&store));
        kept.keep(&settings.prices);
        let books = {
            let disk = options.disk.unwrap_or_else(|| Arc::new(OsDisk));
            let (prices, limits) = (Arc::clone(&settings.prices), Arc::clone(&limits));
            let (opened_at, store) = (keys.opened_at(), Arc::clone(&store));
            let kept = &settings.store;
            Bookkeeping::start((data_dir, disk), kept, opened_at, ledger, prices, limits, store).await?
        };
        books.calls().answer(questions);
        metrics.read_books(books.figures());
        let books = Rc::new(books);
        take_over_balances(&keys, &books);
        let transport = SharedTransport::new(options.roots).map_err(|e| e.to_string())?;
        let vault = Arc::<Vault>::default();
        let shared = Arc::new(HttpShared {
            keys: table,
            keys_health,
            models: ArcSwap::from_pointee(KnownModels::with(settings.models.clone())),
            responses: Arc::new(InMemory::new(STORED_BYTES)),
            metrics: Arc::clone(&metrics),
            relay: Arc::new(RelayShared {
                table: Arc::clone(&actors.table),
                metrics,
                bytes: ByteBudget::new(server_settings.max_bytes_in_flight),
                max_event: server_settings.max_event,
                max_whole_body: server_settings.max_whole_body,
                cut: drain.cut.clone(),
                drained: drain.begun.clone(),
                policy: ArcSwap::from_pointee(queue::policy(
                    &settings.queue,
                    &WaitPolicy::default(),
                    &actors.room,
                )),
                media: ArcSwap::from_pointee(media::policy(&settings.media)),
                fetcher: MediaFetcher::new(Arc::clone(&transport)),
                room: Arc::clone(&actors.room),
                books: Arc::clone(books.shared()),
                backups: ArcSwap::from_pointee(backups(&settings.backups)),
                vault: Arc::clone(&vault),
            }),
            api: ApiShared { root: settings.root_access, desk },
            max_body: server_settings.max_body,
            max_calls: allowance.calls,
            client_stall: server_settings.client_stall,
            drain,
            reloads: OnceLock::new(),
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
        let in_force = (settings.server.clone(), settings.log.clone(), settings.store.clone());
        let publisher = Rc::new(Publisher::new(actors.applier(), settings));
        publisher.publish().await?;
        let (keys_in_force, routes) = (Arc::clone(&shared.keys), Arc::clone(&actors.table));
        limits::follow(&books, Arc::clone(&store), keys_in_force, routes);
        actix_web::rt::spawn(server);
        let tokens = Tokens::start(Rc::clone(&publisher), Arc::clone(&transport), vault);
        let discovery = Discovery::start(Rc::clone(&publisher), Arc::clone(&transport));
        Ok(Self {
            address,
            tls_address,
            actors,
            shared,
            transport,
            publisher,
            discovery,
            tokens,
            keys,
            books,
            store,
            prices: kept,
            in_force,
            server: handle,
            drain_for: server_settings.drain,
        })
    }

    /// Takes what tells of reloads that clients wish for; `None` where it was taken before.
    pub fn take_wishes(&self) -> Option<mpsc::Receiver<ReloadWish>> {
        let (tell, wishes) = reloads();
        self.shared.reloads.set(tell).ok().map(|()| wishes)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients connect under TLS, if anywhere.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// Tells, even after the end, how many statements have reached the database, and how many of them the threads of
    /// HTTP workers sent; `None` while it is away since the start.
    pub fn statements(&self) -> impl Fn() -> Option<(u64, u64)> + use<> {
        let store = Arc::clone(&self.store);
        move || {
            let store = store.get().ok()?;
            Some((store.statements(), store.statements_of_http_workers()))
        }
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
        self.keys.declare(&settings.keys).await?;
        let (server, log, store) = &self.in_force;
        let differences =
            self.publisher.with_settings(|old| config::differences(old, &settings, (server, log, store)));
        let models = KnownModels::with(settings.models.clone());
        let (prices, limits) = (Arc::clone(&settings.prices), settings.limits.clone());
        let (waits, fetched) = (settings.queue.clone(), media::policy(&settings.media));
        let backups = backups(&settings.backups);
        self.publisher.apply(settings).await?;
        let (room, policy) = (&self.actors.room, &self.shared.relay.policy);
        room.set_bounds(queue::bounds(&waits));
        policy.store(Arc::new(queue::policy(&waits, &policy.load(), room)));
        self.shared.relay.media.store(Arc::new(fetched));
        self.shared.models.store(Arc::new(models));
        self.prices.keep(&prices);
        self.books.shared().prices.store(prices);
        self.books.shared().limits.set_rules(limits);
        self.shared.relay.backups.store(Arc::new(backups));
        self.transport.ask_to_evict();
        Ok(differences)
    }

    /// Whether no key opens anything.
    pub fn has_no_key(&self) -> bool {
        self.keys.is_empty()
    }

    /// Makes a key that opens at once, and gives its secret, which is not kept.
    ///
    /// # Errors
    /// A sentence, where the store is away or refuses.
    pub async fn make_key(&self, name: &str) -> Result<String, String> {
        self.keys.make(name).await
    }

    /// Stops in order: not ready; listener closed; streams drained; what is left told and cut; actors.
    pub async fn stop(self) {
        let Self { actors, shared, server, publisher, discovery, tokens, books, drain_for, .. } = self;
        tracing::info!(in_flight = shared.metrics.calls_in_flight.get(), "shutting down");
        shared.drain.start();
        drop((discovery, tokens));
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
        if let Ok(books) = Rc::try_unwrap(books) {
            books.stop().await;
        }
        actors.stop();
        tracing::info!("stopped");
    }
}

/// How often balances that others moved are looked for.
const TAKE_OVER: Duration = Duration::from_millis(200);

/// Has the Biller take over what others wrote, for as long as the gateway runs.
fn take_over_balances(keys: &Rc<KeyFeed>, books: &Rc<Bookkeeping>) {
    let (keys, books) = (Rc::downgrade(keys), Rc::downgrade(books));
    actix_web::rt::spawn(async move {
        loop {
            tokio::time::sleep(TAKE_OVER).await;
            let (Some(keys), Some(books)) = (keys.upgrade(), books.upgrade()) else { return };
            let moved = keys.take_moved();
            if !moved.is_empty() {
                books.refresh(moved);
            }
        }
    });
}

fn backups(settings: &config::Backups) -> Backups {
    let config::Backups { of_models, of_keys, most_listed, uncertain } = settings.clone();
    Backups { of_models, of_keys, most_listed, uncertain }
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
