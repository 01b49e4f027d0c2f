//! Keys and accounts as the store keeps them.

use penstock::{
    api_key::{KeySpec, digest, prefix},
    store::{Allowance, KeyStatus, NewKey, NewSecret, Origin, Store, StoreError},
};
use penstock_actors::domain::Money;

use crate::support::database::{Database, on_every_database};

fn secret(text: &str) -> NewSecret {
    NewSecret { digest: digest(text), prefix: prefix(text) }
}

fn spec(name: &str, text: &str) -> KeySpec {
    KeySpec {
        name: name.to_owned(),
        digest: digest(text),
        group: "default".to_owned(),
        models: Some(vec!["m".to_owned()]),
        may_pin: false,
        may_see_routing: true,
        quota: None,
        expires_ms: None,
        parent: None,
    }
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Refused(sentence)) => sentence,
        other => panic!("not refused: {other:?}"),
    }
}

async fn names(store: &Store) -> Vec<(String, KeyStatus)> {
    store.published().await.unwrap().keys.into_iter().map(|k| (k.name, k.status)).collect()
}

on_every_database!(
    a_key_lives_from_its_making_to_its_revocation,
    a_rotated_key_keeps_its_old_secret_for_a_while,
    children_stand_under_their_parents_four_deep,
    declared_keys_are_permanent_by_name,
    declared_keys_have_the_quota_end_and_parent_that_are_declared,
    a_clash_of_declared_and_made_keys_changes_nothing,
    balances_change_by_entries,
    keys_are_imported_once,
    of_many_makers_of_one_name_one_succeeds,
);

async fn a_key_lives_from_its_making_to_its_revocation(database: Database) {
    let store = database.open().await;
    let before = store.revision().await.unwrap();
    let new = NewKey {
        models: Some(vec!["gpt".to_owned(), "ü".to_owned()]),
        expires_ms: Some(1_900_000_000_000),
        quota: Some(Money::DOLLAR),
        may_pin: true,
        ..NewKey::named("first")
    };
    let made = store.create_key(&new, &secret("sk-abcdefghijklmnop")).await.unwrap();
    assert_eq!((made.prefix.as_str(), made.origin, made.status), ("abcdefgh", Origin::Made, KeyStatus::Live));
    let published = store.published().await.unwrap();
    assert_eq!(published.keys, std::slice::from_ref(&made));
    assert!(published.revision > before);
    let account = published.accounts.iter().find(|a| a.id == made.account).unwrap();
    assert_eq!((account.balance(), account.is_limited), (Money::DOLLAR, true));
    let taken = refusal(store.create_key(&new, &secret("sk-other-0123456789")).await);
    assert!(taken.contains("first"), "{taken}");
    store.revoke_key("first").await.unwrap();
    assert_eq!(store.published().await.unwrap().keys, []);
    assert_eq!(store.list_keys().await.unwrap()[0].status, KeyStatus::Revoked);
    assert!(refusal(store.revoke_key("first").await).contains("first"));
    // The name is free again, the secret is not.
    let same = store.create_key(&new, &secret("sk-abcdefghijklmnop")).await;
    assert!(same.is_err_and(|e| !e.is_transient()));
    store.create_key(&new, &secret("sk-other-0123456789")).await.unwrap();
    drop(store);
    assert_eq!(names(&database.open().await).await, [("first".to_owned(), KeyStatus::Live)]);
}

async fn a_rotated_key_keeps_its_old_secret_for_a_while(database: Database) {
    let store = database.open().await;
    let made = store.create_key(&NewKey::named("k"), &secret("sk-old-0123456789abc")).await.unwrap();
    store.rotate_key("k", &secret("sk-new-0123456789abc"), 42).await.unwrap();
    let key = store.published().await.unwrap().keys.remove(0);
    assert_eq!((key.id, key.account), (made.id, made.account));
    assert_eq!(key.digest, digest("new-0123456789abc"));
    assert_eq!(key.old, Some((digest("old-0123456789abc"), 42)));
    assert!(refusal(store.rotate_key("x", &secret("sk-x"), 0).await).contains("\"x\""));
}

