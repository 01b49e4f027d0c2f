//! Finds one call by its id in the streams of a start that still goes on: under way, or settled a moment ago.

use std::io;

use penstock_actors::domain::{CallId, Settlement, StreamId};

use super::{
    Journal, OpenCall,
    reader::{Item, StreamReader, TO_THE_END},
    record::{self, Kind, Record},
};

/// A call as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Journalled {
    /// It was dispatched and has not ended.
    Open(Box<OpenCall>),
    /// It was settled, in that stream; its record ends there.
    Settled(Box<Settlement>, StreamId, u64),
}

impl Journal {
    /// Looks for a call: for its settlement in every stream, from the position up to which settlements are
    /// known elsewhere; for its dispatch in the streams of this start, from the first segment in which open
    /// calls are to be found. It reads files, some segments of each stream, and is no work for a thread that
    /// others wait for.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn find(&self, call: CallId, known: &dyn Fn(StreamId) -> u64) -> io::Result<Option<Journalled>> {
        let (reader, own) = (self.reader(), self.streams());
        for stream in reader.streams()? {
            let written = own.iter().find(|s| s.stream() == stream).map(|s| s.written());
            let (head, from) = (written.unwrap_or(TO_THE_END), known(stream));
            if from >= head {
                continue;
            }
            // What is open in an older stream was settled in the recovery's.
            if let Some(found @ Journalled::Settled(..)) = scan(reader.read(stream, from), head, call)? {
                return Ok(Some(found));
            }
        }
        for state in own {
            let records = reader.read_open(state.stream(), state.needed_from())?;
            match scan(records, state.written(), call)? {
                None => {}
                // It was known elsewhere, and is forgotten there.
                Some(Journalled::Settled(_, stream, end)) if end <= known(stream) => return Ok(None),
                found => return Ok(found),
            }
        }
        Ok(None)
    }
}

fn scan(mut records: StreamReader, head: u64, call: CallId) -> io::Result<Option<Journalled>> {
    let stream = records.stream();
    let mut open: Option<OpenCall> = None;
    while let Some(item) = records.next(head)? {
        let Item::Record(raw) = item else { continue };
        // A copy has its call's id further in.
        if raw.kind != Kind::Open && record::call_of(raw.payload) != Some(call) {
            continue;
        }
        match record::decode(raw.kind, raw.payload) {
            Ok(Record::Settlement(settlement)) => {
                return Ok(Some(Journalled::Settled(settlement, stream, raw.end)));
            }
            Ok(Record::Dispatch(dispatch)) => {
                let progress = open.and_then(|open| open.progress);
                open = Some(OpenCall { dispatch, progress, stream });
            }
            Ok(Record::Open(dispatch, progress)) if dispatch.call == call => {
                open = Some(OpenCall { dispatch, progress, stream });
            }
            Ok(Record::Progress(progress)) => {
                if let Some(open) = &mut open {
                    open.progress = Some(progress);
                }
            }
            Ok(Record::Open(..)) | Err(_) => {}
        }
    }
    Ok(open.map(|open| Journalled::Open(Box::new(open))))
}
