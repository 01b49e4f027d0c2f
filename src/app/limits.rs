//! What limits know of the time before they came into force: before a start, or before someone set them. Read from
//! the request log, once it is there.

use std::{
    collections::{HashMap, HashSet},
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use penstock_actors::{
    domain::{KeyId, Money},
    limiter::{Amounts, CellId, LimitSet, Rules, Scope, Span, Zone, actor::Past},
    router::TableHandle,
};

use super::books::Bookkeeping;
use crate::{
    api_key::{Caller, KeyTable},
    clock::now_ms,
    store::{Consumed, LateStore},
};

/// How often it is seen whether limits have changed, and whether the request log has what was settled before.
const LOOK: Duration = Duration::from_millis(100);
/// How long after a read that failed the next one is tried; twice as long each time.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Above so many keys the log is read whole.
const KEYS_BY_NAME: usize = 5_000;

/// All that is limited at a moment.
#[derive(Clone, Default)]
struct View {
    rules: Arc<Rules>,
    keys: Arc<KeyTable>,
}

impl View {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rules, &other.rules) && Arc::ptr_eq(&self.keys, &other.keys)
    }

    /// What this view limits and the one before did not. A key that opens something again is as it was where
    /// `counts` says so of its cell: nobody took anything meanwhile.
    fn beyond(&self, before: &Self, counts: impl Fn(&CellId) -> bool) -> HashSet<CellId> {
        let mut found = HashSet::new();
        let (rules, old) = (&self.rules, &before.rules);
        if !Arc::ptr_eq(rules, old) {
            add(&mut found, || Scope::Space, &rules.space, Some(&old.space));
            let of_group: fn(Arc<str>) -> Scope = Scope::Group;
            let named = [
                (&rules.groups, &old.groups, of_group),
                (&rules.models, &old.models, Scope::Model),
                (&rules.channels, &old.channels, Scope::Channel),
            ];
            for (sets, old, scope) in named {
                for (name, set) in sets {
                    add(&mut found, || scope(name.as_str().into()), set, old.get(name));
                }
            }
        }
        let mut look = |caller: &Caller, earlier: Option<&Caller>| {
            let set = rules.of_key(&caller.key, caller.limits.as_deref());
            let earlier = earlier.map(|c| old.of_key(&c.key, c.limits.as_deref()));
            let mut new = HashSet::new();
            add(&mut new, || Scope::Key(caller.id), set, earlier);
            found.extend(new.into_iter().filter(|id| earlier.is_some() || !counts(id)));
        };
        if rules.limit_keys_alike(old) {
            self.keys
                .changed_since(&before.keys)
                .for_each(|(caller, earlier)| look(caller, earlier.map(|c| &**c)));
        } else {
            self.keys.beside(&before.keys).for_each(|(caller, earlier)| look(caller, earlier.map(|c| &**c)));
        }
        found
    }

    /// The keys whose calls count against one of these limits, where these are of keys alone and not too many.
    fn who_counts(&self, of: &HashSet<CellId>) -> Option<Vec<i64>> {
        let ids: Option<HashSet<KeyId>> = of
            .iter()
            .map(|cell| match cell.scope {
                Scope::Key(id) => Some(id),
                _ => None,
            })
            .collect();
        let ids = ids.filter(|ids| ids.len() <= KEYS_BY_NAME)?;
        let counts = |c: &&Arc<Caller>| ids.contains(&c.id) || c.above.iter().any(|o| ids.contains(&o.id));
        let counting: HashSet<i64> = self.keys.callers().filter(counts).map(|caller| caller.id.0).collect();
        Some(counting.into_iter().collect()).filter(|keys: &Vec<i64>| keys.len() <= KEYS_BY_NAME)
    }
}

fn add(found: &mut HashSet<CellId>, scope: impl Fn() -> Scope, set: &LimitSet, before: Option<&LimitSet>) {
    let new = set.limits().filter(|(kind, _)| before.is_none_or(|before| before.of(*kind).is_none()));
    found.extend(new.map(|(kind, _)| CellId { scope: scope(), kind }));
}

/// Limits whose past is to be read.
struct Awaited {
    /// Its number among those that were ever awaited.
    number: u64,
    of: HashSet<CellId>,
    /// What arrived before this moment their cells know nothing of.
    until_ms: i64,
    /// Whether the request log has what was settled before that moment.
    is_logged: Box<dyn Fn() -> bool>,
}

/// A part of the past, and the times in which what was consumed then is to count.
#[derive(Debug, PartialEq, Eq)]
struct Slice {
    from_ms: i64,
    to_ms: i64,
    spans: &'static [Span],
}

