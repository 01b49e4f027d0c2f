//! How keys come from the store to the call path: opened at start, watched, published; and what is in force
//! while the database is away. Runs beside the HTTP workers, never on one.

mod table;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use penstock_actors::{
    billing::{Ledger, ledger::Funds},
    domain::{AccountId, Money},
    usage_log::Positions,
};

use crate::{
    api_key::{self, KeyFile, KeySpec, KeyTable},
    clock::now_ms,
    config::Settings,
    http::KeysHealth,
    store::{
        KeyStatus, LateStore, Migration, NewKey, NewSecret, Origin, Published, Snapshot, Store, StoreError,
        dsn::Dsn,
    },
};

/// How often the store is asked whether something changed.
const POLL: Duration = Duration::from_millis(300);
/// How often an absent database is looked for.
const RECONNECT: Duration = Duration::from_secs(1);
/// How often the snapshot takes the balances up that moved since.
const SAVE: Duration = Duration::from_secs(60);

/// Where the databases are.
#[derive(Clone, Debug)]
pub struct Place {
    main: Dsn,
    log: Option<Dsn>,
    data_dir: PathBuf,
    max_staleness: Duration,
}

impl Place {
    /// Reads the addresses.
    ///
    /// # Errors
    /// The key of the settings, and a sentence about its address.
    pub fn of(settings: &Settings) -> Result<Self, (&'static str, String)> {
        let (store, data_dir) = (&settings.store, &settings.server.data_dir);
        let read = |key, url: &str| Dsn::parse(url, data_dir).map_err(|e| (key, e.to_string()));
        Ok(Self {
            main: read("store.url", store.url.as_ref().map_or("", |u| u.expose()))?,
            log: store.log_url.as_ref().map(|u| read("store.log_url", u.expose())).transpose()?,
            data_dir: data_dir.clone(),
            max_staleness: store.max_staleness,
        })
    }

    /// Opens the store, and takes over the keys that were made before there was one.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn open(&self) -> Result<Store, StoreError> {
        let path = KeyFile::path(&self.data_dir);
        let failed = |error| StoreError::File { path: path.clone(), error };
        let old = KeyFile::load(&self.data_dir).map_err(failed)?;
        let store = Store::open(&self.main, self.log.as_ref()).await?;
        if let Some(old) = old {
            let secret = |digest| NewSecret { digest, prefix: String::new() };
            let keys: Vec<_> = old.keys().map(|(name, digest)| (name.to_owned(), secret(digest))).collect();
            store.import_keys(&keys).await?;
            std::fs::rename(&path, path.with_extension("json.imported")).map_err(failed)?;
            tracing::info!(keys = keys.len(), "keys of keys.json were taken into the store");
        }
        Ok(store)
    }

    /// Brings the databases to this program's schema, or only looks what that takes. Gives each with the names of
    /// its steps.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn migrate(
        &self,
        migration: Migration,
    ) -> Result<Vec<(String, Vec<&'static str>)>, StoreError> {
        Store::migrate(&self.main, self.log.as_ref(), migration).await
    }
}

/// A secret for a new key: what the caller is shown, and what the store may know.
pub fn new_secret() -> (String, NewSecret) {
    let secret = api_key::generate();
    let kept = NewSecret { digest: api_key::digest(&secret), prefix: api_key::prefix(&secret) };
    (secret, kept)
}

/// Publishes the keys of the store.
pub(super) struct KeyFeed {
    place: Place,
    keys: Arc<ArcSwap<KeyTable>>,
    health: Arc<KeysHealth>,
    store: RefCell<Option<Store>>,
    /// The same, for the actors of the books.
    late: Arc<LateStore>,
    ledger: Arc<Ledger>,
    /// Balances as they were published last.
    balances: RefCell<HashMap<AccountId, Money>>,
    /// Accounts whose balance was changed by others, until someone takes them.
    moved: RefCell<Vec<AccountId>>,
    /// What the settings file declares, for when the database comes back.
    declared: RefCell<Vec<KeySpec>>,
    revision: Cell<i64>,
    confirmed: Cell<Instant>,
    saved: Cell<Option<Instant>>,
    /// Where the balances that accounts were opened with stood in the journal.
    opened_at: RefCell<Option<Positions>>,
}

