//! Counts the frames of an event stream and notices its `[DONE]`. No I/O, nothing kept but the start of a line.

/// Longest line start that is looked at.
const LOOK: usize = 16;

/// The frames seen so far.
#[derive(Debug, Default)]
pub struct FrameCounter {
    frames: u64,
    line: Vec<u8>,
    has_data: bool,
    done: bool,
    after_done: bool,
}

impl FrameCounter {
    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, mut input: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', input) {
            self.keep(&input[..end]);
            input = &input[end + 1..];
            self.end_line();
        }
        self.keep(input);
    }

    /// Frames with data that a blank line has ended, `[DONE]` among them.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Whether `data: [DONE]` came, once, last and whole.
    pub fn is_done(&self) -> bool {
        self.done && !self.after_done && self.line.is_empty() && !self.has_data
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LOOK.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        if line.is_empty() {
            self.frames += u64::from(self.has_data);
            self.has_data = false;
        } else if let Some(data) = line.strip_prefix(b"data:") {
            self.has_data = true;
            self.after_done |= self.done;
            self.done |= data.trim_ascii() == b"[DONE]";
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests;
