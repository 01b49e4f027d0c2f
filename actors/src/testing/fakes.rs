//! A journal and stores in memory, with the faults that the consumers must live through.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    domain::{
        AccountChain, AccountId, CallId, Endpoint, KeyId, Money, Outcome, PriceVersion, Settled, Settlement,
        StreamId, Usage, UsageSource,
    },
    ports::{
        BalanceRows, BooksBatch, BooksStore, Found, JournalSource, Pending, RequestLogStore, Spend,
        StoreError,
    },
    usage_log::{Batch, Positions, Range, UsageEvent, UsageRing},
};

/// The stream of a worker of node 1 in its second start.
pub fn stream(worker: u16) -> StreamId {
    StreamId { node: 1, boot: 2, worker }
}

/// A settlement of a call.
pub fn settlement(call: u64, accounts: &[i64], charge: i64) -> Settlement {
    Settlement {
        call: CallId(u128::from(call)),
        settled: Settled::Settled,
        arrived_ms: 0,
        first_byte_ms: 10,
        took_ms: 20,
        key: KeyId(1),
        accounts: AccountChain(accounts.iter().map(|id| AccountId(*id)).collect()),
        reserved: Money::from_nanos(charge),
        charge: Money::from_nanos(charge),
        cost: Money::ZERO,
        price: PriceVersion(1),
        endpoint: Endpoint::ChatCompletions,
        is_stream: false,
        outcome: Outcome::Completed,
        status: 200,
        code: String::new(),
        model: "m".into(),
        upstream_model: "m".into(),
        channel: "c".into(),
        client_request_id: String::new(),
        usage: Usage { input: 3, output: 2, ..Usage::default() },
        usage_source: UsageSource::Upstream,
        attempts: Vec::new(),
    }
}

/// What is done with the ring's copy of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    Pushed,
    Twice,
    WithoutPayload,
    Dropped,
}

#[derive(Debug, Default)]
struct Records {
    streams: BTreeMap<StreamId, Vec<(u64, Found)>>,
    calls: BTreeMap<u64, Settlement>,
    /// Records at each stream's end that readers cannot see yet.
    hidden: usize,
    is_failing: bool,
}

/// A journal in memory, with the ring beside it.
#[derive(Debug)]
pub struct FakeJournal {
    records: Mutex<Records>,
    pub ring: Arc<UsageRing>,
    calls: AtomicU64,
    is_synced: watch::Sender<bool>,
}

impl FakeJournal {
    pub fn new(ring_slots: usize, consumers: usize) -> Arc<Self> {
        let ring = UsageRing::new(ring_slots, consumers);
        Arc::new(Self {
            records: Mutex::default(),
            ring,
            calls: AtomicU64::new(1),
            is_synced: watch::Sender::new(true),
        })
    }

    /// Settles a call: into the journal, then into its ring.
    pub fn settle(&self, stream: StreamId, accounts: &[i64], charge: i64, copy: Copy) {
        self.settle_into(&self.ring, stream, accounts, charge, copy);
    }

    /// Settles a call: into the journal, then into a ring.
    pub fn settle_into(&self, ring: &UsageRing, stream: StreamId, accounts: &[i64], charge: i64, copy: Copy) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let settlement = settlement(call, accounts, charge);
        let mut records = self.records();
        records.calls.insert(call, settlement.clone());
        let records = records.streams.entry(stream).or_default();
        let from = records.last().map_or(0, |(to, _)| *to);
        let to = from + 10 + call % 7;
        records.push((to, Found::Settlement(Box::new(settlement))));
        let bytes = call.to_le_bytes();
        let payload = if copy == Copy::WithoutPayload { &[][..] } else { &bytes };
        let event = UsageEvent { stream, from, to, payload };
        let times = match copy {
            Copy::Dropped => 0,
            Copy::Twice => 2,
            _ => 1,
        };
        (0..times).for_each(|_| event.push(ring));
    }

    /// Makes a record of a stream unreadable.
    pub fn lose(&self, stream: StreamId, record: usize) {
        if let Some((_, found)) = self.records().streams.get_mut(&stream).and_then(|r| r.get_mut(record)) {
            *found = Found::Lost;
        }
    }

    /// Hides the newest records of each stream from readers, as a slow disk does.
    pub fn hide(&self, newest: usize) {
        self.records().hidden = newest;
    }

    pub fn fail(&self, is_failing: bool) {
        self.records().is_failing = is_failing;
    }

    /// Whether what is written is durable at once, or waits for the disk.
    pub fn sync(&self, is_synced: bool) {
        self.is_synced.send_replace(is_synced);
    }

    /// Every call that was settled and can be read, in the order of its stream.
    pub fn calls(&self) -> BTreeMap<StreamId, Vec<CallId>> {
        let call = |found: &Found| match found {
            Found::Settlement(settlement) => Some(settlement.call),
            Found::Lost => None,
        };
        let calls = |records: &Vec<(u64, Found)>| records.iter().filter_map(|(_, f)| call(f)).collect();
        self.records().streams.iter().map(|(stream, records)| (*stream, calls(records))).collect()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().expect("no test panics here")
    }
}

impl JournalSource for FakeJournal {
    fn heads(&self) -> Positions {
        let records = self.records();
        records.streams.iter().map(|(stream, r)| (*stream, r.last().map_or(0, |(to, _)| *to))).collect()
    }

