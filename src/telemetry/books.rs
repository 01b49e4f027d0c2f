//! The metrics of the books: journal, usage log, money, traffic, accounts. Read at each scrape from what the
//! actors and the journal publish; nothing here is counted twice.

use std::{cmp::Reverse, sync::Arc};

use penstock_actors::{
    billing::{Ledger, ledger::Funds},
    domain::{Money, Outcome},
    metrics::{Totals, TrafficView, actor::TrafficHandle},
    usage_log::UsageLogView,
};

use super::family::{Family, Kind, Value};

/// Accounts that are shown: the limited ones that have least left.
const ACCOUNTS: usize = 50;

/// What the journal counts, by its own names, and what each is.
const JOURNAL: &[(&str, &str)] = &[
    ("records", "Records written."),
    ("bytes", "Bytes of records written."),
    ("segments", "Segments begun."),
    ("short_writes", "Writes that took only a part of a record."),
    ("slow_writes", "Writes that took longer than journal.slow_write."),
    ("errors", "Writes, creations and syncs that failed."),
    ("syncs", "Syncs of a segment."),
    ("sync_micros", "Microseconds spent in syncs."),
    ("spares", "Spare segments taken into use: the disk was full."),
    ("refused", "Dispatches refused because the journal could not take them."),
    ("skipped", "Dispatches and progress left out because the journal could not take them."),
    ("queued", "Records that waited in memory for a slow or failing disk."),
    ("lost", "Settlements that found neither disk nor room in memory."),
];

/// Where the figures come from.
pub struct BooksSources {
    /// The journal.
    pub journal: Box<dyn Fn() -> JournalFigures + Send + Sync>,
    /// The ring and its consumers.
    pub usage_log: UsageLogView,
    /// The Meter's.
    pub traffic: TrafficHandle,
    /// The balances.
    pub ledger: Arc<Ledger>,
}