impl KeyFeed {
    /// Opens the store and publishes its keys; where it cannot be reached, those of the last good snapshot.
    ///
    /// # Errors
    /// A sentence, where there are no keys to go by or a declared one is refused.
    pub(super) async fn start(
        settings: &Settings,
        keys: Arc<ArcSwap<KeyTable>>,
        health: Arc<KeysHealth>,
        ledger: Arc<Ledger>,
        late: Arc<LateStore>,
    ) -> Result<Rc<Self>, String> {
        let place = Place::of(settings).map_err(|(key, problem)| format!("{key}: {problem}"))?;
        let feed = Rc::new(Self {
            keys,
            health,
            store: RefCell::default(),
            late,
            ledger,
            balances: RefCell::default(),
            moved: RefCell::default(),
            declared: RefCell::new(settings.keys.clone()),
            revision: Cell::new(0),
            confirmed: Cell::new(Instant::now()),
            saved: Cell::default(),
            opened_at: RefCell::default(),
            place,
        });
        match feed.connect().await {
            Ok(()) => {}
            Err(error) if error.is_transient() => feed.go_by_snapshot(&error)?,
            Err(error) => return Err(format!("store {}: {error}", feed.place.main)),
        }
        let watching = Rc::downgrade(&feed);
        actix_web::rt::spawn(async move {
            loop {
                tokio::time::sleep(POLL).await;
                let Some(feed) = watching.upgrade() else { return };
                feed.watch().await;
            }
        });
        Ok(feed)
    }

    async fn connect(&self) -> Result<(), StoreError> {
        let store = self.place.open().await?;
        let declared = self.declared.borrow().clone();
        store.declare_keys(Origin::File, &declared).await?;
        self.publish(&store).await?;
        self.late.set(store.clone());
        *self.store.borrow_mut() = Some(store);
        Ok(())
    }

    async fn publish(&self, store: &Store) -> Result<(), StoreError> {
        let published = store.published().await?;
        self.put_in_force(&published);
        self.confirm();
        self.save(published).await;
        Ok(())
    }

    fn put_in_force(&self, published: &Published) {
        self.revision.set(published.revision);
        self.open_accounts(published);
        let at = || published.positions.iter().copied().collect();
        self.opened_at.borrow_mut().get_or_insert_with(at);
        self.keys.store(Arc::new(self.keys.load().next(table::callers(published))));
    }

    /// Gives each account a cell; one that has a cell keeps its balance, and is noted where it moved.
    fn open_accounts(&self, published: &Published) {
        let (mut balances, mut moved) = (self.balances.borrow_mut(), self.moved.borrow_mut());
        for account in &published.accounts {
            let (id, balance) = (account.account_id(), Money::from_nanos(account.balance));
            let funds = if account.is_limited { Funds::Limited } else { Funds::Unlimited };
            self.ledger.open(id, balance, funds);
            if balances.insert(id, balance).is_some_and(|before| before != balance) {
                moved.push(id);
            }
        }
    }

    /// Where the balances that this start began with stood in the journal, by the database or the snapshot.
    pub(super) fn opened_at(&self) -> Positions {
        self.opened_at.borrow().clone().unwrap_or_default()
    }

    /// Takes the accounts whose balance in the database moved.
    pub(super) fn take_moved(&self) -> Vec<AccountId> {
        std::mem::take(&mut self.moved.borrow_mut())
    }

    fn confirm(&self) {
        self.confirmed.set(Instant::now());
        self.health.confirmed(now_ms());
    }

    async fn save(&self, published: Published) {
        self.saved.set(Some(Instant::now()));
        let (snapshot, data_dir) =
            (Snapshot { confirmed_ms: now_ms(), published }, self.place.data_dir.clone());
        let saved = tokio::task::spawn_blocking(move || snapshot.save(&data_dir)).await;
        if let Ok(Err(error)) = saved {
            tracing::error!(%error, "the snapshot of the keys was not written");
        }
    }

