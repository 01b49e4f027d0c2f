//! Balances at their edge, with many clients at once: what is there is spent to the last call, and no more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use penstock::{
    app::new_secret,
    store::{NewKey, Store, dsn::Dsn},
};
use penstock_actors::domain::{AccountId, Money};

use crate::support::{Client, SOON, TestApp, chat, eventually};

const CLIENTS: usize = 64;
/// What each call costs, whatever it says, in nano-dollars.
const CALL: i64 = 1_000_000;
const SETTINGS: &str = "[[price]]\nmodel = \"penstock-echo\"\ninput = 0\noutput = 0\nper_call = 0.001\n";

/// A gateway and its keys.
struct World {
    app: TestApp,
    store: Store,
    /// Accounts that may not fall below zero.
    limited: Vec<AccountId>,
}

/// A key of the test.
struct Key {
    secret: String,
    account: AccountId,
}

impl World {
    async fn new() -> Self {
        let app = TestApp::start(SETTINGS);
        let dsn = Dsn::parse("", &app.dir().path().join("data")).unwrap();
        let store = Store::open(&dsn, None).await.unwrap();
        Self { app, store, limited: Vec::new() }
    }

    /// Makes a key whose balance pays for so many calls, and waits until it opens.
    async fn key(&mut self, name: &str, parent: Option<&str>, calls: Option<i64>) -> Key {
        let (secret, kept) = new_secret();
        let quota = calls.map(|calls| Money::from_nanos(calls * CALL));
        let new = NewKey { quota, parent: parent.map(str::to_owned), ..NewKey::named(name) };
        let row = self.store.create_key(&new, &kept).await.unwrap();
        let account = row.account_id();
        eventually("the key opens", || self.available(account).is_some()).await;
        self.limited.extend(calls.map(|_| account));
        Key { secret, account }
    }

    fn available(&self, account: AccountId) -> Option<Money> {
        self.app.shared().relay.books.ledger.cell(account).map(|cell| cell.available())
    }

    /// Has clients call with these keys in turn until each is refused; gives how many calls of each key were
    /// answered. No balance that is limited is ever seen below zero.
    async fn spend(&self, keys: &[&Key]) -> Vec<usize> {
        let served: Arc<Vec<_>> = Arc::new(keys.iter().map(|_| AtomicUsize::new(0)).collect());
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let (which, served) = (n % keys.len(), Arc::clone(&served));
                let client = Client::new(self.app.address, &keys[which].secret);
                tokio::spawn(async move {
                    loop {
                        let answer = client.chat(&chat("penstock-echo")).await;
                        if answer.status != 200 {
                            assert_eq!((answer.status, &*answer.error_code()), (429, "insufficient_quota"));
                            return;
                        }
                        served[which].fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        while clients.iter().any(|client| !client.is_finished()) {
            for cell in self.limited.iter().filter_map(|id| self.app.shared().relay.books.ledger.cell(*id)) {
                assert!(!cell.available().is_negative(), "{cell:?}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for client in clients {
            client.await.unwrap();
        }
        served.iter().map(|served| served.load(Ordering::Relaxed)).collect()
    }

    /// Waits until the database has what the ledger has, and gives how many calls are left of each key.
    async fn left(&self, keys: &[&Key]) -> Vec<i64> {
        let accounts: Vec<_> = keys.iter().map(|key| key.account).collect();
        let expected: Vec<_> = accounts.iter().map(|id| (*id, self.available(*id).unwrap())).collect();
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let mut balances = self.store.balances_of(&accounts).await.unwrap();
            balances.sort_by_key(|(id, _)| accounts.iter().position(|account| account == id));
            if balances == expected {
                return balances.iter().map(|(_, left)| left.nanos() / CALL).collect();
            }
            assert!(tokio::time::Instant::now() < deadline, "{balances:?} is not {expected:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn sixty_four_clients_spend_a_balance_to_its_last_call() {
    let mut world = World::new().await;
    let key = world.key("edge", None, Some(1_000)).await;
    assert_eq!(world.spend(&[&key]).await, [1_000]);
    assert_eq!(world.left(&[&key]).await, [0]);
    assert!(world.store.check_books().await.unwrap().balances());
}

#[tokio::test]
async fn children_without_a_limit_spend_their_parents_balance_to_its_last_call() {
    let mut world = World::new().await;
    let parent = world.key("parent", None, Some(1_000)).await;
    let first = world.key("first", Some("parent"), None).await;
    let second = world.key("second", Some("parent"), None).await;
    let spent = world.spend(&[&first, &second]).await;
    assert_eq!(spent.iter().sum::<usize>(), 1_000, "{spent:?}");
    // Their own balances are counts of what they spent.
    let spent: Vec<_> = spent.iter().map(|calls| -(*calls as i64)).collect();
    assert_eq!(world.left(&[&parent, &first, &second]).await, [0, spent[0], spent[1]]);
    assert!(world.store.check_books().await.unwrap().balances());
}

#[tokio::test]
async fn a_child_at_its_own_edge_leaves_the_rest_to_its_sister() {
    let mut world = World::new().await;
    let parent = world.key("parent", None, Some(1_000)).await;
    let first = world.key("first", Some("parent"), Some(300)).await;
    let second = world.key("second", Some("parent"), Some(2_000)).await;
    let spent = world.spend(&[&first, &second]).await;
    assert_eq!(spent, [300, 700]);
    assert_eq!(world.left(&[&parent, &first, &second]).await, [0, 0, 1_300]);
    assert!(world.store.check_books().await.unwrap().balances());
}