/// What the journal shows of itself.
#[derive(Clone, Debug, Default)]
pub struct JournalFigures {
    /// Its counters by name.
    pub counters: Vec<(&'static str, u64)>,
    /// Calls dispatched and not settled.
    pub open: u64,
    /// Bytes written that a power cut would take.
    pub unsynced: u64,
    /// Streams whose disk takes nothing.
    pub failing: u64,
    /// Bytes of journal that each consumer has yet to bring home, by its name.
    pub behind: Vec<(&'static str, u64)>,
    /// Calls of older starts that were settled as abandoned by this one, and what they were charged.
    pub abandoned: (u64, Money),
    /// Rows of the request log that were left out because it was too far behind.
    pub dropped_rows: u64,
}

impl BooksSources {
    /// The families with their samples.
    pub(super) fn families(&self) -> Vec<Family> {
        let traffic = self.traffic.load();
        let mut families = journal(&(self.journal)());
        families.extend(usage_log(Some(&self.usage_log)));
        families.extend(money(&traffic));
        families.extend(windows(&traffic));
        families.extend(accounts(Some(&self.ledger)));
        families
    }
}

/// The families as they are listed, without samples.
pub(super) fn listed() -> Vec<Family> {
    let (journal, traffic) = (journal(&JournalFigures::default()), TrafficView::default());
    [journal, usage_log(None), money(&traffic), windows(&traffic), accounts(None)].concat()
}

fn journal(figures: &JournalFigures) -> Vec<Family> {
    let counted = JOURNAL.iter().map(|(name, help)| {
        let value = figures.counters.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value);
        Family::counter(&format!("penstock_journal_{name}_total"), help).with(&[], value)
    });
    let mut families: Vec<_> = counted.collect();
    let (abandoned, charge) = figures.abandoned;
    let behind = "Bytes of journal that a consumer has yet to bring into the database.";
    let mut behind = Family::gauge("penstock_journal_behind_bytes", behind).by(&["consumer"]);
    for (consumer, bytes) in &figures.behind {
        behind = behind.with(&[consumer], *bytes);
    }
    families.extend([
        Family::gauge("penstock_journal_open_dispatches", "Calls dispatched and not settled.")
            .with(&[], figures.open),
        Family::gauge("penstock_journal_unsynced_bytes", "Bytes written and not synced yet.")
            .with(&[], figures.unsynced),
        Family::gauge("penstock_journal_failing_streams", "Workers whose disk takes no record.")
            .with(&[], figures.failing),
        behind,
        Family::counter(
            "penstock_abandoned_total",
            "Calls of earlier starts that this one settled as abandoned.",
        )
        .with(&[], abandoned),
        Family::counter("penstock_abandoned_nanodollars_total", "What abandoned calls were charged.")
            .with(&[], charge),
        Family::counter(
            "penstock_request_log_dropped_total",
            "Rows of the request log left out because it was too far behind; their money was entered.",
        )
        .with(&[], figures.dropped_rows),
    ]);
    families
}

fn usage_log(view: Option<&UsageLogView>) -> Vec<Family> {
    let ring = |name: &str, kind, help: &str, value: Option<u64>| {
        let family = Family::new(&format!("penstock_usage_log_{name}"), kind, help);
        value.into_iter().fold(family, |family, value| family.with(&[], value))
    };
    let ring_of = |look: fn(&UsageLogView) -> u64| view.map(look);
    let mut families = vec![
        ring("events_total", Kind::Counter, "Events pushed into the ring.", ring_of(|v| v.ring().head())),
        ring(
            "dropped_total",
            Kind::Counter,
            "Events the ring had no slot for.",
            ring_of(|v| v.ring().dropped()),
        ),
        ring("slots", Kind::Gauge, "Slots of the ring.", ring_of(|v| v.ring().capacity())),
    ];
    macro_rules! of_consumers {
        ($($name:literal, $kind:ident, $help:literal, $look:expr;)*) => { $({
            let family = Family::new(concat!("penstock_usage_log_", $name), Kind::$kind, $help).by(&["consumer"]);
            let depths = view.map(UsageLogView::depths).unwrap_or_default();
            families.push(depths.iter().fold(family, |family, depth| {
                let look: fn(&penstock_actors::usage_log::actor::Depth) -> u64 = $look;
                family.with(&[depth.consumer.name], look(depth))
            }));
        })* };
    }
    of_consumers! {
        "lag", Gauge, "Events of the ring that a consumer has yet to read.", |d| d.lag;
        "frozen", Gauge, "1 where a consumer has left events unread for seconds.",
            |d| u64::from(d.consumer.is_frozen());
        "applied_total", Counter, "Settlements that a consumer handed on.", |d| d.consumer.applied.total();
        "duplicates_total", Counter, "Events that a consumer had applied before.",
            |d| d.consumer.duplicates.total();
        "gaps_total", Counter, "Times that an event did not follow on, and the journal was read.",
            |d| d.consumer.gaps.total();
        "skipped_total", Counter, "Events passed over by a consumer detached for being half a ring behind.",
            |d| d.consumer.passed_over.total();
        "lost_total", Counter, "Parts of the journal that were missing.", |d| d.consumer.lost.total();
        "commits_total", Counter, "Batches committed.", |d| d.consumer.commits.total();
        "failures_total", Counter, "Times that the database or the journal failed a consumer.",
            |d| d.consumer.failures.total();
        "restarts_total", Counter, "Times that a consumer was started afresh.", |d| d.consumer.restarts.total();
    }
    families
}

fn money(traffic: &TrafficView) -> Vec<Family> {
    let TrafficView { ever, refused, missed, .. } = traffic;
    let mut settled =
        Family::counter("penstock_settled_total", "Calls settled, by outcome.").by(&["outcome"]);
    for outcome in Outcome::ALL {
        settled = settled.with(&[outcome.as_str()], ever.outcomes[outcome.index()]);
    }
    let help = "Calls refused by the caller's fault or ours after admission, by code.";
    let mut by_code = Family::counter("penstock_refused_total", help).by(&["code"]);
    for (code, calls) in refused {
        by_code = by_code.with(&[code], *calls);
    }
    vec![
        settled,
        by_code,
        Family::counter("penstock_reserved_nanodollars_total", "Held for calls that were settled.")
            .with(&[], ever.reserved),
        Family::counter("penstock_charged_nanodollars_total", "What callers paid.").with(&[], ever.charge),
        Family::counter("penstock_cost_nanodollars_total", "What channels cost.").with(&[], ever.cost),
        Family::counter(
            "penstock_meter_missed_total",
            "Settlements that the metrics missed; the figures above are too low by so many calls.",
        )
        .with(&[], *missed),
    ]
}

fn windows(traffic: &TrafficView) -> Vec<Family> {
    type Look = fn(&Totals) -> Value;
    const OF: [(&str, &str, Look); 6] = [
        ("calls", "Calls that ended", |t| t.calls().into()),
        ("prompt_tokens", "Prompt tokens", |t| t.prompt.into()),
        ("completion_tokens", "Generated tokens", |t| t.completion.into()),
        ("charged_nanodollars", "What callers paid", |t| t.charge.into()),
        ("cost_nanodollars", "What channels cost", |t| t.cost.into()),
        ("mean_seconds", "Mean time from arrival to end", |t| {
            Value::Float(t.took_ms as f64 / 1_000.0 / t.calls().max(1) as f64)
        }),
    ];
    let mut families = Vec::new();
    for (name, what, look) in OF {
        let help = format!("{what} within a sliding window.");
        let all = Family::gauge(&format!("penstock_traffic_{name}"), &help).by(&["window"]);
        families.push(all.with(&["1m"], look(&traffic.minute)).with(&["1h"], look(&traffic.hour)));
    }
    for (of, sums) in [("channel", &traffic.channels), ("model", &traffic.models)] {
        for (name, what, look) in OF {
            let help = format!("{what} within the last minute, by {of}; \"*\" stands for all beyond 512.");
            let family = Family::gauge(&format!("penstock_traffic_{of}_{name}"), &help).by(&[of]);
            families.push(sums.iter().fold(family, |family, (name, sum)| family.with(&[name], look(sum))));
        }
    }
    families
}

fn accounts(ledger: Option<&Arc<Ledger>>) -> Vec<Family> {
    let known = Family::gauge("penstock_accounts", "Accounts known on this node.");
    let help = format!("What limited accounts have left, of the {ACCOUNTS} that have least.");
    let left = Family::gauge("penstock_account_available_nanodollars", &help).by(&["account"]);
    let Some(ledger) = ledger else { return vec![known, left] };
    let limited = ledger.cells().filter(|cell| cell.funds() == Funds::Limited);
    // A heap's worth of them, whatever number there is.
    let mut least = std::collections::BinaryHeap::new();
    for cell in limited {
        least.push((cell.available(), Reverse(cell.id.0)));
        if least.len() > ACCOUNTS {
            least.pop();
        }
    }
    let left = least
        .into_sorted_vec()
        .into_iter()
        .fold(left, |family, (available, Reverse(id))| family.with(&[&id.to_string()], available));
    vec![known.with(&[], ledger.len() as u64), left]
}

#[cfg(test)]
mod tests {
    use super::*;
    use penstock_actors::domain::AccountId;

    #[test]
    fn of_many_accounts_those_with_least_are_shown() {
        let ledger = Ledger::new();
        for id in 1..=200 {
            let funds = if id % 2 == 0 { Funds::Limited } else { Funds::Unlimited };
            ledger.open(AccountId(id), Money::from_nanos(1_000 - id), funds);
        }
        let mut text = String::new();
        accounts(Some(&ledger)).iter().for_each(|family| family.write(&mut text));
        assert!(text.contains("penstock_accounts 200\n"), "{text}");
        assert!(text.contains("penstock_account_available_nanodollars{account=\"200\"} 800\n"), "{text}");
        assert!(text.contains("{account=\"102\"} 898\n") && !text.contains("\"100\""), "{text}");
        assert!(!text.contains("\"199\""), "without a limit\n{text}");
    }
}
