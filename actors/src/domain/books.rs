//! The facts the books are made of: what was dispatched, how far it came, how it was settled.
//!
//! They are written into the journal in this form, and the settlements travel through the ring.

use super::{Endpoint, Fault, Money, Outcome, Usage};

/// A call's id: the 128 bits of its UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u128);

/// An account that money is drawn from: a key's, its parent's, a space's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub i64);

/// A key's permanent number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub i64);

/// A version of a price: the same contents have the same version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PriceVersion(pub i64);

/// Which journal a record stands in: one a node, boot and worker, so that each has a single writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The node, as its data directory names it.
    pub node: u32,
    /// Counts this node's starts.
    pub boot: u32,
    /// The HTTP worker; the recovery's own stream is [`StreamId::RECOVERY`].
    pub worker: u16,
}

impl StreamId {
    /// The worker number of the stream in which a start settles what an older boot left open.
    pub const RECOVERY: u16 = u16::MAX;
}

/// Accounts in the order in which they are drawn from: child key, parent key, space or user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountChain(pub Vec<AccountId>);

/// One attempt is about to be sent: from here on, money may be owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// The call.
    pub call: CallId,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The key.
    pub key: KeyId,
    /// Whose money is held.
    pub accounts: AccountChain,
    /// How much of it is held on each account.
    pub reserved: Money,
    /// What is charged if nothing more is ever known: the prompt's estimated price.
    pub least: Money,
    /// What was called.
    pub endpoint: Endpoint,
    /// The model as the client asked for it.
    pub model: String,
    /// The name the provider knows it by.
    pub upstream_model: String,
    /// The channel's permanent name.
    pub channel: String,
    /// The price pinned at admission.
    pub price: PriceVersion,
}

/// How far a stream has come: what it would cost if it ended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The call.
    pub call: CallId,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// What was consumed so far, counted locally.
    pub usage: Usage,
    /// Its price for the caller.
    pub charge: Money,
}

/// Where a usage figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageSource {
    /// Nothing was consumed, or nothing is owed for it.
    None,
    /// The provider said so.
    Upstream,
    /// Counted here, for want of the provider's word.
    Estimated,
}

/// How a call stands in the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Its end was seen by the process that served it.
    Settled,
    /// Its process died: charged by policy from the last progress.
    Abandoned,
}

/// One try on one channel, as the request log shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptFact {
    /// The channel's permanent name.
    pub channel: String,
    /// Milliseconds from the call's arrival to the attempt's start.
    pub after_ms: u32,
    /// Milliseconds the attempt took until it failed or the answer began.
    pub took_ms: u32,
    /// The provider's status; 0 where none came.
    pub status: u16,
    /// The failure's stable code; empty for the attempt that answered.
    pub code: String,
    /// Whose doing a failure was.
    pub fault: Option<Fault>,
    /// It failed after the provider may have worked on it, and may bill it.
    pub may_be_billed: bool,
}

/// A call has ended. Written once for every admitted call, whatever way it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The call.
    pub call: CallId,
    /// Settled by its own process, or abandoned.
    pub settled: Settled,
    /// When the call arrived, in milliseconds since 1970.
    pub arrived_ms: i64,
    /// Milliseconds from arrival to the first byte for the client; 0 where none went out.
    pub first_byte_ms: u32,
    /// Milliseconds from arrival to the end.
    pub took_ms: u32,
    /// The key.
    pub key: KeyId,
    /// Whose money was held and is now drawn.
    pub accounts: AccountChain,
    /// What was held on each account.
    pub reserved: Money,
    /// What each account pays.
    pub charge: Money,
    /// What the channel costs us.
    pub cost: Money,
    /// The price in force.
    pub price: PriceVersion,
    /// What was called.
    pub endpoint: Endpoint,
    /// Whether a stream was asked for.
    pub is_stream: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// The status the client got; 499 where it left before one.
    pub status: u16,
    /// The failure's stable code; empty where there was none.
    pub code: String,
    /// The model as the client asked for it.
    pub model: String,
    /// The name the provider knows it by; empty where nothing was dispatched.
    pub upstream_model: String,
    /// The channel that answered, or was tried last; empty where none was.
    pub channel: String,
    /// The id the client gave the call, cut to 128 bytes; empty where it gave none.
    pub client_request_id: String,
    /// What was consumed.
    pub usage: Usage,
    /// Where the figure comes from.
    pub usage_source: UsageSource,
    /// Every try, in order.
    pub attempts: Vec<AttemptFact>,
}
