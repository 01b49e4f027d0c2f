//! What limits know of the time before a start: read from the request log once it is there.

use std::{collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use penstock_actors::{
    domain::{KeyId, Money},
    limiter::{Amounts, Rules, Span, actor::Past},
    router::TableHandle,
};

use super::books::Bookkeeping;
use crate::{
    api_key::{Caller, KeyTable},
    clock::now_ms,
    store::{Consumed, LateStore, StoreError},
};

/// How long a start looks for a database before it lets the past be.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is seen whether the request log has everything of older starts.
const LOOK: Duration = Duration::from_millis(50);

/// A part of the past, and the times in which what was consumed then is to count.
#[derive(Debug, PartialEq, Eq)]
struct Slice {
    from_ms: i64,
    to_ms: i64,
    spans: &'static [Span],
}

/// Whether anything is limited in such a time: by the settings, or by a key's own limits.
fn limits_any(rules: &Rules, keys: &KeyTable, span: Span) -> bool {
    let own = |caller: &Arc<Caller>| caller.limits.as_ref().is_some_and(|set| set.limits_any(span));
    let above = |caller: &Arc<Caller>| {
        caller.above.iter().filter_map(|owner| owner.limits.as_ref()).any(|set| set.limits_any(span))
    };
    rules.limits_any(span) || keys.callers().any(|caller| own(caller) || above(caller))
}

/// What must be read for the limits in force. A sliding window's past is read in slices, each of which counts
/// as if all of it had been at the slice's end: for too long, never too short.
fn slices(rules: &Rules, keys: &KeyTable, now_ms: i64) -> Vec<Slice> {
    let limits_any = |span| limits_any(rules, keys, span);
    let mut slices = Vec::new();
    if limits_any(Span::Month) {
        slices.push(Slice { from_ms: rules.zone.month_began(now_ms), to_ms: now_ms, spans: &[Span::Month] });
    }
    if limits_any(Span::Day) {
        slices.push(Slice { from_ms: rules.zone.day_began(now_ms), to_ms: now_ms, spans: &[Span::Day] });
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

/// Reads what was consumed before this start, and has the Limiter count it.
pub(super) fn restore(
    books: &Rc<Bookkeeping>,
    store: Arc<LateStore>,
    keys: Arc<ArcSwap<KeyTable>>,
    table: TableHandle,
) {
    let rules = books.shared().limits.rules();
    let started = now_ms();
    let books = Rc::downgrade(books);
    actix_web::rt::spawn(async move {
        let read = async {
            loop {
                // What older starts settled last may be on its way into the log still.
                if books.upgrade().is_some_and(|books| !books.has_logged_older()) {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                match read(&store, &rules, &keys, started).await {
                    Ok(read) => return read,
                    Err(error) => tracing::debug!(%error, "the past of the limits cannot be read yet"),
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let read = tokio::time::timeout(PATIENCE, read).await;
        if slices(&rules, &keys.load(), started).is_empty() {
            return;
        }
        let Ok(read) = read else {
            return tracing::warn!("limits begin anew: the request log could not be read");
        };
        let keys = keys.load_full();
        let callers: HashMap<KeyId, &Arc<Caller>> = keys.callers().map(|c| (c.id, c)).collect();
        let table = table.load_full();
        let past = read.iter().map(|(ended, spans, row)| {
            let key = KeyId(row.key_id);
            let caller = callers.get(&key);
            let count = |n: i64| u64::try_from(n).unwrap_or_default();
            Past {
                key,
                name: caller.map_or_else(String::new, |c| c.key.clone()),
                limits: caller.and_then(|c| c.limits.clone()),
                above: caller.map_or_else(Arc::default, |c| Arc::clone(&c.above)),
                group: caller.map_or_else(|| "".into(), |c| Arc::clone(&c.group)),
                model: table.resolve(&row.model).to_owned(),
                channel: row.channel.clone(),
                amounts: Amounts {
                    requests: count(row.calls),
                    tokens: count(row.tokens),
                    spend: Amounts::of_money(Money::from_nanos(row.charge)),
                },
                ago: Duration::from_millis(count(now_ms() - ended)),
                spans,
            }
        });
        let past: Vec<Past> = past.collect();
        if let Some(books) = books.upgrade() {
            books.restore(past).await;
        }
    });
}

type Read = Vec<(i64, &'static [Span], Consumed)>;

/// Where there is a store, its keys are in force.
async fn read(
    store: &LateStore,
    rules: &Rules,
    keys: &ArcSwap<KeyTable>,
    started_ms: i64,
) -> Result<Read, String> {
    let store = store.get().map_err(|e| e.to_string())?;
    let mut read = Vec::new();
    let slices = slices(rules, &keys.load_full(), started_ms);
    for Slice { from_ms, to_ms, spans } in slices {
        let rows = store.consumed(from_ms, to_ms).await.map_err(|e: StoreError| e.to_string())?;
        read.extend(rows.into_iter().map(|row| (to_ms, spans, row)));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_actors::limiter::{Kind, LimitSet, Measure};

    #[test]
    fn only_the_times_that_are_limited_are_read_and_slices_join() {
        let (now, none) = (1_000_000_000, KeyTable::default());
        assert_eq!(slices(&Rules::default(), &none, now), []);
        let limit = |measure, span| LimitSet::default().with(Kind { measure, span }, Some(5));
        let every_key = limit(Measure::Tokens, Span::Hour);
        let read = slices(&Rules { every_key, ..Rules::default() }, &none, now);
        assert_eq!((read.len(), read[0].to_ms, read[5].from_ms), (6, now, now - 3_600_000));
        assert!(read.windows(2).all(|pair| pair[0].from_ms == pair[1].to_ms));
        let own = Some(Box::new(limit(Measure::Spend, Span::Day)));
        let key = none.next([([7; 32], Caller { limits: own, ..Caller::named("own") })]);
        let read = slices(&Rules::default(), &key, now);
        assert_eq!((read.len(), read[0].spans), (1, &[Span::Day][..]), "a key's own limit");
    }
}
