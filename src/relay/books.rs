//! What a worker keeps the books with: prices, balances, its journal, the ring. Nothing here waits.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use penstock_actors::{
    billing::{Chain, Ledger, OutputLengths, ledger::Short},
    domain::{AccountChain, KeyId, NoPrice, PriceList, Priced, Ratio, StreamId},
    limiter::LimitHandle,
    usage_log::{UsageEvent, UsageRing},
};

use crate::{
    api_key::Caller,
    journal::{Appended, Fact, Journal, JournalError, JournalWriter, Power, Stage},
    provider::Failure,
};

/// How long the last byte of an answer waits for a slow disk to take its settlement, so that no crash makes a
/// call abandoned that its client saw end.
const SLOW_DISK: Duration = Duration::from_secs(1);

/// Comes when a settlement survives what it must.
pub(super) type Kept = Pin<Box<dyn Future<Output = ()>>>;

/// Pairs of key and model whose answers' length a worker remembers.
const REMEMBERED: usize = 20_000;

/// What every worker's books share.
pub struct BooksShared {
    /// The balances.
    pub ledger: Arc<Ledger>,
    /// Prices in force.
    pub prices: ArcSwap<PriceList>,
    /// What may be taken in a time, and what is.
    pub limits: Arc<LimitHandle>,
    /// Where settled calls are told of.
    pub ring: Arc<UsageRing>,
    /// Where facts are written before anything follows from them.
    pub journal: Arc<Journal>,
    /// Where the last settlement of each stream of this start ends.
    pub heads: Heads,
    /// Another process speaks for this node: nothing may be dispatched.
    pub is_elsewhere: AtomicBool,
    /// The number of the next worker's stream.
    workers: AtomicU16,
}

impl BooksShared {
    /// Puts the parts together.
    pub fn new(
        ledger: Arc<Ledger>,
        prices: Arc<PriceList>,
        limits: Arc<LimitHandle>,
        ring: Arc<UsageRing>,
        journal: Arc<Journal>,
        heads: Heads,
    ) -> Arc<Self> {
        let (prices, workers) = (ArcSwap::new(prices), AtomicU16::new(0));
        let is_elsewhere = AtomicBool::new(false);
        Arc::new(Self { ledger, prices, limits, ring, journal, heads, is_elsewhere, workers })
    }
}

/// Where the last settlement of each stream ends, for those who read behind the writers. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Heads(Arc<Mutex<Vec<Head>>>);

type Head = (StreamId, Arc<AtomicU64>);

impl Heads {
    /// Adds a stream, whose head is still to come.
    pub fn begin(&self, stream: StreamId) -> Arc<AtomicU64> {
        let head = Arc::<AtomicU64>::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((stream, Arc::clone(&head)));
        head
    }

    /// Every stream that has a settlement, and where its last one ends.
    pub fn all(&self) -> Vec<(StreamId, u64)> {
        let streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = streams.iter().map(|(stream, head)| (*stream, head.load(Ordering::Acquire)));
        ends.filter(|(_, end)| *end > 0).collect()
    }
}

/// The books of one worker.
pub struct Books {
    shared: Arc<BooksShared>,
    /// `None` while it cannot be opened; each fact tries again.
    writer: RefCell<Option<(JournalWriter, Arc<AtomicU64>)>>,
    lengths: RefCell<OutputLengths>,
}

impl Books {
    /// The books of the calling worker, with a stream of its own in the journal.
    pub fn new(shared: Arc<BooksShared>) -> Self {
        let lengths = RefCell::new(OutputLengths::new(REMEMBERED));
        let books = Self { shared, writer: RefCell::default(), lengths };
        if let Err(error) = books.open() {
            tracing::error!(%error, "a worker's journal cannot be opened; its calls are refused until it can");
        }
        books
    }

    fn open(&self) -> Result<(), JournalError> {
        let mut writer = self.writer.borrow_mut();
        if writer.is_none() {
            // A number whose first segment could not be made is not taken; the next try takes the next.
            let number = self.shared.workers.fetch_add(1, Ordering::Relaxed);
            let opened = self.shared.journal.writer(number)?;
            let head = self.shared.heads.begin(opened.stream());
            *writer = Some((opened, head));
        }
        Ok(())
    }