    /// Puts the last good snapshot in force.
    fn go_by_snapshot(&self, why: &StoreError) -> Result<(), String> {
        let main = &self.place.main;
        let snapshot = Snapshot::load(&self.place.data_dir).map_err(|e| e.to_string())?;
        let Some(snapshot) = snapshot else {
            return Err(format!(
                "store {main}: {why}; there is no earlier snapshot of its keys in {} to go by",
                self.place.data_dir.display()
            ));
        };
        let age = Duration::from_millis(now_ms().saturating_sub(snapshot.confirmed_ms).max(0) as u64);
        if age > self.place.max_staleness {
            return Err(format!(
                "store {main}: {why}; the snapshot of its keys is {} old, more than store.max_staleness",
                humantime::format_duration(Duration::from_secs(age.as_secs()))
            ));
        }
        tracing::error!(store = %main, %why, age_s = age.as_secs(), "going by the last good snapshot of the keys");
        self.put_in_force(&snapshot.published);
        self.confirmed.set(Instant::now().checked_sub(age).unwrap_or_else(Instant::now));
        self.health.lost(snapshot.confirmed_ms);
        Ok(())
    }

    /// One look at the store: takes up what changed, or tries to find it again.
    async fn watch(&self) {
        let store = self.store.borrow().clone();
        let looked = match store {
            Some(store) => self.look(&store).await,
            None => {
                tokio::time::sleep(RECONNECT - POLL).await;
                self.connect()
                    .await
                    .inspect(|()| tracing::info!("the database is back; its keys are in force"))
            }
        };
        match looked {
            Ok(()) => self.health.reached(),
            Err(error) => {
                if self.health.missed() {
                    tracing::error!(store = %self.place.main, %error, "keys cannot be confirmed");
                }
                self.withdraw_if_stale();
            }
        }
    }

    async fn look(&self, store: &Store) -> Result<(), StoreError> {
        let moved = store.revision().await? != self.revision.get();
        if moved || self.saved.get().is_none_or(|at| at.elapsed() > SAVE) {
            self.publish(store).await?;
        }
        self.confirm();
        Ok(())
    }

    /// Keys that nobody could confirm for too long open nothing: one of them may have been revoked.
    fn withdraw_if_stale(&self) {
        if self.confirmed.get().elapsed() > self.place.max_staleness && !self.keys.load().is_empty() {
            tracing::error!("the keys are older than store.max_staleness and open nothing any more");
            self.keys.store(Arc::default());
            self.revision.set(0);
        }
    }

    /// Takes up what the settings file declares now.
    ///
    /// # Errors
    /// A sentence, where a declared key is refused; nothing is changed then.
    pub(super) async fn declare(&self, declared: &[KeySpec]) -> Result<(), String> {
        let store = self.store.borrow().clone();
        if let Some(store) = store {
            let done = match store.declare_keys(Origin::File, declared).await {
                Ok(()) => self.publish(&store).await,
                refused => refused,
            };
            match done {
                Ok(()) => {}
                Err(error) if error.is_transient() => {
                    tracing::error!(%error, "declared keys are taken up when the database is back");
                    // Opened anew, it takes them up.
                    *self.store.borrow_mut() = None;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        *self.declared.borrow_mut() = declared.to_vec();
        Ok(())
    }

    /// Whether no key opens anything.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.load().is_empty()
    }

    /// Makes a key under a free name that begins so, puts it in force and gives its secret.
    ///
    /// # Errors
    /// A sentence, where the store is away or refuses.
    pub(super) async fn make(&self, name: &str) -> Result<String, String> {
        let store = self.store.borrow().clone();
        let store = store.ok_or("no key can be made while the database is away")?;
        let (secret, kept) = new_secret();
        let taken = store.list_keys().await.map_err(|e| e.to_string())?;
        let taken = |name: &str| taken.iter().any(|k| k.name == name && k.status != KeyStatus::Revoked);
        let numbered = (2..).map(|n| format!("{name}-{n}"));
        let free = std::iter::once(name.to_owned()).chain(numbered).find(|n| !taken(n));
        let new = NewKey::named(free.unwrap_or_default());
        store.create_key(&new, &kept).await.map_err(|e| e.to_string())?;
        self.publish(&store).await.map_err(|e| e.to_string())?;
        Ok(secret)
    }
}
