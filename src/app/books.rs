//! The books of a running gateway: the node and its journal, what older starts left open, the balances, and
//! the actors that bring settlements into the database.

use std::{collections::HashMap, io, rc::Rc, sync::Arc, time::Duration};

use penstock_actors::{
    accounting::{Accounting, Keeping},
    billing::{Ledger, Refresh},
    domain::{AccountId, Money, PriceList, Settlement, StreamId},
    limiter::{
        LimitHandle,
        actor::{Past, Restore},
    },
    ports::{BooksStore, Found, JournalSource, OwnStreams, RequestLogStore},
    usage_log::{Finished, Pace, Positions, Range},
};

use super::{calls::Calls, claim::Claim, now_ms};
use crate::{
    journal::{self, Journal, JournalReader, JournalSettings, Node, TO_THE_END, disk::OsDisk, record},
    relay::books::{BooksShared, Heads},
    store::LateStore,
    telemetry::{BooksSources, JournalFigures},
};

/// Slots of the ring, of half a KiB each.
const SLOTS: usize = 8192;
/// How often segments that nothing needs are looked for.
const RETAIN: Duration = Duration::from_secs(60);
/// How long a start waits until what older starts settled is in the balances.
const CATCH_UP: Duration = Duration::from_secs(10);
/// How long a stop waits until everything is in the database. The rest is replayed by the next start.
const LAST_ENTRIES: Duration = Duration::from_secs(5);

/// The journal as the consumers read it.
struct Source {
    reader: JournalReader,
    /// Of streams of older starts, which nobody writes any more.
    ended: Vec<(StreamId, u64)>,
    heads: Heads,
}

impl JournalSource for Source {
    fn heads(&self) -> Positions {
        self.ended.iter().copied().chain(self.heads.all()).collect()
    }

    fn read(&self, part: Range, max: usize) -> io::Result<Vec<(u64, Found)>> {
        let mut records = self.reader.read(part.stream, part.from);
        let mut found = Vec::new();
        while found.len() < max {
            match records.next_settlement(part.to)? {
                None => break,
                Some(journal::Found::Settlement(settlement, end)) => {
                    found.push((end, Found::Settlement(settlement)));
                }
                Some(journal::Found::Gap(gap)) => found.push((gap.to, Found::Lost)),
            }
        }
        Ok(found)
    }

