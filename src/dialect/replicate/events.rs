//! Reads a stream: events `output`, `logs`, `error` and `done`.

use bytes::Bytes;
use serde::Deserialize;

use super::{CANCELLED, failed};
use crate::{
    conversation::{Delta, StopReason},
    dialect::upstream::{FrameReader, ReadError},
    wire::sse,
};

/// Turns the events of one answer into deltas.
#[derive(Debug, Default)]
pub(super) struct Events {
    begun: bool,
    over: bool,
}

/// Why it is done; nothing where it is well.
#[derive(Default, Deserialize)]
struct Done {
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    detail: String,
}

impl Events {
    fn begin(&mut self, out: &mut Vec<Delta>) {
        if !std::mem::replace(&mut self.begun, true) {
            out.push(Delta::Start { id: String::new() });
        }
    }
}

impl FrameReader for Events {
    fn frame(&mut self, frame: &Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let event = sse::parse(frame);
        let Some(data) = event.data.filter(|_| !self.over) else { return Ok(()) };
        match event.event {
            b"output" => {
                let text =
                    std::str::from_utf8(&data).map_err(|_| ReadError::garbage("an output is no text"))?;
                self.begin(out);
                if !text.is_empty() {
                    out.push(Delta::Text(text.to_owned()));
                }
                Ok(())
            }
            b"error" => {
                let said = serde_json::from_slice::<Refusal>(&data).map(|refusal| refusal.detail);
                Err(failed(Some(said.unwrap_or_else(|_| String::from_utf8_lossy(&data).into_owned()))))
            }
            b"done" => match serde_json::from_slice::<Done>(&data).unwrap_or_default().reason.as_deref() {
                Some("error") => Err(failed(None)),
                Some("canceled" | "cancelled" | "aborted") => Err(failed(Some(CANCELLED.to_owned()))),
                _ => {
                    self.begin(out);
                    self.over = true;
                    out.push(Delta::Stop(StopReason::End));
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }

    fn end(&mut self, _tail: &Bytes, _out: &mut Vec<Delta>) -> Result<(), ReadError> {
        Err(ReadError::garbage("the stream ended before it was done"))
    }
}
