//! The records of the journal and their bytes: a version, the call's id, then the fields in order.
//!
//! Decoding is total: any bytes give a record or a [`Malformed`], never a panic. The same encoding of a
//! settlement travels through the ring.

mod codec;
mod fields;
#[cfg(test)]
mod tests;

use penstock_actors::domain::{CallId, Dispatch, Progress, Settlement};

use codec::{In, Out};
use fields::{
    read_dispatch, read_progress, read_settlement, write_dispatch, write_progress, write_settlement,
};

pub use codec::MAX_TEXT;

/// The longest payload, in bytes: more than any record that is within the caps can take.
pub const MAX_PAYLOAD: usize = 64 << 10;
/// The longest chain of accounts.
pub const MAX_ACCOUNTS: usize = 64;
/// The most attempts that are kept of a call; of more, those in the middle are left out.
pub const MAX_ATTEMPTS: usize = 32;

const VERSION: u8 = 1;

/// What kind of record it is, as the frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An attempt is about to be sent.
    Dispatch = 1,
    /// How far a stream has come.
    Progress = 2,
    /// A call has ended.
    Settlement = 3,
    /// A copy, at a segment's head, of a dispatch that was not settled then.
    Open = 4,
}

impl Kind {
    /// The kind with that number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Dispatch, Self::Progress, Self::Settlement, Self::Open].into_iter().find(|k| *k as u8 == byte)
    }
}

/// What is appended.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'a> {
    /// An attempt is about to be sent.
    Dispatch(&'a Dispatch),
    /// How far a stream has come.
    Progress(&'a Progress),
    /// A call has ended.
    Settlement(&'a Settlement),
}

impl Fact<'_> {
    /// The kind of its record.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Dispatch(_) => Kind::Dispatch,
            Self::Progress(_) => Kind::Progress,
            Self::Settlement(_) => Kind::Settlement,
        }
    }

    /// The call it is about.
    pub fn call(&self) -> CallId {
        match self {
            Self::Dispatch(dispatch) => dispatch.call,
            Self::Progress(progress) => progress.call,
            Self::Settlement(settlement) => settlement.call,
        }
    }
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An attempt was about to be sent.
    Dispatch(Dispatch),
    /// How far a stream had come.
    Progress(Progress),
    /// A call has ended.
    Settlement(Box<Settlement>),
    /// A dispatch that was not settled when its segment began, with its last progress.
    Open(Dispatch, Option<Progress>),
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end too early.
    #[error("the record ends too early")]
    Short,
    /// They go on after the record's end.
    #[error("bytes follow the record's end")]
    Long,
    /// A version or kind that this program does not know.
    #[error("the record is of a newer kind")]
    Unknown,
    /// A number is out of its range, or not in its shortest form.
    #[error("a number of the record is out of range")]
    Number,
    /// A text is too long, or not UTF-8.
    #[error("a text of the record is not valid")]
    Text,
}

/// The chain of accounts is longer than [`MAX_ACCOUNTS`]: money may not be cut short, so there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call has more than {MAX_ACCOUNTS} accounts")]
pub struct TooManyAccounts;

/// Appends a fact's payload to a buffer.
///
/// # Errors
/// [`TooManyAccounts`]; the buffer holds rubbish then.
pub fn encode(fact: &Fact<'_>, into: &mut Vec<u8>) -> Result<(), TooManyAccounts> {
    let out = &mut Out(into);
    out.byte(VERSION);
    out.bytes(&fact.call().0.to_le_bytes());
    match fact {
        Fact::Dispatch(dispatch) => write_dispatch(dispatch, out),
        Fact::Progress(progress) => {
            write_progress(progress, out);
            Ok(())
        }
        Fact::Settlement(settlement) => write_settlement(settlement, out),
    }
}

/// Appends the payload of an open call, made of its dispatch's payload and its last progress', which may be empty.
pub fn encode_open(dispatch: &[u8], progress: &[u8], into: &mut Vec<u8>) {
    let out = &mut Out(into);
    out.unsigned(dispatch.len() as u64);
    out.bytes(dispatch);
    out.bytes(progress);
}

/// Reads a payload.
///
/// # Errors
/// [`Malformed`] for any bytes that no record encodes to.
pub fn decode(kind: Kind, payload: &[u8]) -> Result<Record, Malformed> {
    match kind {
        Kind::Dispatch => whole(payload, read_dispatch).map(Record::Dispatch),
        Kind::Progress => whole(payload, read_progress).map(Record::Progress),
        Kind::Settlement => whole(payload, read_settlement).map(|s| Record::Settlement(Box::new(s))),
        Kind::Open => {
            let mut from = In(payload);
            let length = from.narrow()?;
            let dispatch = whole(from.bytes(length)?, read_dispatch)?;
            let progress = if from.0.is_empty() { None } else { Some(whole(from.0, read_progress)?) };
            Ok(Record::Open(dispatch, progress))
        }
    }
}

/// Reads a settlement's payload, as the ring carries it.
///
/// # Errors
/// [`Malformed`] for any bytes that no settlement encodes to.
pub fn decode_settlement(payload: &[u8]) -> Result<Settlement, Malformed> {
    whole(payload, read_settlement)
}

/// The call that a payload of any kind but [`Kind::Open`] is about, without reading the rest.
pub fn call_of(payload: &[u8]) -> Option<CallId> {
    let id = payload.get(1..17)?.try_into().ok()?;
    (payload[0] == VERSION).then(|| CallId(u128::from_le_bytes(id)))
}

fn whole<T>(
    payload: &[u8],
    read: impl FnOnce(CallId, &mut In<'_>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let mut from = In(payload);
    if from.byte()? != VERSION {
        return Err(Malformed::Unknown);
    }
    let id = from.bytes(16)?.try_into().map_err(|_| Malformed::Short)?;
    let value = read(CallId(u128::from_le_bytes(id)), &mut from)?;
    from.end().map(|()| value)
}
