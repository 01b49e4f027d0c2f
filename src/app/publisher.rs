//! What the catalog is made of: the settings, the models that were discovered, the built-in mock channel.
//!
//! The one place that puts a catalog in force, so that two changes at once cannot undo each other.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
};

use actix_web::dev::ServerHandle;
use penstock_actors::{
    domain::{
        Attached, Catalog, ChannelName, ChannelSpec, Credential, Credentials, ModelName, PoolSettings,
        Served, Timeouts, TransportKind,
    },
    system::Applier,
};
use tokio::sync::watch;

use crate::{
    config::{self, Settings},
    mock,
    provider::{Registry, row},
};

/// The model of the built-in mock channel.
const MOCK_MODEL: &str = "penstock-echo";

/// Puts catalogs in force.
pub(super) struct Publisher {
    applier: Applier,
    settings: RefCell<Settings>,
    discovered: RefCell<BTreeMap<ChannelName, Arc<[ModelName]>>>,
    /// The built-in mock channel, where one was ever wanted.
    mock: RefCell<Option<BuiltInMock>>,
    revision: Cell<u64>,
    changed: watch::Sender<()>,
}

struct BuiltInMock {
    base_url: String,
    handle: ServerHandle,
}

impl Publisher {
    pub(super) fn new(applier: Applier, settings: Settings) -> Self {
        Self {
            applier,
            settings: RefCell::new(settings),
            discovered: RefCell::default(),
            mock: RefCell::default(),
            revision: Cell::new(0),
            changed: watch::Sender::new(()),
        }
    }

    /// Does something with the settings in force.
    pub(super) fn with_settings<R>(&self, look: impl FnOnce(&Settings) -> R) -> R {
        look(&self.settings.borrow())
    }

    /// Tells when the settings changed.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Puts settings in force; returns once calls see them.
    ///
    /// # Errors
    /// A sentence; the old settings stay in force.
    pub(super) async fn apply(&self, settings: Settings) -> Result<(), String> {
        let old = self.settings.replace(settings);
        match self.publish().await {
            Ok(()) => {
                self.changed.send_replace(());
                Ok(())
            }
            Err(problem) => {
                self.settings.replace(old);
                Err(problem)
            }
        }
    }

    /// Takes what a provider says it has; returns once calls see it.
    ///
    /// # Errors
    /// A sentence; the old models stay in force.
    pub(super) async fn discovered(
        &self,
        channel: ChannelName,
        models: Arc<[ModelName]>,
    ) -> Result<(), String> {
        self.discovered.borrow_mut().insert(channel, models);
        self.publish().await
    }

    /// Forgets what other providers said than those that are asked now.
    pub(super) fn forget_models(&self, but: impl Fn(&ChannelName) -> bool) {
        self.discovered.borrow_mut().retain(|channel, _| but(channel));
    }

    /// Puts in force what is known now.
    pub(super) async fn publish(&self) -> Result<(), String> {
        let catalog = self.catalog()?;
        self.applier.apply(Arc::new(catalog)).await.map_err(|e| e.to_string())
    }

    fn catalog(&self) -> Result<Catalog, String> {
        let settings = self.settings.borrow();
        let discovered = self.discovered.borrow();
        let mut catalog = settings.catalog.clone();
        self.revision.set(self.revision.get() + 1);
        catalog.revision = self.revision.get();
        for channel in &mut catalog.channels {
            let wanted = settings.discover.channels.contains(&channel.name);
            if let Some(models) = discovered.get(&channel.name).filter(|_| wanted) {
                *channel = Arc::new(with_models(channel, models));
            }
        }
        if settings.mock {
            catalog.channels.push(Arc::new(self.mock_channel()?));
        }
        Ok(catalog)
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
            credentials: Credentials::one(Credential::new("mock")),
            headers: Vec::new(),
            quirks: vec!["request-stream-usage".into()],
            models: vec![Served { model: MOCK_MODEL.into(), upstream: MOCK_MODEL.into() }],
            groups: vec!["default".into()],
            priority: 0,
            weight: 1,
            concurrency: None,
            learning: Default::default(),
            enabled: true,
            timeouts: Timeouts::default(),
            pool: PoolSettings::default(),
            transport: TransportKind::default(),
            proxy: None,
            cost_ratio: Default::default(),
            care: Default::default(),
        })
    }

    /// Stops the built-in mock.
    pub(super) async fn stop(&self) {
        let mock = self.mock.borrow_mut().take();
        if let Some(mock) = mock {
            mock.handle.stop(false).await;
        }
    }
}

/// A channel with what it says it has, beside what is written of it.
fn with_models(channel: &ChannelSpec, models: &[ModelName]) -> ChannelSpec {
    let mut channel = channel.clone();
    let written: Vec<ModelName> = channel.models.iter().map(|served| Arc::clone(&served.model)).collect();
    let more = models.iter().filter(|model| !written.contains(model));
    channel.models.extend(more.map(|m| Served { model: Arc::clone(m), upstream: Arc::clone(m) }));
    channel
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
