//! From rows of the store to callers: chains of accounts, ends of life. Pure.

use std::collections::HashMap;

use penstock_actors::{
    domain::{AccountChain, AccountId},
    limiter::{LimitSet, Owner},
};

use crate::{
    api_key::{Caller, KeyDigest},
    config,
    store::{DEEPEST, KeyRow, KeyStatus, Published},
};

/// The account of the space that every key belongs to.
const SPACE: AccountId = AccountId(1);

/// Everyone whose secret opens. A key opens only while all keys above it do.
pub(super) fn callers(published: &Published) -> Vec<(KeyDigest, Caller)> {
    let by_id: HashMap<i64, &KeyRow> = published.keys.iter().map(|k| (k.id, k)).collect();
    let mut callers = Vec::with_capacity(published.keys.len());
    for key in &published.keys {
        let Some(caller) = caller(key, &by_id) else { continue };
        if let Some((digest, until)) = key.old {
            let expires_ms = Some(caller.expires_ms.map_or(until, |end| end.min(until)));
            callers.push((digest, Caller { expires_ms, ..caller.clone() }));
        }
        callers.push((key.digest, caller));
    }
    callers
}

fn caller(key: &KeyRow, by_id: &HashMap<i64, &KeyRow>) -> Option<Caller> {
    let (mut accounts, mut above_it, mut expires_ms) = (Vec::with_capacity(2), Vec::new(), None);
    let mut next = Some(key.id);
    while let Some(id) = next {
        let above = by_id.get(&id).filter(|k| k.status == KeyStatus::Live)?;
        if accounts.len() == DEEPEST {
            return None;
        }
        accounts.push(above.account_id());
        if id != key.id {
            above_it.push(Owner { id: above.key_id(), name: above.name.clone(), limits: limits(above) });
        }
        expires_ms = match (expires_ms, above.expires_ms) {
            (Some(a), Some(b)) => Some(i64::min(a, b)),
            (a, b) => a.or(b),
        };
        next = above.parent;
    }
    accounts.push(SPACE);
    Some(Caller {
        id: key.key_id(),
        key: key.name.clone(),
        accounts: AccountChain(accounts),
        group: key.group.as_str().into(),
        models: key.models.clone(),
        may_pin: key.may_pin,
        may_see_routing: key.may_see_routing,
        expires_ms,
        limits: limits(key),
        above: above_it.into(),
    })
}

/// What a key was given to take in a time. What cannot be read, a later program's words for example, lets nothing
/// through rather than everything.
fn limits(key: &KeyRow) -> Option<Box<LimitSet>> {
    let written = key.limits.as_ref()?;
    let read = config::limit_set(written).unwrap_or_else(|problem| {
        tracing::error!(key = key.name, problem, "the limits of a key cannot be read; it may take nothing");
        LimitSet::nothing()
    });
    Some(Box::new(read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Origin;

    fn key(id: i64, parent: Option<i64>) -> KeyRow {
        KeyRow {
            id,
            name: id.to_string(),
            origin: Origin::Made,
            status: KeyStatus::Live,
            digest: [id as u8; 32],
            old: None,
            prefix: String::new(),
            account: id * 10,
            parent,
            group: "default".to_owned(),
            models: None,
            expires_ms: None,
            may_pin: false,
            may_see_routing: false,
            created_ms: 0,
            limits: None,
        }
    }

    fn opened(keys: Vec<KeyRow>) -> Vec<(u8, Vec<i64>, Option<i64>)> {
        let callers = callers(&Published { keys, ..Published::default() });
        let shown =
            |(d, c): (KeyDigest, Caller)| (d[0], c.accounts.0.iter().map(|a| a.0).collect(), c.expires_ms);
        callers.into_iter().map(shown).collect()
    }

    #[test]
    fn a_child_draws_from_all_above_it_and_ends_with_the_first() {
        let parent = KeyRow { expires_ms: Some(5), ..key(1, None) };
        let child = KeyRow { expires_ms: Some(9), ..key(2, Some(1)) };
        assert_eq!(opened(vec![parent, child]), [(1, vec![10, 1], Some(5)), (2, vec![20, 10, 1], Some(5))]);
    }

    #[test]
    fn a_child_knows_the_keys_above_it_and_what_they_may_take_and_unreadable_limits_let_nothing_through() {
        let limited = |limit: &str, key| KeyRow { limits: Some(vec![limit.to_owned()]), ..key };
        let keys = vec![limited("5 requests per day", key(1, None)), key(2, Some(1)), key(3, Some(2))];
        let callers = callers(&Published { keys, ..Published::default() });
        let youngest = &callers[2].1;
        let above: Vec<_> = youngest.above.iter().map(|above| (above.id.0, above.limits.is_some())).collect();
        assert_eq!((above, youngest.limits.is_none()), (vec![(2, false), (1, true)], true));
        assert_eq!(limits(&limited("5 sheep per day", key(1, None))), Some(Box::new(LimitSet::nothing())));
        assert_eq!(limits(&key(1, None)), None);
    }

    #[test]
    fn a_child_of_a_key_that_does_not_open_does_not_open() {
        let disabled = KeyRow { status: KeyStatus::Disabled, ..key(1, None) };
        assert_eq!(opened(vec![disabled, key(2, Some(1)), key(3, Some(99))]), []);
    }

    #[test]
    fn a_chain_that_bites_its_tail_opens_nothing() {
        assert_eq!(opened(vec![key(1, Some(2)), key(2, Some(1))]), []);
    }

    #[test]
    fn an_old_secret_opens_until_its_end_or_the_keys() {
        let rotated = KeyRow { old: Some(([9; 32], 7)), expires_ms: Some(8), ..key(1, None) };
        assert_eq!(opened(vec![rotated]), [(9, vec![10, 1], Some(7)), (1, vec![10, 1], Some(8))]);
    }
}