async fn children_stand_under_their_parents_four_deep(database: Database) {
    let store = database.open().await;
    let mut parent = None;
    for (i, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let new = NewKey { parent: parent.clone(), ..NewKey::named(name) };
        let made = store.create_key(&new, &secret(&format!("sk-{name}{i}"))).await.unwrap();
        assert_eq!(made.parent.is_some(), i > 0);
        parent = Some(name.to_owned());
    }
    let fifth = NewKey { parent, ..NewKey::named("e") };
    assert!(refusal(store.create_key(&fifth, &secret("sk-e")).await).contains("at most 4"));
    let orphan = NewKey { parent: Some("nobody".into()), ..NewKey::named("e") };
    assert!(refusal(store.create_key(&orphan, &secret("sk-e")).await).contains("nobody"));
}

async fn declared_keys_are_permanent_by_name(database: Database) {
    let store = database.open().await;
    let (a, b) = (spec("a", "sk-a"), spec("b", "sk-b"));
    store.declare_keys(Origin::File, &[a.clone(), b.clone()]).await.unwrap();
    let revision = store.revision().await.unwrap();
    let first = store.published().await.unwrap().keys;
    store.declare_keys(Origin::File, &[a.clone(), b.clone()]).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), revision, "nothing changed");
    // The two swap their secrets, then one goes and comes back.
    let swapped = [spec("a", "sk-b"), spec("b", "sk-a")];
    store.declare_keys(Origin::File, &swapped).await.unwrap();
    store.declare_keys(Origin::File, &swapped[1..]).await.unwrap();
    let gone = store.published().await.unwrap().keys;
    assert_eq!(gone.iter().find(|k| k.name == "a").unwrap().status, KeyStatus::Disabled);
    store.declare_keys(Origin::File, &[a, b]).await.unwrap();
    assert_eq!(store.published().await.unwrap().keys, first);
    assert!(refusal(store.revoke_key("a").await).contains("settings file"));
    assert!(refusal(store.rotate_key("a", &secret("sk-n"), 0).await).contains("settings file"));
}

async fn declared_keys_have_the_quota_end_and_parent_that_are_declared(database: Database) {
    let store = database.open().await;
    let parent = KeySpec { quota: Some(Money::DOLLAR), expires_ms: Some(77), ..spec("z", "sk-z") };
    let child = KeySpec { parent: Some("z".to_owned()), ..spec("a", "sk-a") };
    let declare = async |keys: &[&KeySpec]| {
        let keys: Vec<_> = keys.iter().map(|k| (*k).clone()).collect();
        store.declare_keys(Origin::File, &keys).await
    };
    declare(&[&child, &parent]).await.unwrap();
    let found = store.published().await.unwrap();
    let key = |name: &str| found.keys.iter().find(|k| k.name == name).unwrap();
    assert_eq!((key("a").parent, key("z").expires_ms), (Some(key("z").id), Some(77)));
    let account = async || {
        let accounts = store.published().await.unwrap().accounts;
        accounts.into_iter().find(|a| a.id == key("z").account).map(|a| (a.balance, a.is_limited)).unwrap()
    };
    assert_eq!(account().await, (1_000_000_000, true));
    let revision = store.revision().await.unwrap();
    declare(&[&child, &parent]).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), revision, "nothing changed");
    // What was put in besides stays; the declared quota is raised and lowered by its difference.
    store.top_up("z", Money::from_nanos(5), "").await.unwrap();
    declare(&[&child, &KeySpec { quota: Some(Money::from_nanos(300)), ..parent.clone() }]).await.unwrap();
    assert_eq!(account().await, (305, true));
    declare(&[&child, &KeySpec { quota: None, ..parent.clone() }]).await.unwrap();
    assert_eq!(account().await, (305, false));
    declare(&[&child, &parent]).await.unwrap();
    assert_eq!(account().await, (1_000_000_005, true));
    assert!(store.check_books().await.unwrap().balances());
    for (parent_of_a, words) in [(None, "never changed"), (Some("nobody".to_owned()), "no key named")] {
        let refused = declare(&[&KeySpec { parent: parent_of_a, ..child.clone() }, &parent]).await;
        assert!(refusal(refused).contains(words), "{words}");
    }
    let chain: Vec<_> = ["z", "b", "c", "d", "e"]
        .windows(2)
        .map(|w| KeySpec { parent: Some(w[0].to_owned()), ..spec(w[1], &format!("sk-{}", w[1])) })
        .collect();
    let refused = declare(&[&parent, &chain[0], &chain[1], &chain[2], &chain[3]]).await;
    assert!(refusal(refused).contains("at most 4"));
}