    fn decode(&self, bytes: &[u8]) -> Option<Settlement> {
        record::decode_settlement(bytes).ok()
    }
}

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
    /// Opens the journal, settles what older starts left open, and starts the actors.
    ///
    /// # Errors
    /// A sentence, where the data directory is another's, or damaged.
    pub(super) async fn start(
        data_dir: &std::path::Path,
        ledger: Arc<Ledger>,
        prices: Arc<PriceList>,
        limits: Arc<LimitHandle>,
        store: Arc<LateStore>,
    ) -> Result<Self, String> {
        let node = Node::open(data_dir).map_err(|e| e.to_string())?;
        let claim = Claim::new(node, Arc::clone(&store));
        claim.make().await?;
        let heads = Heads::default();
        let (journal, Older { ended, abandoned }, own) = {
            let mut node = claim.node_mut();
            let settings = JournalSettings::new(node.folder().to_path_buf());
            let opened = Journal::open(settings, Arc::new(OsDisk), node.node(), node.boot());
            let journal = Arc::new(opened.map_err(|e| e.to_string())?);
            let older = settle_what_is_open(&journal, &mut node, &heads)?;
            (journal, older, OwnStreams { node: node.node(), boot: node.boot() })
        };
        let source =
            Arc::new(Source { reader: journal.reader(), ended: ended.clone(), heads: heads.clone() });
        let keeping = Keeping {
            journal: Arc::clone(&source) as Arc<dyn JournalSource>,
            books: Arc::clone(&store) as Arc<dyn BooksStore>,
            log: Arc::clone(&store) as Arc<dyn RequestLogStore>,
            own,
            biller: Pace::default(),
            log_writer: Pace::default(),
            limits: Arc::clone(&limits),
        };
        let accounting = Accounting::start(SLOTS, Arc::clone(&ledger), keeping);
        let ring = Arc::clone(accounting.usage_log.ring());
        let shared = BooksShared::new(ledger, prices, limits, ring, Arc::clone(&journal), heads);
        claim.keep(&shared);
        let keep = Arc::clone(&store);
        let books = Self { accounting, journal, shared, store: keep, source, abandoned, claim };
        if store.get().is_ok() {
            books.catch_up(&ended).await;
        }
        books.retain(ended);
        check_hourly(store);
        Ok(books)
    }

    /// What the workers keep their books with.
    pub(super) fn shared(&self) -> &Arc<BooksShared> {
        &self.shared
    }

    /// Has the Limiter count what was consumed before this start.
    pub(super) async fn restore(&self, past: Vec<Past>) {
        let rows = past.len();
        match self.accounting.limiter.send(Restore(past)).await {
            Ok(()) => tracing::debug!(rows, "limits know of the time before this start"),
            Err(error) => tracing::warn!(%error, "limits begin anew"),
        }
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
        let (journal, source) = (Arc::downgrade(&self.journal), Arc::downgrade(&self.source));
        let (usage_log, abandoned) = (self.accounting.usage_log.clone(), self.abandoned);
        let look = move || {
            let (Some(journal), Some(source)) = (journal.upgrade(), source.upgrade()) else {
                return JournalFigures::default();
            };
            let (heads, streams) = (source.heads(), journal.streams());
            let behind = |consumer: &'static str| {
                let left =
                    |(s, head): (&StreamId, &u64)| head.saturating_sub(usage_log.durable(&[consumer], *s));
                (consumer, heads.iter().map(left).sum())
            };
            JournalFigures {
                counters: journal.counters().all().collect(),
                open: streams.iter().map(|s| s.open()).sum(),
                unsynced: streams.iter().map(|s| s.written().saturating_sub(s.durable().upto)).sum(),
                failing: streams.iter().filter(|s| s.is_failing()).count() as u64,
                behind: Accounting::DURABLE.into_iter().map(behind).collect(),
                abandoned,
                dropped_rows: 0,
            }
        };
        BooksSources {
            journal: Box::new(look),
            usage_log: self.accounting.usage_log.clone(),
            traffic: Arc::clone(&self.accounting.traffic),
            ledger: Arc::clone(&self.accounting.ledger),
        }
    }

    /// Has balances that others may have changed taken over.
    pub(super) fn refresh(&self, accounts: Vec<AccountId>) {
        if let Err(error) = self.accounting.biller.try_send(Refresh(accounts)) {
            tracing::warn!(%error, "changed balances are taken over with the next change only");
        }
    }

    /// Waits until what older starts settled is in the balances; not for a database that is away.
    async fn catch_up(&self, ended: &[(StreamId, u64)]) {
        let log = &self.accounting.usage_log;
        let is_in =
            || ended.iter().all(|(stream, end)| log.durable(&Accounting::DURABLE[..1], *stream) >= *end);
        let waiting = async {
            while !is_in() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(CATCH_UP, waiting).await.is_err() {
            tracing::warn!("calls of an earlier start are not in the balances yet; they follow");
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
            _ => tracing::warn!("some calls are not in the database yet; the next start brings them there"),
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

/// What older starts left.
struct Older {
    /// Their streams, and where the last settlement of each ends.
    ended: Vec<(StreamId, u64)>,
    /// The calls that were settled as abandoned, and their charge.
    abandoned: (u64, Money),
}

/// Settles as abandoned what older starts left open, and gives where the streams of those starts end.
fn settle_what_is_open(journal: &Journal, node: &mut Node, heads: &Heads) -> Result<Older, String> {
    let sentence = |e: io::Error| format!("the journal cannot be read: {e}");
    let reader = journal.reader();
    let mut writer = journal.writer(StreamId::RECOVERY).map_err(|e| e.to_string())?;
    let head = heads.begin(writer.stream());
    let recovered =
        journal::recover(&reader, node.recovered(), &mut writer, now_ms()).map_err(|e| e.to_string())?;
    head.store(writer.state().written(), std::sync::atomic::Ordering::Release);
    journal.sync();
    node.set_recovered().map_err(|e| e.to_string())?;
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
