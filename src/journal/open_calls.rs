//! The calls of a stream that were dispatched and are not settled, as the bytes of their records.

use std::collections::HashMap;

use penstock_actors::domain::CallId;

use super::{
    record::{self, Kind},
    segment::{FRAME, close_frame},
};

/// How many emptied buffers are kept for the next calls.
const FREE: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct OpenCalls {
    calls: HashMap<CallId, Open>,
    /// Buffers of settled calls: in steady state nothing is allocated.
    free: Vec<Open>,
}

#[derive(Debug, Default)]
struct Open {
    dispatch: Vec<u8>,
    progress: Vec<u8>,
}

impl OpenCalls {
    /// Follows a record that was written.
    pub fn note(&mut self, kind: Kind, call: CallId, payload: &[u8]) {
        match kind {
            Kind::Dispatch => {
                let free = &mut self.free;
                let open = self.calls.entry(call).or_insert_with(|| free.pop().unwrap_or_default());
                open.dispatch.clear();
                open.dispatch.extend_from_slice(payload);
            }
            Kind::Progress => {
                if let Some(open) = self.calls.get_mut(&call) {
                    open.progress.clear();
                    open.progress.extend_from_slice(payload);
                }
            }
            Kind::Settlement => {
                if let Some(mut open) = self.calls.remove(&call)
                    && self.free.len() < FREE
                {
                    open.dispatch.clear();
                    open.progress.clear();
                    self.free.push(open);
                }
            }
            Kind::Open => {}
        }
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether no call is open.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Appends a frame for each open call.
    pub fn copy_to(&self, buffer: &mut Vec<u8>) {
        for open in self.calls.values() {
            let from = buffer.len();
            buffer.resize(from + FRAME, 0);
            record::encode_open(&open.dispatch, &open.progress, buffer);
            close_frame(buffer, from, Kind::Open);
        }
    }
}
