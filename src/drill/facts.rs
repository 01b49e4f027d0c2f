//! What a journal says, call by call.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use penstock_actors::domain::{AccountId, CallId, Dispatch, Money, Settlement, StreamId};

use crate::journal::{Item, JournalReader, Record, TO_THE_END, disk::OsDisk, record};

/// A call in the journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    /// The last dispatch, and how many there were.
    pub dispatch: Option<Dispatch>,
    pub dispatches: u64,
    /// What its last progress would cost.
    pub progress: Money,
    /// Each with its stream and the end of its record.
    pub settlements: Vec<(StreamId, u64, Settlement)>,
}

/// Every call of a journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub calls: HashMap<CallId, Call>,
    /// Parts of streams that are missing.
    pub gaps: usize,
}

impl Facts {
    /// Reads the journal of a data directory; of one that was never used there is none.
    pub fn read(data: &Path) -> Result<Self, String> {
        let folder = data.join("journal");
        let failed =
            |error: std::io::Error| format!("the journal in {} cannot be read: {error}", folder.display());
        if !folder.join("node.json").exists() {
            return Ok(Self::default());
        }
        let node = std::fs::read(folder.join("node.json")).map_err(failed)?;
        let node: serde_json::Value = serde_json::from_slice(&node).map_err(|e| failed(e.into()))?;
        let node = node["node"].as_u64().unwrap_or_default() as u32;
        let reader = JournalReader::new(Arc::new(OsDisk), folder.clone(), node);
        let mut facts = Self::default();
        for stream in reader.streams().map_err(failed)? {
            let mut records = reader.read(stream, 0);
            while let Some(item) = records.next(TO_THE_END).map_err(failed)? {
                match item {
                    Item::Gap(_) => facts.gaps += 1,
                    Item::Record(raw) => {
                        let known = record::decode(raw.kind, raw.payload);
                        facts.note(stream, raw.end, known.map_err(|e| e.to_string())?);
                    }
                }
            }
        }
        Ok(facts)
    }

    fn note(&mut self, stream: StreamId, end: u64, record: Record) {
        match record {
            Record::Dispatch(dispatch) => {
                let call = self.calls.entry(dispatch.call).or_default();
                call.dispatches += 1;
                call.dispatch = Some(dispatch);
            }
            Record::Progress(progress) => {
                self.calls.entry(progress.call).or_default().progress = progress.charge;
            }
            Record::Settlement(settlement) => {
                let call = self.calls.entry(settlement.call).or_default();
                call.settlements.push((stream, end, *settlement));
            }
            // A copy of what stands in an older segment.
            Record::Open(..) => {}
        }
    }

    /// Dispatches in all.
    pub fn dispatches(&self) -> u64 {
        self.calls.values().map(|call| call.dispatches).sum()
    }

    /// Every settlement.
    pub fn settlements(&self) -> impl Iterator<Item = &(StreamId, u64, Settlement)> {
        self.calls.values().flat_map(|call| &call.settlements)
    }

    /// What each account pays for all of it.
    pub fn charges(&self) -> BTreeMap<AccountId, Money> {
        let mut charges = BTreeMap::<_, Money>::new();
        for (_, _, settlement) in self.settlements() {
            for account in &settlement.accounts.0 {
                *charges.entry(*account).or_default() += settlement.charge;
            }
        }
        charges
    }
}
