//! Readers of streams that are JSON lines.

use bytes::Bytes;

use super::upstream::{DeltaReader, FrameReader, ReadError};
use crate::{conversation::Delta, wire::lines::LineFramer};

/// A reader of JSON lines; each is a frame.
#[derive(Debug)]
pub struct LineReader<F> {
    framer: LineFramer,
    frames: F,
}

impl<F: FrameReader> LineReader<F> {
    /// Makes a reader whose lines hold at most `longest` bytes.
    pub fn new(frames: F, longest: usize) -> Self {
        Self { framer: LineFramer::new(longest), frames }
    }
}

impl<F: FrameReader> DeltaReader for LineReader<F> {
    fn push(&mut self, chunk: Bytes, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let (mut read, frames) = (Ok(()), &mut self.frames);
        let framed = self.framer.push(chunk, |line| {
            if read.is_ok() {
                read = frames.frame(&line, out);
            }
        });
        read?;
        framed.map_err(|error| ReadError::garbage(error.to_string()))
    }

    fn finish(&mut self, out: &mut Vec<Delta>) -> Result<(), ReadError> {
        let (mut read, frames) = (Ok(()), &mut self.frames);
        self.framer.finish(|line| read = frames.frame(&line, out));
        read?;
        self.frames.end(&Bytes::new(), out)
    }
}
