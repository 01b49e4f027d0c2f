//! What the actors need from outside: the journal that holds the facts, and the stores they go into.
//!
//! Futures are polled on the consumer's own arbiter. Those of stores must come to an end by a deadline of their
//! own: a consumer waits for them.

use std::{fmt, future::Future, io, pin::Pin};

use crate::{
    domain::{AccountId, Money, Settlement, StreamId},
    usage_log::{Batch, Positions, Range},
};

/// Something to wait for.
pub type Pending<T> = Pin<Box<dyn Future<Output = T>>>;

/// What stands in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A settlement.
    Settlement(Box<Settlement>),
    /// Something that can no longer be read: a segment is missing, or damaged.
    Lost,
}

/// The journal, for reading.
pub trait JournalSource: Send + Sync + 'static {
    /// Where the last settlement of each stream of this node ends. Cheap: asked every second.
    fn heads(&self) -> Positions;

    /// The settlements of a part of a stream, each with its end, in order and at most `max`; what is lost
    /// between two of them, in their place. Fewer than there are where the rest cannot be seen yet.
    ///
    /// # Errors
    /// Where reading fails and may succeed later.
    fn read(&self, part: Range, max: usize) -> io::Result<Vec<(u64, Found)>>;

    /// Waits until these parts of streams survive the machine, as long as that takes; until the sync was tried
    /// where it fails. What a store commits must not be ahead of the journal: after a power cut a shorter
    /// journal would be written anew where the store believes to have read it.
    fn synced(&self, parts: &[Range]) -> Pending<()>;

    /// Decodes a settlement; `None` for bytes that are none.
    fn decode(&self, bytes: &[u8]) -> Option<Settlement>;
}

/// Why a store did not do what it was asked. Whether it did nothing is not known before its positions are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError(pub String);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

/// What an account pays for the settlements of a part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend {
    /// The account.
    pub account: AccountId,
    /// Where the settlements stand.
    pub part: Range,
    /// How many there are.
    pub calls: u32,
    /// What they come to. The balance changes by its negative.
    pub amount: Money,
}

/// What the Biller writes at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BooksBatch {
    /// One for each account and stream; none of nothing.
    pub spends: Vec<Spend>,
    /// The Biller's positions: from what they must be to what they become.
    pub positions: Vec<Range>,
    /// Parts to be entered as gaps.
    pub lost: Vec<Range>,
}

/// Balances as the database has them.
pub type BalanceRows = Vec<(AccountId, Money)>;

/// The books in the database.
pub trait BooksStore: Send + Sync + 'static {
    /// How far each stream is in the books.
    fn positions(&self) -> Pending<Result<Positions, StoreError>>;

    /// Writes entries, balances and positions in one transaction, and gives the balances of the accounts
    /// concerned as that transaction leaves them. Must refuse, changing nothing, unless each position is
    /// what the batch says it was; one that is missing is 0.
    fn commit(&self, batch: BooksBatch) -> Pending<Result<BalanceRows, StoreError>>;

    /// The balances of accounts; those that are not there are left out.
    fn balances(&self, accounts: Vec<AccountId>) -> Pending<Result<BalanceRows, StoreError>>;
}

/// The request log in its database.
pub trait RequestLogStore: Send + Sync + 'static {
    /// How far each stream is in the log.
    fn positions(&self) -> Pending<Result<Positions, StoreError>>;

    /// Writes rows and positions in one transaction, under the same condition as [`BooksStore::commit`].
    fn commit(&self, batch: Batch) -> Pending<Result<(), StoreError>>;
}

/// Which settlements have drawn from this process's ledger already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnStreams {
    /// This node.
    pub node: u32,
    /// This start.
    pub boot: u32,
}

impl OwnStreams {
    /// Whether a stream's settlements drew from this process's ledger. What recovery settles did not, nor
    /// what an older start settled: the ledger learns of those from the database.
    pub fn has(&self, stream: StreamId) -> bool {
        (stream.node, stream.boot) == (self.node, self.boot) && stream.worker != StreamId::RECOVERY
    }
}
