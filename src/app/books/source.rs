//! The journal as the consumers read it, and what a start without the database takes from it.

use std::{collections::BTreeSet, io, sync::Arc};

use penstock_actors::{
    billing::Ledger,
    domain::{Settlement, StreamId},
    ports::{Found, JournalSource, Pending},
    usage_log::{Positions, Range},
};

use crate::{
    journal::{self, Journal, record},
    relay::books::Heads,
};

/// The journal of this start and of older ones.
pub(super) struct Source {
    pub(super) journal: Arc<Journal>,
    /// Of streams of older starts, which nobody writes any more.
    pub(super) ended: Vec<(StreamId, u64)>,
    pub(super) heads: Heads,
}

impl Source {
    /// Draws from the ledger, whose balances are as of these positions, what the journal settled since. Gives
    /// how far it went.
    pub(super) fn draw_since(&self, positions: &Positions, ledger: &Ledger) -> io::Result<Positions> {
        let heads = self.heads();
        for (stream, head) in &heads {
            let from = positions.get(stream).copied().unwrap_or_default();
            let mut records = self.journal.reader().read(*stream, from);
            while let Some(found) = records.next_settlement(*head)? {
                // What is missing was told of when the journal was opened.
                let journal::Found::Settlement(settlement, _) = found else { continue };
                let accounts: BTreeSet<_> = settlement.accounts.0.iter().copied().collect();
                accounts
                    .into_iter()
                    .filter_map(|account| ledger.cell(account))
                    .for_each(|cell| cell.settled_before(settlement.charge));
            }
        }
        Ok(heads)
    }
}

impl JournalSource for Source {
    fn heads(&self) -> Positions {
        self.ended.iter().copied().chain(self.heads.all()).collect()
    }

    fn read(&self, part: Range, max: usize) -> io::Result<Vec<(u64, Found)>> {
        // What waits in memory for a slow disk would be read as missing.
        let written = self.journal.state(part.stream).map_or(part.to, |state| state.written());
        let to = part.to.min(written);
        let mut records = self.journal.reader().read(part.stream, part.from);
        let mut found = Vec::new();
        while found.len() < max {
            match records.next_settlement(to)? {
                None => break,
                Some(journal::Found::Settlement(settlement, end)) => {
                    found.push((end, Found::Settlement(settlement)));
                }
                Some(journal::Found::Gap(gap)) => found.push((gap.to, Found::Lost)),
            }
        }
        Ok(found)
    }

    fn synced(&self, parts: &[Range]) -> Pending<()> {
        let state = |part: &Range| Some((self.journal.state(part.stream)?, part.to));
        let waiting: Vec<_> = parts.iter().filter_map(state).collect();
        Box::pin(async move {
            for (state, to) in waiting {
                // A sync that failed was told of, and no other makes the same records durable.
                let _ = state.synced(to).await;
            }
        })
    }

    fn decode(&self, bytes: &[u8]) -> Option<Settlement> {
        record::decode_settlement(bytes).ok()
    }
}

#[cfg(test)]
mod tests;
