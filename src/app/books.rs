//! The books of a running gateway: the node and its journal, what older starts left open, the balances, and
//! the actors that bring settlements into the database.

mod source;

use std::{
    collections::{HashMap, HashSet},
    io,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use penstock_actors::{
    accounting::{Accounting, Keeping},
    billing::{Ledger, Refresh},
    domain::{AccountId, Money, PriceList, StreamId},
    limiter::{
        CellId, LimitHandle,
        actor::{Past, Restore},
    },
    ports::{BooksStore, JournalSource, OwnStreams, RequestLogStore},
    usage_log::{Finished, Pace, Positions},
};

use super::{calls::Calls, claim::Claim, retention};
use crate::{
    clock::now_ms,
    config,
    journal::{self, Journal, JournalSettings, Node, TO_THE_END, disk::Disk},
    relay::books::{BooksShared, Heads},
    store::{LateStore, LogLag, Reach},
    telemetry::{BooksSources, JournalFigures},
};

use source::Source;

/// Slots of the ring, of half a KiB each.
const SLOTS: usize = 8192;
/// How long settlements gather before they are entered: with the journal's sync and the commit, they are in the
/// balances of the database within a second.
const ENTER_AFTER: Duration = Duration::from_millis(600);
/// How long they gather before they are written into the request log.
const LOG_AFTER: Duration = Duration::from_millis(750);
/// How often segments that nothing needs are looked for.
const RETAIN: Duration = Duration::from_secs(60);
/// How long a stop waits until everything is in the database. The rest is replayed by the next start.
const LAST_ENTRIES: Duration = Duration::from_secs(5);
/// What a stop says that could not wait any longer.
pub const LEFT_TO_REPLAY: &str = "some calls are not in the database yet";

/// What keeps the books while the gateway runs.
pub(super) struct Bookkeeping {
    accounting: Accounting,
    journal: Arc<Journal>,
    shared: Arc<BooksShared>,
    store: Arc<LateStore>,
    source: Arc<Source>,
    /// What this start settled as abandoned.
    abandoned: (u64, Money),
    /// Its node's lock keeps other processes from this data directory.
    claim: Rc<Claim>,
}

impl Bookkeeping {
    /// Opens the journal, settles what older starts left open, draws from the balances what they lack, being as
    /// of `opened_at`, and starts the actors.
    ///
    /// # Errors
    /// A sentence, where the data directory is another's, or damaged.
    pub(super) async fn start(
        (data_dir, disk): (&std::path::Path, Arc<dyn Disk>),
        settings: &config::Store,
        opened_at: Positions,
        ledger: Arc<Ledger>,
        prices: Arc<PriceList>,
        limits: Arc<LimitHandle>,
        store: Arc<LateStore>,
    ) -> Result<Self, String> {
        let node = Node::open(data_dir).map_err(|e| e.to_string())?;
        // Without an address it is the file in the data directory.
        let reach = if settings.url.is_none() { Reach::Own } else { Reach::Shared };
        let claim = Claim::new(node, Arc::clone(&store), reach);
        claim.make().await?;
        let mut node = claim.node_mut();
        let kept = journal_settings(&settings.journal, node.folder());
        let opened = Journal::open(kept, disk, node.node(), node.boot());
        let journal = Arc::new(opened.map_err(|e| e.to_string())?);
        let heads = Heads::default();
        let Older { ended, abandoned } = settle_what_is_open(&journal, &mut node, &heads)?;
        let source = Source { journal: Arc::clone(&journal), ended: ended.clone(), heads: heads.clone() };
        let ahead = source.draw_since(&opened_at, &ledger).map_err(|e| unreadable(&e))?;
        let source = Arc::new(source);
        let keeping = Keeping {
            journal: Arc::clone(&source) as Arc<dyn JournalSource>,
            books: Arc::clone(&store) as Arc<dyn BooksStore>,
            log: Arc::clone(&store) as Arc<dyn RequestLogStore>,
            own: OwnStreams { node: node.node(), boot: node.boot() },
            ahead,
            biller: Pace { gather: ENTER_AFTER, ..Pace::default() },
            log_writer: Pace { gather: LOG_AFTER, ..Pace::default() },
            limits: Arc::clone(&limits),
        };
        let accounting = Accounting::start(SLOTS, Arc::clone(&ledger), keeping);
        let ring = Arc::clone(accounting.usage_log.ring());
        let shared = BooksShared::new(ledger, prices, limits, ring, Arc::clone(&journal), heads);
        drop(node);
        claim.keep(&shared);
        let keep = Arc::clone(&store);
        let books = Self { accounting, journal, shared, store: keep, source, abandoned, claim };
        books.retain(ended);
        let lag = books.lag();
        store.shed(LogLag {
            most: settings.journal.log_lag,
            now: Box::new(move || lag(Accounting::DURABLE[1])),
        });
        let holder = format!("{}/{}", books.claim.node().node(), books.claim.node().boot());
        retention::keep(&store, settings.retention, holder);
        check_hourly(store);
        Ok(books)
    }

    /// What the workers keep their books with.
    pub(super) fn shared(&self) -> &Arc<BooksShared> {
        &self.shared
    }

    /// Where single calls are looked up.
    pub(super) fn calls(&self) -> Calls {
        Calls {
            store: Arc::clone(&self.store),
            journal: Arc::downgrade(&self.journal),
            usage_log: self.accounting.usage_log.clone(),
        }
    }

    /// Where the figures of the books are read for the metrics.
    pub(super) fn figures(&self) -> BooksSources {
        let (journal, lag, store) = (Arc::downgrade(&self.journal), self.lag(), Arc::clone(&self.store));
        let abandoned = self.abandoned;
        let look = move || {
            let Some(journal) = journal.upgrade() else { return JournalFigures::default() };
            let streams = journal.streams();
            JournalFigures {
                counters: journal.counters().all().collect(),
                open: streams.iter().map(|s| s.open()).sum(),
                unsynced: streams.iter().map(|s| s.written().saturating_sub(s.durable().upto)).sum(),
                failing: streams.iter().filter(|s| s.is_failing()).count() as u64,
                behind: Accounting::DURABLE.into_iter().map(|consumer| (consumer, lag(consumer))).collect(),
                abandoned,
                dropped_rows: store.dropped_rows(),
            }
        };
        BooksSources {
            journal: Box::new(look),
            usage_log: self.accounting.usage_log.clone(),
            traffic: Arc::clone(&self.accounting.traffic),
            ledger: Arc::clone(&self.accounting.ledger),
        }
    }

    /// How many bytes of journal a consumer has yet to bring home.
    fn lag(&self) -> impl Fn(&'static str) -> u64 + Send + Sync + use<> {
        let (source, usage_log) = (Arc::downgrade(&self.source), self.accounting.usage_log.clone());
        move |consumer| {
            let heads = source.upgrade().map(|source| source.heads()).unwrap_or_default();
            let left = |(s, head): (StreamId, u64)| head.saturating_sub(usage_log.durable(&[consumer], s));
            heads.into_iter().map(left).sum()
        }
    }

    /// Tells whether the request log has everything that was settled by now.
    pub(super) fn is_logged(&self) -> impl Fn() -> bool + use<> {
        let (heads, log) = (self.source.heads(), self.accounting.usage_log.clone());
        move || heads.iter().all(|(stream, end)| log.durable(&Accounting::DURABLE[1..], *stream) >= *end)
    }

    /// Has the Limiter count what was consumed before these limits came into force.
    pub(super) async fn restore(&self, past: Vec<Past>, of: HashSet<CellId>) {
        let (rows, limits) = (past.len(), of.len());
        match self.accounting.limiter.send(Restore(past, of)).await {
            Ok(()) => tracing::info!(limits, rows, "limits know of the time before"),
            Err(error) => tracing::warn!(%error, "limits begin anew"),
        }
    }

    /// Has balances that others may have changed taken over.
    pub(super) fn refresh(&self, accounts: Vec<AccountId>) {
        if let Err(error) = self.accounting.biller.try_send(Refresh(accounts)) {
            tracing::warn!(%error, "changed balances are taken over with the next change only");
        }
    }

    /// Deletes segments that nothing needs any more, now and then.
    fn retain(&self, ended: Vec<(StreamId, u64)>) {
        let (journal, recovered) = (Arc::downgrade(&self.journal), self.claim.node().recovered());
        let log = self.accounting.usage_log.clone();
        actix_web::rt::spawn(async move {
            loop {
                tokio::time::sleep(RETAIN).await;
                let Some(journal) = journal.upgrade() else { return };
                let mut passed: HashMap<_, _> = HashMap::new();
                for stream in journal.streams() {
                    let stream = stream.stream();
                    passed.insert(stream, log.durable(&Accounting::DURABLE, stream));
                }
                for (stream, end) in &ended {
                    let durable = log.durable(&Accounting::DURABLE, *stream);
                    passed.insert(*stream, if durable >= *end { TO_THE_END } else { durable });
                }
                let done = tokio::task::spawn_blocking(move || journal.retain(recovered, &passed)).await;
                match done {
                    Ok(Ok(0)) | Err(_) => {}
                    Ok(Ok(segments)) => tracing::info!(segments, "segments of the journal were deleted"),
                    Ok(Err(error)) => tracing::warn!(%error, "old segments of the journal were not deleted"),
                }
            }
        });
    }

    /// Brings home what was settled, and stops the actors. Nothing may be settled any more.
    pub(super) async fn stop(self) {
        self.journal.sync();
        match tokio::time::timeout(LAST_ENTRIES, self.accounting.finish()).await {
            Ok(Finished::AtHead) => {}
            _ => tracing::warn!("{LEFT_TO_REPLAY}; the next start brings them there"),
        }
        self.accounting.stop();
        self.claim.release().await;
    }
}

/// How often the books are checked.
const CHECK: Duration = Duration::from_secs(3600);

/// Checks the books once an hour; a difference is an alarm in the log.
fn check_hourly(store: Arc<LateStore>) {
    let store = Arc::downgrade(&store);
    actix_web::rt::spawn(async move {
        loop {
            tokio::time::sleep(CHECK).await;
            let Some(store) = store.upgrade().map(|late| late.get()) else { return };
            let Ok(store) = store else { continue };
            match store.check_books().await {
                Ok(report) if report.balances() => {
                    tracing::info!(accounts = report.accounts, "the books balance");
                }
                Ok(report) => tracing::error!(?report, "the books do not balance"),
                Err(error) => tracing::warn!(%error, "the books could not be checked"),
            }
        }
    });
}

/// The journal's own settings.
fn journal_settings(settings: &config::Journal, folder: &std::path::Path) -> JournalSettings {
    JournalSettings {
        power: match settings.mode {
            config::JournalMode::Group => journal::Power::Process,
            config::JournalMode::Power => journal::Power::Machine,
        },
        sync_interval: settings.sync,
        slow_write: settings.slow_write,
        segment_bytes: settings.segment,
        spare_bytes: settings.spare,
        queue_bytes: settings.queue,
        on_failure: match settings.on_failure {
            config::OnFailure::Refuse => journal::OnFailure::Refuse,
            config::OnFailure::GoOn => journal::OnFailure::GoOn,
        },
        keep: settings.keep,
        ..JournalSettings::new(folder.to_path_buf())
    }
}

/// What older starts left.
struct Older {
    /// Their streams, and where the last settlement of each ends.
    ended: Vec<(StreamId, u64)>,
    /// The calls that were settled as abandoned, and their charge.
    abandoned: (u64, Money),
}

/// Settles as abandoned what older starts left open, and gives where the streams of those starts end.
fn settle_what_is_open(journal: &Journal, node: &mut Node, heads: &Heads) -> Result<Older, String> {
    let sentence = |e: io::Error| unreadable(&e);
    let reader = journal.reader();
    let mut writer = journal.writer(StreamId::RECOVERY).map_err(|e| e.to_string())?;
    let head = heads.begin(writer.stream());
    let older = journal.sync_older(node.recovered());
    let recovered =
        journal::recover(&reader, node.recovered(), &mut writer, now_ms()).map_err(|e| e.to_string())?;
    let state = Arc::clone(writer.state());
    // A slow disk has moved the writer to its thread: what waits there is written before anyone is told of it.
    drop(writer);
    let end = state.written();
    head.store(end, Ordering::Release);
    journal.sync();
    match older {
        Ok(()) if end < recovered.end => {
            tracing::error!(
                "the disk takes nothing: what earlier starts left open is settled by the next start"
            );
        }
        Ok(()) if end == 0 || state.durable().knows(end) == Some(Ok(())) => {
            node.set_recovered().map_err(|e| e.to_string())?;
        }
        Ok(()) => tracing::error!("what was settled for earlier starts may not survive a power cut yet"),
        Err(error) => tracing::error!(%error, "the journal of earlier starts could not be synced"),
    }
    if recovered.abandoned > 0 {
        let (calls, charge) = (recovered.abandoned, recovered.charge);
        tracing::warn!(calls, %charge, "calls of an earlier start were abandoned and settled");
    }
    if !recovered.gaps.is_empty() {
        tracing::error!(
            gaps = recovered.gaps.len(),
            doubtful = recovered.doubtful,
            "parts of the journal are missing"
        );
    }
    let mut ended = Vec::new();
    for stream in reader.streams().map_err(sentence)? {
        if stream.boot < node.boot() {
            let end = reader.last_settlement(stream).map_err(sentence)?;
            ended.extend((end > 0).then_some((stream, end)));
        }
    }
    Ok(Older { ended, abandoned: (recovered.abandoned, recovered.charge) })
}

fn unreadable(error: &io::Error) -> String {
    format!("the journal cannot be read: {error}")
}

#[cfg(test)]
mod faulty;
#[cfg(test)]
mod tests;
