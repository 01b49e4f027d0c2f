//! UTF-8 across chunk borders.

/// Checks UTF-8 across chunk borders.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The start of a character that the last chunk cut.
    carry: Vec<u8>,
}

impl Utf8 {
    /// Whether no character is cut.
    pub(super) fn is_whole(&self) -> bool {
        self.carry.is_empty()
    }

    /// Takes a chunk; the error is how far into it all is well.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), usize> {
        let mut from = 0;
        while !self.carry.is_empty() && from < chunk.len() {
            self.carry.push(chunk[from]);
            from += 1;
            match std::str::from_utf8(&self.carry) {
                Ok(_) => self.carry.clear(),
                Err(e) if e.error_len().is_some() => return Err(from),
                Err(_) => {}
            }
        }
        match std::str::from_utf8(&chunk[from..]) {
            Ok(_) => Ok(()),
            Err(e) if e.error_len().is_some() => Err(from + e.valid_up_to()),
            Err(e) => {
                self.carry.extend_from_slice(&chunk[from + e.valid_up_to()..]);
                Ok(())
            }
        }
    }
}
