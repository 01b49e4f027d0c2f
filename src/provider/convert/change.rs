//! Readers whose deltas are changed on their way, and what a channel's quirks change of an answer.

use bytes::Bytes;

use super::{
    calls::{Calls, Naming},
    thoughts::{Changer, Thoughts},
};
use crate::{
    conversation::{Delta, Reply},
    dialect::{DeltaReader, ReadError},
    provider::Ask,
};

/// Changes the deltas of one answer, one by one.
pub(super) trait Change {
    /// Takes a delta and appends what becomes of it.
    fn take(&mut self, delta: Delta, out: &mut Vec<Delta>);
}

/// A reader whose deltas are changed.
struct Changed<C> {
    inner: Box<dyn DeltaReader>,
    change: C,
    read: Vec<Delta>,
}

impl<C: Change> Changed<C> {
    fn change(&mut self, out: &mut Vec<Delta>) {
        for delta in self.read.drain(..) {
            self.change.take(delta, out);
        }
    }
}

impl<C: Change> DeltaReader for Changed<C> {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let read = self.inner.push(chunk, &mut self.read);
        self.change(out);
        read
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let read = self.inner.finish(&mut self.read);
        self.change(out);
        read
    }
}

/// What is changed of an answer: reasoning, then tool calls; the other way round where reasoning becomes text.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    thoughts: Option<Thoughts>,
    calls: Option<Naming>,
}

impl Changes {
    /// What a call's channel has changed.
    pub(super) fn of(ask: &Ask<'_>) -> Self {
        Self { thoughts: Thoughts::of(ask.quirks), calls: Naming::of(ask) }
    }

    /// A reader with the changes made.
    pub(super) fn reader(self, inner: Box<dyn DeltaReader>) -> Box<dyn DeltaReader> {
        let with_thoughts = |inner: Box<dyn DeltaReader>| -> Box<dyn DeltaReader> {
            match self.thoughts {
                Some(thoughts) => changed(inner, Changer::new(thoughts)),
                None => inner,
            }
        };
        match self.calls {
            None => with_thoughts(inner),
            Some(naming) if self.thoughts == Some(Thoughts::Merge) => {
                with_thoughts(changed(inner, Calls::new(naming)))
            }
            Some(naming) => changed(with_thoughts(inner), Calls::new(naming)),
        }
    }

    /// Makes the changes to a whole answer.
    pub(super) fn make(&self, reply: &mut Reply) {
        let merges = self.thoughts == Some(Thoughts::Merge);
        if let Some(thoughts) = self.thoughts.filter(|_| !merges) {
            thoughts.change(reply);
        }
        if let Some(naming) = &self.calls {
            Calls::new(naming.clone()).change(reply);
        }
        if let Some(thoughts) = self.thoughts.filter(|_| merges) {
            thoughts.change(reply);
        }
    }
}

fn changed<C: Change + 'static>(inner: Box<dyn DeltaReader>, change: C) -> Box<dyn DeltaReader> {
    Box::new(Changed { inner, change, read: Vec::new() })
}