async fn a_clash_of_declared_and_made_keys_changes_nothing(database: Database) {
    let store = database.open().await;
    store.create_key(&NewKey::named("made"), &secret("sk-made")).await.unwrap();
    let before = store.published().await.unwrap();
    let by_name = store.declare_keys(Origin::File, &[spec("new", "sk-1"), spec("made", "sk-2")]).await;
    assert!(refusal(by_name).contains("key \"made\""));
    let by_secret = store.declare_keys(Origin::File, &[spec("new", "sk-1"), spec("x", "sk-made")]).await;
    assert!(refusal(by_secret).contains("same secret"));
    assert_eq!(store.published().await.unwrap(), before);
    // What is declared cannot be made either.
    store.declare_keys(Origin::Env, &[spec("env", "sk-env")]).await.unwrap();
    assert!(refusal(store.create_key(&NewKey::named("env"), &secret("sk-3")).await).contains("origin env"));
}

async fn balances_change_by_entries(database: Database) {
    let store = database.open().await;
    let new = NewKey { quota: Some(Money::from_nanos(500)), ..NewKey::named("k") };
    store.create_key(&new, &secret("sk-k")).await.unwrap();
    let account = store.top_up("k", Money::from_nanos(1_500), "paid").await.unwrap();
    assert_eq!((account.balance, account.is_limited), (2_000, true));
    assert_eq!(store.top_up("k", Money::from_nanos(-200), "back").await.unwrap().balance, 1_800);
    let set = Allowance::Remaining(Money::from_nanos(7));
    assert_eq!(store.set_allowance("k", set).await.unwrap().balance, 7);
    let unlimited = store.set_allowance("k", Allowance::Unlimited).await.unwrap();
    assert_eq!((unlimited.balance, unlimited.is_limited), (7, false));
    assert!(refusal(store.top_up("k", Money::ZERO, "").await).contains("not be 0"));
    assert!(refusal(store.top_up("k", Money::MAX, "").await).contains("at most"));
    assert!(refusal(store.top_up("x", Money::DOLLAR, "").await).contains("\"x\""));
    let negative = NewKey { quota: Some(Money::from_nanos(-1)), ..NewKey::named("n") };
    assert!(refusal(store.create_key(&negative, &secret("sk-n")).await).contains("below zero"));
}

async fn keys_are_imported_once(database: Database) {
    let store = database.open().await;
    let keys = [("unnamed".to_owned(), secret("sk-1")), ("unnamed".to_owned(), secret("sk-2"))];
    store.import_keys(&keys).await.unwrap();
    store.import_keys(&keys).await.unwrap();
    let live = KeyStatus::Live;
    assert_eq!(names(&store).await, [("unnamed".to_owned(), live), ("unnamed-2".to_owned(), live)]);
}

async fn of_many_makers_of_one_name_one_succeeds(database: Database) {
    let store = database.open().await;
    let makers: Vec<_> = (0..12)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(
                async move { store.create_key(&NewKey::named("one"), &secret(&format!("sk-{i}"))).await },
            )
        })
        .collect();
    let mut made = 0;
    for maker in makers {
        match maker.await.unwrap() {
            Ok(_) => made += 1,
            Err(StoreError::Refused(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((made, names(&store).await.len()), (1, 1));
}