    fn read(&self, part: Range, max: usize) -> io::Result<Vec<(u64, Found)>> {
        let records = self.records();
        if records.is_failing {
            return Err(io::Error::other("drill"));
        }
        let all = records.streams.get(&part.stream).map(Vec::as_slice).unwrap_or_default();
        let seen = &all[..all.len().saturating_sub(records.hidden)];
        let wanted = seen.iter().filter(|(to, _)| part.from < *to && *to <= part.to);
        Ok(wanted.take(max).cloned().collect())
    }

    fn synced(&self, _parts: &[Range]) -> Pending<()> {
        let mut is_synced = self.is_synced.subscribe();
        Box::pin(async move { is_synced.wait_for(|synced| *synced).await.map_or((), drop) })
    }

    fn decode(&self, bytes: &[u8]) -> Option<Settlement> {
        let call = u64::from_le_bytes(bytes.try_into().ok()?);
        self.records().calls.get(&call).cloned()
    }
}

/// What a store does with the next commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// Nothing is done, and it says so.
    Down,
    /// It is done, but the answer is lost.
    AnswerLost,
    /// It is done, but there is never an answer.
    Silent,
    /// It is done later, after the caller was told that it failed.
    Late,
    Panic,
}

/// The books' database in memory.
#[derive(Debug, Default)]
pub struct FakeBooks {
    rows: Arc<Mutex<Rows>>,
}

#[derive(Debug, Default)]
pub struct Rows {
    pub positions: Positions,
    pub balances: BTreeMap<AccountId, Money>,
    pub spends: Vec<Spend>,
    pub lost: Vec<Range>,
    pub fault: Fault,
    pub late: Vec<BooksBatch>,
    pub refused: u32,
}

impl Rows {
    fn commit(&mut self, batch: &BooksBatch) -> Result<BalanceRows, StoreError> {
        let stands = |r: &Range| self.positions.get(&r.stream).copied().unwrap_or(0) == r.from;
        if !batch.positions.iter().all(stands) {
            self.refused += 1;
            return Err(StoreError("a position is not where it was".into()));
        }
        self.positions.extend(batch.positions.iter().map(|r| (r.stream, r.to)));
        self.spends.extend(&batch.spends);
        self.lost.extend(&batch.lost);
        let mut touched = BTreeMap::new();
        for spend in &batch.spends {
            let balance = self.balances.entry(spend.account).or_default();
            *balance -= spend.amount;
            touched.insert(spend.account, *balance);
        }
        Ok(touched.into_iter().collect())
    }

    /// Does what was promised late.
    pub fn do_late(&mut self) {
        for batch in std::mem::take(&mut self.late) {
            // Whether it still fits is the point.
            let _ = self.commit(&batch);
        }
    }
}

impl FakeBooks {
    pub fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn fault(&self, fault: Fault) {
        self.rows().fault = fault;
    }

    fn answer<T: 'static>(
        &self,
        work: impl FnOnce(&mut Rows) -> Result<T, StoreError> + 'static,
    ) -> Pending<Result<T, StoreError>> {
        let rows = Arc::clone(&self.rows);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(3)).await;
            let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
            match rows.fault {
                Fault::Down => Err(StoreError("down".into())),
                _ => work(&mut rows),
            }
        })
    }
}

impl BooksStore for FakeBooks {
    fn positions(&self) -> Pending<Result<Positions, StoreError>> {
        self.answer(|rows| Ok(rows.positions.clone()))
    }

    fn commit(&self, batch: BooksBatch) -> Pending<Result<BalanceRows, StoreError>> {
        let rows = Arc::clone(&self.rows);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(3)).await;
            let fault = rows.lock().unwrap_or_else(PoisonError::into_inner).fault;
            let commit = || rows.lock().unwrap_or_else(PoisonError::into_inner).commit(&batch);
            match fault {
                Fault::None => commit(),
                Fault::Down => Err(StoreError("down".into())),
                Fault::AnswerLost => commit().and(Err(StoreError("the answer is lost".into()))),
                Fault::Silent => {
                    commit()?;
                    std::future::pending().await
                }
                Fault::Late => {
                    rows.lock().unwrap_or_else(PoisonError::into_inner).late.push(batch);
                    Err(StoreError("no answer in time".into()))
                }
                Fault::Panic => panic!("drill"),
            }
        })
    }

    fn balances(&self, accounts: Vec<AccountId>) -> Pending<Result<BalanceRows, StoreError>> {
        self.answer(move |rows| {
            Ok(accounts.into_iter().filter_map(|id| Some((id, *rows.balances.get(&id)?))).collect())
        })
    }
}

/// The request log's database in memory.
#[derive(Debug, Default)]
pub struct FakeLog {
    rows: Mutex<(Positions, BTreeMap<StreamId, Vec<CallId>>)>,
}

impl FakeLog {
    /// The calls that have a row, in the order of their stream.
    pub fn calls(&self) -> BTreeMap<StreamId, Vec<CallId>> {
        self.rows.lock().expect("no test panics here").1.clone()
    }
}

impl RequestLogStore for FakeLog {
    fn positions(&self) -> Pending<Result<Positions, StoreError>> {
        let positions = self.rows.lock().expect("no test panics here").0.clone();
        Box::pin(std::future::ready(Ok(positions)))
    }

    fn commit(&self, batch: Batch) -> Pending<Result<(), StoreError>> {
        let (positions, calls) = &mut *self.rows.lock().expect("no test panics here");
        if batch.ranges.iter().any(|r| positions.get(&r.stream).copied().unwrap_or(0) != r.from) {
            return Box::pin(std::future::ready(Err(StoreError("a position is not where it was".into()))));
        }
        positions.extend(batch.ranges.iter().map(|r| (r.stream, r.to)));
        for (part, settlement) in batch.settlements {
            calls.entry(part.stream).or_default().push(settlement.call);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