/// What must be read for limits on such times. A sliding window's past is read in slices, each of which counts
/// as if all of it had been at the slice's end: for too long, never too short.
fn slices(zone: &Zone, limits_any: impl Fn(Span) -> bool, now_ms: i64) -> Vec<Slice> {
    let mut slices = Vec::new();
    if limits_any(Span::Month) {
        slices.push(Slice { from_ms: zone.month_began(now_ms), to_ms: now_ms, spans: &[Span::Month] });
    }
    if limits_any(Span::Day) {
        slices.push(Slice { from_ms: zone.day_began(now_ms), to_ms: now_ms, spans: &[Span::Day] });
    }
    let sliding: [(Span, i64, &'static [Span]); 2] =
        [(Span::Hour, 6, &[Span::Hour]), (Span::Minute, 4, &[Span::Minute])];
    for (span, parts, spans) in sliding {
        let length = span.length().map_or(0, |length| length.as_millis() as i64);
        if limits_any(span) {
            slices.extend((0..parts).map(|part| Slice {
                from_ms: now_ms - length * (part + 1) / parts,
                to_ms: now_ms - length * part / parts,
                spans,
            }));
        }
    }
    slices
}

/// Follows what is limited, and has the Limiter count what was consumed before.
struct Recall {
    books: Weak<Bookkeeping>,
    store: Arc<LateStore>,
    keys: Arc<ArcSwap<KeyTable>>,
    table: TableHandle,
    known: View,
    awaited: Vec<Awaited>,
    /// How many were awaited so far.
    noticed: u64,
}

/// Begins to follow what is limited. What is by now, is so since this start.
pub(super) fn follow(
    books: &Rc<Bookkeeping>,
    store: Arc<LateStore>,
    keys: Arc<ArcSwap<KeyTable>>,
    table: TableHandle,
) {
    let mut recall = Recall {
        books: Rc::downgrade(books),
        store,
        keys,
        table,
        known: View::default(),
        awaited: Vec::new(),
        noticed: 0,
    };
    recall.notice(books, now_ms());
    actix_web::rt::spawn(async move {
        let mut retry = FIRST_RETRY;
        while let Some(books) = recall.books.upgrade() {
            recall.notice(&books, now_ms());
            drop(books);
            let Err(error) = recall.read_next().await else {
                retry = FIRST_RETRY;
                tokio::time::sleep(LOOK).await;
                continue;
            };
            match retry < LAST_RETRY {
                true => tracing::debug!(%error, "the past of limits cannot be read yet"),
                false => {
                    tracing::warn!(%error, "limits know nothing of the time before: it cannot be read yet")
                }
            }
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(LAST_RETRY);
        }
    });
}

impl Recall {
    /// Takes note of what has come under a limit since the last look.
    fn notice(&mut self, books: &Bookkeeping, now_ms: i64) {
        let limits = &books.shared().limits;
        let view = View { rules: limits.rules(), keys: self.keys.load_full() };
        if view.is(&self.known) {
            return;
        }
        let new = view.beyond(&self.known, |id| limits.cells().has(id));
        self.known = view;
        // What they counted since then is in the log, too; what they counted under a limit of old is out of date.
        limits.cells().forget(&new);
        for awaited in &mut self.awaited {
            awaited.of.retain(|id| !new.contains(id));
        }
        self.awaited.retain(|awaited| !awaited.of.is_empty());
        if !new.is_empty() {
            let is_logged = Box::new(books.is_logged());
            self.noticed += 1;
            self.awaited.push(Awaited { number: self.noticed, of: new, until_ms: now_ms, is_logged });
        }
    }

    /// Reads the past of what has waited for longest, and has it counted.
    async fn read_next(&mut self) -> Result<(), String> {
        let Some(next) = self.awaited.first().filter(|next| (next.is_logged)()) else { return Ok(()) };
        let (number, until_ms, view) = (next.number, next.until_ms, self.known.clone());
        let limits_any = |span| next.of.iter().any(|id| id.kind.span == span);
        let parts = slices(&view.rules.zone, limits_any, until_ms);
        let by = view.who_counts(&next.of);
        let store = self.store.get().map_err(|e| e.to_string())?;
        let mut past = Vec::new();
        let callers: HashMap<KeyId, &Arc<Caller>> = view.keys.callers().map(|c| (c.id, c)).collect();
        let table = self.table.load_full();
        for Slice { from_ms, to_ms, spans } in parts {
            let rows = store.consumed(from_ms, to_ms, by.as_deref()).await.map_err(|e| e.to_string())?;
            past.extend(rows.into_iter().map(|row| {
                let caller = callers.get(&KeyId(row.key_id)).map(|caller| &***caller);
                let ago = Duration::from_millis(count(now_ms() - to_ms));
                of_row(&row, caller, table.resolve(&row.model), (ago, spans))
            }));
        }
        let Some(books) = self.books.upgrade() else { return Ok(()) };
        // Limits may have changed meanwhile: then this is not the past of all of them.
        self.notice(&books, now_ms());
        if let Some(at) = self.awaited.iter().position(|awaited| awaited.number == number) {
            books.restore(past, self.awaited.remove(at).of).await;
        }
        Ok(())
    }
}

fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}

fn of_row(
    row: &Consumed,
    caller: Option<&Caller>,
    model: &str,
    (ago, spans): (Duration, &'static [Span]),
) -> Past {
    Past {
        key: KeyId(row.key_id),
        name: caller.map_or_else(String::new, |c| c.key.clone()),
        limits: caller.and_then(|c| c.limits.clone()),
        above: caller.map_or_else(Arc::default, |c| Arc::clone(&c.above)),
        group: caller.map_or_else(|| "".into(), |c| Arc::clone(&c.group)),
        model: model.to_owned(),
        channel: row.channel.clone(),
        amounts: Amounts {
            requests: count(row.calls),
            tokens: count(row.tokens),
            spend: Amounts::of_money(Money::from_nanos(row.charge)),
        },
        ago,
        spans,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_actors::limiter::{Kind, Measure, Owner};

    const HOURLY: Kind = Kind { measure: Measure::Tokens, span: Span::Hour };
    const DAILY: Kind = Kind { measure: Measure::Spend, span: Span::Day };

    fn limit(kind: Kind) -> LimitSet {
        LimitSet::default().with(kind, Some(5))
    }

    fn caller(id: i64, limits: Option<LimitSet>) -> ([u8; 32], Caller) {
        let limits = limits.map(Box::new);
        ([id as u8; 32], Caller { id: KeyId(id), limits, ..Caller::named(&format!("key {id}")) })
    }

    fn view(rules: Rules, keys: impl IntoIterator<Item = ([u8; 32], Caller)>) -> View {
        View { rules: rules.into(), keys: KeyTable::default().next(keys).into() }
    }

    fn names(of: HashSet<CellId>) -> Vec<String> {
        let mut names: Vec<_> = of.iter().map(|id| format!("{:?} {id}", id.scope)).collect();
        names.sort();
        names
    }

    #[test]
    fn only_the_times_that_are_limited_are_read_and_slices_join() {
        let (now, zone) = (1_000_000_000, Zone::default());
        assert_eq!(slices(&zone, |_| false, now), []);
        let read = slices(&zone, |span| span == Span::Hour, now);
        assert_eq!((read.len(), read[0].to_ms, read[5].from_ms), (6, now, now - 3_600_000));
        assert!(read.windows(2).all(|pair| pair[0].from_ms == pair[1].to_ms));
        assert_eq!(slices(&zone, |span| span == Span::Day, now)[0].spans, [Span::Day]);
    }

    #[test]
    fn what_has_come_under_a_limit_is_told_once() {
        let uncounted = |_: &CellId| false;
        let own = limit(DAILY).with(HOURLY, Some(7));
        let rules = Rules {
            groups: [("g".to_owned(), limit(HOURLY))].into(),
            keys: [("key 2".to_owned(), limit(HOURLY))].into(),
            ..Rules::default()
        };
        let first = view(rules.clone(), [caller(1, Some(own)), caller(2, None), caller(3, None)]);
        let told = [
            r#"Group("g") group_tokens_per_hour"#,
            "Key(KeyId(1)) key_spend_per_day",
            "Key(KeyId(1)) key_tokens_per_hour",
            "Key(KeyId(2)) key_tokens_per_hour",
        ];
        assert_eq!(names(first.beyond(&View::default(), uncounted)), told);
        let again = View {
            keys: Arc::new(first.keys.next([caller(1, Some(own)), caller(3, None)])),
            ..first.clone()
        };
        assert!(again.beyond(&first, uncounted).is_empty(), "a key went");
        // Another amount is no other limit; another time is.
        let changed = own.with(HOURLY, Some(9));
        let keys = again.keys.next([caller(1, Some(changed)), caller(3, Some(limit(DAILY)))]);
        let next = View { keys: keys.into(), ..again.clone() };
        assert_eq!(names(next.beyond(&again, uncounted)), ["Key(KeyId(3)) key_spend_per_day"]);
        // A key that comes back and was counted all the while.
        assert!(first.beyond(&again, |_| true).is_empty());
        assert_eq!(names(first.beyond(&again, uncounted)), [told[3]]);
        // Every key's limits reach those without their own.
        let every = View { rules: Rules { every_key: limit(DAILY), ..rules }.into(), ..first.clone() };
        assert_eq!(names(every.beyond(&first, uncounted)), ["Key(KeyId(3)) key_spend_per_day"]);
    }

    #[test]
    fn the_log_is_read_for_a_key_and_those_under_it_or_whole_where_the_limit_is_not_a_keys() {
        let (digest, mut child) = caller(2, None);
        child.above = [Owner { id: KeyId(1), name: "key 1".to_owned(), limits: None }].into();
        let all = view(Rules::default(), [caller(1, None), (digest, child), caller(3, None)]);
        let key = |id| CellId { scope: Scope::Key(KeyId(id)), kind: DAILY };
        let sorted = |of: &[CellId]| {
            let mut keys = all.who_counts(&of.iter().cloned().collect())?;
            keys.sort_unstable();
            Some(keys)
        };
        assert_eq!(sorted(&[key(1)]), Some(vec![1, 2]));
        assert_eq!(sorted(&[key(2), key(3)]), Some(vec![2, 3]));
        assert_eq!(sorted(&[key(2), CellId { scope: Scope::Space, kind: DAILY }]), None);
    }
}
