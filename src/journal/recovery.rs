//! What older starts left open: dispatches without a settlement in any stream. Each is settled as abandoned,
//! once, in this start's recovery stream.
//!
//! Streams are read oldest boot first, and a boot's recovery stream last, so that every settlement comes after
//! its dispatch, and no more is held than the calls that are open. A crash at any point is harmless: what was
//! appended is found settled by the next start. When all of it is durable, [`super::Node::set_recovered`]
//! spares later starts the reading.

use std::{collections::HashMap, io};

use penstock_actors::domain::{
    AttemptFact, CallId, Dispatch, Fault, Money, Outcome, Progress, Settled, Settlement, StreamId,
    UsageSource,
};

use super::{
    JournalReader, JournalWriter,
    reader::{Damage, Gap, Item, TO_THE_END},
    record::{self, Fact, Kind, Record},
    segment::Raw,
    writer::JournalError,
};

/// The stable code of an abandoned call.
pub const ABANDONED: &str = "abandoned";

/// A call that was dispatched and not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCall {
    /// Its last dispatch.
    pub dispatch: Dispatch,
    /// How far it had come.
    pub progress: Option<Progress>,
    /// The stream in which it stands.
    pub stream: StreamId,
}

/// What the streams of older starts tell.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The calls without a settlement.
    pub open: HashMap<CallId, OpenCall>,
    /// Parts of streams that are missing. A settlement may have stood there, of a call that is found open now.
    pub gaps: Vec<Gap>,
    /// Segments that could not be read to their end.
    pub damage: Damage,
    /// Records that were read.
    pub records: u64,
    /// Records with a good checksum that this program does not understand.
    pub unknown: u64,
}

/// What a recovery did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Calls settled as abandoned.
    pub abandoned: u64,
    /// What they are charged, in all.
    pub charge: Money,
    /// Where the last of their settlements ends in the recovery stream. On a slow disk that is not written yet.
    pub end: u64,
    /// Of the abandoned, those of a stream with a gap: their settlement may have stood in it.
    pub doubtful: u64,
    /// Parts of streams that are missing.
    pub gaps: Vec<Gap>,
    /// Segments that could not be read to their end.
    pub damage: Damage,
    /// Records that were read.
    pub records: u64,
    /// Records with a good checksum that this program does not understand.
    pub unknown: u64,
}

/// Why the start cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// Older streams cannot be read.
    #[error("the journal cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The settlements cannot be written.
    #[error("abandoned calls cannot be settled: {0}")]
    Write(#[from] JournalError),
}

/// Reads the streams of the boots above `recovered` and below `boot`.
///
/// # Errors
/// Whatever the file system says.
pub fn survey(reader: &JournalReader, recovered: u32, boot: u32) -> io::Result<Survey> {
    let mut survey = Survey::default();
    for stream in reader.streams()? {
        if stream.boot <= recovered || stream.boot >= boot {
            continue;
        }
        let mut records = reader.read_everything(stream);
        while let Some(item) = records.next(TO_THE_END)? {
            match item {
                Item::Record(raw) => survey.note(stream, &raw),
                Item::Gap(gap) => survey.gaps.push(gap),
            }
        }
        survey.damage += records.damage();
    }
    Ok(survey)
}

/// Settles what older starts left open in the recovery stream of this start. The caller drops the writer, which
/// has all of it written, makes it durable as far as [`Recovered::end`], and says so to
/// [`super::Node::set_recovered`].
///
/// # Errors
/// [`RecoveryError`]; the next start goes on where this one ended.
pub fn recover(
    reader: &JournalReader,
    recovered: u32,
    writer: &mut JournalWriter,
    now_ms: i64,
) -> Result<Recovered, RecoveryError> {
    let survey = survey(reader, recovered, writer.stream().boot)?;
    let mut done = Recovered {
        gaps: survey.gaps,
        damage: survey.damage,
        records: survey.records,
        unknown: survey.unknown,
        ..Recovered::default()
    };
    let mut open: Vec<_> = survey.open.into_values().collect();
    open.sort_unstable_by_key(|open| open.dispatch.call);
    for open in open {
        let settlement = abandon(&open, now_ms);
        done.end = writer.append(Fact::Settlement(&settlement))?.end;
        done.abandoned += 1;
        done.charge += settlement.charge;
        done.doubtful += u64::from(done.gaps.iter().any(|gap| gap.stream == open.stream));
    }
    Ok(done)
}

/// The settlement of a call whose process died: at least what its dispatch is said to have cost, at most what
/// was held; between them, what its progress tells.
pub fn abandon(open: &OpenCall, now_ms: i64) -> Settlement {
    let OpenCall { dispatch, progress, .. } = open;
    let seen = progress.map_or(Money::ZERO, |progress| progress.charge);
    // A stream that outgrew what was held for it held more before it noted its progress.
    let reserved = dispatch.reserved.max(seen).max(Money::ZERO);
    let charge = seen.max(dispatch.least).clamp(Money::ZERO, reserved);
    let last_ms = progress.map_or(dispatch.at_ms, |progress| progress.at_ms).min(now_ms);
    let took_ms = u32::try_from(last_ms.saturating_sub(dispatch.at_ms)).unwrap_or(0);
    let usage = progress.map(|progress| progress.usage).unwrap_or_default();
    let is_counted = progress.is_some() || charge > Money::ZERO;
    Settlement {
        call: dispatch.call,
        settled: Settled::Abandoned,
        arrived_ms: dispatch.at_ms,
        first_byte_ms: 0,
        took_ms,
        key: dispatch.key,
        accounts: dispatch.accounts.clone(),
        reserved,
        charge,
        cost: Money::ZERO,
        price: dispatch.price,
        endpoint: dispatch.endpoint,
        is_stream: progress.is_some(),
        outcome: match progress {
            Some(_) => Outcome::Broken(Fault::Gateway),
            None => Outcome::Refused(Fault::Gateway),
        },
        status: 0,
        code: ABANDONED.to_owned(),
        model: dispatch.model.clone(),
        upstream_model: dispatch.upstream_model.clone(),
        channel: dispatch.channel.clone(),
        client_request_id: String::new(),
        usage,
        usage_source: if is_counted { UsageSource::Estimated } else { UsageSource::None },
        attempts: vec![AttemptFact {
            channel: dispatch.channel.clone(),
            after_ms: 0,
            took_ms,
            status: 0,
            code: ABANDONED.to_owned(),
            fault: Some(Fault::Gateway),
            may_be_billed: true,
        }],
    }
}

impl Survey {
    fn note(&mut self, stream: StreamId, raw: &Raw<'_>) {
        self.records += 1;
        if raw.kind == Kind::Settlement
            && let Some(call) = record::call_of(raw.payload)
        {
            // Its id is enough; the rest was for the consumers.
            self.open.remove(&call);
            return;
        }
        match record::decode(raw.kind, raw.payload) {
            Ok(Record::Dispatch(dispatch)) => self.dispatched(stream, dispatch, None),
            Ok(Record::Open(dispatch, progress)) => self.dispatched(stream, dispatch, progress),
            Ok(Record::Progress(progress)) => {
                if let Some(open) = self.open.get_mut(&progress.call) {
                    open.progress = Some(progress);
                }
            }
            Ok(Record::Settlement(_)) | Err(_) => self.unknown += 1,
        }
    }

    fn dispatched(&mut self, stream: StreamId, dispatch: Dispatch, progress: Option<Progress>) {
        let known = self.open.remove(&dispatch.call);
        let progress = progress.or(known.and_then(|open| open.progress));
        self.open.insert(dispatch.call, OpenCall { dispatch, progress, stream });
    }
}