    /// Writes a fact down.
    ///
    /// # Errors
    /// [`JournalError`], as [`JournalWriter::append`] has it.
    pub(super) fn append(&self, fact: Fact<'_>) -> Result<Appended, JournalError> {
        if matches!(fact, Fact::Dispatch(_)) && self.shared.is_elsewhere.load(Ordering::Relaxed) {
            return Err(JournalError::Elsewhere);
        }
        self.open()?;
        let mut writer = self.writer.borrow_mut();
        let Some((writer, head)) = writer.as_mut() else { return Err(JournalError::Lost) };
        let appended = writer.append(fact)?;
        if !matches!(fact, Fact::Settlement(_)) {
            return Ok(appended);
        }
        head.store(appended.end, Ordering::Release);
        if appended.stage == Stage::Written {
            let event = UsageEvent {
                stream: writer.stream(),
                from: appended.previous,
                to: appended.end,
                payload: writer.payload(),
            };
            event.push(&self.shared.ring);
        }
        Ok(appended)
    }

    /// What the last byte of an answer waits for, once its settlement was appended; `None` where it stands on disk
    /// as firmly as the settings ask for.
    pub(super) fn kept(&self, appended: &Appended) -> Option<Kept> {
        let (end, stage) = (appended.end, appended.stage);
        match (self.shared.journal.settings().power, stage) {
            (_, Stage::Skipped) | (Power::Process, Stage::Written) => None,
            (Power::Machine, _) => {
                let state = Arc::clone(self.writer.borrow().as_ref()?.0.state());
                // Where its sync fails the journal has told of it, and no other would help.
                Some(Box::pin(async move {
                    let _ = state.wait_durable(end).await;
                }))
            }
            (Power::Process, Stage::Queued) => {
                let state = Arc::clone(self.writer.borrow().as_ref()?.0.state());
                Some(Box::pin(async move {
                    // What is synced was written. A disk that takes nothing for so long keeps nobody waiting.
                    let _ = tokio::time::timeout(SLOW_DISK, state.synced(end)).await;
                }))
            }
        }
    }

    /// The price of a model, by the first of these names that has one, and the group's ratio.
    ///
    /// # Errors
    /// [`NoPrice`] where none has one and the policy refuses.
    pub(super) fn price(
        &self,
        caller: &Caller,
        chain: &Chain,
        names: [&str; 2],
    ) -> Result<(Priced, Ratio), NoPrice> {
        let prices = self.shared.prices.load();
        let name = names.into_iter().find(|name| prices.prices.contains_key(*name)).unwrap_or(names[0]);
        Ok((prices.price(name, chain.payer())?, prices.group(&caller.group)))
    }

    /// The cells of a caller's accounts.
    pub(super) fn chain(&self, accounts: &AccountChain) -> Result<Chain, Failure> {
        self.shared.ledger.chain(accounts).map_err(|unknown| {
            tracing::error!(%unknown, "a key's account is not in the ledger");
            Failure::gateway(503, "account_unknown", "The key's account is not known here yet; try again.")
        })
    }

    /// What may be taken in a time, and what is.
    pub(super) fn limits(&self) -> &LimitHandle {
        &self.shared.limits
    }

    /// How long nearly all answers to a key and model were.
    pub(super) fn learned(&self, key: KeyId, model: &str) -> Option<u64> {
        self.lengths.borrow().p90(key, model)
    }

    /// Notes how long an answer was that came to its own end.
    pub(super) fn learn(&self, key: KeyId, model: &str, tokens: u64) {
        self.lengths.borrow_mut().learn(key, model, tokens);
    }
}

/// 429 in OpenAI's words for an account that cannot pay.
pub(super) fn insufficient(short: &Short) -> Failure {
    tracing::debug!(%short, "a reservation was refused");
    let message = "You exceeded your current quota: the balance does not cover this call.";
    let mut failure = Failure::invalid_request("insufficient_quota", None, message);
    failure.status = 429;
    failure.kind = "insufficient_quota".to_owned();
    failure
}

/// 403: nobody knows what the model costs.
pub(super) fn no_price(model: &str) -> Failure {
    let shown: String = model.chars().take(128).collect();
    super::admit::forbidden(
        "model_without_price",
        &format!("The model '{shown}' has no price, so that this key may not use it."),
    )
}

/// 503: what cannot be written down is not sent.
pub(super) fn not_journalled(error: &JournalError) -> Failure {
    tracing::error!(%error, "a call was not dispatched");
    let mut failure =
        Failure::gateway(503, "journal_unavailable", "The gateway cannot write its books at the moment.");
    failure.retry_after = Some(std::time::Duration::from_secs(5));
    failure
}
